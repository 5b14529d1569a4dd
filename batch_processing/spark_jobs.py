"""What the jobs for ``spark-submit`` share: arguments, the archive behind a URL, the month, and printed results.

Results go to standard output as tab-separated lines with a header, progress to standard error.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
from pyspark import SparkContext

from readerflow.common.errors import BadInput
from readerflow.common.months import Month, format_time, parse_hour
from readerflow.common.settings import Settings
from readerflow.storage.archive import Archive

from .batch import make_tables
from .coverage import Coverage, NothingToCover, cover
from .rebuild import archived_months
from .spark_engine import SparkEngine

ARCHIVE_HELP = """the master dataset: hdfs://HOST:PORT/FOLDER, or a local folder (of the embedded profile
.readerflow/archive). Footers of files in HDFS are read over WebHDFS: READERFLOW_HDFS_WEB says where it is."""


def arguments(description: str | None) -> argparse.ArgumentParser:
    """The parser of what all jobs take."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", metavar="ARCHIVE_URL", help=ARCHIVE_HELP)
    parser.add_argument("--wiki", help="for instance hrwiki; not needed when the archive's newest month is of one wiki")
    parser.add_argument("--month", help="YYYY-MM; the newest in the archive when not given")
    parser.add_argument("--until", metavar="HOUR", help="count clicks before this hour (UTC); the latest by default")
    parser.add_argument("--top", type=int, default=20, help="rows of each ranking that are printed (20)")
    parser.add_argument("--output", metavar="URL", help="folder for the whole results as Parquet; it is overwritten")
    return parser


@dataclass(frozen=True)
class MonthTables:
    """A month of which an engine holds the tables of views/*.sql."""

    engine: SparkEngine
    name: str
    coverage: Coverage
    values: dict[str, Any]

    def read(self, query: str, **values: Any) -> pa.Table:
        return pa.Table.from_batches(self.engine.batches(query, self.values | values))

    def titled(self, rows: pa.Table) -> pa.Table:
        """Rows with titles in the place of the ids in ``article``."""
        titles = self.engine.titles().take(rows["article"].combine_chunks())
        return rows.set_column(rows.schema.get_field_index("article"), "article", titles)


@contextmanager
def month_tables(
    settings: Settings, options: argparse.Namespace, conf: Mapping[str, str] | None = None
) -> Iterator[MonthTables]:
    """Open the archive, choose the month, and compute its tables.

    :param conf: more Spark properties of a new session.
    :raises ReaderFlowError: when there is no such month, or as :func:`.coverage.cover` says.
    """
    with tempfile.TemporaryDirectory(prefix="readerflow-") as cache:
        archive = open_archive(options.archive, settings, Path(cache))
        wiki, month = choose_month(archive, options.wiki, options.month)
        partitions = 1 + max(segment.partition for segment in archive.segments())
        until = parse_hour(options.until) if options.until else None
        coverage = cover(archive, wiki, Month.parse(month), partitions, until=until)
    name = f"{wiki} {month} up to {format_time(coverage.horizon)}"
    say(f"{name}: {len(coverage.uris)} files")
    values = {"source": coverage.active.source, "horizon": coverage.horizon, "ranking_rows": settings.ranking_rows}
    with SparkEngine(settings, scratch=f"{options.archive.rstrip('/')}/scratch", conf=conf) as engine:
        make_tables(engine, coverage.uris, values, say)
        yield MonthTables(engine, name, coverage, values)


def open_archive(url: str, settings: Settings, cache: Path) -> Archive:
    """The archive behind a URL or folder.

    :param cache: a folder for the index of its footers.
    """
    parts = urlsplit(url)
    if parts.scheme == "hdfs":
        from readerflow.storage.hdfs_archive import HdfsArchive
        from readerflow.storage.hdfs_files import HdfsFiles

        return HdfsArchive(HdfsFiles(settings.model_copy(update={"hdfs_root": parts.path})), cache / "index.db")
    if parts.scheme not in ("", "file"):
        raise BadInput(f"{url} is neither a folder nor an hdfs:// address")
    folder = Path(parts.path)
    if not (folder / "clicks").is_dir():
        raise BadInput(f"{folder} holds no master dataset (a folder 'clicks'); give the archive's own folder")
    from readerflow.storage.local_archive import LocalArchive

    return LocalArchive(folder.absolute())


def choose_month(archive: Archive, wiki: str | None, month: str | None) -> tuple[str, str]:
    """The wanted (wiki, month), or the newest; of one wiki only, so that a result never mixes two."""
    found = [(a, b) for a, b in archived_months(archive) if wiki in (None, a) and month in (None, b)]
    if not found:
        raise NothingToCover(f"the archive holds nothing of {wiki or 'any wiki'} {month or ''}".rstrip())
    newest = max(month for _, month in found)
    wikis = sorted({wiki for wiki, month in found if month == newest})
    if len(wikis) > 1:
        raise BadInput(f"{newest} is archived of {', '.join(wikis)}; choose one with --wiki")
    return wikis[0], newest


def say(text: str) -> None:
    """Tell people something, on standard error; spark-submit joins that of Python with standard output."""
    if "PYSPARK_GATEWAY_PORT" in os.environ:
        SparkContext._ensure_initialized()
        gateway: Any = SparkContext._jvm
        gateway.java.lang.System.err.println(text)
    else:
        print(text, file=sys.stderr, flush=True)


def print_rows(rows: pa.Table) -> None:
    """Print a table as tab-separated lines with a header; no title holds a tab."""
    print("\t".join(rows.column_names))
    for row in zip(*(column.to_pylist() for column in rows.columns), strict=True):
        print("\t".join(str(value) for value in row))
