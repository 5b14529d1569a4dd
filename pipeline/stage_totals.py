"""What a stage holds of a month: clicks by hour, link type and class, counted from its data, not from its footers."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow as pa

from readerflow.common.records import CLASS_OF, CLASS_ROWS, LINK_TYPES, TIME

#: What totals are counted from: one row a (time slot, link type, class).
COUNTED = pa.schema([("hour", TIME), ("link_type", pa.string()), ("class", pa.string()), ("clicks", pa.int64())])


@dataclass(frozen=True)
class Totals:
    """Clicks of a stage within the interval that it covers."""

    stage: str
    covers: str
    clicks: int
    pairs: int | None = None
    by_type: dict[str, int] = field(default_factory=dict)
    by_class: dict[str, int] = field(default_factory=dict)


#: Of click records, what is counted and by what.
COUNTED_COLUMNS = ("source", "event_time", "referrer", "article", "link_type", "clicks")


class Counter:
    """Counts records piece by piece in DuckDB, which spills to disk when a month's pairs are larger than memory."""

    def __init__(self, scratch: Path, memory_limit: str) -> None:
        scratch.mkdir(parents=True, exist_ok=True)
        self._connection = duckdb.connect(
            config={"memory_limit": memory_limit, "temp_directory": str(scratch), "preserve_insertion_order": False}
        )
        classes = pa.table({"referrer": list(CLASS_OF), "class": list(CLASS_OF.values())})
        self._connection.register("classes", classes)
        self._connection.execute("create table class_of as select * from classes")
        self._connection.execute("create table seen (referrer varchar, article varchar, link_type varchar)")
        self._pieces: list[pa.Table] = []

    def __enter__(self) -> Counter:
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()

    def count(self, rows: pa.Table, source: str, end: datetime) -> None:
        """Add the click records (COUNTED_COLUMNS, any others are ignored) of a source before ``end``."""
        values = {"source": source, "end": end}
        self._connection.register("entries", rows)
        self._pieces.append(
            self._connection.sql(
                """
                select date_trunc('hour', event_time) as hour, link_type,
                       coalesce(class, case when link_type = 'link' then 'link' else 'other' end) as class,
                       cast(sum(clicks) as bigint) as clicks
                from entries left join class_of using (referrer)
                where source = $source and event_time < $end
                group by all
                """,
                params=values,
            )
            .to_arrow_table()
            .cast(COUNTED)
        )
        self._connection.execute(
            """
            insert into seen select distinct referrer, article, link_type from entries
            where source = $source and event_time < $end
            """,
            values,
        )
        self._connection.unregister("entries")

    def pairs(self) -> int:
        """How many different pairs were counted."""
        return int(self._connection.execute("select count(*) from (select distinct * from seen)").fetchall()[0][0])

    def totals(self) -> pa.Table:
        """All clicks that were counted, in the schema COUNTED; an hour may have several rows."""
        return pa.concat_tables([COUNTED.empty_table(), *self._pieces])


def summarise(stage: str, covers: str, counted: pa.Table, pairs: int | None = None) -> Totals:
    """Add up a table with the columns link_type, class and clicks."""

    def by(column: str, keys: tuple[str, ...]) -> dict[str, int]:
        sums = counted.group_by(column).aggregate([("clicks", "sum")])
        found = dict(zip(sums[column].to_pylist(), sums["clicks_sum"].to_pylist(), strict=True))
        return {key: int(found.get(key, 0)) for key in keys}

    by_type = by("link_type", LINK_TYPES)
    return Totals(stage, covers, sum(by_type.values()), pairs, by_type, by("class", CLASS_ROWS))


def differing_hours(counted: pa.Table, expected: pa.Table) -> list[tuple[datetime, int, int]]:
    """(hour, clicks, expected clicks) of each hour whose clicks differ, in order; both have hour and clicks."""
    with duckdb.connect() as connection:
        connection.register("counted", counted)
        connection.register("expected", expected)
        rows = connection.sql(
            """
            with have as (select hour, sum(clicks)::bigint as clicks from counted group by hour),
                 want as (select hour, sum(clicks)::bigint as clicks from expected group by hour)
            select hour, coalesce(have.clicks, 0), coalesce(want.clicks, 0)
            from have full join want using (hour)
            where coalesce(have.clicks, 0) <> coalesce(want.clicks, 0) order by hour
            """
        ).fetchall()
    return [(hour, int(have), int(want)) for hour, have, want in rows]
