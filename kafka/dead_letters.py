"""Dead letters: what a bad log entry becomes in topic ``clicks.dlq``.

The key is ``topic/partition/offset``. The archiver writes them at least once, so readers count distinct keys.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from readerflow.common.months import format_time
from readerflow.storage.log import EventLog

READ_ENTRIES = 100_000


def letters(topic: str, partition: int, rejects: pa.Table, seen_at: datetime) -> Iterator[tuple[bytes, bytes]]:
    """(key, value) of each reject (schema ``records.REJECTS``); the value is a JSON object."""
    for row in rejects.to_pylist():
        identity = _identity(row["value"])
        letter = {
            "topic": topic,
            "partition": partition,
            "offset": row["offset"],
            "stage": "archiver",
            "error_class": row["error_class"],
            "reason": row["reason"],
            **identity,
            "key": _base64(row["key"]),
            "raw": _base64(row["value"]),
            "cut": row["cut"],
            "seen_at": format_time(seen_at),
        }
        yield f"{topic}/{partition}/{row['offset']}".encode(), json.dumps(letter).encode()


def _identity(value: bytes) -> dict[str, object]:
    """Source and seq of a record whose value can be parsed at least that far."""
    try:
        document = json.loads(value)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(document, dict):
        return {}
    return {name: document[name] for name in ("source", "seq") if isinstance(document.get(name), str | int)}


def _base64(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()


def distinct_letters(dead_letters: EventLog) -> dict[bytes, dict[str, object]]:
    """The dead letters by key; of a repeated one the first counts."""
    found: dict[bytes, dict[str, object]] = {}
    for piece in _pieces(dead_letters):
        for row in piece.to_pylist():
            if row["key"] not in found:
                found[row["key"]] = json.loads(row["value"])
    return found


def count_letters(dead_letters: EventLog) -> int:
    """How many log entries have become dead letters."""
    keys = [piece["key"] for piece in _pieces(dead_letters)]
    return len(pc.unique(pa.chunked_array([chunk for key in keys for chunk in key.chunks], pa.binary())))


def _pieces(dead_letters: EventLog) -> Iterator[pa.Table]:
    for partition in range(dead_letters.partitions):
        offset = 0
        while (piece := dead_letters.read(partition, offset, READ_ENTRIES)).entries:
            yield piece.rejects
            offset = piece.next_offset
