"""Cutting a month's clicks into the entries of slots: records in event-time order, then the slot's heartbeat.

``seq`` is the position in the whole replay, over all partitions, and does not depend on the part that is replayed:

- grains hour, day, month: slot * (pairs + 1) + pair, with pairs ordered by (partition, dump order); the heartbeat of a
  slot gets slot * (pairs + 1) + pairs, the same in every partition;
- grain click: the clicks of all pairs before the hour, plus the heartbeats before it, plus the place within the hour
  ordered by (second, pair); the heartbeat of an hour comes after its clicks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import pyarrow as pa

from readerflow.common.records import ENTRIES, TIME, Kind

from .chunks import Chunk, Pairs
from .plan import Profiles, ReplayPlan
from .replay import Grain, Numbers, Slots, click_seconds, clicks_until

#: (slot, pair) cells that are looked at in one piece.
CELLS = 2_000_000
MAX_SLOTS = 32


class Cutter(Protocol):
    """Makes the entries of a plan's slots."""

    def heartbeat_seqs(self) -> Numbers:
        """The seq of each slot's heartbeat: shape (slots,), rising."""

    def slots_at_once(self) -> int:
        """How many slots one call should cut."""

    def cut(self, start: int, stop: int) -> Iterator[tuple[int, pa.Table]]:
        """Yield (partition, entries of schema ENTRIES) of the slots [start, stop); a partition may come repeatedly."""


@dataclass(frozen=True)
class Law:
    """A plan applied to its pairs."""

    plan: ReplayPlan
    source: str
    pairs: Pairs
    profiles: Profiles

    @property
    def slots(self) -> Slots:
        return self.plan.slots

    def clicks_at(self, chunk: Chunk, hours: Numbers) -> Numbers:
        """Clicks of each pair up to borders of hours: shape (len(hours), pairs)."""
        weights = self.profiles.weights[:, hours].T
        if weights.shape[1] > 1:
            weights = weights[:, chunk.profiles]
        return clicks_until(chunk.clicks, chunk.remainders, weights)

    def total(self, hour: int) -> int:
        """Clicks of all pairs up to the border of an hour."""
        return sum(int(self.clicks_at(chunk, np.array([hour])).sum()) for _, chunk in self.pairs.chunks())


def cutter(law: Law) -> Cutter:
    """The cutter for the plan's grain."""
    return _Clicks(law) if law.plan.grain is Grain.CLICK else _Grid(law)


