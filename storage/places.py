"""The places of a process to read: how many requests read at the same time, whatever the store."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from .serving_views import QueryTooLong

#: Requests of a process that read at the same time; more threads than this only take the interpreter from each other.
MAX_READERS = 4


class Places:
    """Gives places to threads; those for whom there is none wait.

    :param seconds: how long one waits.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._free = threading.BoundedSemaphore(MAX_READERS)
        self._mine = threading.local()

    @contextmanager
    def take(self) -> Iterator[None]:
        """Hold a place for the length of the block; a thread that has one, since it reads within, takes no other.

        :raises QueryTooLong: when there is none in time.
        """
        if getattr(self._mine, "held", False):
            yield
            return
        if not self._free.acquire(timeout=self._seconds):
            raise QueryTooLong(f"no place to read within {self._seconds:g} s: too many requests; come back later")
        self._mine.held = True
        try:
            yield
        finally:
            self._mine.held = False
            self._free.release()
