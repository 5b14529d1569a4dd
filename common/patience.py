"""Waiting for a store that is away: who follows the log, or is half-way through a write, goes on when it is back."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from .errors import Unavailable

_logger = logging.getLogger(__name__)

#: Seconds between two tries: they double from the first to the last.
FIRST_PAUSE, LAST_PAUSE = 0.25, 5.0
#: Seconds for which work that somebody waits for is tried again, before it is given up.
LIMIT = 180.0

Found = TypeVar("Found")


class Stop(Protocol):
    """Something like a ``threading.Event``."""

    def is_set(self) -> bool: ...
    def wait(self, timeout: float | None = None) -> bool: ...


class Patience:
    """The pauses between tries while a store is away; each failure is logged, and the end of the wait too.

    :param stop: ends a pause when it is set.
    :param limit: seconds without success after which the next failure is final; None waits for ever.
    """

    def __init__(self, stop: Stop | None = None, limit: float | None = None) -> None:
        self._stop = stop or threading.Event()
        self._limit = limit
        self._began: float | None = None
        self._pause = FIRST_PAUSE

    def wait(self, error: Unavailable) -> bool:
        """Pause after a failure; False when told to stop meanwhile.

        :raises Unavailable: the failure itself, when the limit is reached.
        """
        now = time.monotonic()
        self._began = now if self._began is None else self._began
        if self._limit is not None and now + self._pause > self._began + self._limit:
            raise error
        _logger.warning("waiting: %s", error)
        stopped = self._stop.wait(self._pause)
        self._pause = min(2 * self._pause, LAST_PAUSE)
        return not stopped

    def over(self) -> None:
        """Count anew from the next failure on: something went well."""
        if self._began is not None:
            _logger.warning("going on after %.0f s of waiting", time.monotonic() - self._began)
        self._began, self._pause = None, FIRST_PAUSE


def patiently(work: Callable[[], Found], stop: Stop | None = None, limit: float | None = None) -> Found:
    """Do the work, again and again while a store is away.

    :param work: what may fail with Unavailable and can be done again after that.
    :param stop, limit: as of :class:`Patience`.
    :raises Unavailable: when ``stop`` is set meanwhile, or the limit is reached.
    """
    patience = Patience(stop, limit)
    while True:
        try:
            found = work()
        except Unavailable as error:
            if not patience.wait(error):
                raise
        else:
            patience.over()
            return found
