"""Runs something in a group of processes of its own, which is ended as a whole."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import BinaryIO, NoReturn

GRACE = 5.0
"""Seconds that a group has to end by itself once it was told to."""
PAUSE = 0.02


class StillRunning(Exception):
    """The time of a step was over."""


def run(action: Callable[[], bool], log: BinaryIO, most: float) -> bool:
    """Whether it succeeded within so many seconds. What it and its programs print goes into the log."""
    sys.stdout.flush()
    sys.stderr.flush()
    group = os.fork()
    if group == 0:
        _act(action, log)
    try:
        # Here as well, since either may come first.
        os.setpgid(group, group)
    except OSError:
        pass
    until = time.monotonic() + most
    try:
        while True:
            ended, status = os.waitpid(group, os.WNOHANG)
            if ended:
                return status == 0
            if time.monotonic() > until:
                raise StillRunning
            time.sleep(PAUSE)
    except BaseException:
        end(group)
        raise


def end(group: int) -> None:
    """Ends each process of a group: first it is asked to."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    _send(group, signal.SIGTERM)
    until = time.monotonic() + GRACE
    while _is_there(group) and time.monotonic() < until:
        time.sleep(PAUSE)
    _send(group, signal.SIGKILL)
    _is_there(group)
    signal.signal(signal.SIGINT, before)


def _is_there(group: int) -> bool:
    try:
        os.waitpid(group, os.WNOHANG)
    except ChildProcessError:
        pass
    return _send(group, 0)


def _send(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _act(action: Callable[[], bool], log: BinaryIO) -> NoReturn:
    """What the new process does."""
    succeeded = False
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        sys.stdout = open(1, "w", buffering=1, closefd=False)
        sys.stderr = open(2, "w", buffering=1, closefd=False)
        succeeded = action()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0 if succeeded else 1)
