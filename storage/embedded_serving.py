"""What the serving layer reads in the embedded profile: pointer and realtime rows from ``serving.db``, batch views from
the generation's DuckDB file.

Pointer, progress and realtime rows are read in one SQLite transaction, so that a batch that switches and retires rows
in between is seen as a whole or not at all. A generation's file never changes and stays readable when it is removed.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache, partial
from pathlib import Path

import pyarrow as pa

from readerflow.common.crash import crash_point
from readerflow.common.facts import from_json

from .batch_views import Manifest, NoGeneration, View
from .changes import Changes
from .comparisons import Comparisons
from .duckdb_views import FILE, DuckDBViews, folder
from .embedded_reading import EmbeddedReading
from .file_warming import FileWarming
from .freshness import horizon_of, snapshot, source_of, version_of
from .log import ActiveSource
from .open_generations import BatchQueries, GenerationGone, OpenGenerations, Watchdog, too_long
from .places import Places
from .realtime_views import StreamProgress
from .recent import Recent
from .serving_schema import hour_number, open_serving
from .serving_views import Reading, Snapshot
from .sqlite import reading

MAX_ATTEMPTS = 5
MAX_IDLE_CONNECTIONS = 32
PROGRESS_STEPS = 20_000  # SQLite's instructions between two looks at the clock
CACHED_SNAPSHOTS_BYTES, SNAPSHOT_BYTES = 4 << 20, 2_000
#: The folder of comparisons, beside that of the views.
COMPARISONS = "comparisons"


@dataclass(frozen=True)
class _State:
    """The facts of (wiki, month) that everything else follows from, as one transaction saw them."""

    generation: str | None
    active: ActiveSource | None
    incarnation: str | None
    batch_id: int
    progress: str  # JSON; compared as text too, since retiring rows may rewrite it without a new batch


class _Connection:
    """A SQLite connection that ends what runs beyond its deadline."""

    def __init__(self, path: Path) -> None:
        self.sqlite = open_serving(path)
        self.sqlite.execute("pragma query_only = on")
        self.deadline = 0.0
        self.sqlite.set_progress_handler(lambda: time.monotonic() > self.deadline, PROGRESS_STEPS)


class EmbeddedServing:
    """Serves views of the embedded profile. Threads may share it; each request reads with a connection of its own.

    :param query_seconds: how long one request may read before :class:`~.views.QueryTooLong`.
    """

    def __init__(self, serving_db: Path, views_root: Path, query_seconds: float = 10.0) -> None:
        self._path = serving_db
        self._views_root = views_root
        self._query_seconds = query_seconds
        self._lock = threading.Lock()
        self._idle: list[_Connection] = []
        self._places = Places(query_seconds)
        self._generations = OpenGenerations()
        self._watchdog = Watchdog()
        self._warming = FileWarming()
        self._comparisons = Comparisons(views_root.parent / COMPARISONS, self.export)
        self._taking_snapshots = threading.Lock()
        self._snapshots: Recent[Snapshot] = Recent(CACHED_SNAPSHOTS_BYTES)

    def __enter__(self) -> EmbeddedServing:
        return self

    def __exit__(self, *error: object) -> None:
        with self._lock:
            while self._idle:
                self._idle.pop().sqlite.close()
        self._warming.close()
        self._generations.close()
        self._comparisons.close()

    @contextmanager
    def _reading(self) -> Iterator[_Connection]:
        """One transaction on a connection that no other thread uses meanwhile."""
        with self._places.take(), self._connected() as connection:
            yield connection

    @contextmanager
    def _connected(self) -> Iterator[_Connection]:
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        connection = connection or _Connection(self._path)
        connection.deadline = time.monotonic() + self._query_seconds
        try:
            with reading(connection.sqlite):
                yield connection
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                raise
            raise too_long(self._query_seconds) from None
        finally:
            with self._lock:
                keep = len(self._idle) < MAX_IDLE_CONNECTIONS
                if keep:
                    self._idle.append(connection)
            if not keep:
                connection.sqlite.close()

    def months(self) -> list[tuple[str, str]]:
        with self._reading() as connection:
            return _months(connection.sqlite)

    def latest(self, wiki: str) -> str | None:
        with self._reading() as connection:
            sql = "select max(month) from pointers where wiki = ? and generation is not null"
            found: str | None = connection.sqlite.execute(sql, (wiki,)).fetchone()[0]
            return found

    def latest_live(self, wiki: str) -> str | None:
        with self._reading() as connection:
            return max((month for name, month in _live_months(connection.sqlite) if name == wiki), default=None)

    def read(self, wiki: str, month: str) -> AbstractContextManager[Reading]:
        return self._read(wiki, month, lambda state: state.generation)

    def read_at(self, wiki: str, month: str, generation: str | None) -> AbstractContextManager[Reading]:
        def choose(state: _State) -> str | None:
            if generation is None and state.generation is not None:
                raise NoGeneration(f"{wiki} {month} has a generation now; read it from the beginning")
            return generation

        return self._read(wiki, month, choose)

    @contextmanager
    def _read(self, wiki: str, month: str, choose: Callable[[_State], str | None]) -> Iterator[Reading]:
        with ExitStack() as stack:
            for attempt in range(1, MAX_ATTEMPTS + 1):
                try:
                    found = self._begin(stack, wiki, month, choose)
                    break
                except GenerationGone:
                    # Swept between our look at the pointer and the opening of the file: the pointer has moved on.
                    stack.close()
                    if attempt == MAX_ATTEMPTS:
                        raise
            yield found

    def _begin(
        self, stack: ExitStack, wiki: str, month: str, choose: Callable[[_State], str | None]
    ) -> EmbeddedReading:
        connection = stack.enter_context(self._reading())
        sqlite = connection.sqlite
        state = _state(sqlite, wiki, month)
        crash_point("serving.pointer_read")
        generation = choose(state)
        taken = self._snapshot(sqlite, wiki, month, generation, state)
        batch = None
        if generation is not None:
            path = folder(self._views_root, wiki, month, generation) / FILE
            opened = stack.enter_context(self._generations.use(path))
            batch = BatchQueries(opened, self._watchdog, connection.deadline, self._query_seconds)
        return EmbeddedReading(taken, sqlite, _feed(sqlite, state.incarnation, taken.source), batch)

    def _snapshot(
        self, sqlite: sqlite3.Connection, wiki: str, month: str, generation: str | None, state: _State
    ) -> Snapshot:
        """The snapshot of a state; worked out once a state, since judging lateness adds up many rows."""
        key = wiki, month, generation, state
        known = self._snapshots.get(key)
        if known is not None:
            return known
        # The state is new to all readers at once: one of them works it out, the others wait for it.
        with self._taking_snapshots:
            known = self._snapshots.get(key)
            if known is not None:
                return known
            taken = _take_snapshot(sqlite, wiki, month, generation, state)
            return self._snapshots.put(key, taken, SNAPSHOT_BYTES + len(state.progress))

    def open_ahead(self, wiki: str, month: str) -> None:
        with self.read(wiki, month) as opened:
            generation = opened.snapshot.generation
        if generation is not None:
            self._warming.add(folder(self._views_root, wiki, month, generation))

    def snapshots(self) -> list[Snapshot]:
        with self._reading() as connection:
            sqlite = connection.sqlite
            found = []
            for wiki, month in _months(sqlite):
                state = _state(sqlite, wiki, month)
                with suppress(NoGeneration):
                    found.append(self._snapshot(sqlite, wiki, month, state.generation, state))
            return found

    def version(self) -> str:
        with self._connected() as connection:
            pointers = connection.sqlite.execute("select wiki, month, generation, source, since from pointers")
            incarnation, batch_id, progress = _current(connection.sqlite)
            return version_of(pointers, incarnation, replace(_progress(progress), batch_id=batch_id))

    def stream(self) -> StreamProgress | None:
        # Operators ask for it, above all when all places to read are taken.
        with self._connected() as connection:
            row = connection.sqlite.execute(_CURRENT).fetchone()
            return _progress(row[2]) if row else None

    def retained(self, wiki: str, month: str) -> list[Manifest]:
        with self._reading() as connection:
            sql = (
                "select manifest from generations where wiki = ? and month = ? and state = 'published' "
                "order by rowid desc"
            )
            return [_manifest(row[0]) for row in connection.sqlite.execute(sql, (wiki, month))]

    def export(self, generation: str, view: View) -> Iterable[pa.RecordBatch]:
        with DuckDBViews(self._views_root, kept=1) as batch_views:
            return batch_views.export(generation, view)

    def movers(self, now: Manifest, before: Manifest) -> Changes:
        return self._comparisons.movers(now, before)

    def pair_changes(self, now: Manifest, before: Manifest) -> Changes:
        return self._comparisons.pairs(now, before)


_CURRENT = """
    select incarnation, batch_id, progress from current_incarnation join incarnations using (incarnation)
