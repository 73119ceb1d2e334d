//! Files and folders.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use http::{HeaderMap, Method, StatusCode};
use keyswap::{
    Authorizer, ErrorKind, KeySwap, Scheme,
    source::{Endpoint, Fetched, File, Source},
};

use crate::{DOCUMENT, MATERIAL, failed, fetched, sources::folder::Folder};

#[tokio::test]
async fn a_plain_file_is_the_key() {
    let folder = Folder::new();
    let path = folder.write("key", "\u{feff}m4terial-9b1c-1 \r\n");
    let file = File::new(&path);
    let first = fetched(file.fetch(None).await);
    let primary = first.primary().unwrap();
    assert_eq!(primary.reveal("key"), Some("m4terial-9b1c-1"));
    assert!(primary.id().starts_with("file-"), "{primary:?}");
    assert!(!format!("{file:?} {first:?}").contains(MATERIAL));
    assert!(matches!(file.fetch(Some(&first)).await.unwrap(), Fetched::NotModified));

    folder.write("key", "m4terial-9b1c-2");
    let second = fetched(file.fetch(Some(&first)).await);
    assert_eq!(second.primary().unwrap().reveal("key"), Some("m4terial-9b1c-2"));
    assert_ne!(second.primary().unwrap().id(), primary.id());

    // Other white space is the same key.
    folder.write("key", "m4terial-9b1c-2\n");
    let same = fetched(file.fetch(Some(&second)).await);
    assert_eq!(same.primary(), second.primary());
    // So is a key that comes back.
    folder.write("key", "m4terial-9b1c-1");
    let back = fetched(file.fetch(Some(&same)).await);
    assert_eq!(back.primary(), first.primary());
}

/// The key that worked is what requests fall back to, though no file says so.
#[tokio::test]
async fn the_last_accepted_key_is_the_fallback() {
    let folder = Folder::new();
    let keys = KeySwap::follow(File::new(folder.write("key", "m4terial-9b1c-1"))).await.unwrap();
    let api = "https://api.example.com/";
    let authorizer = Authorizer::builder(&keys).scheme(Scheme::bearer()).allow_origin(api).unwrap();
    let url = api.parse().unwrap();
    let mut attempt = authorizer.build().unwrap().begin(&url, true, None).unwrap();
    attempt.apply(&Method::GET, &url, &HeaderMap::new(), None).unwrap();
    attempt.response(StatusCode::OK, &HeaderMap::new(), None);
    folder.write("key", "m4terial-9b1c-2");
    keys.refresh().await.unwrap();
    let set = keys.set().unwrap();
    assert_eq!(set.primary().unwrap().reveal("key"), Some("m4terial-9b1c-2"));
    let previous: Vec<_> = set.previous().filter_map(|it| it.reveal("key")).collect();
    assert_eq!(previous, ["m4terial-9b1c-1"]);
}

#[tokio::test]
async fn ids_of_one_key_differ_from_source_to_source() {
    let folder = Folder::new();
    let path = folder.write("key", MATERIAL);
    let mut ids = Vec::new();
    for _ in 0..2 {
        let set = fetched(File::new(&path).fetch(None).await);
        ids.push((set.primary().unwrap().id().to_owned(), set.validator().unwrap().to_owned()));
    }
    assert_ne!(ids[0].0, ids[1].0);
    assert_ne!(ids[0].1, ids[1].1);
}

