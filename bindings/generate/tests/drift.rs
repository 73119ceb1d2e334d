//! What is committed is what would be written, and each kind of drift is told, by the program itself.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use keyswap_generate::{COMMAND, generate};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All that is read and written, in a folder of its own.
fn copy(name: &str) -> PathBuf {
    let to = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if to.exists() {
        fs::remove_dir_all(&to).expect("an old copy");
    }
    let generated = generate(&repository()).expect("a description");
    for path in generated.paths() {
        let full = to.join(path);
        fs::create_dir_all(full.parent().expect("a folder")).expect("a folder");
        fs::copy(repository().join(path), full).expect(path);
    }
    to
}

/// Whether `--check` is content, and what it says.
fn check(root: &Path) -> (bool, String) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_keyswap-generate"));
    let output = program.arg("--check").arg("--root").arg(root).output().expect("it runs");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn edit(root: &Path, path: &str, of: &str, with: &str) {
    let text = fs::read_to_string(root.join(path)).expect(path);
    assert_eq!(text.matches(of).count(), 1, "{path}: {of}");
    fs::write(root.join(path), text.replace(of, with)).expect(path);
}

#[test]
fn what_is_committed_is_up_to_date() {
    assert_eq!(check(&repository()), (true, String::new()));
}

/// A drift: what it is, where it is planted, in the place of what, and files that are out of date then.
struct Drift {
    name: &'static str,
    edits: &'static [(&'static str, &'static str, &'static str)],
    stale: &'static [&'static str],
}

const PYTHON: &str = "bindings/python/python/keyswap";
const POLICY: &str = "core/src/policy.rs";
const EVENT: &str = "core/src/event.rs";
const ERROR: &str = "core/src/error.rs";
const OPTIONS: &str = "bindings/host/src/options.rs";
const RECORDS: &str = "bindings/host/src/records.rs";

#[rustfmt::skip]
const DRIFTS: &[Drift] = &[
    Drift {
        name: "option",
        edits: &[
            (OPTIONS, "    /// Headers that every request carries", "    /// How much.\n    pub quota: Option<u32>,\n    /// Headers that every request carries"),
            // Those that write it by hand have it.
            ("bindings/python/python/keyswap/_client.py", "        max_redirects: int", "        quota: int,\n        max_redirects: int"),
        ],
        stale: &["bindings/README.md", "bindings/node/lib/generated/options.ts"],
    },
    Drift {
        name: "option-of-an-endpoint",
        edits: &[
            (OPTIONS, "    /// That the endpoint is asked without", "    /// How much.\n    pub quota: Option<u32>,\n    /// That the endpoint is asked without"),
            ("bindings/kotlin/src/main/kotlin/dev/keyswap/Source.kt", "    public var app:", "    public var quota: Int? = null\n    public var app:"),
            ("bindings/swift/Sources/Keyswap/Source.swift", "        plainHTTPAllowed: Bool = false,", "        quota: Int? = nil, plainHTTPAllowed: Bool = false,"),
        ],
        stale: &[
            "bindings/README.md", "bindings/kotlin/README.md", "bindings/node/README.md", "bindings/node/lib/generated/options.ts",
            "bindings/python/README.md", "bindings/python/python/keyswap/_sources.py", "bindings/swift/README.md",
        ],
    },
    Drift {
        name: "comment",
        edits: &[(OPTIONS, "Certificates (PEM) that are trusted", "Certificates that are trusted")],
        stale: &["bindings/python/python/keyswap/_sources.py"],
    },
    Drift {
        name: "policy-field",
        edits: &[(POLICY, "    /// How long one probe may hold", "    /// How often.\n    pub probe_most: u32,\n    /// How long one probe may hold")],
        stale: &[
            "bindings/README.md", "bindings/kotlin/src/main/kotlin/dev/keyswap/Policy.kt", "bindings/node/lib/generated/policy.ts",
            "bindings/python/python/keyswap/_policy.py", "bindings/swift/Sources/Keyswap/Policy.swift",
        ],
    },
    Drift {
        name: "event-field",
        edits: &[
            (EVENT, "        /// Whether the API was seen", "        /// How often it was sent.\n        sends: u64,\n        /// Whether the API was seen"),
            (RECORDS, "    /// Whether the API was seen", "    /// How often it was sent.\n    pub sends: Option<u64>,\n    /// Whether the API was seen"),
        ],
        stale: &[
            "bindings/README.md", "bindings/node/lib/generated/events.ts", "bindings/python/python/keyswap/_event_names.py",
            "bindings/python/python/keyswap/_records.py",
        ],
    },
    Drift {
        name: "event",
        edits: &[(EVENT, "    /// The candidate is now in use.", "    /// It rests.\n    Resting {\n        /// The id.\n        credential: CredentialId,\n    },\n    /// The candidate is now in use.")],
        stale: &["bindings/node/lib/generated/events.ts", "bindings/python/python/keyswap/_event_names.py"],
    },
    Drift {
        name: "statistic",
        edits: &[(RECORDS, "    /// Sends of all requests.", "    /// How many rest.\n    pub resting: u64,\n    /// Sends of all requests.")],
        stale: &["bindings/README.md", "bindings/node/lib/generated/stats.ts", "bindings/python/python/keyswap/_records.py"],
    },
    Drift {
        name: "error",
        edits: &[
            (ERROR, "    /// The handle was closed.", "    /// It rests.\n    Resting,\n    /// The handle was closed."),
            (ERROR, "            Self::Closed => (\"closed\", Open),", "            Self::Closed => (\"closed\", Open),\n            Self::Resting => (\"resting\", Open),"),
        ],
        stale: &[
            "bindings/README.md", "bindings/kotlin/README.md", "bindings/kotlin/src/main/kotlin/dev/keyswap/KeySwapException.kt",
            "bindings/node/README.md", "bindings/node/lib/generated/errors.ts", "bindings/python/README.md",
            "bindings/python/python/keyswap/_error_types.py", "bindings/swift/README.md", "bindings/swift/Sources/Keyswap/KeyswapError.swift",
        ],
    },
    Drift {
        name: "version",
        edits: &[("Cargo.toml", "[workspace.package]\nversion = \"", "[workspace.package]\nversion = \"9")],
        stale: &[
            "Cargo.toml", "bindings/host/Cargo.toml", "bindings/kotlin/android/build.gradle.kts", "bindings/kotlin/pom.xml",
            "bindings/node/package-lock.json", "bindings/node/package.json", "examples/android/build.gradle.kts",
        ],
    },
    Drift {
        name: "version-of-a-package",
        edits: &[("bindings/node/package.json", "\"version\": \"", "\"version\": \"9")],
        stale: &["bindings/node/package.json"],
    },
    Drift {
        name: "by-hand",
        edits: &[("bindings/node/lib/generated/policy.ts", "  pollSpread?: number\n", "")],
        stale: &["bindings/node/lib/generated/policy.ts"],
    },
];

