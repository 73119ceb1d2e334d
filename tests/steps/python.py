"""The Python package: one wheel, its tests, its types, and the same wheel in the oldest and the newest Python."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from pathlib import Path

from . import behaviours
from .step import TARGET, Part, Step, call, endpoint, host, said, status, works

FOLDER = "bindings/python"
VENV = TARGET / "python/venv"
WHEELS = TARGET / "python/wheels"
PYTHON = VENV / "bin/python"
PIP_INSTALL = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
TESTED_WITH = ["pytest>=8", "pytest-asyncio>=0.25"]
TOOLS = [
    *("maturin>=1.16,<2", "mypy>=1.18", "pyright>=1.1.400", "pyinstaller>=6.10"),
    *("aiohttp>=3.12", "httpx>=0.28", "httpx2>=2", "openai>=2", "anthropic>=2", "requests>=2.32"),
    *("brotli>=1.1", "zstandard>=0.23", "gevent>=24", "gunicorn>=23", "uvloop>=0.21", "trio>=0.30"),
    *("ipykernel>=6.29", "jupyter-client>=8"),
]
# What others' libraries do, and the stories, are the same in each Python.
THE_SAME_EVERYWHERE = (
    *("integrations", "adapters", "behaviours", "examples", "hosts", "stories", "loops", "gunicorn"),
)
NOTHING_SELECTED = 5
"""How pytest ends then."""


def tools() -> bool:
    """What the tests of the package need."""
    if not PYTHON.exists() and not call(sys.executable, "-m", "venv", VENV):
        return False
    return call(PYTHON, *PIP_INSTALL, *TOOLS, *TESTED_WITH)


def wheel() -> bool:
    """The package is built for the same target as the other bindings, so that they share what cargo builds."""
    shutil.rmtree(WHEELS, ignore_errors=True)
    return call(
        *(VENV / "bin/maturin", "build", "--quiet", "--target", host(), "--out", WHEELS),
        *("--manifest-path", f"{FOLDER}/Cargo.toml", "--interpreter", PYTHON),
    )


def wheels() -> list[Path]:
    return sorted(WHEELS.glob("*.whl"))


def install() -> bool:
    return call(PYTHON, *PIP_INSTALL, "--no-deps", "--force-reinstall", *wheels())


def module(*words: str, **env: str | Path) -> bool:
    return call(PYTHON, "-m", *words, folder=FOLDER, **env)


def tests() -> bool:
    return module("pytest", "-q", KEYSWAP_BEHAVIOURS=behaviours.noting("python"))


def tests_named(name: str) -> Step:
    """Each whose name, or whose file's, contains that. What pytest reads is an expression, and no name has spaces."""

    def run() -> bool:
        if not re.fullmatch(r"[\w:+\-.\[\]]+", name):
            return True
        return status(PYTHON, "-m", "pytest", "-q", "-k", name, folder=FOLDER) in (0, NOTHING_SELECTED)

    return Step(f"python: tests named {name}", run, needs=INSTALLED, chooses=True)


def python_of(version: str) -> str | None:
    """Where that Python is, if it is."""
    check = f"import sys; sys.exit('%d.%d' % sys.version_info[:2] != '{version}')"
    installed = said("pyenv", "root")
    versions = Path(installed.strip()).glob(f"versions/{version}.*/bin/python") if installed else []
    candidates = [f"python{version}", *(str(path) for path in sorted(versions))]
    return next((found for found in candidates if works(found, "-c", check)), None)


def the_same_wheel(version: str) -> Step:
    """The tests, in an environment of their own."""
    venv = TARGET / f"python/venv-{version}"
    inside = venv / "bin/python"

    def run() -> bool:
        shutil.rmtree(venv, ignore_errors=True)
        ignored = [word for name in THE_SAME_EVERYWHERE for word in ("--ignore", f"tests/test_{name}.py")]
        return (
            call(python_of(version) or "python3", "-m", "venv", venv)
            and call(inside, *PIP_INSTALL, *wheels(), *TESTED_WITH)
            and call(
                *(inside, "-m", "pytest", "-q", "--deselect", "tests/test_sign.py::test_through_httpx"),
                *ignored,
                folder=FOLDER,
            )
        )

    def why_not() -> str | None:
        return None if python_of(version) else f"Python {version} is not installed"

    return Step(f"python: the same wheel in Python {version}", run, needs=BUILT, why_not=why_not)


def no_venv() -> str | None:
    if importlib.util.find_spec("venv"):
        return None
    return "Python 3.10 or newer with venv is not installed (apt-get install python3-venv)"


def no_node() -> str | None:
    return None if shutil.which("node") else "node is not installed, and pyright runs in it"


BUILT = ("python: tools", "python: endpoint", "python: wheel")
INSTALLED = (*BUILT, "python: install")
PART = Part(
    "python",
    [
        Step("python: tools", tools, prepares=True),
        Step("python: endpoint", endpoint, prepares=True),
        Step("python: wheel", wheel, needs=("python: tools",), prepares=True),
        Step("python: install", install, needs=("python: wheel",), prepares=True),
        Step("python: tests", tests, needs=INSTALLED),
        behaviours.step("python", needs=(*INSTALLED, "python: tests")),
        Step("python: stubs", lambda: module("mypy.stubtest", "keyswap._native"), needs=INSTALLED),
        Step("python: types, mypy", lambda: module("mypy", "python/keyswap"), needs=INSTALLED),
        Step(
            "python: types, pyright",
            lambda: call(VENV / "bin/pyright", "--pythonpath", PYTHON, folder=FOLDER),
            needs=INSTALLED,
            why_not=no_node,
        ),
        the_same_wheel("3.10"),
        the_same_wheel("3.13"),
    ],
    tests_named,
    no_venv,
)
