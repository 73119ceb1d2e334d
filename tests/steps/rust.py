"""The core, its stories and examples, and what the workspace as a whole must keep."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

from . import behaviours
from .step import LOGS, ROOT, TARGET, Part, Step, call, command, said, unless

MOST_CRATES, MOST_CRATES_OF_AWS = 124, 31
FUZZED = 10
"""Seconds for each reader."""
STORES = "aws,azure,etcd,gcp,oauth2,vault"
"""The features that are a store each."""


def formatted() -> bool:
    check = ("cargo", "fmt", "--check")
    return (
        call(*check, "--all")
        and call(*check, "--manifest-path", "core/fuzz/Cargo.toml")
        and call("rustfmt", "--check", "--edition", "2024", "examples/rust/prices.rs")
    )


def tests(*chosen: str) -> bool:
    """More than a `cargo test` does: 5 million steps of the simulation, a fleet of 30,000, and five times as
    many interleavings. As a whole, since each other choice of packages is another build of what they share."""
    more = {"KEYSWAP_SIM_STEPS": "5000000", "KEYSWAP_FLEET": "30000", "KEYSWAP_SCHEDULES": "5"}
    if not chosen:
        more["KEYSWAP_BEHAVIOURS"] = str(behaviours.noting("rust"))
    return call("cargo", "test", "--workspace", "--all-features", "--no-fail-fast", *chosen, **more)


def tests_named(name: str) -> Step:
    """Those of a file, or of a story, or else each whose name contains that."""
    chosen = [name]
    if (ROOT / "tests/scenarios" / f"{name}.json").exists():
        chosen = ["--test", "stories", name]
    elif any(ROOT.glob(f"*/tests/{name}.rs")) or any(ROOT.glob(f"*/*/tests/{name}.rs")):
        chosen = ["--test", name]
    return Step(f"rust: tests named {name}", lambda: tests(*chosen), chooses=True)


def public_api() -> bool:
    """What programs may rely on, without the features that promise nothing, is what core/public-api.txt says. The
    listing is made from rustdoc's JSON, which a stable compiler writes only if it is told to."""
    folder, now = TARGET / "public-api", LOGS / "public-api.txt"
    documented = call(
        *("cargo", "rustdoc", "-p", "keyswap", "--lib"),
        *("--features", f"metrics,reqwest-middleware,signing,tower,{STORES}"),
        *("--target-dir", folder, "--", "-Z", "unstable-options", "--output-format", "json"),
        RUSTC_BOOTSTRAP="1",
    )
    if not documented:
        return False
    listing = said("cargo", "public-api", "--rustdoc-json", folder / "doc/keyswap.json", "-sss")
    if listing is None:
        return False
    now.write_text(listing)
    if call("diff", "-u", "core/public-api.txt", now):
        return True
    print(f"The public surface is another one. If that is meant: cp {now} core/public-api.txt")
    return False


def examples() -> bool:
    """Each asserts at its end what it shows."""
    for file in sorted((ROOT / "examples/rust/src/bin").glob("*.rs")):
        print(f"--- {file.relative_to(ROOT)}")
        if not call("cargo", "run", "--quiet", "-p", "keyswap-examples", "--bin", file.stem):
            return False
    return True


def demo(*arguments: str) -> dict[str, Any] | None:
    """What the demo counted, if no request failed."""
    words = ["cargo", "demo", *arguments, "--plot", str(LOGS / "demo.svg"), "--json"]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True)
    last = (done.stdout.splitlines() or [""])[-1]
    print(last)
    if done.returncode or not last.startswith("{"):
        return None
    counted: dict[str, Any] = json.loads(last)
    return counted if counted["failed"] == 0 else None


def storm() -> bool:
    """One changed fetch a rotation, however many callers."""
    counted = demo("--scenario", "storm", "--workers", "1000", "--seconds", "8")
    return counted is not None and counted.get("changed_fetches_per_rotation") == 1


def emergency() -> bool:
    """A key that is revoked under load, with a push channel: half of all such rotations are adopted in 150 ms."""
    counted = demo("--scenario", "emergency", "--seconds", "8")
    half: int | None = counted["adoption_ms"]["p50"] if counted else None
    return half is not None and half < 150


def no_compiler() -> str | None:
    if shutil.which("c++"):
        return None
    return "a C++ compiler is not installed (apt-get install g++)"


