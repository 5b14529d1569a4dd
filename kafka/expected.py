"""What a replay must have put into the log, computed from the law and the pairs alone.

``reconcile`` compares log, archive, batch and merged views with it, for whole months and for parts.
"""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from readerflow.common.months import HOUR
from readerflow.common.records import CLASS_OF, CLASS_ROWS, LINK_TYPES, TIME
from readerflow.storage.pairs import PairStore

from .chunks import Chunk, load
from .cut import CELLS, Law
from .plan import ReplayPlan
from .replay import Grain, Numbers

#: Sorted by partition, link type and class; cells without clicks are left out.
EXPECTED = pa.schema(
    [
        ("partition", pa.int32()),
        ("link_type", pa.string()),
        ("class", pa.string()),  # of CLASS_ROWS
        ("clicks", pa.int64()),
        ("records", pa.int64()),
    ]
)
#: Sorted by hour and link type; cells without clicks are left out.
EXPECTED_HOURS = pa.schema(
    [("partition", pa.int32()), ("hour", TIME), ("link_type", pa.string()), ("clicks", pa.int64())]
)


def law_of(plan: ReplayPlan, pairs: PairStore, partitions: int) -> Law:
    """The plan over the pairs, as a replay into a log of so many partitions applies it.

    :raises NoPairs: when the month has not been preprocessed.
    """
    source = plan.source(partitions, pairs.facts(plan.wiki, str(plan.month)).checksum)
    profiles = plan.profiles()
    return Law(plan, source, load(plan, pairs, partitions, profiles), profiles)


def expected(law: Law, start: datetime, end: datetime) -> pa.Table:
    """Clicks and records of the slots [start, end), by partition, link type and class (schema EXPECTED).

    :raises BadInput: when no slot of the plan's grain begins at ``start`` or at ``end``.
    """
    first, last = law.slots.index(start), law.slots.index(end)
    width = len(LINK_TYPES) * len(CLASS_ROWS)
    totals = np.zeros((len(law.pairs.partitions), width, 2), dtype=np.int64)
    for partition, chunk in law.pairs.chunks():
        cells = _cells(chunk)
        clicks, records = _counts(law, chunk, first, last)
        for place, values in enumerate((clicks, records)):
            np.add.at(totals[partition, :, place], cells, values)
    found = np.argwhere(totals[:, :, 0])
    rows = [
        {
            "partition": int(partition),
            "link_type": LINK_TYPES[cell // len(CLASS_ROWS)],
            "class": CLASS_ROWS[cell % len(CLASS_ROWS)],
            "clicks": int(totals[partition, cell, 0]),
            "records": int(totals[partition, cell, 1]),
        }
        for partition, cell in found
    ]
    return pa.Table.from_pylist(rows, schema=EXPECTED)


def expected_by_hour(law: Law, start: datetime, end: datetime) -> pa.Table:
    """Clicks by partition, event hour of the records, and link type (schema EXPECTED_HOURS).

    Records carry the start of their slot, so at grain ``day`` an hour holds a day's clicks.

    :raises BadInput: when no slot of the plan's grain begins at ``start`` or at ``end``.
    """
    first, last = law.slots.index(start), law.slots.index(end)
    partitions = len(law.pairs.partitions)
    totals = np.zeros((partitions, last - first, len(LINK_TYPES)), dtype=np.int64)
    for partition, chunk in law.pairs.chunks():
        types = _types(chunk)
        order = np.argsort(types, kind="stable")
        present, borders = np.unique(types[order], return_index=True)
        if not len(present):
            continue
        for slots in _slot_groups(chunk, first, last):
            reached = law.clicks_at(chunk, slots * law.slots.hours)[:, order]
            sums = np.add.reduceat(np.diff(reached, axis=0), borders, axis=1)
            totals[partition, slots[0] - first : slots[-1] - first, present] = sums.T
    found = np.argwhere(totals)
    length = law.slots.hours
    return pa.Table.from_pylist(
        [
            {
                "partition": int(partition),
                "hour": law.plan.month.start + (first + int(slot)) * length * HOUR,
                "link_type": LINK_TYPES[link_type],
                "clicks": int(totals[partition, slot, link_type]),
            }
            for partition, slot, link_type in found
        ],
        schema=EXPECTED_HOURS,
    )


def _counts(law: Law, chunk: Chunk, first: int, last: int) -> tuple[Numbers, Numbers]:
    """Clicks and records of each pair in the slots [first, last)."""
    hours = law.slots.hours
    before, after = law.clicks_at(chunk, np.array([first, last]) * hours)
    clicks: Numbers = after - before
    if law.plan.grain is Grain.CLICK:
        return clicks, clicks
    records = np.zeros(chunk.pairs, dtype=np.int64)
    for slots in _slot_groups(chunk, first, last):
        records += np.count_nonzero(np.diff(law.clicks_at(chunk, slots * hours), axis=0), axis=0)
    return clicks, records


def _slot_groups(chunk: Chunk, first: int, last: int) -> list[Numbers]:
    """The borders of [first, last) in groups of at most CELLS; each begins with the last border of the one before."""
    step = max(CELLS // (chunk.pairs + 1), 1)
    return [np.arange(start, min(start + step, last) + 1) for start in range(first, last, step)]


def _types(chunk: Chunk) -> Numbers:
    codes = chunk.texts["link_type"].indices
    types: Numbers = codes.to_numpy().astype(np.int64)
    return types


def _cells(chunk: Chunk) -> Numbers:
    """link type * classes + class of each pair."""
    names = pa.array(list(CLASS_OF))
    entry = pc.index_in(chunk.texts["referrer"], value_set=names).fill_null(len(names)).to_numpy()
    of_entry = np.array([CLASS_ROWS.index(name) for name in CLASS_OF.values()] + [-1])
    types = _types(chunk)
    by_type = np.where(types == LINK_TYPES.index("link"), CLASS_ROWS.index("link"), CLASS_ROWS.index("other"))
    classes = np.where(entry < len(names), of_entry[entry], by_type)
    cells: Numbers = types * len(CLASS_ROWS) + classes
    return cells
