"""Leases: a file lock that says that a process works on something; it ends with the process, however it dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from readerflow.common.errors import ReaderFlowError

#: A process that only looks (:func:`is_leased`) holds the lock for a moment, which is no reason to give up.
TRIES, TRY_SECONDS = 5, 0.05


class Leased(ReaderFlowError):
    """Another process holds the lease."""


@contextmanager
def lease(path: Path, work: str) -> Iterator[None]:
    """Hold the lease at ``path`` for the length of the block.

    :raises Leased: when another process holds it; ``work`` names what it does.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not any(map(_taken, [handle] * TRIES)):
            raise Leased(f"another process does {work} already; wait for it or stop it")
        os.ftruncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(handle)


def _taken(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        time.sleep(TRY_SECONDS)
        return False
    return True


def is_leased(path: Path) -> bool:
    """Whether a living process holds the lease at ``path``."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
