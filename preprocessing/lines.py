"""Lines of a dump -> pairs and rejected lines: pure, from an Arrow array to Arrow tables, block by block."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from readerflow.common.months import Month
from readerflow.common.records import CLASS_OF, MAX_PAIR_CLICKS, MAX_RAW_BYTES, PAIRS
from readerflow.storage.pairs import REJECTED_LINES

from .dialects import Dialect
from .reader import Block
from .rejects import ERROR_CLASS_SQL, REASON_SQL

#: Lines that one thread of DuckDB takes at a time.
_BATCH_LINES = 40_000
_CACHED_BYTES = 256 << 10
_CLASSES = ", ".join(f"'{name}'" for name in CLASS_OF)
_IS_CLASS = f"(starts_with(referrer, 'other-') and referrer in ({_CLASSES}))"
_ENTRY_CLASS = " ".join(f"when '{name}' then '{row}'" for name, row in CLASS_OF.items())


def _field(place: int, quoted: bool) -> str:
    """SQL of a field; in a quoted dump null when its quoting is broken."""
    raw = f"fields[{place}]"
    if not quoted:
        return raw
    return f"""case when not contains({raw}, '"') then {raw} when {raw} = '""' then ''
        when contains({raw}, '\\"') and regexp_full_match({raw}, '"([^"\\\\]|\\\\.)*"')
        then regexp_replace({raw}[2:-2], '\\\\(["\\\\])', '\\1', 'g') end"""


def _link_type(dialect: Dialect) -> str:
    """SQL of the link type: what came from a class was called ``other`` in 2015."""
    if dialect.name.startswith("2015"):
        return f"case when fields[{dialect.link_type}] = 'other' and {_IS_CLASS} then 'external' else given_type end"
    return "given_type"


def _parse_sql(dialect: Dialect) -> str:
    # Made of this room's own constants; values are parameters.
    return f"""
        with split as (
            select size, text, string_split(text, chr(9)) as fields from lines
        ), named as (
            select size, text, fields, {_field(dialect.referrer, dialect.quoted)} as referrer,
                {_field(dialect.article, dialect.quoted)} as article, fields[{dialect.link_type}] as given_type,
                fields[{dialect.count}] as count_text, try_cast(count_text as bigint) as number,
                case when len(fields) = $columns and number::varchar = count_text then number end as clicks
            from split
        ), typed as (
            select *, {_IS_CLASS} as is_class, {_link_type(dialect)} as link_type from named
        ), judged as (
            select *, {ERROR_CLASS_SQL} as error_class from typed
        )
        select referrer, article, link_type, clicks, hash(referrer, article, link_type) as key, error_class,
            case when error_class is not null then {REASON_SQL} end as reason
        from judged
    """  # noqa: S608


_TOTALS_SQL = f"""
    select link_type,
        case when starts_with(referrer, 'other-') then case referrer {_ENTRY_CLASS} end end as entry_class,
        sum(clicks)::hugeint as clicks
    from pairs group by all
"""  # noqa: S608 (made of constants)


@dataclass
class Totals:
    """Clicks of pairs by link type and by row of the ``classes`` view."""

    pairs: int = 0
    clicks: int = 0
    by_type: Counter[str] = field(default_factory=Counter)
    by_class: Counter[str] = field(default_factory=Counter)

    def __iadd__(self, other: Totals) -> Totals:
        self.pairs += other.pairs
        self.clicks += other.clicks
        self.by_type += other.by_type
        self.by_class += other.by_class
        return self


def count_totals(connection: duckdb.DuckDBPyConnection, pairs: pa.Table) -> Totals:
    """The totals of a table of pairs."""
    totals = Totals(pairs=len(pairs))
    with connection.cursor() as cursor:
        cursor.register("pairs", pairs)
        for link_type, entry_class, clicks in cursor.sql(_TOTALS_SQL).fetchall():
            totals.clicks += clicks
            totals.by_type[link_type] += clicks
            totals.by_class[entry_class or ("link" if link_type == "link" else "other")] += clicks
    return totals


@dataclass(frozen=True)
class Parsed:
    """What a block holds: ``pairs`` (schema PAIRS), a hash of each pair's key, ``rejects`` (REJECTED_LINES)."""

    lines: int
    pairs: pa.Table
    keys: npt.NDArray[np.uint64]
    rejects: pa.Table
    totals: Totals
    readable_clicks: int  # of rejected lines too


