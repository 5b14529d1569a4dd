"""What the serving layer reads in the ``cluster`` profile: pointer, progress, live rows and batch views in Cassandra.

There is no read transaction. A request takes pointer and progress first, and what they name stays: a generation's rows
for as long as a request may take after it was retired, the rows of a committed write likewise. So everything that it
reads afterwards belongs to that one state; where the two were not read at one time, or a sweep came first, it begins
again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from readerflow.common.crash import crash_point

from .batch_views import Manifest, NoGeneration, View
from .cassandra_batch import CassandraBatchViews
from .cassandra_generation import CassandraGeneration
from .cassandra_incarnations import Incarnation, IncarnationReader, Incarnations
from .cassandra_live import LiveReader
from .cassandra_pointers import PUBLISHED, Pointer, read_month, read_pointer, read_pointers
from .cassandra_reading import CassandraReading
from .cassandra_session import Cassandra, ViewsUnavailable
from .cassandra_title_index import open_generation_index
from .changes import Changes
from .click_graph import ClickGraph
from .comparisons import Comparisons
from .freshness import horizon_of, snapshot, source_of, version_of
from .generation_files import GRAPH, GenerationFiles, generation_folder
from .graph_files import read_click_graph
from .log import ActiveSource
from .places import Places
from .realtime_views import StreamProgress
from .recent import Recent
from .serving_views import Reading, Snapshot
from .shared_reads import SharedReads
from .title_index import HITS_BYTES, Numbers, TitleIndex

T = TypeVar("T")

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 5
#: Nobody notices this delay, and a busy process asks ten times a second instead of with each request.
STATE_SECONDS = 0.1
#: What a process keeps of generations: the pages that were looked up last, and whole lists of many pages.
PAGES_BYTES, LISTS_BYTES = 128 << 20, 64 << 20
#: A process keeps so many bytes of open generations, each counted as OPEN_BYTES: its bounds and where its pages begin.
OPEN_GENERATIONS_BYTES, OPEN_BYTES = 16 << 20, 1 << 18
#: A generation with no more rows in the views that look-ups go to (about 80 bytes each) is read as a whole, when a
#: process opens it: a page costs far less in bulk than alone.
READ_AHEAD_ROWS = 800_000
LOOKED_UP = (View.ARTICLES, View.COMMUNITIES, View.SOURCES, View.DESTINATIONS)
CACHED_SNAPSHOTS_BYTES = 4 << 20
#: A process keeps so many bytes of word indexes open, each counted as INDEX_BYTES: 31 of them. What they map is the
#: system's memory.
OPEN_INDEXES_BYTES, INDEX_BYTES = 32 << 20, 1 << 20


class GenerationGone(NoGeneration):
    """A generation was swept before its manifest was read; who reads the pointer again finds another one."""


@dataclass(frozen=True)
class _State:
    """The facts of (wiki, month) that everything else follows from."""

    generation: str | None
    active: ActiveSource | None
    incarnation: Incarnation | None


class CassandraServing:
    """Serves the views of a keyspace. Threads may share it; a process opens its session on first use.

    :param comparisons: this machine's folder of comparisons of generations.
    :param query_seconds: how long one request may read before :class:`~.serving_views.QueryTooLong`.
    :param state_seconds: how long a process takes pointer and progress as it read them last.
    """

    def __init__(
        self,
        cassandra: Cassandra,
        files: GenerationFiles,
        batch_views: CassandraBatchViews,
        comparisons: Path,
        query_seconds: float = 10.0,
        state_seconds: float = STATE_SECONDS,
    ) -> None:
        self._cassandra = cassandra
        self._files = files
        self._batch_views = batch_views
        self._query_seconds = query_seconds
        self._states = SharedReads(self._read_state, state_seconds)
        self._versions = SharedReads(self._read_version, state_seconds)
        self._version: str | None = None  # as it was read last
        self._lock = threading.Lock()
        self._places = Places(query_seconds)
        self._closed = threading.Event()
        self._reading_ahead = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
        self._incarnations = IncarnationReader(cassandra)
        self._live = LiveReader(cassandra)
        self._comparisons = Comparisons(comparisons, self.export)
        self._pages: Recent[pa.RecordBatch] = Recent(PAGES_BYTES)
        self._recent: Recent[Any] = Recent(LISTS_BYTES)
        self._generations: Recent[CassandraGeneration] = Recent(OPEN_GENERATIONS_BYTES)
        self._snapshots: Recent[Snapshot] = Recent(CACHED_SNAPSHOTS_BYTES)
        self._indexes: Recent[TitleIndex] = Recent(OPEN_INDEXES_BYTES)
        self._hits: Recent[Numbers] = Recent(HITS_BYTES)

    def __enter__(self) -> CassandraServing:
        return self

    def __exit__(self, *error: object) -> None:
        self._closed.set()
        self._reading_ahead.shutdown(cancel_futures=True)
        self._comparisons.close()

    def months(self) -> list[tuple[str, str]]:
        return sorted(self._published_months() | self._live_months())

    def latest(self, wiki: str) -> str | None:
        return max((month for name, month in self._published_months() if name == wiki), default=None)

    def latest_live(self, wiki: str) -> str | None:
        return max((month for name, month in self._live_months() if name == wiki), default=None)

    def read(self, wiki: str, month: str) -> AbstractContextManager[Reading]:
        return self._read(wiki, month, lambda state: state.generation)

    def read_at(self, wiki: str, month: str, generation: str | None) -> AbstractContextManager[Reading]:
        def choose(state: _State) -> str | None:
            if generation is None and state.generation is not None:
                raise NoGeneration(f"{wiki} {month} has a generation now; read it from the beginning")
            return generation

        return self._read(wiki, month, choose)

    def open_ahead(self, wiki: str, month: str) -> None:
        with self.read(wiki, month):
            pass  # whoever opens a generation has it read ahead

    def snapshots(self) -> list[Snapshot]:
        found = []
        for wiki, month in self.months():
            with suppress(NoGeneration):
                found.append(self._with_state(wiki, month, partial(self._take_current, wiki, month)))
        return found

    def version(self) -> str:
        return self._versions.get(None)

    def stream(self) -> StreamProgress | None:
        state = self._incarnations.read()
        row = state.alive(state.current)
        return row.progress if row else None

    def retained(self, wiki: str, month: str) -> list[Manifest]:
        return self._batch_views.retained(wiki, month)[::-1]

    def export(self, generation: str, view: View) -> Iterable[pa.RecordBatch]:
        return self._batch_views.export(generation, view)

    def movers(self, now: Manifest, before: Manifest) -> Changes:
        return self._comparisons.movers(now, before)

    def pair_changes(self, now: Manifest, before: Manifest) -> Changes:
        return self._comparisons.pairs(now, before)

    @contextmanager
    def _read(self, wiki: str, month: str, choose: Callable[[_State], str | None]) -> Iterator[Reading]:
        with self._places.take():
            deadline = time.monotonic() + self._query_seconds
            yield self._with_state(wiki, month, lambda state: self._begin(state, wiki, month, choose(state), deadline))

    def _with_state(self, wiki: str, month: str, use: Callable[[_State], T]) -> T:
        """Use the state; once more with a fresh one when what it names is gone."""
        for attempt in range(1, MAX_ATTEMPTS):
            with suppress(GenerationGone):
                return use(self._states.get((wiki, month), fresh=attempt > 1))
        return use(self._states.get((wiki, month), fresh=True))

    def _take_current(self, wiki: str, month: str, state: _State) -> Snapshot:
        return self._take(wiki, month, state.generation, state)

    def _take(self, wiki: str, month: str, generation: str | None, state: _State) -> Snapshot:
        """The snapshot of a generation; nothing of its views is read."""
        manifest = self._manifest(wiki, month, generation, state) if generation is not None else None
        return self._snapshot(wiki, month, manifest, state)

    def _begin(self, state: _State, wiki: str, month: str, generation: str | None, deadline: float) -> Reading:
        crash_point("serving.pointer_read")
        taken = self._take(wiki, month, generation, state)
        batch = self._generation(taken.manifest) if taken.manifest is not None else None
        graph = partial(self._graph, wiki, month, generation or "")
        index = partial(self._index, wiki, month, generation or "")
        return CassandraReading(taken, state.incarnation, self._live, batch, self._recent, index, graph, deadline)

    def _generation(self, manifest: Manifest) -> CassandraGeneration:
        """A generation to read from; one that a process opens first is read ahead where it is small."""
        with self._lock:
            known = self._generations.get(manifest.generation)
            if known is not None:
                return known
            found = CassandraGeneration(self._cassandra, manifest.generation, manifest, self._pages)
            self._generations.put(manifest.generation, found, OPEN_BYTES)
        small = sum(manifest.rows.get(view, 0) for view in LOOKED_UP) <= READ_AHEAD_ROWS
        if small and not self._closed.is_set():
            self._reading_ahead.submit(self._read_ahead, found)
        return found

    def _read_ahead(self, generation: CassandraGeneration) -> None:
        try:
            generation.read_ahead(LOOKED_UP, self._closed.is_set)
        except ViewsUnavailable as error:
            log.warning("pages of generation %s come as they are asked for: %s", generation.generation, error)

    def _read_state(self, place: tuple[str, str]) -> _State:
        future = self._incarnations.start()
        pointer = read_pointer(self._cassandra, *place)
        incarnations = self._incarnations.finish(future)
        return _state(*place, pointer, incarnations)

    def _read_version(self, _: None) -> str:
        future = self._incarnations.start()
        pointers = read_pointers(self._cassandra)
        incarnations = self._incarnations.finish(future)
        row = incarnations.alive(incarnations.current)
        progress = replace(row.progress, batch_id=row.batch_id) if row else StreamProgress()
        rows = ((*place, pointer) for place, pointer in pointers.items())
        found = version_of(rows, row.incarnation if row else None, progress)
        if found != self._version:
            # Who has seen the new version must not be answered from states of the one before.
            self._version = found
            self._states.forget()
        return found

    def _manifest(self, wiki: str, month: str, generation: str, state: _State) -> Manifest:
        """The manifest of a generation that readers may take.

        :raises NoGeneration: when it is gone; GenerationGone, when it was the current one a moment ago.
        """
        current = generation == state.generation
        known: Manifest | None = self._recent.get((generation, "manifest")) if current else None
        if known is not None:
            return known
        row = read_month(self._cassandra, wiki, month).generations.get(generation)
        if row is not None and row.state == PUBLISHED:
            manifest = row.manifest
            self._recent.put((generation, "manifest"), manifest, 20_000)
            return manifest
        text = f"generation {generation} of {wiki} {month} is no longer kept"
        raise GenerationGone(text) if current else NoGeneration(text)

    def _snapshot(self, wiki: str, month: str, manifest: Manifest | None, state: _State) -> Snapshot:
        """The snapshot of a state; worked out once a state, since judging lateness adds up many rows."""
        row = state.incarnation
        generation = manifest.generation if manifest else None
        key = (wiki, month, generation, state.active, (row.incarnation, row.revision) if row else None)
        known = self._snapshots.get(key)
        if known is not None:
            return known
        source, horizon = source_of(wiki, month, manifest, state.active), horizon_of(month, manifest)
        if row is None:
            taken = snapshot(wiki, month, manifest, state.active, None, StreamProgress(), {})
        else:
            if row.progress.rows_from.get(source, horizon) > horizon and not self._kept(wiki, month, generation):
                # Its rows were retired after the pointer was read.
                raise GenerationGone(f"generation {generation} of {wiki} {month} was replaced meanwhile")
            totals = self._live.totals(row, source, horizon)
            progress = replace(row.progress, batch_id=row.batch_id)
            taken = snapshot(wiki, month, manifest, state.active, row.incarnation, progress, totals)
        return self._snapshots.put(key, taken, 2_000)

    def _kept(self, wiki: str, month: str, generation: str | None) -> bool:
        """Whether readers may take a generation, or there is none yet."""
        state = read_month(self._cassandra, wiki, month)
        row = state.generations.get(generation or "")
        return state.pointer.generation is None if generation is None else row is not None and row.state == PUBLISHED

    def _index(self, wiki: str, month: str, generation: str) -> TitleIndex:
        """The word index of a generation; a process keeps those that it opened last.

        :raises NoGeneration: when the generation is gone, or an earlier version wrote it without one.
        """
        known: TitleIndex | None = self._indexes.get(generation)
        if known is not None:
            return known
        try:
            found = open_generation_index(self._files, generation_folder(wiki, month, generation), self._hits)
        except FileNotFoundError:
            raise NoGeneration(
                f"generation {generation} of {wiki} {month} is no longer kept, or an earlier version wrote it: run "
                "'readerflow batch' again"
            ) from None
        return self._indexes.put(generation, found, INDEX_BYTES)

    def _graph(self, wiki: str, month: str, generation: str) -> ClickGraph:
        key = (generation, "graph")
        known: ClickGraph | None = self._recent.get(key)
        if known is not None:
            return known
        try:
            found = read_click_graph(self._files.local(f"{generation_folder(wiki, month, generation)}/{GRAPH}"))
        except FileNotFoundError:
            raise NoGeneration(f"generation {generation} of {wiki} {month} is no longer kept") from None
        self._recent.put(key, found, 10_000)  # its files are mapped: the system's memory, not the process's
        return found

    def _published_months(self) -> set[tuple[str, str]]:
        return {month for month, pointer in read_pointers(self._cassandra).items() if pointer.generation is not None}

    def _live_months(self) -> set[tuple[str, str]]:
        state = self._incarnations.read()
        row = state.alive(state.current)
        if row is None:
            return set()
        sources = {source for source, _ in self._live.days(row)}
        return {
            month
            for source, month in row.progress.months.items()
            if source in sources or self._live.trends(row, source) is not None
        }


def _state(wiki: str, month: str, pointer: Pointer, incarnations: Incarnations) -> _State:
    row = incarnations.alive(incarnations.current)
    sources = [ActiveSource(pointer.source, -1 if pointer.since is None else pointer.since)] if pointer.source else []
    streamed = row.progress.active.get(f"{wiki}/{month}") if row else None
    active = max([*sources, *([streamed] if streamed else [])], key=lambda source: source.since, default=None)
    return _State(pointer.generation, active, row)
