"""Pairs, click records and controls: column names, Arrow schemas, link types, classes, partitions.

All times are ``timestamp[us]`` in UTC (see :mod:`.months`). Text is UTF-8. Bytes are compared, never locales.
"""

from __future__ import annotations

import hashlib
from enum import IntEnum

import pyarrow as pa

LINK_TYPES = ("link", "external", "other", "redlink")
#: Referrers that are not articles.
CLASSES = ("other-search", "other-empty", "other-internal", "other-external", "other-other")
#: Referrers of the 2015 files that count as one of CLASSES; the original stays in the data.
CLASSES_2015 = {
    "other-google": "other-search",
    "other-yahoo": "other-search",
    "other-bing": "other-search",
    "other-wikipedia": "other-internal",
    "other-facebook": "other-external",
    "other-twitter": "other-external",
}
#: Every referrer that stands for a class of pages instead of an article -> its class.
CLASS_OF = {**{name: name for name in CLASSES}, **CLASSES_2015}
#: The rows of the ``classes`` view: the five entry classes, then referrers that are articles, by link type.
CLASS_ROWS = (*CLASSES, "link", "other")

#: The greatest count of a pair: a replay multiplies it by 2^32 and must stay below 2^63.
MAX_PAIR_CLICKS = (1 << 31) - 1

TIME = pa.timestamp("us")

#: A preprocessed month. 1 <= ``clicks`` <= MAX_PAIR_CLICKS; (referrer, article, link_type) is unique.
PAIRS = pa.schema(
    [
        ("wiki", pa.string()),
        ("month", pa.string()),
        ("referrer", pa.string()),
        ("article", pa.string()),
        ("link_type", pa.string()),
        ("clicks", pa.int64()),
    ]
)

#: A click record without its place in the log. (source, seq) is its identity.
CLICKS = pa.schema(
    [
        ("source", pa.string()),
        ("seq", pa.int64()),
        ("wiki", pa.string()),
        ("month", pa.string()),
        ("event_time", TIME),
        ("referrer", pa.string()),
        ("article", pa.string()),
        ("link_type", pa.string()),
        ("clicks", pa.int64()),
    ]
)


class Kind(IntEnum):
    """What an entry of the log is."""

    RECORD = 0
    HEARTBEAT = 1
    REPLACEMENT = 2


#: What a producer appends: click records and controls in their order. A heartbeat closes the slot
#: [event_time, until) of its source in its partition; a replacement (partition 0 only, seq -1) makes ``source`` the
#: active one of (wiki, month). Columns that a kind does not use are null.
ENTRIES = pa.schema([pa.field("kind", pa.int8()), *CLICKS, pa.field("until", TIME)])

OFFSET = pa.field("offset", pa.int64())
#: What a reader of the log gets.
RECORDS = pa.schema([OFFSET, *CLICKS])
CONTROLS = pa.schema(
    [
        OFFSET,
        ("kind", pa.int8()),
        ("source", pa.string()),
        ("seq", pa.int64()),
        ("wiki", pa.string()),
        ("month", pa.string()),
        ("event_time", TIME),
        ("until", TIME),
    ]
)
#: Log entries that are not records; ``value`` is capped at MAX_RAW_BYTES and then ``cut`` is true.
REJECTS = pa.schema(
    [
        OFFSET,
        ("key", pa.binary()),
        ("value", pa.binary()),
        ("cut", pa.bool_()),
        ("error_class", pa.string()),
        ("reason", pa.string()),
    ]
)
MAX_RAW_BYTES = 64 * 1024
MAX_REASON_CHARS = 500

#: The same hash as :func:`partition_of`, as DuckDB SQL over a column ``article`` and a parameter ``$partitions``. The
#: upper half of md5_number is md5_number_lower, at a third of its cost.
PARTITION_SQL = "cast(cast(md5_number(article) >> 64 as ubigint) % $partitions as integer)"


def md5_number_lower(text: str) -> int:
    """The hash that DuckDB calls ``md5_number_lower``: the last 8 bytes of the MD5, little-endian, unsigned."""
    return int.from_bytes(hashlib.md5(text.encode(), usedforsecurity=False).digest()[8:], "little")


def partition_of(article: str, partitions: int) -> int:
    """The partition of all records of ``article``; producers pass it explicitly since clients hash differently."""
    return md5_number_lower(article) % partitions


def empty(schema: pa.Schema) -> pa.Table:
    return schema.empty_table()
