"""The word index beside SQLite's FTS5 and DuckDB's LIKE: time and size of what they build, latency of suggestions.

    python -m benchmarks.searching HOME/views/WIKI/MONTH/GENERATION/views.duckdb

Queries are what people type on the way to titles that are drawn by their clicks: beginnings of one to twelve letters,
and beginnings of two words. Each contestant gives the eight most clicked articles of which each word begins with a
word of the query. FTS5 has its prefix indexes and numbers articles by clicks, so that it can stop early, too; its words
differ (no scripts without spaces, other signs), so the share of queries with the same answer is printed.
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from readerflow.storage.title_index import TitleIndex, write_index
from readerflow.storage.title_words import query_words

ROWS = 8
Suggest = Callable[[str], list[str]]


@dataclass
class Figures:
    """What a contestant took. Latencies in milliseconds."""

    name: str
    cpu_seconds: float
    megabytes: float
    latencies: list[float]
    answers: list[list[str]]

    def percentile(self, share: float) -> float:
        return float(np.quantile(self.latencies, share))


def queries(titles: list[str], clicks: list[int], count: int, seed: int) -> list[str]:
    """What people type on the way to titles."""
    chance = random.Random(seed)  # noqa: S311
    found = []
    for title in chance.choices(titles, clicks, k=count):
        words = title.replace("_", " ")
        if " " in words and chance.random() < 0.3:
            first, second = words.split(" ")[:2]
            found.append(f"{first} {second[: chance.randint(1, 4)]}")
        else:
            found.append(words[: chance.randint(1, 12)])
    return [query for query in found if query_words(query)]


@contextmanager
def word_index(folder: Path, articles: pa.Table) -> Iterator[Suggest]:
    write_index(folder, articles["article"].combine_chunks(), articles["in_clicks"].combine_chunks())
    index = TitleIndex(folder)
    yield lambda query: index.suggest(query, ROWS)["article"].to_pylist()


@contextmanager
def fts5(folder: Path, articles: pa.Table) -> Iterator[Suggest]:
    connection = sqlite3.connect(folder / "fts.db")
    connection.execute("pragma journal_mode = off")
    connection.execute(
        "create virtual table titles using fts5(title, prefix = '1 2 3', tokenize = 'unicode61 remove_diacritics 2')"
    )
    ranked = articles.sort_by([("in_clicks", "descending"), ("article", "ascending")])["article"]
    rows = ((place, title) for place, title in enumerate(ranked.to_pylist()))
    connection.executemany("insert into titles (rowid, title) values (?, ?)", rows)
    connection.execute("insert into titles (titles) values ('optimize')")
    connection.commit()

    def suggest(query: str) -> list[str]:
        # Signs are no part of its words.
        words = "".join(one if one.isalnum() else " " for one in query).split()
        if not words:
            return []
        match = " AND ".join(f'"{word}" *' for word in words)
        sql = "select title from titles where titles match ? order by rowid limit ?"
        return [row[0] for row in connection.execute(sql, (match, ROWS))]

    yield suggest
    connection.close()


@contextmanager
def like(folder: Path, articles: pa.Table) -> Iterator[Suggest]:
    connection = duckdb.connect(str(folder / "like.duckdb"), config={"threads": 1})
    connection.execute(
        "create table titles as select ' ' || replace(strip_accents(lower(article)), '_', ' ') as folded, article, "
        "in_clicks from articles"
    )
    connection.execute("checkpoint")

    def suggest(query: str) -> list[str]:
        words = query_words(query)
        condition = " and ".join(["contains(folded, ?)"] * len(words))
        sql = f"select article from titles where {condition} order by in_clicks desc, article limit {ROWS}"
        return [row[0] for row in connection.execute(sql, [f" {word}" for word in words]).fetchall()]

    yield suggest
    connection.close()


CONTESTANTS = {"ReaderFlow": word_index, "SQLite FTS5": fts5, "DuckDB contains": like}
#: A scan for each query: fewer of them tell enough.
SLOW = {"DuckDB contains": 20}


def measured(name: str, articles: pa.Table, asked: list[str]) -> Figures:
    """Build and ask one contestant."""
    with tempfile.TemporaryDirectory(prefix="readerflow-bench-") as folder:
        began = time.process_time()
        with CONTESTANTS[name](Path(folder), articles) as suggest:
            cpu_seconds = time.process_time() - began
            size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
            latencies, answers = [], []
            for query in asked[:: SLOW.get(name, 1)]:
                began = time.perf_counter()
                answers.append(suggest(query))
                latencies.append(1000 * (time.perf_counter() - began))
    return Figures(name, cpu_seconds, size / 2**20, latencies, answers)


def page(figures: list[Figures], titles: int) -> str:
    """A table of Markdown; ratios are ReaderFlow / peer."""
    ours = figures[0]
    lines = [
        f"| {titles:,} titles | build, CPU s | MiB | p50 ms | p99 ms | ReaderFlow / it: CPU s | MiB | p99 | same |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for one in figures:
        step = SLOW.get(one.name, 1)
        same = np.mean([mine == theirs for mine, theirs in zip(ours.answers[::step], one.answers, strict=True)])
        ratios = (
            ["", "", "", ""]
            if one is ours
            else [
                f"{ours.cpu_seconds / one.cpu_seconds:.2f}",
                f"{ours.megabytes / one.megabytes:.2f}",
                f"{ours.percentile(0.99) / one.percentile(0.99):.3f}",
                f"{100 * same:.0f} %",
            ]
        )
        figures_of = [f"{one.cpu_seconds:.1f}", f"{one.megabytes:.0f}"]
        figures_of += [f"{one.percentile(share):.2f}" for share in (0.5, 0.99)]
        lines.append(f"| {' | '.join([one.name, *figures_of, *ratios])} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("views", type=Path, help="views.duckdb of a generation")
    parser.add_argument("--titles", type=int, help="only so many of its articles")
    parser.add_argument("--queries", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with duckdb.connect(str(options.views), read_only=True) as connection:
        sql = "select article, in_clicks from articles" + (f" limit {options.titles}" if options.titles else "")
        articles = connection.sql(sql).to_arrow_table().combine_chunks()
    titles, clicks = (articles[name].to_pylist() for name in ("article", "in_clicks"))
    asked = queries(titles, clicks, options.queries, options.seed)
    print(page([measured(name, articles, asked) for name in CONTESTANTS], articles.num_rows))


if __name__ == "__main__":
    main()
