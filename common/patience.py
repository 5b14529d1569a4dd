"""Waiting for a store that is away: who follows the log, and a replay on its way, block and go on when it is back."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from .errors import Unavailable

_logger = logging.getLogger(__name__)

#: Seconds between two tries: they double from the first to the last.
FIRST_PAUSE, LAST_PAUSE = 0.5, 10.0

Found = TypeVar("Found")


class Stop(Protocol):
    """Something like a ``threading.Event``."""

    def is_set(self) -> bool: ...
    def wait(self, timeout: float | None = None) -> bool: ...


def patiently(work: Callable[[], Found], stop: Stop | None = None) -> Found:
    """Do the work, again and again while a store is away; each failure is logged, and the end of the wait too.

    :param work: what may fail with Unavailable and can be done again after that.
    :raises Unavailable: when ``stop`` is set meanwhile.
    """
    stop = stop or threading.Event()
    pause = FIRST_PAUSE
    began: float | None = None
    while True:
        try:
            found = work()
        except Unavailable as error:
            began = time.monotonic() if began is None else began
            _logger.warning("waiting: %s", error)
            if stop.wait(pause):
                raise
            pause = min(2 * pause, LAST_PAUSE)
        else:
            if began is not None:
                _logger.warning("going on after %.0f s of waiting", time.monotonic() - began)
            return found