@dataclass(frozen=True)
class _Grid:
    """One record for a pair's clicks in a slot."""

    law: Law

    def heartbeat_seqs(self) -> Numbers:
        count = self.law.pairs.count
        return np.arange(self.law.slots.count, dtype=np.int64) * (count + 1) + count

    def slots_at_once(self) -> int:
        partitions = self.law.pairs.partitions
        if any(len(chunks) > 1 for chunks in partitions):
            return 1  # all chunks of a slot come before the next slot
        return min(max(CELLS // (1 + max(chunks[0].pairs for chunks in partitions)), 1), MAX_SLOTS)

    def cut(self, start: int, stop: int) -> Iterator[tuple[int, pa.Table]]:
        for partition, chunks in enumerate(self.law.pairs.partitions):
            for place, chunk in enumerate(chunks):
                yield partition, self._entries(chunk, start, stop, closing=place == len(chunks) - 1)

    def _entries(self, chunk: Chunk, start: int, stop: int, *, closing: bool) -> pa.Table:
        """The entries of a chunk; ``closing`` adds a heartbeat as if it were one more pair, last in each slot."""
        width, count = chunk.pairs + closing, self.law.pairs.count
        reached = self.law.clicks_at(chunk, np.arange(start, stop + 1) * self.law.slots.hours)
        cells = np.empty((stop - start, width), dtype=np.int64)
        np.subtract(reached[1:], reached[:-1], out=cells[:, : chunk.pairs])
        cells[:, chunk.pairs :] = 1
        flat = cells.reshape(-1)
        taken = np.flatnonzero(flat)
        slots = taken // width
        pairs = taken - slots * width
        beats = pairs == chunk.pairs if closing else None
        slots += start
        seqs = slots * (count + 1) + pairs + chunk.first
        if beats is not None:
            seqs[beats] = slots[beats] * (count + 1) + count
        return _table(self.law, chunk.texts, slots, pairs, seqs, flat[taken], beats)


@dataclass(frozen=True)
class _Clicks:
    """One record for a click."""

    law: Law

    def heartbeat_seqs(self) -> Numbers:
        return self._totals[1:] + np.arange(self.law.slots.count)

    def slots_at_once(self) -> int:
        return 8

    def cut(self, start: int, stop: int) -> Iterator[tuple[int, pa.Table]]:
        hours = range(start, stop)
        found = [self._clicks(hour) for hour in hours]
        for partition, chunks in enumerate(self.law.pairs.partitions):
            first, last = chunks[0].first, chunks[-1].first + chunks[-1].pairs
            pieces = []
            for hour, (pairs, seconds, seqs) in zip(hours, found, strict=True):
                mine = np.flatnonzero((pairs >= first) & (pairs < last))
                beat = [[hour], [last], [0], [self._totals[hour + 1] + hour]]
                columns = [np.full(len(mine), hour), pairs[mine], seconds[mine], seqs[mine]]
                pieces.append([np.append(column, end) for column, end in zip(columns, beat, strict=True)])
            slots, pairs, seconds, seqs = (np.concatenate(column) for column in zip(*pieces, strict=True))
            texts = self._texts[partition]
            ones = np.ones(len(slots), dtype=np.int64)
            yield partition, _table(self.law, texts, slots, pairs - first, seqs, ones, pairs == last, seconds=seconds)

    def _clicks(self, hour: int) -> tuple[Numbers, Numbers, Numbers]:
        """(pair, second, seq) of each click of an hour, in the order of time."""
        numbers, seconds = [], []
        weights = self.law.profiles.weights
        for _, chunk in self.law.pairs.chunks():
            before, after = self.law.clicks_at(chunk, np.array([hour, hour + 1]))
            start = weights[chunk.profiles, hour]
            pairs, when = click_seconds(
                chunk.clicks, chunk.remainders, before, after - before, start, weights[chunk.profiles, hour + 1] - start
            )
            numbers.append(pairs + chunk.first)
            seconds.append(when)
        second = np.concatenate(seconds)
        order = np.argsort(second, kind="stable")
        seqs = np.arange(len(order)) + self._totals[hour] + hour
        return np.concatenate(numbers)[order], second[order], seqs

    @cached_property
    def _totals(self) -> Numbers:
        """Clicks of all pairs before each border of hours: shape (hours + 1,)."""
        return np.array([self.law.total(hour) for hour in range(self.law.slots.count + 1)], dtype=np.int64)

    @cached_property
    def _texts(self) -> list[dict[str, pa.Array]]:
        """The texts of all pairs of each partition."""
        return [
            {name: pa.concat_arrays([chunk.texts[name] for chunk in chunks]) for name in chunks[0].texts}
            for chunks in self.law.pairs.partitions
        ]


def _table(
    law: Law,
    texts: dict[str, pa.Array],
    slots: Numbers,
    pairs: Numbers,
    seqs: Numbers,
    clicks: Numbers,
    beats: np.ndarray[tuple[int], np.dtype[np.bool_]] | None,
    *,
    seconds: Numbers | None = None,
) -> pa.Table:
    """Entries of the given cells; where ``beats`` is true a heartbeat, whose ``pairs`` is beyond the texts."""
    rows = len(slots)
    month = law.plan.month
    slot_length = law.slots.hours * 3_600_000_000
    begin = np.datetime64(month.start, "us").astype(np.int64)
    times = begin + slots * slot_length
    indices = pa.array(pairs, mask=beats)
    columns = {name: values.take(indices) for name, values in texts.items()}
    columns |= {
        "kind": pa.array(np.zeros(rows, np.int8) if beats is None else np.where(beats, np.int8(Kind.HEARTBEAT), 0)),
        "source": pa.repeat(law.source, rows),
        "seq": pa.array(seqs),
        "wiki": pa.repeat(law.plan.wiki, rows),
        "month": pa.repeat(str(month), rows),
        "event_time": pa.array(times if seconds is None else times + seconds * 1_000_000).cast(TIME),
        "clicks": pa.array(clicks, mask=beats),
        "until": pa.nulls(rows, TIME) if beats is None else pa.array(times + slot_length, mask=~beats).cast(TIME),
    }
    return pa.table([columns[field.name].cast(field.type) for field in ENTRIES], schema=ENTRIES)