class LineParser:
    """Parses the lines of one dump in its dialect; several threads may parse a block each."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, dialect: Dialect, wiki: str, month: Month, min_clicks: int
    ) -> None:
        self._connection = connection
        self._dialect = dialect
        self._sql = _parse_sql(dialect)
        self._wiki, self._month = wiki, str(month)
        self._min_clicks = min_clicks

    def parse(self, block: Block) -> Parsed:
        """Sort the lines of a block into pairs and rejects, both in their order."""
        lines, first_line = block.lines, block.first_line
        if self._dialect.header and first_line == 1:
            lines, first_line = lines[1:], 2
        sizes = pc.binary_length(lines)
        judged = self._judge(lines, sizes, unusual=_has_unusual(block.data))
        clicks = judged["clicks"]
        readable = pc.sum(clicks.filter(pc.and_kleene(pc.greater(clicks, 0), pc.less_equal(clicks, MAX_PAIR_CLICKS))))
        bad = pc.is_valid(judged["error_class"])
        good = judged if judged["error_class"].null_count == len(judged) else judged.filter(pc.invert(bad))
        pairs = self._pairs(good)
        places = np.flatnonzero(bad.to_numpy())
        return Parsed(
            lines=len(lines),
            pairs=pairs,
            totals=count_totals(self._connection, pairs),
            keys=good["key"].to_numpy(),
            rejects=rejected_lines(
                lines.take(pa.array(places)),
                places + first_line,
                judged["error_class"].filter(bad),
                judged["reason"].filter(bad),
            ),
            readable_clicks=readable.as_py() or 0,
        )

    def _judge(self, lines: pa.Array, sizes: pa.Array, *, unusual: bool) -> pa.Table:
        table = pa.table({"size": sizes, "text": self._text(lines)})
        parameters = {"columns": self._dialect.columns, "min_clicks": self._min_clicks, "unusual": unusual}
        with self._connection.cursor() as cursor:
            cursor.register("lines", pa.Table.from_batches(table.to_batches(_BATCH_LINES), table.schema))
            return cursor.sql(self._sql, params=parameters).to_arrow_table()

    def _text(self, lines: pa.Array) -> pa.Array:
        """The lines as text; null where they are not UTF-8."""
        try:
            return lines.cast(pa.large_string())
        except pa.ArrowInvalid:
            with self._connection.cursor() as cursor:
                cursor.register("raw", pa.table({"line": lines}))
                text = cursor.sql("select try(decode(line)) as text from raw").to_arrow_table()["text"]
                return text.combine_chunks()

    def _pairs(self, good: pa.Table) -> pa.Table:
        constants = [pa.repeat(pa.scalar(value, pa.string()), len(good)) for value in (self._wiki, self._month)]
        columns = [good[name].cast(PAIRS.field(name).type) for name in PAIRS.names[2:]]
        return pa.table([*constants, *columns], schema=PAIRS)


def rejected_lines(
    lines: pa.Array, numbers: npt.NDArray[np.int64], error_classes: pa.Array, reasons: pa.Array
) -> pa.Table:
    """Lines with their numbers and faults as a table REJECTED_LINES."""
    cut = pc.greater(pc.binary_length(lines), MAX_RAW_BYTES)
    raw = pc.binary_slice(lines, 0, MAX_RAW_BYTES) if pc.any(cut).as_py() else lines
    return pa.table([pa.array(numbers), raw.cast(pa.binary()), cut, error_classes, reasons], schema=REJECTED_LINES)


def _has_unusual(data: bytes) -> bool:
    """Whether a byte occurs that only illegal titles have (or, of 0xC2, may have): saves a search in every title."""
    if b"\x7f" in data or b"\xef\xbb\xbf" in data:
        return True
    numbers = np.frombuffer(data, np.uint8)
    for start in range(0, len(numbers), _CACHED_BYTES):
        part = numbers[start : start + _CACHED_BYTES + 1]
        separators = np.count_nonzero(part == 0x09) + np.count_nonzero(part == 0x0A)
        if np.count_nonzero(part <= 0x20) != separators or np.any((part[:-1] == 0xC2) & (part[1:] < 0xA0)):
            return True
    return False