def features() -> bool:
    """Each pair of them, of which all stores count as one; and each store alone, since they share code that is there
    for any of them."""
    clippy = ("cargo", "hack", "clippy", "-p", "keyswap", "--keep-going")
    denied = ("--", "-D", "warnings")
    return call(
        *(*clippy, "--feature-powerset", "--depth", "2", "--group-features", STORES),
        *("--exclude-features", "default,fuzzing", *denied),
    ) and call(
        *(*clippy, "--each-feature", "--include-features", STORES),
        *("--exclude-no-default-features", "--exclude-all-features", *denied),
    )


def crates(*features: str) -> set[str]:
    """What the core is built from, with those it has by default."""
    words = ("cargo", "tree", "-p", "keyswap", "-e", "normal,build", "--prefix", "none", "--no-dedupe")
    lines = (said(*words, *features) or "").splitlines()
    return {" ".join(line.split()[:2]) for line in lines if line}


def few_crates() -> bool:
    """No program pays for a store that it does not use, and only AWS's chain of credentials brings crates along."""
    default = crates()
    more = {name: len(crates("--features", name) - default) for name in (*STORES.split(","), "signing")}
    print(f"{len(default)} crates by default, and with a feature more: {more}")
    aws = more.pop("aws")
    return 0 < len(default) <= MOST_CRATES and aws <= MOST_CRATES_OF_AWS and not any(more.values())


def rustup(tool: str) -> str:
    return f"{tool} is not installed (rustup component add {tool})"


def cargo_install(tool: str, version: str = "") -> str:
    return f"{tool} is not installed (cargo install {tool}{version} --locked)"


PART = Part(
    "rust",
    [
        Step("rust: format", formatted, why_not=unless(rustup("rustfmt"), "cargo", "fmt", "--version")),
        Step(
            "rust: lints",
            command(
                *("cargo", "clippy", "--workspace", "--all-targets", "--all-features"),
                *("--", "-D", "warnings"),
            ),
            why_not=unless(rustup("clippy"), "cargo", "clippy", "--version"),
        ),
        Step(
            "rust: generated files are up to date",
            command("cargo", "run", "--quiet", "-p", "keyswap-generate", "--", "--check"),
        ),
        Step(
            "rust: features, each pair",
            features,
            why_not=unless(cargo_install("cargo-hack"), "cargo", "hack", "--version"),
        ),
        Step("rust: few crates", few_crates),
        Step(
            "rust: public surface",
            public_api,
            why_not=unless(cargo_install("cargo-public-api", "@0.52.0"), "cargo", "public-api", "--version"),
        ),
        Step("rust: tests", tests),
        behaviours.step("rust", needs=("rust: tests",)),
        Step("rust: examples", examples),
        Step(
            "rust: example with the crate backoff",
            command("cargo", "run", "--quiet", "--manifest-path", "examples/backoff/Cargo.toml"),
        ),
        Step("rust: demo, every rotation", lambda: demo("--seconds", "20") is not None),
        Step("rust: demo, storm of 1000", storm),
        Step("rust: demo, emergency with push", emergency),
        Step(
            "rust: demo, emergency while push is lost",
            lambda: demo("--scenario", "push-lost", "--seconds", "8") is not None,
        ),
        Step(
            "rust: docs",
            command(
                *("cargo", "doc", "--workspace", "--no-deps", "--all-features"),
                RUSTDOCFLAGS="-D warnings",
            ),
        ),
        # What is uploaded, but for the build of it: it is what was tested.
        Step(
            "rust: package",
            command("cargo", "publish", "-p", "keyswap", "--dry-run", "--no-verify", "--allow-dirty"),
        ),
        Step(
            "rust: licences, bans, sources",
            command("cargo", "deny", "--log-level", "error", "check", "licenses", "bans", "sources"),
            why_not=unless(cargo_install("cargo-deny"), "cargo", "deny", "--version"),
        ),
        Step(
            f"rust: readers are fuzzed, {FUZZED} s each",
            command("core/fuzz/run", str(FUZZED)),
            why_not=no_compiler,
        ),
        # The last, since it leaves broken code in the target folder.
        Step("rust: broken rules are caught", command("core/tests/mutants/run")),
    ],
    tests_named,
)
