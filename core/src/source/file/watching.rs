//! Hints from the operating system. They only make the next reading come sooner: on network shares and
//! through links there are none, and polling goes on either way.

use std::{
    ffi::OsStr,
    future::pending,
    path::{Path, PathBuf},
    time::Duration,
};

use notify::{
    Event, EventKind, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode},
};
use tokio::{sync::mpsc, time::timeout};

use crate::{
    error::{Error, ErrorKind},
    source::{Hints, reading::Reader},
};

/// One change of a file is several events: they are one hint when none came for this long.
const QUIET: Duration = Duration::from_millis(50);

/// However often it changes, it is a hint after so long.
const LONGEST: Duration = Duration::from_secs(1);

pub(super) async fn follow(path: PathBuf, reader: Reader, hints: Hints) {
    let (changed, mut changes) = mpsc::channel(1);
    let changed = move || {
        // A full channel holds the news already.
        let _ = changed.try_send(());
    };
    // To look at a network share can take for ever.
    let watcher = reader.run(path.clone(), |path| {
        watch(path, changed)
            .map_err(|_| Error::new(ErrorKind::Unavailable, "the system does not watch it"))
    });
    let Ok(_watcher) = watcher.await else {
        tracing::debug!(path = %path.display(), "not watched, only polled");
        return pending().await;
    };
    while changes.recv().await.is_some() {
        let quiet = async { while let Ok(Some(())) = timeout(QUIET, changes.recv()).await {} };
        let _ = timeout(LONGEST, quiet).await;
        hints.changed();
    }
}

fn watch(
    path: &Path,
    changed: impl Fn() + Send + 'static,
) -> notify::Result<notify::RecommendedWatcher> {
    let path = std::path::absolute(path)?;
    // A file is replaced by another one of that name: only its folder sees that.
    let (folder, name) = match (path.is_dir(), path.parent()) {
        (false, Some(parent)) => (parent, path.file_name().map(OsStr::to_owned)),
        _ => (&*path, None),
    };
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        if event.map_or(true, |event| matters(&event, name.as_deref())) {
            changed();
        }
    })?;
    watcher.watch(folder, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

fn matters(event: &Event, name: Option<&OsStr>) -> bool {
    // Reading is an access, and must not be a reason to read again.
    let changes = match event.kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        _ => true,
    };
    let of_interest = |path: &PathBuf| match (name, path.file_name()) {
        (Some(name), Some(found)) => {
            // Kubernetes moves `..data`, to which the file is a link.
            found == name || found.as_encoded_bytes().starts_with(b"..")
        }
        _ => true,
    };
    changes && (event.paths.is_empty() || event.paths.iter().any(of_interest))
}
