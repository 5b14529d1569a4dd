"""The passes over a dump: one that writes pairs and rejects; more only for what is rare.

Whether a dump is quoted shows in its first block or never, in real files. If the first quoted field comes later, all is
read again; if pairs repeat, their rows are taken out again and their lines looked up in the dump. So the ordinary
month is read once, and memory is bounded for any.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from readerflow.common.months import Month
from readerflow.common.progress import Progress
from readerflow.storage.pairs import PairsFacts

from .dialects import Dialect, has_quoted_field, recognise
from .duplicates import Duplicates, find_duplicates, line_numbers, repeated_keys
from .lines import LineParser, Parsed, Totals, count_totals, rejected_lines
from .month_files import PairsFile, RejectsFile
from .reader import BadDump, Block, DumpReader
from .rejects import DUPLICATE

#: Increased when the same dump gives other pairs than before, so that their checksum differs too.
RULES_VERSION = 1
#: Blocks that are parsed beside each other: a part of the work on each keeps but one core busy.
_BLOCKS_AT_ONCE = 2
_SAME_AS = "the same referrer, article and type as in line"
#: For what DuckDB holds besides the blocks: the comparison of repeated pairs goes to disk beyond.
_MEMORY_LIMIT = "1GB"


class Source(NamedTuple):
    """A dump and what it is said to be."""

    dump: Path
    wiki: str
    month: Month
    min_clicks: int
    synthetic: bool


class Draft(NamedTuple):
    """A month that is complete but not published."""

    pairs: Path
    rejects: Path
    facts: PairsFacts


class _QuotedAfterAll(Exception):
    """A quoted field has come after lines that were read as raw."""


def month_checksum(content: str, min_clicks: int) -> str:
    """The checksum of a month's pairs: of the dump's content and of what decides which lines of it are pairs."""
    return hashlib.sha256(f"{content} {min_clicks} {RULES_VERSION}".encode()).hexdigest()


def draft_month(source: Source, work: Path, progress: Progress) -> Draft:
    """Write a month's two files in the folder ``work``.

    :raises BadDump: when the file as a whole is no dump.
    """
    try:
        return _Drafting(source, work, quoted=False).run(progress)
    except _QuotedAfterAll:
        return _Drafting(source, work, quoted=True).run(progress)


@dataclass
class _Drafting:
    source: Source
    work: Path
    quoted: bool

    def run(self, progress: Progress) -> Draft:
        self._dialect: Dialect | None = None
        self._totals = Totals()
        self._lines = self._readable_clicks = 0
        self._keys: list[npt.NDArray[np.uint64]] = []
        self._reader = DumpReader(self.source.dump)
        settings: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": _MEMORY_LIMIT,
            "temp_directory": str(self.work / "spill"),
        }
        with (
            closing(RejectsFile(self.work / "rejects.parquet")) as self._rejects,
            duckdb.connect(config=settings) as connection,
            ExitStack() as opened,
        ):
            pairs = opened.enter_context(closing(PairsFile(self.work / "pairs.parquet")))
            self._read_all(connection, pairs, progress)
            pairs.close()
            repeated = self._repeated()
            duplicates = find_duplicates(connection, pairs.path, repeated) if len(repeated) else None
            if duplicates is not None and len(duplicates.places):
                self._reject_duplicates(duplicates)
                pairs = opened.enter_context(closing(PairsFile(self.work / "unique.parquet")))
                self._copy_without(connection, self.work / "pairs.parquet", duplicates, pairs)
                pairs.close()
            facts = self._facts()
            pairs.add_facts(facts)
            self._rejects.close(facts)
        return Draft(pairs.path, self._rejects.path, facts)

    def _read_all(self, connection: duckdb.DuckDBPyConnection, pairs: PairsFile, progress: Progress) -> None:
        parser: LineParser | None = None
        with ThreadPoolExecutor(1) as writing, ThreadPoolExecutor(_BLOCKS_AT_ONCE) as parsing:
            written: Future[None] = writing.submit(lambda: None)

            def take(parsed: Parsed, consumed: int) -> None:
                nonlocal written
                self._lines += parsed.lines
                self._readable_clicks += parsed.readable_clicks
                self._keys.append(parsed.keys)
                self._totals += parsed.totals
                self._rejects.write(parsed.rejects)
                written.result()
                written = writing.submit(pairs.write, parsed.pairs)
                expected = max(self._lines, self._lines * self._reader.size // max(consumed, 1))
                progress(self._lines, expected, f"{self._rejects.count:,} rejected")

            waiting: deque[tuple[Future[Parsed], int]] = deque()
            for block in self._reader.blocks():
                if parser is None:
                    parser = self._parser(connection, block)
                if not self.quoted and has_quoted_field(block.data):
                    raise _QuotedAfterAll
                waiting.append((parsing.submit(parser.parse, block), block.consumed))
                if len(waiting) > _BLOCKS_AT_ONCE:
                    parsed, consumed = waiting.popleft()
                    take(parsed.result(), consumed)
            for parsed, consumed in waiting:
                take(parsed.result(), consumed)
            written.result()
        if not self._lines:
            held = "nothing but a header" if self._dialect else "no line"
            raise BadDump(f"{self.source.dump} holds {held}; fetch the dump again")

    def _parser(self, connection: duckdb.DuckDBPyConnection, first: Block) -> LineParser:
        dialect = recognise(first.data, str(self.source.dump))
        self.quoted = self.quoted or has_quoted_field(first.data)
        self._dialect = dialect.as_quoted() if self.quoted else dialect
        return LineParser(connection, self._dialect, self.source.wiki, self.source.month, self.source.min_clicks)

    def _repeated(self) -> npt.NDArray[np.uint64]:
        keys = np.concatenate(self._keys)
        self._keys = []
        return repeated_keys(keys)

    def _reject_duplicates(self, duplicates: Duplicates) -> None:
        """Look the lines of repeated pairs up in the dump; they come after all other rejects."""
        first_line = 2 if self._dialect and self._dialect.header else 1
        rejected = self._rejects.numbers
        numbers = line_numbers(duplicates.places, rejected, first_line)
        firsts = line_numbers(duplicates.first_places, rejected, first_line)
        for found, lines in _lines_at(DumpReader(self.source.dump).blocks(), numbers):
            reasons = pc.binary_join_element_wise(_SAME_AS, pa.array(firsts[found]).cast(pa.string()), " ")
            classes = pa.repeat(DUPLICATE, len(lines))
            self._rejects.write(rejected_lines(lines, numbers[found], classes, reasons))

    def _copy_without(
        self, connection: duckdb.DuckDBPyConnection, path: Path, duplicates: Duplicates, kept: PairsFile
    ) -> None:
        """Write the pairs again without the repeated rows, and count them again."""
        self._totals = Totals()
        place = 0
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                pairs = file.read_row_group(group)
                first, last = np.searchsorted(duplicates.places, (place, place + len(pairs)))
                keep = np.ones(len(pairs), bool)
                keep[duplicates.places[first:last] - place] = False
                place += len(pairs)
                pairs = pairs.filter(pa.array(keep))
                kept.write(pairs)
                self._totals += count_totals(connection, pairs)

    def _facts(self) -> PairsFacts:
        dialect, source, totals = self._dialect, self.source, self._totals
        return PairsFacts(
            wiki=source.wiki,
            month=str(source.month),
            dump=source.dump.name,
            dialect=dialect.name if dialect else "",
            synthetic=source.synthetic,
            read=self._lines,
            accepted=totals.pairs,
            rejected=self._rejects.count,
            clicks=totals.clicks,
            checksum=month_checksum(self._reader.checksum, source.min_clicks),
            rejects=dict(sorted(self._rejects.by_class.items())),
            clicks_by_type=dict(sorted(totals.by_type.items())),
            clicks_by_class=dict(sorted(totals.by_class.items())),
            dump_clicks=self._readable_clicks,
        )


def _lines_at(blocks: Iterable[Block], numbers: npt.NDArray[np.int64]) -> Iterator[tuple[slice, pa.Array]]:
    """The lines with the given ascending numbers: which of them a block holds, and the lines."""
    for block in blocks:
        first, last = np.searchsorted(numbers, (block.first_line, block.first_line + len(block.lines)))
        if first < last:
            yield slice(first, last), block.lines.take(pa.array(numbers[first:last] - block.first_line))
        if last == len(numbers):
            return
