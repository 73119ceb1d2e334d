"""The Node package: the addon, its tests, and what the package shows."""

from __future__ import annotations

import re

from . import behaviours
from .step import ROOT, Part, Step, call, command, endpoint, host, unless

FOLDER = "bindings/node"
TESTS = (
    *("keys", "stores", "authorizer", "http", "libraries", "wire", "process", "examples"),
    *("behaviours", "realms", "bundles", "runtimes"),
)
STORIES = ("stories",)
WITH_OLDEST_PEERS = ("http", "libraries", "wire", "behaviours")
WITH_UNDICI_8 = ("libraries", "wire", "behaviours", "realms")
PEERS = ("--import", "./test/peers.mjs")
NODE_22 = ("npx", "--yes", "--package", "node@22", "node")
"""For peers that do not load in an older one."""
OLD_ENOUGH = "process.exit(Number(process.versions.node.split('.')[0]) < 20 ? 1 : 0)"


def build() -> bool:
    """The addon is built for the same target as the other bindings, so that they share what cargo builds."""
    return call("npm", "run", "--silent", "build", "--", host(), folder=FOLDER)


def tests(files: tuple[str, ...], *options: str, **env: str) -> bool:
    paths = [f"test/{name}.test.mjs" for name in files]
    return call("node", *options, "--test", "--test-reporter=tap", *paths, folder=FOLDER, **noting(files, options, env))


def noting(files: tuple[str, ...], options: tuple[str, ...], env: dict[str, str]) -> dict[str, str]:
    """Each choice of peers notes its behaviours by itself; tests of some name are not all, and note none."""
    if "behaviours" not in files or any(option.startswith("--test-name-pattern") for option in options):
        return env
    peers = "-".join(re.findall(r"[\w-]+", env.get("KEYSWAP_PEERS", "oldest" if options else "")))
    return env | {"KEYSWAP_BEHAVIOURS": str(behaviours.noting("node", peers))}


def tests_named(name: str) -> Step:
    """Those of a file, or else each whose name contains that."""

    def run() -> bool:
        if (ROOT / FOLDER / f"test/{name}.test.mjs").exists():
            return tests((name,))
        # The name is read as a regular expression of JavaScript.
        pattern = re.sub(r"[.*+?^${}()|\[\]\\/]", r"\\\g<0>", name)
        return tests((*TESTS, *STORIES), f"--test-name-pattern={pattern}")

    return Step(f"node: tests named {name}", run, needs=BUILT, chooses=True)


BUILT = ("node: packages", "node: endpoint", "node: build")
NOTING = ("node: tests", "node: tests, with the oldest peers", "node: tests, with undici 8")
PART = Part(
    "node",
    [
        Step("node: packages", command("npm", "ci", "--loglevel=error", folder=FOLDER), prepares=True),
        Step("node: endpoint", endpoint, prepares=True),
        Step("node: build", build, needs=("node: packages",), prepares=True),
        Step("node: tests", lambda: tests(TESTS), needs=BUILT),
        Step(
            "node: tests, with the oldest peers",
            lambda: tests(WITH_OLDEST_PEERS, *PEERS),
            needs=BUILT,
        ),
        Step(
            "node: tests, with undici 8",
            lambda: tests(WITH_UNDICI_8, *PEERS, KEYSWAP_PEERS='{"undici": "undici-8"}'),
            needs=BUILT,
        ),
        Step("node: stories", lambda: tests(STORIES), needs=BUILT),
        Step(
            "node: tests, with the newest undici, in Node 22",
            command(
                *(*NODE_22, *PEERS, "--test", "--test-reporter=tap"),
                *(f"test/{name}.test.mjs" for name in WITH_UNDICI_8),
                folder=FOLDER,
                KEYSWAP_PEERS='{"undici": "undici-newest"}',
            ),
            needs=BUILT,
            why_not=unless("Node 22 is not to be had from the registry of npm", *NODE_22, "-e", ""),
        ),
        behaviours.step("node", needs=(*BUILT, *NOTING)),
        Step(
            "node: types of the package",
            command("npx", "--no-install", "attw", "--pack", ".", "--quiet", folder=FOLDER),
            needs=BUILT,
        ),
        Step(
            "node: contents of the package",
            command("npx", "--no-install", "publint", "--strict", folder=FOLDER),
            needs=BUILT,
        ),
    ],
    tests_named,
    unless("Node 20 or newer is not installed", "node", "-e", OLD_ENOUGH),
)
