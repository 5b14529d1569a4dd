"""Comparisons of two generations: each is worked out once, when somebody first asks, and kept as a file.

A generation never changes, so neither does what differs between two of them. The work takes a second for a small wiki
and minutes for the largest; it is done by one thread of one process at a time (a lock in the folder), so that memory
and disk are bounded, while whoever asks is told to come back. :mod:`.change_lists` says how.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from pathlib import Path

import duckdb
import pyarrow as pa

from readerflow.common.errors import ReaderFlowError

from .batch_views import Manifest, View
from .change_lists import SCRATCH, write_movers, write_pairs
from .changes import Changes
from .freshness import covered_hours
from .serving_views import ChangesPending, QueryTooLong

#: A request waits so long for a comparison that is under way.
WAIT_SECONDS = 2.0
#: The largest month against another takes minutes; what takes longer is given up, and not tried again for a while.
LIMIT_SECONDS = 900.0
RETRY_SECONDS = 3_600.0
#: What failed otherwise (a full disk, say) is told so long before it is begun again.
FAILED_SECONDS = 60.0
#: Comparisons of a process that are under way: one at work, the others in line.
MAX_RUNNING = 4
#: Each is a few megabytes.
KEPT_FILES = 200

Write = Callable[[Path, Manifest, Manifest], None]

log = logging.getLogger(__name__)


class ComparisonFailed(ReaderFlowError):
    """The disk is full, the folder can't be written, or a file in it is damaged."""


class Comparisons:
    """The comparisons of a home; threads and processes share them.

    :param folder: where the files lie; made when it is needed.
    :param export: the rows of a view of a generation in key order, as :meth:`.ServingViews.export` gives them.
    """

    def __init__(
        self,
        folder: Path,
        export: Callable[[str, View], Iterable[pa.RecordBatch]],
        *,
        wait_seconds: float = WAIT_SECONDS,
        limit_seconds: float = LIMIT_SECONDS,
    ) -> None:
        self._folder = folder
        self._export = export
        self._wait_seconds = wait_seconds
        self._limit_seconds = limit_seconds
        self._lock = threading.Lock()
        self._running: dict[Path, Future[Changes]] = {}
        self._failed: dict[Path, tuple[float, BaseException]] = {}
        self._opened: dict[Path, Changes] = {}
        self._closed = False

    def close(self) -> None:
        """Give up what is being worked out."""
        self._closed = True

    def movers(self, now: Manifest, before: Manifest) -> Changes:
        """As :meth:`.ServingViews.movers`."""
        return self._get("movers", now, before, self._write_movers)

    def pairs(self, now: Manifest, before: Manifest) -> Changes:
        """As :meth:`.ServingViews.pair_changes`."""
        return self._get("pairs", now, before, self._write_pairs)

    def _get(self, kind: str, now: Manifest, before: Manifest, write: Write) -> Changes:
        path = self._folder / f"{kind}-{now.generation}-{before.generation}.arrow"
        with self._lock:
            known = self._opened.get(path) or self._open(path)
            if known is not None:
                return known
            until, failure = self._failed.get(path, (0.0, None))
            if failure is not None and time.monotonic() < until:
                raise failure.with_traceback(None)
            future = self._running.get(path)
            if future is None:
                if len(self._running) >= MAX_RUNNING:
                    raise QueryTooLong(f"{MAX_RUNNING} comparisons are being worked out already; ask again later")
                future = self._running[path] = Future()
                work = (path, now, before, write, future)
                threading.Thread(target=self._work, args=work, name="comparison", daemon=True).start()
        try:
            return future.result(self._wait_seconds)
        except FutureTimeout:
            raise ChangesPending(
                f"what changed from {before.month} to {now.month} in {now.wiki} is being worked out; ask again soon"
            ) from None

    def _open(self, path: Path) -> Changes | None:
        try:
            found = Changes(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, KeyError) as error:  # Arrow's are among them
            log.warning("%s is damaged and worked out anew: %s", path, error)
            path.unlink(missing_ok=True)
            return None
        with suppress(OSError):  # it may belong to another account, or be gone
            os.utime(path)  # so that what is asked for stays
        if len(self._opened) >= KEPT_FILES:
            self._opened.clear()
        self._opened[path] = found
        return found

    def _work(self, path: Path, now: Manifest, before: Manifest, write: Write, future: Future[Changes]) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with (self._folder / "working.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not path.exists():
                    self._drop_old()
                    write(path, now, before)
            found = Changes(path)
        except QueryTooLong as error:
            self._fail(path, future, error, RETRY_SECONDS)
        except (OSError, duckdb.Error, pa.ArrowException) as error:
            log.exception("comparison %s failed", path.name)
            told = ComparisonFailed(f"the comparison could not be worked out in {self._folder}: {error}")
            self._fail(path, future, told, FAILED_SECONDS)
        except BaseException as error:
            self._fail(path, future, error, FAILED_SECONDS)
        else:
            future.set_result(found)
        finally:
            with self._lock:
                del self._running[path]

    def _fail(self, path: Path, future: Future[Changes], error: BaseException, seconds: float) -> None:
        """Tell those who wait, and for some seconds those who come back."""
        now = time.monotonic()
        with self._lock:
            self._failed = {one: known for one, known in self._failed.items() if known[0] > now}
            self._failed[path] = now + seconds, error
        future.set_exception(error)

    def _write_movers(self, path: Path, now: Manifest, before: Manifest) -> None:
        hours = covered_hours(now), covered_hours(before)
        write_movers(path, *self._exported(View.ARTICLES, now, before), hours, self._stopper())

    def _write_pairs(self, path: Path, now: Manifest, before: Manifest) -> None:
        write_pairs(path, *self._exported(View.SOURCES, now, before), self._stopper())

    def _exported(
        self, view: View, now: Manifest, before: Manifest
    ) -> tuple[Iterable[pa.RecordBatch], Iterable[pa.RecordBatch]]:
        return self._export(now.generation, view), self._export(before.generation, view)

    def _stopper(self) -> Callable[[], None]:
        deadline = time.monotonic() + self._limit_seconds

        def stop() -> None:
            if self._closed or time.monotonic() > deadline:
                raise self._too_long()

        return stop

    def _too_long(self) -> QueryTooLong:
        return QueryTooLong(f"the comparison took longer than {self._limit_seconds:g} s and was given up")

    def _drop_old(self) -> None:
        """Remove the files that nobody has opened for longest, and what a process left that died at work."""
        for folder in self._folder.glob(f"{SCRATCH}*"):
            shutil.rmtree(folder, ignore_errors=True)
        for half in self._folder.glob("*.tmp"):
            half.unlink(missing_ok=True)
        files = sorted(self._folder.glob("*.arrow"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in files[KEPT_FILES - 1 :]:
            path.unlink(missing_ok=True)
