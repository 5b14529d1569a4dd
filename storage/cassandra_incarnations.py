"""The stream's incarnations: progress, writes and which one readers take, in one partition of Cassandra.

Rows of a micro-batch carry the number of the *write* that brought them. A write is begun before the first of them and
committed by one compare-and-set of ``progress``, ``batch_id`` and ``write`` (the last committed one). Each attempt at
a micro-batch is a write of its own; those that were not committed are ``aborted``, so what they left is never seen and
nobody has to find it. Every change raises ``revision``, on which it compares.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import datetime
from functools import lru_cache
from typing import Any

from cassandra.cluster import ResponseFuture

from readerflow.common.facts import from_json, to_json

from .cassandra_session import Cassandra, Row
from .realtime_views import StreamProgress
from .recent import Recent

STREAM = "clicks"
_COLUMNS = (
    "incarnation", "place", "batch_id", "write", "writes", "aborted", "progress", "revision", "retired", "gone",
)  # fmt: skip
_SELECT = f"select current, {', '.join(_COLUMNS)} from {{ks}}.incarnations where stream = '{STREAM}'"  # noqa: S608
_SELECT_SMALL = _SELECT.replace(" progress,", " batch_id,")  # the same places
_BEGIN = f"""
    update {{ks}}.incarnations set places = ?, place = ?, batch_id = ?, write = 0, writes = 0, aborted = [],
        progress = ?, revision = 0
    where stream = '{STREAM}' and incarnation = ? if places = ? and revision = null
"""  # noqa: S608
_PLACES = f"select places from {{ks}}.incarnations where stream = '{STREAM}' limit 1"  # noqa: S608
_DELETE = f"delete from {{ks}}.incarnations where stream = '{STREAM}' and incarnation = ?"  # noqa: S608

progress_of = lru_cache(16)(lambda text: from_json(StreamProgress, text))


@dataclass(frozen=True)
class Incarnation:
    """A row: an incarnation as it is committed."""

    incarnation: str
    place: int  # incarnations that began later have a higher one
    batch_id: int
    write: int
    writes: int  # the last one that was begun
    aborted: tuple[int, ...]
    text: str  # progress as JSON
    revision: int
    retired: datetime | None  # when rows_from was raised last, until the rows are gone
    gone: datetime | None  # when it ceased to be one

    @property
    def progress(self) -> StreamProgress:
        found: StreamProgress = progress_of(self.text)
        return found


@dataclass(frozen=True)
class Incarnations:
    """All rows at one time."""

    current: str | None
    rows: dict[str, Incarnation]

    def alive(self, name: str | None) -> Incarnation | None:
        """An incarnation that has begun and is not gone."""
        row = self.rows.get(name or "")
        return row if row is not None and row.gone is None else None

    def may_write(self, row: Incarnation) -> bool:
        """Whether no newer incarnation is the current one."""
        current = self.alive(self.current)
        return current is None or current.place <= row.place


def read_incarnations(cassandra: Cassandra, *, serial: bool = False) -> Incarnations:
    """Read all rows; ``serial`` also sees what a compare-and-set under way may have decided."""
    return _incarnations(cassandra.rows(_SELECT, serial=serial))


def _incarnations(found: list[Row]) -> Incarnations:
    rows = [
        Incarnation(row[1], row[2], row[3], row[4], row[5], tuple(row[6] or ()), row[7], row[8], row[9], row[10])
        for row in found
        if row[1] is not None and row[8] is not None
    ]
    return Incarnations(found[0][0] if found else None, {row.incarnation: row for row in rows})


class IncarnationReader:
    """Reads all rows again and again, but the progress of a revision, which is the large part, only once."""

    def __init__(self, cassandra: Cassandra) -> None:
        self._cassandra = cassandra
        self._texts: Recent[str] = Recent(4 << 20)

    def read(self) -> Incarnations:
        """Read all rows."""
        return self.finish(self.start())

    def start(self) -> ResponseFuture:
        """Ask for all rows; :meth:`finish` waits for them."""
        return self._cassandra.start(_SELECT_SMALL)

    def finish(self, future: ResponseFuture) -> Incarnations:
        """Wait for what :meth:`start` asked for."""
        found = self._cassandra.finish(future)
        texts = [self._texts.get((row[1], row[8])) if row[1] is not None else "" for row in found]
        if None in texts:
            state = read_incarnations(self._cassandra)
            for row in state.rows.values():
                self._texts.put((row.incarnation, row.revision), row.text, len(row.text))
            return state
        return _incarnations([(*row[:7], text, *row[8:]) for row, text in zip(found, texts, strict=True)])


def begin_incarnation(cassandra: Cassandra, name: str, progress: StreamProgress) -> None:
    """Add a row with the highest place."""
    while read_incarnations(cassandra, serial=True).alive(name) is None:
        found = cassandra.rows(_PLACES, serial=True)
        places = found[0][0] if found else None
        place = (places or 0) + 1
        cassandra.compare_and_set((_BEGIN, (place, place, progress.batch_id, to_json(progress), name, places)))


Change = dict[str, Any] | None


def change(cassandra: Cassandra, name: str, revise: Callable[[Incarnations, Incarnation], Change]) -> None:
    """Change a row by compare-and-set on its revision and the current incarnation.

    :param revise: gives the columns to set, among them perhaps ``current``; None changes nothing. It is asked again
        when somebody else's change came first. An incarnation that is gone is not changed.
    """
    while True:
        state = read_incarnations(cassandra, serial=True)
        row = state.alive(name)
        columns = revise(state, row) if row is not None else None
        if row is None or columns is None:
            return
        columns = {**columns, "revision": row.revision + 1}
        cql = f"""
            update {{ks}}.incarnations set {", ".join(f"{column} = ?" for column in columns)}
            where stream = '{STREAM}' and incarnation = ? if revision = ? and current = ?
        """  # noqa: S608, our own names
        if cassandra.compare_and_set((cql, (*columns.values(), name, row.revision, state.current))):
            return


def delete_incarnation(cassandra: Cassandra, name: str) -> None:
    """Delete the row of an incarnation that is gone."""
    cassandra.compare_and_set((_DELETE + " if gone != null", (name,)))


assert len(_COLUMNS) == len(fields(Incarnation))  # noqa: S101
