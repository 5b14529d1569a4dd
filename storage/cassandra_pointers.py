"""Pointer, active source and generations of a (wiki, month) in Cassandra: one partition, so one compare-and-set each.

``generations.state`` is ``building``, ``published``, ``withdrawn`` (left by a roll-back) or ``dropping``: no longer for
readers, its rows go when nobody can be reading them any more. ``number`` counts publications. Whoever changes anything
here expects the pointer as it read it, by its ``version``, and the source, which the stream may change.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from readerflow.common.facts import from_json
from readerflow.common.months import now

from .batch_views import Manifest
from .cassandra_session import Cassandra

BUILDING, PUBLISHED, WITHDRAWN, DROPPING = "building", "published", "withdrawn", "dropping"
#: The longest pause of a loser of a compare-and-set before it looks again.
PAUSE_SECONDS = 0.05

_MONTHS = "select wiki, month from {ks}.months where catalogue = 'all'"
_ADD_MONTH = "insert into {ks}.months (catalogue, wiki, month) values ('all', ?, ?)"
_POINTER = "select current, source, since, version from {ks}.generations where wiki = ? and month = ? limit 1"
_ROWS = """
    select current, source, since, version, generation, state, number, manifest, holder, changed
    from {ks}.generations where wiki = ? and month = ?
"""
_SET_POINTER = """
    update {ks}.generations set current = ?, version = ? where wiki = ? and month = ?
    if version = ? and source = ? and since = ?
"""
_SET_SOURCE = """
    update {ks}.generations set current = ?, version = ?, source = ?, since = ? where wiki = ? and month = ?
    if version = ? and source = ? and since = ?
"""
_SET_ROW = """
    update {ks}.generations set state = ?, number = ?, manifest = ?, holder = ?, changed = ?
    where wiki = ? and month = ? and generation = ?
"""
_DELETE_ROW = "delete from {ks}.generations where wiki = ? and month = ? and generation = ?"


@dataclass(frozen=True)
class Pointer:
    """What readers take of a (wiki, month)."""

    generation: str | None = None
    source: str | None = None
    since: int | None = None
    version: int | None = None


@dataclass(frozen=True)
class StoredGeneration:
    """A row of a generation; ``stored_manifest`` is JSON once it has been published."""

    id: str
    state: str
    number: int | None = None
    stored_manifest: str | None = None
    holder: str | None = None
    changed: datetime | None = None

    @property
    def manifest(self) -> Manifest:
        return from_json(Manifest, self.stored_manifest or "")


@dataclass(frozen=True)
class MonthState:
    """Pointer and generations of a (wiki, month), as one read saw them."""

    pointer: Pointer = field(default_factory=Pointer)
    generations: dict[str, StoredGeneration] = field(default_factory=dict)

    def published(self) -> list[StoredGeneration]:
        """In the order of their publication."""
        found = [row for row in self.generations.values() if row.state == PUBLISHED]
        return sorted(found, key=lambda row: row.number or 0)

    def current(self) -> StoredGeneration | None:
        return self.generations.get(self.pointer.generation or "")


@dataclass(frozen=True)
class Change:
    """What is to be different: pointer, rows that are written, ids whose rows go."""

    pointer: Pointer
    rows: Sequence[StoredGeneration] = ()
    deleted: Sequence[str] = ()


def months(cassandra: Cassandra) -> list[tuple[str, str]]:
    """(wiki, month) of which anything was ever written, sorted."""
    return [(row[0], row[1]) for row in cassandra.rows(_MONTHS)]


def add_month(cassandra: Cassandra, wiki: str, month: str) -> None:
    """Make a (wiki, month) known to :func:`months`."""
    cassandra.rows(_ADD_MONTH, (wiki, month))


def read_pointer(cassandra: Cassandra, wiki: str, month: str) -> Pointer:
    """The pointer alone, which is a small read."""
    rows = cassandra.rows(_POINTER, (wiki, month))
    return Pointer(*rows[0]) if rows else Pointer()


def read_pointers(cassandra: Cassandra) -> dict[tuple[str, str], Pointer]:
    """The pointers of all months, asked for at the same time."""
    asked = {month: cassandra.start(_POINTER, month) for month in months(cassandra)}
    found = {month: cassandra.finish(future) for month, future in asked.items()}
    return {month: Pointer(*rows[0]) if rows else Pointer() for month, rows in found.items()}


def read_month(cassandra: Cassandra, wiki: str, month: str, *, serial: bool = False) -> MonthState:
    """Pointer and generations; ``serial`` also sees what a compare-and-set under way may have decided."""
    rows = cassandra.rows(_ROWS, (wiki, month), serial=serial)
    if not rows:
        return MonthState()
    return MonthState(Pointer(*rows[0][:4]), {row[4]: StoredGeneration(*row[4:]) for row in rows if row[4] is not None})


def change_month(
    cassandra: Cassandra, wiki: str, month: str, decide: Callable[[MonthState], Change | None], patience: float
) -> None:
    """Change pointer and generations at once, or nothing.

    :param decide: says what to change of the state that it is given, None for nothing; it raises to give up. It is
        asked again when somebody else came first, or when nobody knows whether the change was made: then it may see it
        done.
    :raises ViewsUnavailable: when Cassandra is away for longer than ``patience`` seconds.
    """

    def attempt() -> bool:
        state = read_month(cassandra, wiki, month, serial=True)
        change = decide(state)
        if change is None:
            return True
        return cassandra.compare_and_set(*_statements(wiki, month, state.pointer, change))

    while not cassandra.persist(attempt, patience):
        time.sleep(random.uniform(0, PAUSE_SECONDS))  # noqa: S311, only spreads the losers


def _statements(wiki: str, month: str, before: Pointer, change: Change) -> list[tuple[str, Sequence[Any]]]:
    after, version = change.pointer, (before.version or 0) + 1
    expected = (wiki, month, before.version, before.source, before.since)
    statements: list[tuple[str, Sequence[Any]]] = []
    if (after.source, after.since) == (before.source, before.since):
        statements.append((_SET_POINTER, (after.generation, version, *expected)))
    else:
        statements.append((_SET_SOURCE, (after.generation, version, after.source, after.since, *expected)))
    for row in change.rows:
        values = (row.state, row.number, row.stored_manifest, row.holder, now())
        statements.append((_SET_ROW, (*values, wiki, month, row.id)))
    statements += [(_DELETE_ROW, (wiki, month, generation)) for generation in change.deleted]
    return statements
