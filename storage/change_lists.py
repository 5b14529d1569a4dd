"""Works out what changed between two generations of a wiki: the lists of :mod:`.changes`.

It starts from the exported views, whose rows come in the byte order of articles: two streams are cut where no article
is torn apart, and each two pieces are joined on their own. So memory is flat however long the months are, and what is
joined lies in a scratch file until the lists are drawn from it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from .batch_views import BATCH_SCHEMAS, View
from .changes import DIRECTIONS, KEPT_ROWS, MEASURES, MOVER, ORDERS, PAIR, mover_list, write_changes
from .title_files import place_of

#: Rows of a stream that are joined at once.
PIECE_ROWS = 250_000
MEMORY = "512MB"
#: How the names of folders begin that hold what is being worked out.
SCRATCH = "working-"
#: Joined articles, each beside the one row that holds hours and totals of both sides.
_CHANGED = "changed cross join whole"

Batches = Iterable[pa.RecordBatch]


def aligned(now: Batches, before: Batches, piece_rows: int = PIECE_ROWS) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Cut two streams, each in the byte order of ``article``, into pieces that hold all rows of their articles.

    A piece is about as long as ``piece_rows``, or as the longest article.
    """
    sides = _Side(now), _Side(before)
    wanted = piece_rows
    while True:
        for side in sides:
            side.fill(wanted)
        # The last article of a stream that goes on may go on, too.
        borders = [side.last for side in sides if not side.ended]
        if not borders:
            yield sides[0].take(None), sides[1].take(None)
            return
        border = min(borders, key=str.encode)
        pieces = sides[0].take(border), sides[1].take(border)
        if any(piece.num_rows for piece in pieces):
            wanted = piece_rows
            yield pieces
        else:
            wanted *= 2


class _Side:
    """A stream of batches, of which some rows are held."""

    def __init__(self, batches: Batches) -> None:
        self._rest = iter(batches)
        first = next(self._rest, None)
        self.ended = first is None
        self._held = (
            pa.table({"article": pa.array([], pa.string())}) if first is None else pa.Table.from_batches([first])
        )

    def fill(self, rows: int) -> None:
        """Hold so many rows, or all there are; a stream that has not ended holds one at least."""
        more = list[pa.RecordBatch]()
        count = self._held.num_rows
        while not self.ended and (count < rows or not count):
            batch = next(self._rest, None)
            if batch is None:
                self.ended = True
            else:
                more.append(batch)
                count += batch.num_rows
        if more:
            self._held = pa.Table.from_batches([*self._held.to_batches(), *more], self._held.schema).combine_chunks()

    @property
    def last(self) -> str:
        return str(self._held["article"][-1].as_py())

    def take(self, border: str | None) -> pa.Table:
        """The rows of articles before a border; all of them for None."""
        end = self._held.num_rows
        if border is not None and end:
            end = place_of(self._held["article"].chunk(0), border)
        taken, self._held = self._held.slice(0, end), self._held.slice(end)
        return taken


def write_movers(
    path: Path, now: Batches, before: Batches, hours: tuple[int, int], stop: Callable[[], None] = lambda: None
) -> None:
    """Work out which articles rose and fell most, by each measure, in clicks a day and in share.

    An article that a generation lacks counts as 0 clicks there and says null. Equal changes come in byte order.

    :param now: the view ``articles`` of the later generation, ``before`` of the one to compare with.
    :param hours: hours that each of them covers.
    :param stop: called between pieces and lists; raises to give up.
    """
    columns = [f"{side}_{name}" for name in MEASURES for side in ("now", "before")]
    with _scratch(path) as connection:
        declared = ", ".join(f"{column} bigint" for column in columns)
        connection.execute(f"create table changed (title varchar, {declared})")
        values = {side: _measures(side) for side in ("now", "before")}
        joined = f"""
            insert into changed by name select coalesce(now.article, before.article) as title, {values["now"]},
                {values["before"]} from now full join before on now.article = before.article order by title
        """  # noqa: S608, our own names
        _join(connection, View.ARTICLES, aligned(now, before), joined, stop)
        sums = ", ".join(f"coalesce(sum({column}), 0)::bigint as {column}_total" for column in columns)
        connection.execute(
            "create table whole as select $now::bigint as now_hours, $before::bigint as before_hours, "  # noqa: S608, our own names
            f"{sums} from changed",
            {"now": hours[0], "before": hours[1]},
        )
        totals = {name: _sums(connection, [f"now_{name}_total", f"before_{name}_total"], "whole") for name in MEASURES}
        changes = {
            (measure, order, direction): _change(measure, order, direction)
            for measure in MEASURES
            for order in ORDERS
            for direction in DIRECTIONS
        }
        found = _sums(connection, [f"count(*) filter ({change} > 0)" for change in changes.values()], _CHANGED)
        names = [mover_list(*key) for key in changes]
        lists = {
            name: _list(connection, _movers(key[0], change), MOVER, stop)
            for name, (key, change) in zip(names, changes.items(), strict=True)
        }
        write_changes(path, MOVER, lists, {"totals": totals, "found": dict(zip(names, found, strict=True))})


