"""What many threads of a process ask for at the same time, read once for all of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MAX_KEPT = 1_000


class SharedReads(Generic[K, V]):
    """Values by key, taken for a moment as they were read last. Threads may share it.

    :param read: reads the value of a key.
    :param seconds: how long a value is taken as it is; 0 reads it for whoever asks when nobody is reading it.
    """

    def __init__(self, read: Callable[[K], V], seconds: float) -> None:
        self._read = read
        self._seconds = seconds
        self._known: dict[K, tuple[float, V]] = {}
        self._under_way: dict[K, Future[V]] = {}
        self._lock = threading.Lock()

    def get(self, key: K, *, fresh: bool = False) -> V:
        """The value of a key.

        Of those who find it too old at the same time one reads it for all, and what comes of that, be it an error,
        goes to all of them. Who needs a fresh one waits for nobody's.
        """
        at_and_value = self._known.get(key)
        if at_and_value is not None and not fresh and time.monotonic() - at_and_value[0] < self._seconds:
            return at_and_value[1]
        with self._lock:
            under_way = None if fresh else self._under_way.get(key)
            mine: Future[V] = Future()
            if under_way is None:
                self._under_way[key] = mine
        return under_way.result() if under_way is not None else self._read_for_all(key, mine)

    def forget(self) -> None:
        """Let nobody who comes from now on take what was read, or is being read, until now."""
        with self._lock:
            self._known, self._under_way = {}, {}

    def _read_for_all(self, key: K, mine: Future[V]) -> V:
        began = time.monotonic()
        try:
            found = self._read(key)
            with self._lock:
                if len(self._known) > MAX_KEPT:
                    self._known.clear()
                if self._under_way.get(key) is mine:  # else a fresher reading has begun, or nobody may take this one
                    self._known[key] = began, found
            mine.set_result(found)
            return found
        except BaseException as error:
            mine.set_exception(error)
            raise
        finally:
            with self._lock:
                if self._under_way.get(key) is mine:
                    del self._under_way[key]
