"""Leases: a file lock that says that a process works on something; it ends with the process, however it dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from readerflow.common.errors import ReaderFlowError


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
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Leased(f"another process does {work} already; wait for it or stop it") from None
        os.ftruncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(handle)


def is_leased(path: Path) -> bool:
    """Whether a living process holds the lease at ``path``."""
    if not path.exists():
        return False
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