#[tokio::test]
async fn a_document_is_read_as_one() {
    let folder = Folder::new();
    let document = DOCUMENT.replacen('{', r#"{"server_time": "2020-01-01T00:00:00Z", "#, 1);
    let file = File::new(folder.write("keys.json", &format!("\n{document}\n")));
    let set = fetched(file.fetch(None).await);
    // The time in a file stands still: credentials would never end by it.
    let mut plain = keyswap::source::parse(DOCUMENT.as_bytes()).unwrap();
    plain = plain.with_validator(set.validator().unwrap());
    assert_eq!(set, plain);
    assert!(matches!(file.fetch(Some(&set)).await.unwrap(), Fetched::NotModified));
}

#[tokio::test]
async fn a_folder_has_one_file_for_each_piece() {
    let folder = Folder::new();
    folder.write("key", "m4terial-9b1c-k\n");
    folder.write("secret", "m4terial-9b1c-s");
    folder.write("id", "k_7\n");
    folder.write("version", "7");
    folder.write(".hidden", "no");
    std::fs::create_dir(folder.path("nested")).unwrap();
    let file = File::new(&folder.0);
    let set = fetched(file.fetch(None).await);
    let primary = set.primary().unwrap();
    assert_eq!((primary.id(), primary.version()), ("k_7", Some("7")));
    assert_eq!(primary.reveal("key"), Some("m4terial-9b1c-k"));
    assert_eq!(primary.reveal("secret"), Some("m4terial-9b1c-s"));
    assert_eq!(primary.reveal(".hidden").or(primary.reveal("id")), None);
    assert!(matches!(file.fetch(Some(&set)).await.unwrap(), Fetched::NotModified));
}

/// A writer swaps versions as the kubelet does, as fast as it can, while the folder is read.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kubernetes_mount_is_never_read_from_two_versions() {
    let folder = Folder::new();
    let mount = Mount::new(&folder.0);
    mount.swap(0);
    for name in ["key", "secret"] {
        std::os::unix::fs::symlink(format!("..data/{name}"), folder.path(name)).unwrap();
    }
    let stop = Arc::new(AtomicU32::new(0));
    let writer = std::thread::spawn({
        let stop = stop.clone();
        move || {
            let mut version = 0;
            while stop.load(Ordering::Relaxed) == 0 {
                version += 1;
                mount.swap(version);
            }
            version
        }
    });
    let file = File::new(&folder.0);
    let (mut read, mut seen) = (0, std::collections::HashSet::new());
    for _ in 0..1000 {
        // The writer is a thousand times faster than a kubelet, so a version may vanish twice in a row.
        let set = match file.fetch(None).await {
            Err(error) if error.kind() == ErrorKind::Unavailable => continue,
            other => fetched(other),
        };
        let primary = set.primary().unwrap();
        let key = primary.reveal("key").unwrap().strip_prefix("key-").unwrap();
        let secret = primary.reveal("secret").unwrap().strip_prefix("secret-").unwrap();
        assert_eq!(key, secret);
        read += 1;
        seen.insert(key.to_owned());
    }
    stop.store(1, Ordering::Relaxed);
    assert!(writer.join().unwrap() > 1);
    assert!(read > 100, "{read} of 1000 were read");
    assert!(seen.len() > 1, "the versions changed meanwhile");
}

#[tokio::test]
async fn each_fault_of_a_file_names_the_path_and_quotes_nothing() {
    use ErrorKind::*;
    let folder = Folder::new();
    std::fs::create_dir(folder.path("empty-folder")).unwrap();
    std::fs::create_dir(folder.path("large-folder")).unwrap();
    for name in ["a", "b"] {
        folder.write(&format!("large-folder/{name}"), &"x".repeat(40 * 1024));
    }
    std::fs::write(folder.path("binary"), b"m4terial-9b1c\xff").unwrap();
    folder.write("empty", " \n");
    folder.write("large", &MATERIAL.repeat(6000));
    folder.write("broken", &DOCUMENT[..DOCUMENT.len() - 1]);
    folder.write("wrong", &DOCUMENT.replace("\"k_7\"", "\"m4terial-9b1c !\""));
    let cases = [
        ("missing", Unavailable, "entity not found"),
        ("empty", Malformed, "it is empty"),
        ("large", Malformed, "larger than 64 KiB"),
        ("binary", Malformed, "not UTF-8"),
        ("broken", Malformed, "the JSON ends too early"),
        ("wrong", Malformed, "id must match"),
        ("empty-folder", Malformed, "no file in it"),
        ("large-folder", Malformed, "larger than 64 KiB"),
    ];
    for (name, kind, words) in cases {
        let path = folder.path(name);
        let error = failed(&File::new(&path), None).await;
        assert_eq!(error.kind(), kind, "{error}");
        let shown = error.to_string();
        assert!(shown.contains(words) && shown.contains(path.to_str().unwrap()), "{shown}");
    }
}

// ---- hostile files ----

/// A pipe that nobody writes to, or that somebody holds open and says nothing: what once took a thread a
/// fetch, for ever.
#[cfg(unix)]
#[tokio::test]
async fn only_regular_files_are_read() {
    use std::os::unix::net::UnixListener;
    let folder = Folder::new();
    let made = |name: &str| {
        let status = std::process::Command::new("mkfifo").arg(folder.path(name)).status();
        assert!(status.unwrap().success());
        folder.path(name)
    };
    let (silent, held) = (made("silent"), made("held"));
    let mut both = std::fs::OpenOptions::new();
    let _holder = both.read(true).write(true).open(&held).unwrap();
    let _socket = UnixListener::bind(folder.path("socket")).unwrap();
    std::os::unix::fs::symlink(&silent, folder.path("link")).unwrap();
    let odd = [silent, held, folder.path("link"), folder.path("socket"), "/dev/zero".into()];
    let before = threads();
    for path in &odd {
        for _ in 0..50 {
            let error = failed(&File::new(path), None).await;
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            assert!(error.to_string().contains("is not a regular file"), "{error}");
        }
        let endpoint = Endpoint::new("http://127.0.0.1:9/sets/eu").unwrap().bootstrap_file(path);
        let error = failed(&endpoint, None).await;
        assert!(error.to_string().contains("is not a regular file"), "{error}");
    }
    // Other tests run beside this one, and a thread that is done needs a moment to be gone. A thread for each
    // fetch would be 250.
    assert!(threads() <= before + 25, "{before} threads before, {} now", threads());
    // In a folder they are passed over, as folders are.
    folder.write("key", MATERIAL);
    let set = fetched(File::new(&folder.0).fetch(None).await);
    assert_eq!(set.primary().unwrap().reveal("key"), Some(MATERIAL));
}

