"""What a Kafka topic holds of each source: last seqs, first sources, replacements; learnt by reading, remembered.

Kafka can't be asked for them. Each partition is read once from its beginning; what is new is read when somebody asks.
The last seq of a source that is being replayed stands near the end, so that is looked at first.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from readerflow.common.records import Kind

from .log import ActiveSource, LogSlice

#: Entries that are read at once.
SCAN_ENTRIES = 200_000
#: How far from the end a source is looked for before the whole partition is read.
TAILS = (5_000, 100_000)

#: Reads a partition: (start, limit) -> slice.
Read = Callable[[int, int], LogSlice]
Key = tuple[str, str]  # wiki, month


@dataclass
class Seen:
    """What the entries of a partition before offset ``stop`` say."""

    stop: int = -1  # nothing yet
    last_seqs: dict[str, int] = field(default_factory=dict)
    firsts: dict[Key, tuple[int, str]] = field(default_factory=dict)  # offset, source
    replacements: dict[Key, tuple[int, str]] = field(default_factory=dict)

    def take(self, piece: LogSlice) -> None:
        """Add the entries from ``stop`` on."""
        records = piece.records.select(_COLUMNS)
        for row in _by_source(pa.concat_tables([records, piece.controls.select(_COLUMNS)])):
            source, key = row["source"], (row["wiki"], row["month"])
            if row["seq_max"] >= 0:  # a replacement has no seq
                self.last_seqs[source] = max(row["seq_max"], self.last_seqs.get(source, -1))
            self.firsts[key] = min((row["offset_min"], source), self.firsts.get(key, (row["offset_min"], source)))
        for row in _replacements(piece.controls):
            self.replacements[row["wiki"], row["month"]] = row["offset"], row["source"]
        self.stop = piece.next_offset

    def read_on(self, read: Read, low: int, end: int) -> None:
        """Take all entries up to ``end``; the log begins with ``low``."""
        offset = max(self.stop, low)
        while offset < end:
            piece = read(offset, min(SCAN_ENTRIES, end - offset))
            self.take(piece)
            offset = piece.next_offset

    def last_seq(self, source: str, read: Read, low: int, end: int) -> int | None:
        """The highest seq of a source, as far as the end of the log tells.

        A producer that was paused may have appended seqs that its successor had appended before. Where there are more
        of those than the tail holds, the answer is too low, and what is appended again is fenced.
        """
        known = self.last_seqs.get(source)
        for tail in TAILS:
            start = end - tail
            if start <= max(self.stop, low):
                break
            found = Seen()
            found.read_on(read, start, end)
            if source in found.last_seqs:
                return max(found.last_seqs[source], -1 if known is None else known)
        self.read_on(read, low, end)
        return self.last_seqs.get(source)


def remember(memory: Path, topic: str, partitions: list[Seen]) -> None:
    """Keep what was seen of a topic for the next process.

    :param topic: its id, which a topic that is made anew does not have.
    """
    document = {
        "topic": topic,
        "partitions": [
            {
                "stop": seen.stop,
                "last_seqs": seen.last_seqs,
                "firsts": [[*key, *first] for key, first in seen.firsts.items()],
                "replacements": [[*key, *last] for key, last in seen.replacements.items()],
            }
            for seen in partitions
        ],
    }
    memory.parent.mkdir(parents=True, exist_ok=True)
    written = memory.with_name(f"{memory.name}.{os.getpid()}")
    written.write_text(json.dumps(document), encoding="utf-8")
    written.replace(memory)


def recall(memory: Path, topic: str, partitions: int) -> list[Seen]:
    """What :func:`remember` kept of this very topic; nothing seen otherwise."""
    nothing = [Seen() for _ in range(partitions)]
    try:
        document = json.loads(memory.read_text(encoding="utf-8"))
        known = document["topic"] == topic and len(document["partitions"]) == partitions
        return [_recalled(part) for part in document["partitions"]] if known else nothing
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return nothing  # without a memory, or with a torn one, the topic is read again


def _recalled(part: dict[str, Any]) -> Seen:
    firsts, replacements = (
        {(wiki, month): (offset, source) for wiki, month, offset, source in part[name]}
        for name in ("firsts", "replacements")
    )
    return Seen(part["stop"], part["last_seqs"], firsts, replacements)


def active_source(partitions: list[Seen], key: Key) -> ActiveSource | None:
    """The source that counts for a (wiki, month), as the archive tells it too.

    The last replacement in partition 0, else the first source: that with the lowest offset, then partition.
    """
    replaced = partitions[0].replacements.get(key)
    if replaced is not None:
        return ActiveSource(replaced[1], replaced[0])
    firsts = [(seen.firsts[key][0], number) for number, seen in enumerate(partitions) if key in seen.firsts]
    if not firsts:
        return None
    return ActiveSource(partitions[min(firsts)[1]].firsts[key][1])


_COLUMNS = ["source", "wiki", "month", "seq", "offset"]


def _by_source(rows: pa.Table) -> list[dict[str, Any]]:
    if rows.num_rows == 0:
        return []
    found = rows.group_by(["source", "wiki", "month"]).aggregate([("seq", "max"), ("offset", "min")])
    return list(found.to_pylist())


def _replacements(controls: pa.Table) -> list[dict[str, Any]]:
    if controls.num_rows == 0:
        return []
    return list(controls.filter(pc.equal(controls["kind"], int(Kind.REPLACEMENT))).to_pylist())