"""

_manifest = lru_cache(256)(partial(from_json, Manifest))
_progress = lru_cache(16)(partial(from_json, StreamProgress))


def _state(sqlite: sqlite3.Connection, wiki: str, month: str) -> _State:
    sql = "select generation, source, since from pointers where wiki = ? and month = ?"
    pointer = sqlite.execute(sql, (wiki, month)).fetchone() or (None, None, -1)
    current = _current(sqlite)
    sources = [ActiveSource(pointer[1], pointer[2])] if pointer[1] else []
    streamed = _progress(current[2]).active.get(f"{wiki}/{month}")
    active = max([*sources, *([streamed] if streamed else [])], key=lambda source: source.since, default=None)
    return _State(pointer[0], active, *current)


def _current(sqlite: sqlite3.Connection) -> tuple[str | None, int, str]:
    """The incarnation that readers take, its batch and its progress as JSON."""
    return sqlite.execute(_CURRENT).fetchone() or (None, 0, "{}")


def _months(sqlite: sqlite3.Connection) -> list[tuple[str, str]]:
    found = set(sqlite.execute("select wiki, month from pointers where generation is not null"))
    return sorted(found | _live_months(sqlite))


def _live_months(sqlite: sqlite3.Connection) -> set[tuple[str, str]]:
    current = sqlite.execute(_CURRENT).fetchone()
    if current is None:
        return set()
    sql = """
        select source from feeds where incarnation = ? and (
            exists (select 1 from live_pairs where live_pairs.feed = feeds.feed)
            or exists (select 1 from trending where trending.feed = feeds.feed))
    """
    months = _progress(current[2]).months
    return {months[source] for (source,) in sqlite.execute(sql, (current[0],)) if source in months}


def _feed(sqlite: sqlite3.Connection, incarnation: str | None, source: str | None) -> int | None:
    sql = "select feed from feeds where incarnation = ? and source = ?"
    row = sqlite.execute(sql, (incarnation, source)).fetchone()
    return row[0] if row else None


def _take_snapshot(
    sqlite: sqlite3.Connection, wiki: str, month: str, generation: str | None, state: _State
) -> Snapshot:
    manifest = None
    if generation is not None:
        sql = "select manifest from generations where generation = ? and wiki = ? and month = ? and state = 'published'"
        row = sqlite.execute(sql, (generation, wiki, month)).fetchone()
        if row is None:
            raise NoGeneration(f"generation {generation} of {wiki} {month} is no longer kept")
        manifest = _manifest(row[0])
    source, horizon = source_of(wiki, month, manifest, state.active), horizon_of(month, manifest)
    totals = _totals(sqlite, _feed(sqlite, state.incarnation, source), horizon)
    progress = replace(_progress(state.progress), batch_id=state.batch_id)
    return snapshot(wiki, month, manifest, state.active, state.incarnation, progress, totals)


def _totals(sqlite: sqlite3.Connection, feed: int | None, horizon: datetime) -> dict[int, dict[str, int]]:
    """Clicks before the horizon that the stream has seen, by partition and link type."""
    sql = "select partition, link_type, sum(clicks) from live_totals where feed = ? and hour < ? group by 1, 2"
    found: dict[int, dict[str, int]] = {}
    for partition, link_type, clicks in sqlite.execute(sql, (feed, hour_number(horizon))):
        found.setdefault(partition, {})[link_type] = clicks
    return found