def _movers(measure: str, change: str) -> str:
    """SQL of a list; rows lie in byte order, so that places stand for titles and those of the list alone are read."""
    return f"""
        select title, now_{measure}, before_{measure} from {_CHANGED}
        where changed.rowid in (
            select place from (select changed.rowid as place, {change} as change from {_CHANGED})
            where change > 0 order by change desc, place limit {KEPT_ROWS}
        )
        order by {change} desc, changed.rowid
    """  # noqa: S608, our own names


def _measures(side: str) -> str:
    """The columns of a side in a joined row; null where the side has none."""
    return ", ".join(f"{_of(side, sql)} as {side}_{name}" for name, sql in MEASURES.items())


def _of(side: str, sql: str) -> str:
    return " - ".join(f"{side}.{column}" for column in sql.split(" - "))


def _change(measure: str, order: str, direction: str) -> str:
    """SQL of how much an article rose (or fell), in a unit in which changes compare; exact for clicks a day."""
    now, before = f"coalesce(now_{measure}, 0)", f"coalesce(before_{measure}, 0)"
    if order == "clicks":
        rise = f"({now} * before_hours - {before} * now_hours)"
    else:
        shares = (
            f"{clicks} / greatest(1, {side}_{measure}_total)" for clicks, side in ((now, "now"), (before, "before"))
        )
        rise = f"({' - '.join(shares)})"
    return rise if direction == "rise" else f"(-{rise})"


def write_pairs(path: Path, now: Batches, before: Batches, stop: Callable[[], None] = lambda: None) -> None:
    """Work out which pairs of referrer and article only one generation has, those with most clicks first.

    :param now: the view ``sources`` of the later generation, ``before`` of the one to compare with.
    :param stop: called between pieces and lists; raises to give up.
    """
    with _scratch(path) as connection:
        connection.execute(
            "create table changed (referrer varchar, article varchar, link_type varchar, now bigint, before bigint)"
        )
        connection.execute("create table counted (pairs bigint, now bigint, before bigint)")
        joined = """
            create or replace temp table joined as
            select referrer, article, link_type, now.clicks as now, before.clicks as before
            from now full join before using (article, referrer, link_type);
            insert into changed select * from joined where now is null or before is null;
            insert into counted select count(*), sum(now), sum(before) from joined
            where now is not null and before is not null
        """
        _join(connection, View.SOURCES, aligned(now, before), joined, stop)
        facts = {
            name: dict(zip(("pairs", "now", "before"), _sums(connection, aggregates, source), strict=True))
            for name, aggregates, source in (
                ("new", ["count(*)", "coalesce(sum(now), 0)", "0"], "changed where now is not null"),
                ("vanished", ["count(*)", "0", "coalesce(sum(before), 0)"], "changed where before is not null"),
                ("both", [f"coalesce(sum({name}), 0)" for name in ("pairs", "now", "before")], "counted"),
            )
        }
        lists = {
            name: _list(
                connection,
                f"select referrer, article, link_type, {have} as clicks from changed where {have} is not null "  # noqa: S608
                f"order by clicks desc, article, referrer, link_type limit {KEPT_ROWS}",
                PAIR,
                stop,
            )
            for name, have in (("new", "now"), ("vanished", "before"))
        }
        write_changes(path, PAIR, lists, facts)


@contextmanager
def _scratch(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database in a folder beside ``path`` that goes with the block; it holds what memory should not."""
    with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=path.parent) as folder:
        spill = str(Path(folder) / "spill")
        config: dict[str, str | bool | int | float | list[str]]
        config = {"threads": 1, "memory_limit": MEMORY, "temp_directory": spill}
        with duckdb.connect(str(Path(folder) / "scratch.duckdb"), config=config) as connection:
            yield connection


def _join(
    connection: duckdb.DuckDBPyConnection,
    view: View,
    pieces: Iterable[tuple[pa.Table, pa.Table]],
    sql: str,
    stop: Callable[[], None],
) -> None:
    """Run SQL over each two pieces, as tables ``now`` and ``before``."""
    schema = BATCH_SCHEMAS[view]
    for piece in pieces:
        stop()
        for name, rows in zip(("now", "before"), piece, strict=True):
            connection.register(name, rows.select(schema.names) if rows.num_rows else schema.empty_table())
        connection.execute(sql)
        for name in ("now", "before"):
            connection.unregister(name)


def _sums(connection: duckdb.DuckDBPyConnection, aggregates: list[str], source: str = "changed") -> list[int]:
    """Aggregates over a table."""
    row = connection.sql(f"select {', '.join(aggregates)} from {source}").fetchall()[0]  # noqa: S608, our own names
    return [int(value) for value in row]


def _list(
    connection: duckdb.DuckDBPyConnection, sql: str, schema: pa.Schema, stop: Callable[[], None]
) -> pa.RecordBatch:
    stop()
    rows = connection.sql(sql).to_arrow_table().rename_columns(schema.names).cast(schema)
    return rows.combine_chunks().to_batches()[0] if rows.num_rows else pa.RecordBatch.from_pylist([], schema)
