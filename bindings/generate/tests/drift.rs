//! What is committed is what would be written, and each kind of drift is told, by the program itself.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
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
    static PATHS: OnceLock<Vec<String>> = OnceLock::new();
    let used =
        || generate(&repository()).expect("a description").paths().map(str::to_owned).collect();
    for path in PATHS.get_or_init(used) {
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
const PUBLIC: &str = "core/public-api.txt";
const KTOR: &str = "bindings/kotlin/src/main/kotlin/dev/keyswap/ktor/KeySwapAuth.kt";
const OKHTTP: &str = "bindings/kotlin/src/main/kotlin/dev/keyswap/okhttp/KeySwapOkHttp.kt";
const PARITY: &str = "bindings/PARITY.md";

#[rustfmt::skip]
const DRIFTS: &[Drift] = &[
    Drift {
        name: "option",
        edits: &[
            (OPTIONS, "    /// Headers that every request carries", "    /// How much.\n    pub quota: Option<u32>,\n    /// Headers that every request carries"),
            (PUBLIC, "pub fn keyswap::ClientBuilder::retries(", "pub fn keyswap::ClientBuilder::quota(self, u32) -> Self\npub fn keyswap::ClientBuilder::retries("),
            // Those that write it by hand have it, or say why not.
            ("bindings/python/python/keyswap/_client.py", "        max_redirects: int", "        quota: int | None = None,\n        max_redirects: int"),
            (PARITY, "| `Client(no_timeout)` |", "| `Client(quota)` |  |  |  |  | – | Not there. |\n| `Client(no_timeout)` |"),
        ],
        stale: &["bindings/README.md", "bindings/node/lib/generated/options.ts", "bindings/python/python/keyswap/_client.py"],
    },
    Drift {
        name: "option-of-an-endpoint",
        edits: &[
            (OPTIONS, "    /// That the endpoint is asked without", "    /// How much.\n    pub quota: Option<u32>,\n    /// That the endpoint is asked without"),
            (PUBLIC, "pub struct keyswap::Endpoint\n", "pub struct keyswap::Endpoint\nimpl keyswap::Endpoint\npub fn keyswap::Endpoint::quota(self, u32) -> Self\n"),
        ],
        stale: &[
            "bindings/README.md", "bindings/kotlin/README.md", "bindings/kotlin/src/main/kotlin/dev/keyswap/Source.kt", "bindings/node/README.md",
            "bindings/node/lib/generated/sources.ts", "bindings/python/README.md", "bindings/python/python/keyswap/_sources.py",
            "bindings/swift/README.md", "bindings/swift/Sources/Keyswap/Source.swift", "bindings/uniffi/src/records.rs",
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
        ],
        stale: &[
            "bindings/README.md", "bindings/node/lib/generated/events.ts", "bindings/python/python/keyswap/_event_names.py",
            "bindings/python/python/keyswap/_records.py", "bindings/python/python/keyswap/events.py", RECORDS, "bindings/uniffi/src/records.rs",
        ],
    },
    Drift {
        name: "event",
        edits: &[(EVENT, "    /// The candidate is now in use.", "    /// It rests.\n    Resting {\n        /// The id.\n        credential: CredentialId,\n    },\n    /// The candidate is now in use.")],
        stale: &[
            "bindings/kotlin/src/main/kotlin/dev/keyswap/Event.kt", "bindings/node/lib/generated/events.ts",
            "bindings/python/python/keyswap/_event_names.py", "bindings/python/python/keyswap/events.py",
            "bindings/swift/Sources/Keyswap/Event.swift",
        ],
    },
    Drift {
        name: "statistic",
        edits: &[(RECORDS, "    /// Sends of all requests.", "    /// How many rest.\n    pub resting: u64,\n    /// Sends of all requests.")],
        stale: &["bindings/README.md", "bindings/node/lib/generated/stats.ts", "bindings/python/python/keyswap/_records.py", "bindings/uniffi/src/records.rs"],
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
            "Cargo.toml", "bindings/host/Cargo.toml", "bindings/kotlin/README.md", "bindings/kotlin/android/build.gradle.kts", "bindings/kotlin/pom.xml",
            "bindings/node/package-lock.json", "bindings/node/package.json", "examples/android/build.gradle.kts",
        ],
    },
    Drift {
        name: "version-of-a-package",
        edits: &[("bindings/node/package.json", "\"version\": \"", "\"version\": \"9")],
        stale: &["bindings/node/package.json"],
    },
    Drift {
        name: "comment-of-the-native-module",
        edits: &[("bindings/python/src/keys.rs", "Looks at the clocks at once", "Looks at the clocks now")],
        stale: &["bindings/python/python/keyswap/_native.pyi"],
    },
    Drift {
        name: "comment-by-hand",
        edits: &[("bindings/swift/Sources/Keyswap/Authorizer.swift", "///   - keys: Whose credentials.", "///   - keys: Mine.")],
        stale: &["bindings/swift/Sources/Keyswap/Authorizer.swift"],
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
        (EVENT, "rename = \"for_ms\"", "rename = \"for_seconds\"", "what it is written as is not known: Duration"),
        (ERROR, "            Self::Closed => (\"closed\", Open),", "            Self::Closed => (\"ended\", Open),", "Closed: its code is not its name"),
        (EVENT, "        missed: u64,", "        generation: bool,", "generation: events have it with several types"),
        (&python, "        max_redirects: int = 10,", "        most_redirects: int = 10,", "`Client(max_redirects)` is not there in Python"),
        (&python, "        retries: int = 2,", "        retries: int = 3,", "`retries: int = 3` should be `retries: int = 2`"),
        (KTOR, "ownHeaderWins: Boolean = false", "ownHeaderWins: Boolean = true", "`public var ownHeaderWins: Boolean = false` is expected"),
        (OKHTTP, "    plainHttpAllowed: Boolean = false,\n", "", "`plainHttpAllowed: Boolean = false` is missing"),
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

/// A name that is new, gone or called otherwise in one language, and a line of the file that is wrong.
#[test]
#[rustfmt::skip]
fn languages_differ_only_in_what_is_said() {
    let cases: &[(&str, &str, &str, &str)] = &[
        (PUBLIC, "pub struct keyswap::Snapshot\n", "pub struct keyswap::Snapshot\npub struct keyswap::Extra\n", "`Extra` is not there in Python, Node, Kotlin, Swift"),
        ("bindings/python/python/keyswap/__init__.py", "    \"Basic\",\n", "    \"Basic\",\n    \"Extra\",\n", "`Extra` is not there in Rust, Node, Kotlin, Swift"),
        ("bindings/python/python/keyswap/_native.pyi", "    def wake(self)", "    def awaken(self)", "`KeySwap.awaken` is not there in Rust, Node, Kotlin, Swift"),
        ("bindings/python/python/keyswap/integrations/aiohttp.py", "[\"middleware\"]", "[\"middleware\", \"extra\"]", "`aiohttp.extra` is not there in"),
        ("bindings/node/lib/index.ts", "export { Events }", "export { Events, Extra }", "events.ts: it exports no Extra"),
        ("bindings/node/lib/keys.ts", "  wake(): void {", "  awaken(): void {", "`KeySwap.awaken` is not there in"),
        ("bindings/node/lib/undici.ts", "export function keyswapInterceptor(", "export function extra(", "`extra` is not there in Rust, Python, Kotlin, Swift"),
        ("bindings/kotlin/src/main/kotlin/dev/keyswap/KeySwap.kt", "public fun hint(", "public fun tip(", "`KeySwap.tip` is not there in Rust, Python, Node, Swift"),
        ("bindings/kotlin/src/main/kotlin/dev/keyswap/Logger.kt", "    DEBUG,", "    DEBUG,\n    TRACE,", "`LogLevel.trace` is not there in Node, Swift"),
        ("bindings/swift/Sources/Keyswap/KeySwap.swift", "public func hint(", "public func tip(", "`KeySwap.tip` is not there in Rust, Python, Node, Kotlin"),
        ("bindings/swift/Sources/Keyswap/Scheme.swift", "    case bearer\n", "    case bearer\n    case digest\n", "`Scheme.digest` is not there in Rust, Python, Node, Kotlin"),
        ("bindings/swift/Sources/Keyswap/Authorizer.swift", "ownHeaderWins: Bool = false\n", "ownHeaderWins: Bool = false, extra: Bool = false\n", "`extra` is no option of the description"),
        (PARITY, "| `Clock`, `Moment` |", "| `Clock` |", "`Moment` is not there in Python, Node, Kotlin, Swift"),
        (PARITY, "| `Clock`, `Moment` |", "| `Clock`, `Moment`, `Hour` |", "`Hour` need not stand there any more"),
        (PARITY, "| `Clock`, `Moment` |  | – |", "| `Clock`, `Moment` | – | – |", "`Clock` is there in Rust"),
        (PARITY, "`KeySwapException` |  |", "`KeySwapException` | `Fault` |", "`KeyswapError` is no `Fault` in Swift"),
        (PARITY, " Kotlin and Swift have unsigned numbers. |", " |", "and a reason are expected"),
    ];
    for (path, of, with, said) in cases {
        let root = copy("parity");
        edit(&root, path, of, with);
        let (is_content, told) = check(&root);
        assert!(!is_content && told.contains(said), "{path}: {said}: {told}");
    }
}
