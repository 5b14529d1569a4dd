"""Log entries by hand, for tests of the log, the archive and the archiver."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa

from readerflow.common.records import ENTRIES, Kind

SOURCE, WIKI, MONTH = "s1", "testwiki", "2025-02"
START = datetime(2025, 2, 1)


def record(seq: int, *, source: str = SOURCE, hour: int = 0, **changes: Any) -> dict[str, Any]:
    return {
        "kind": int(Kind.RECORD),
        "source": source,
        "seq": seq,
        "wiki": WIKI,
        "month": MONTH,
        "event_time": START + timedelta(hours=hour),
        "referrer": "other-search",
        "article": f"Article_{seq}",
        "link_type": "external",
        "clicks": 10 + seq,
        "until": None,
    } | changes


def heartbeat(seq: int, *, source: str = SOURCE, hour: int = 0, **changes: Any) -> dict[str, Any]:
    return {
        "kind": int(Kind.HEARTBEAT),
        "source": source,
        "seq": seq,
        "wiki": WIKI,
        "month": MONTH,
        "event_time": START + timedelta(hours=hour),
        "until": START + timedelta(hours=hour + 1),
    } | changes


def replacement(source: str, **changes: Any) -> dict[str, Any]:
    return {"kind": int(Kind.REPLACEMENT), "source": source, "seq": -1, "wiki": WIKI, "month": MONTH} | changes


def entries(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=ENTRIES)
