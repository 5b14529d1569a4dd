"""Batch views in Cassandra: :mod:`.cassandra_pages` says how rows lie, :mod:`.cassandra_pointers` what is published.

The link graph and the word index of articles are files beside the rows (:mod:`.generation_files`).
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pyarrow as pa

from readerflow.common.facts import to_json
from readerflow.common.months import now
from readerflow.common.patience import LIMIT

from .batch_views import (
    BATCH_SCHEMAS,
    Generation,
    LinkGraph,
    Manifest,
    NoGeneration,
    Superseded,
    View,
    ViewWriter,
    generation_gone,
    why_superseded,
)
from .cassandra_generation import CassandraGeneration
from .cassandra_leases import READER, WRITER, Leases
from .cassandra_pages import PAGE_SCHEMAS
from .cassandra_pointers import (
    BUILDING,
    DROPPING,
    PUBLISHED,
    WITHDRAWN,
    Change,
    MonthState,
    Pointer,
    StoredGeneration,
    add_month,
    change_month,
    months,
    read_month,
)
from .cassandra_session import Cassandra, ViewsUnavailable
from .cassandra_title_index import write_generation_index
from .cassandra_writer import PagesWriter
from .generation_files import GRAPH, GenerationFiles, generation_folder
from .graph_files import export_graph, read_graph, write_graph

log = logging.getLogger(__name__)

#: A request reads no longer than this. So long a generation that readers can't take any more keeps its rows.
QUERY_SECONDS = 60.0

_ADD_GENERATION = "insert into {ks}.generation_months (generation, wiki, month) values (?, ?, ?)"
_MONTH_OF = "select wiki, month from {ks}.generation_months where generation = ?"
_DROP_GENERATION = "delete from {ks}.generation_months where generation = ?"
_DROP_BUCKET = "delete from {ks}.pages where generation = ? and of_view = ? and bucket = ? and bucket_position = ?"
_DROP_BOUNDS = "delete from {ks}.bounds where generation = ? and of_view = ?"
_DROP_LEASES = "delete from {ks}.leases where generation = ?"


class CassandraBatchViews:
    """Generations of all months of a keyspace.

    :param leases: folder of this machine's file locks.
    :param query_seconds: how long a superseded generation keeps its rows for requests that read it.
    """

    def __init__(
        self,
        cassandra: Cassandra,
        files: GenerationFiles,
        leases: Path,
        kept: int,
        *,
        query_seconds: float = QUERY_SECONDS,
    ) -> None:
        self._cassandra = cassandra
        self._files = files
        self._leases = Leases(cassandra, leases)
        self._kept = kept
        self._query_time = timedelta(seconds=query_seconds)

    def __enter__(self) -> CassandraBatchViews:
        return self

    def __exit__(self, *error: object) -> None:
        self._leases.close()

    def begin(self, wiki: str, month: str) -> Generation:
        name = f"{now():%Y%m%dT%H%M%S}-{os.urandom(4).hex()}"
        self._leases.hold(name, WRITER)
        seen: list[str | None] = []

        def decide(state: MonthState) -> Change | None:
            if name in state.generations:
                return None
            seen.append(state.pointer.generation)
            return Change(state.pointer, [StoredGeneration(name, BUILDING, holder=self._leases.holder)])

        try:
            add_month(self._cassandra, wiki, month)
            self._cassandra.rows(_ADD_GENERATION, (name, wiki, month))
            change_month(self._cassandra, wiki, month, decide, patience=0)
        except BaseException:
            self._leases.release_writer(name)
            raise
        return Generation(name, wiki, month, seen[-1])

    def writer(self, generation: Generation, view: View) -> ViewWriter:
        return PagesWriter(self._cassandra, generation.id, view, self._files, _folder(generation))

    def write_graph(self, generation: Generation, graph: LinkGraph) -> None:
        with tempfile.TemporaryDirectory(prefix="readerflow-") as scratch:
            write_graph(Path(scratch), graph)
            for path in sorted(Path(scratch).iterdir()):
                self._files.put(path, f"{_folder(generation)}/{GRAPH}/{path.name}")

    def publish(self, generation: Generation, manifest: Manifest) -> None:
        write_generation_index(self._files, _folder(generation))

        def decide(state: MonthState) -> Change | None:
            row = state.generations.get(generation.id)
            if row is not None and row.state == PUBLISHED:
                return None
            reason = _why_superseded(generation, manifest, state.pointer, row)
            if reason is not None:
                raise Superseded(f"{generation.wiki} {generation.month}: {reason}; run the batch again")
            before = state.pointer
            since = manifest.since if before.since is None else max(before.since, manifest.since)
            number = max((one.number or 0 for one in state.generations.values()), default=0) + 1
            return Change(
                Pointer(generation.id, manifest.source, since),
                [StoredGeneration(generation.id, PUBLISHED, number, to_json(manifest))],
            )

        try:
            change_month(self._cassandra, generation.wiki, generation.month, decide, LIMIT)
        except Superseded:
            self.discard(generation)
            raise
        self._leases.release_writer(generation.id)

    def discard(self, generation: Generation) -> None:
        def decide(state: MonthState) -> Change | None:
            row = state.generations.get(generation.id)
            if row is None or row.state != BUILDING:
                return None
            return Change(state.pointer, [StoredGeneration(row.id, DROPPING)])

        try:
            change_month(self._cassandra, generation.wiki, generation.month, decide, patience=0)
            row = read_month(self._cassandra, generation.wiki, generation.month).generations.get(generation.id)
            if row is None or row.state == DROPPING:
                self._drop(generation.wiki, generation.month, generation.id)
        except ViewsUnavailable as error:
            log.warning("generation %s stays until the next sweep: %s", generation.id, error)
        finally:
            self._leases.release_writer(generation.id)

    def roll_back(self, wiki: str, month: str) -> Manifest:
        chosen: list[StoredGeneration] = []

        def decide(state: MonthState) -> Change | None:
            if chosen and state.pointer.generation == chosen[-1].id:
                return None  # the change of which nobody knew whether it was made
            current = state.current()
            number = (current.number or 0) if current else 0
            earlier = [row for row in state.published() if (row.number or 0) < number]
            if current is None or not earlier:
                raise NoGeneration(f"{wiki} {month} has no earlier generation to roll back to; run the batch instead")
            chosen.append(earlier[-1])
            left = StoredGeneration(current.id, WITHDRAWN, current.number, current.stored_manifest)
            return Change(Pointer(earlier[-1].id, state.pointer.source, state.pointer.since), [left])

        change_month(self._cassandra, wiki, month, decide, patience=0)
        return chosen[-1].manifest

    def current(self, wiki: str, month: str) -> Manifest | None:
        row = read_month(self._cassandra, wiki, month).current()
        return row.manifest if row else None

    def retained(self, wiki: str | None = None, month: str | None = None) -> list[Manifest]:
        wanted = [(wiki, month)] if wiki and month else months(self._cassandra)
        rows = [
            row
            for one_wiki, one_month in wanted
            if wiki in (None, one_wiki) and month in (None, one_month)
            for row in read_month(self._cassandra, str(one_wiki), str(one_month)).published()
        ]
        if len(wanted) > 1:
            rows.sort(key=lambda row: row.changed or now())
        return [row.manifest for row in rows]

    def export(self, generation: str, view: View, rows: int = 65_536) -> Iterator[pa.RecordBatch]:
        stream = self._exported(generation, view, rows)
        next(stream)  # takes the lease, and refuses what is gone
        return stream

    def _exported(self, generation: str, view: View, rows: int) -> Iterator[pa.RecordBatch]:
        self._month_of(generation)
        lease = self._leases.hold(generation, READER)
        try:
            wiki, month = self._month_of(generation)  # again: a sweep that did not see the lease has been seen now
            if view is View.GRAPH:
                try:
                    graph = read_graph(self._files.local(f"{generation_folder(wiki, month, generation)}/{GRAPH}"))
                except FileNotFoundError:
                    raise generation_gone(generation) from None
            yield pa.RecordBatch.from_pylist([], BATCH_SCHEMAS[view])
            if view is View.GRAPH:
                yield from export_graph(graph, rows)
            else:
                yield from CassandraGeneration(self._cassandra, generation).export(view, rows)
        finally:
            self._leases.release(generation, lease)

    def article_in_clicks(self, generation: str, articles: pa.Array) -> pa.Table:
        self._month_of(generation)
        return CassandraGeneration(self._cassandra, generation).article_in_clicks(articles)

    def sweep(self) -> list[str]:
        swept: list[str] = []
        for wiki, month in self._cassandra.persist(lambda: months(self._cassandra)):
            swept += self._retire(wiki, month)
            self._cassandra.persist(lambda w=wiki, m=month: self._drop_retired(w, m))  # type: ignore[misc]
        return sorted(swept)

    def _retire(self, wiki: str, month: str) -> list[str]:
        """Take generations from readers that are beyond the kept ones, and those whose run died."""
        retired: set[str] = set()

        def decide(state: MonthState) -> Change | None:
            rows = [*state.published()[: -self._kept]]
            for row in state.generations.values():
                dead = row.state == BUILDING and not self._leases.written(row.id, row.holder)
                if dead or row.state == WITHDRAWN:
                    rows.append(row)
            rows = [row for row in rows if row.id != state.pointer.generation]
            retired.update(row.id for row in rows)
            dropping = [StoredGeneration(row.id, DROPPING, row.number, holder=row.holder) for row in rows]
            return Change(state.pointer, dropping) if rows else None

        change_month(self._cassandra, wiki, month, decide, LIMIT)
        rows = self._cassandra.persist(lambda: read_month(self._cassandra, wiki, month)).generations
        return [name for name in retired if name not in rows or rows[name].state == DROPPING]

    def _drop_retired(self, wiki: str, month: str) -> None:
        """Delete the rows of retired generations that nobody can be reading."""
        for row in read_month(self._cassandra, wiki, month).generations.values():
            if row.state != DROPPING or self._leases.exported(row.id):
                continue
            # One that was never published never had readers.
            if row.number is None or row.changed is None or now() - row.changed >= self._query_time:
                self._drop(wiki, month, row.id)

    def _drop(self, wiki: str, month: str, generation: str) -> None:
        """Delete everything of a generation; its row goes last, so that an interrupted sweep is done again."""
        reader = CassandraGeneration(self._cassandra, generation)
        for view in PAGE_SCHEMAS:
            with self._cassandra.writes() as writes:
                for key in reader.bounds(view):
                    writes.add(_DROP_BUCKET, (generation, str(view), *key))
            self._cassandra.rows(_DROP_BOUNDS, (generation, str(view)))
        self._files.remove(generation_folder(wiki, month, generation))
        self._cassandra.rows(_DROP_LEASES, (generation,))
        self._cassandra.rows(_DROP_GENERATION, (generation,))

        def decide(state: MonthState) -> Change | None:
            return Change(state.pointer, deleted=[generation]) if generation in state.generations else None

        change_month(self._cassandra, wiki, month, decide, patience=0)

    def _month_of(self, generation: str) -> tuple[str, str]:
        """The (wiki, month) of a generation that readers may take.

        :raises NoGeneration: when it is gone.
        """
        for wiki, month in self._cassandra.rows(_MONTH_OF, (generation,)):
            row = read_month(self._cassandra, wiki, month).generations.get(generation)
            if row is not None and row.state in (PUBLISHED, WITHDRAWN):
                return wiki, month
        raise generation_gone(generation)


def _folder(generation: Generation) -> str:
    return generation_folder(generation.wiki, generation.month, generation.id)


def _why_superseded(
    generation: Generation, manifest: Manifest, pointer: Pointer, row: StoredGeneration | None
) -> str | None:
    since = -1 if pointer.since is None else pointer.since
    reason = why_superseded(generation, manifest, pointer.generation, pointer.source, since)
    if reason is None and (row is None or row.state != BUILDING):
        return "a sweep took it, since Cassandra had not heard of this run for long"
    return reason