#[cfg(target_os = "linux")]
fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

#[cfg(all(unix, not(target_os = "linux")))]
fn threads() -> usize {
    0
}

/// Each of 20,000 files once cost the memory of the largest.
#[tokio::test]
async fn a_folder_of_very_many_files_is_refused_and_not_read() {
    let folder = Folder::new();
    for (name, count, words) in [
        ("fits", 64, None),
        ("many", 65, Some("too many files: at most 64")),
        ("very-many", 3000, Some("too many files: at most 64")),
        ("hidden", 2000, Some("too many files: at most 64")),
    ] {
        std::fs::create_dir(folder.path(name)).unwrap();
        let dot = if name == "hidden" { "." } else { "" };
        for file in 0..count {
            std::fs::write(folder.path(&format!("{name}/{dot}k{file}")), "x").unwrap();
        }
        let file = File::new(folder.path(name));
        match words {
            None => assert!(fetched(file.fetch(None).await).primary().is_some()),
            Some(words) => {
                let error = failed(&file, None).await;
                assert_eq!(error.kind(), ErrorKind::Malformed, "{error}");
                assert!(error.to_string().contains(words), "{error}");
            }
        }
    }
}

/// A link to the folder itself moves from one version to the next, and `..data` is gone for a moment, as
/// fast as a writer can.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_behind_a_link_that_moves_is_never_read_from_two_versions() {
    let folder = Folder::new();
    for version in ["a", "b"] {
        std::fs::create_dir(folder.path(version)).unwrap();
        for piece in 0..16 {
            folder.write(&format!("{version}/p{piece}"), version);
        }
    }
    let point = |to: &str, folder: &Folder| {
        std::os::unix::fs::symlink(folder.path(to), folder.path("new")).unwrap();
        std::fs::rename(folder.path("new"), folder.path("current")).unwrap();
    };
    point("a", &folder);
    let file = File::new(folder.path("current"));
    let stop = AtomicBool::new(false);
    let mut seen = std::collections::HashSet::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                point("b", &folder);
                point("a", &folder);
            }
        });
        tokio::task::block_in_place(|| {
            for _ in 0..400 {
                let set = match tokio::runtime::Handle::current().block_on(file.fetch(None)) {
                    Err(error) if error.kind() == ErrorKind::Unavailable => continue,
                    other => fetched(other),
                };
                let pieces = (0..16).map(|piece| format!("p{piece}"));
                let versions: std::collections::HashSet<_> = pieces
                    .map(|name| set.primary().unwrap().reveal(&name).unwrap().to_owned())
                    .collect();
                assert_eq!(versions.len(), 1, "one version");
                seen.extend(versions);
            }
        });
        stop.store(true, Ordering::Relaxed);
    });
    assert!(!seen.is_empty());
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_to_a_version_that_leads_nowhere_is_no_absent_one() {
    let folder = Folder::new();
    folder.write("key", "of no version");
    std::os::unix::fs::symlink(folder.path("..gone"), folder.path("..data")).unwrap();
    let file = File::new(&folder.0);
    let error = failed(&file, None).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("changed again and again"), "{error}");
    std::fs::create_dir(folder.path("..gone")).unwrap();
    folder.write("..gone/key", MATERIAL);
    let set = fetched(file.fetch(None).await);
    assert_eq!(set.primary().unwrap().reveal("key"), Some(MATERIAL));
}

/// A folder as Kubernetes mounts a secret.
#[cfg(unix)]
struct Mount(PathBuf);

#[cfg(unix)]
impl Mount {
    fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Makes a new version, points `..data` at it, removes the one before.
    fn swap(&self, version: u32) {
        let folder = self.0.join(format!("..version_{version}"));
        std::fs::create_dir(&folder).unwrap();
        for name in ["key", "secret"] {
            std::fs::write(folder.join(name), format!("{name}-{version}")).unwrap();
        }
        let link = self.0.join("..data_tmp");
        std::os::unix::fs::symlink(&folder, &link).unwrap();
        std::fs::rename(link, self.0.join("..data")).unwrap();
        if let Some(before) = version.checked_sub(1) {
            std::fs::remove_dir_all(self.0.join(format!("..version_{before}"))).unwrap();
        }
    }
}
