"""For PyInstaller, which asks for this by the entry point `pyinstaller40`."""

import os


def hook_dirs() -> list[str]:
    return [os.path.dirname(__file__)]