#[test]
fn each_kind_of_drift_is_told_and_mended() {
    for drift in DRIFTS {
        let root = copy(drift.name);
        assert_eq!(check(&root), (true, String::new()), "{}: the copy", drift.name);
        drift.edits.iter().for_each(|(path, of, with)| edit(&root, path, of, with));
        let (is_content, said) = check(&root);
        assert!(!is_content, "{}", drift.name);
        assert!(said.ends_with(&format!("run `{COMMAND}` and commit what it writes\n")), "{said}");
        for path in drift.stale {
            assert!(
                said.contains(&format!("{path} is out of date")),
                "{}: {path}: {said}",
                drift.name
            );
        }
        generate(&root).expect(drift.name).write(&root).expect(drift.name);
        assert_eq!(check(&root), (true, String::new()), "{}: it is mended", drift.name);
    }
}

/// What cannot be generated is told with its place, and not left out.
#[test]
#[rustfmt::skip]
fn what_is_not_understood_is_told() {
    let python = format!("{PYTHON}/_client.py");
    let records = format!("{PYTHON}/_records.py");
    let cases: &[(&str, &str, &str, &str)] = &[
        (OPTIONS, "pub app: Option<String>", "pub app: Option<Vec<u8>>", "options.rs: app: its type is not known: Option<Vec<u8>>"),
        (OPTIONS, "    /// The name of the variable.\n", "", "options.rs: variable: it has no comment"),
        (OPTIONS, "one answer may take, in seconds", "one answer may take", "must say `, in seconds`"),
        (POLICY, "pub struct Policy {", "pub struct Numbers {", "policy.rs: Policy: there is no such struct"),
        (EVENT, "        in_use: CredentialId,", "        in_use: CredentialId,\n        /// More.\n        unused: u64,", "EventRecord: it has no field `unused`"),
        (EVENT, "rename = \"for_ms\"", "rename = \"for_seconds\"", "what it is written as is not known: Duration"),
        (RECORDS, "    pub missed: Option<u64>,", "    pub missed: Option<u64>,\n    /// More.\n    pub more: Option<u64>,", "more: no event has this field"),
        (RECORDS, "pub proven: Option<bool>", "pub proven: Option<u64>", "proven: in an event it is Option<bool>"),
        (ERROR, "            Self::Closed => (\"closed\", Open),", "            Self::Closed => (\"ended\", Open),", "Closed: its code is not its name"),
        (&python, "        max_redirects: int = 10,", "        most_redirects: int = 10,", "the option `max_redirects` of the host is missing"),
        (&records, "    # end of event\n", "", "`end of event` must stand in it once each"),
        ("bindings/python/Cargo.toml", "\nversion.workspace = true", "\nversion = \"0.9.0\"", "`version.workspace = true` is expected"),
        ("bindings/kotlin/pom.xml", "<artifactId>keyswap</artifactId>", "<artifactId>other</artifactId>", "a version is expected once"),
    ];
    for (path, of, with, said) in cases {
        let root = copy("not-understood");
        edit(&root, path, of, with);
        let (is_content, told) = check(&root);
        assert!(!is_content && told.contains(said), "{path}: {told}");
    }
}
