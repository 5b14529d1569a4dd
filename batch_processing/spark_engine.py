"""The batch engine of the ``cluster`` profile: Spark SQL, its tables as Parquet files where all executors reach them.

A month never comes to the driver. What does is what the port says fits one machine: the link graph, and once the
titles, on their way into a file that every executor maps into memory. So views are sorted by numbers and get their
text as rows leave, and only the number of a wiki's articles bounds what the driver and each executor hold.
"""

from __future__ import annotations

import atexit
import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa
import pyspark
from py4j.protocol import Py4JError
from pyspark import SparkFiles
from pyspark.errors import PySparkException
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from readerflow.common.errors import ReaderFlowError, Unavailable
from readerflow.common.settings import Settings
from readerflow.common.spark_errors import SparkFailed, SparkUnavailable, failure_text, spark_error
from readerflow.common.spark_session import spark_session
from readerflow.storage.archive import ARCHIVED
from readerflow.storage.batch_views import BATCH_SCHEMAS, ViewWriter

from .distributed_ranks import DistributedLinks, distributed_links
from .engine import StoredView
from .graph_checks import GraphLibrary, graph_library
from .positions import number_rows

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

log = logging.getLogger(__name__)

#: What a batch run wants of a session.
SPARK_CONF = {
    # Keys spread well, so that hashing one side of a join beats sorting both wherever a task's share fits in memory.
    "spark.sql.adaptive.maxShuffledHashJoinLocalMapThreshold": "128m",
    "spark.sql.autoBroadcastJoinThreshold": "32m",
    "spark.sql.files.maxPartitionBytes": "32m",
    "spark.sql.execution.arrow.maxRecordsPerBatch": "65536",
    "spark.driver.maxResultSize": "0",
}
#: Rows of the master dataset for each task of a shuffle: a task costs some 20 ms, and its share must fit in memory.
TASK_ROWS = 500_000
#: Larger tables are put into files.
SMALL_ROWS = 1000
#: Ids are hardly ever the same twice in a column, so that a dictionary of them is lost work.
FILES = {"parquet.enable.dictionary": "false", "compression": "zstd", "parquet.compression.codec.zstd.level": "1"}
#: Age of a scratch folder whose run is dead for sure.
ABANDONED_SECONDS = 24 * 3600.0
#: monotonically_increasing_id() is the partition's number, shifted by so many bits, plus the row's.
_PARTITION_BITS = 33
_PARAMETER = re.compile(r"(?<!:):([a-z_]+)")
_ORDER = re.compile(r"\border\s+by\s+((?:(?!\border\s+by\b)[^()])*)\Z", re.IGNORECASE)
_KNOWN_FAILURE = re.compile(r"\bWriterFailed: (away|failed) <<(.*?)>>", re.DOTALL)


class SparkEngine:
    """Tables are Parquet files in a scratch folder that goes with the run.

    Spark's own cache would keep the query behind each table in every later plan, and loses rows with an executor.

    :param scratch: URL of the scratch folders of executors in other processes, which all of them reach; by default in
        the HDFS of the settings. With a local master it is the home's ``tmp``.
    """

    name = f"spark {pyspark.__version__}"

    def __init__(
        self, settings: Settings, *, scratch: str | None = None, conf: Mapping[str, str] | None = None
    ) -> None:
        self._settings = settings
        self._conf = SPARK_CONF | dict(conf or {})
        self._shared_scratch = scratch or f"{settings.hdfs_rpc}/{settings.hdfs_root.strip('/')}/scratch"
        self._titles: pa.Array | None = None
        self._titles_file = ""

    def __enter__(self) -> SparkEngine:
        with ExitStack() as stack:
            session = stack.enter_context(spark_session("readerflow batch", self._settings, self._conf, kafka=False))
            # Names of tables are this run's own, also on a session that others use.
            self._spark = session.newSession()
            for name, value in SPARK_CONF.items():
                if name.startswith("spark.sql."):
                    self._spark.conf.set(name, value)
            self._local = self._spark.sparkContext.master.startswith("local")
            scratch = (self._settings.home.absolute() / "tmp").as_uri() if self._local else self._shared_scratch
            self._scratch = f"{scratch}/spark-{os.urandom(4).hex()}"
            self._sweep(scratch)
            self._tasks = self._spark.sparkContext.defaultParallelism
            self._spark.conf.set("spark.sql.shuffle.partitions", self._tasks)
            self._folder = Path(SparkFiles.getRootDirectory())
            if not self._local:
                # Spark sends a file to each new executor, as long as the session lives, which may not be ours.
                self._folder = Path(tempfile.mkdtemp(prefix="readerflow-batch-"))
                atexit.register(shutil.rmtree, self._folder, ignore_errors=True)
            stack.callback(self._remove_scratch)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _files(self, url: str) -> tuple[Any, Any]:
        """Hadoop's file system and path of a URL."""
        jvm: Any = self._spark.sparkContext._jvm
        path = jvm.org.apache.hadoop.fs.Path(url)
        return path.getFileSystem(self._spark._jsparkSession.sessionState().newHadoopConf()), path

    def _sweep(self, scratch: str) -> None:
        """Remove what runs left that died long ago."""
        with _translated(f"list {scratch}"):
            system, path = self._files(scratch)
            for status in system.listStatus(path) if system.exists(path) else []:
                old = time.time() - status.getModificationTime() / 1000 > ABANDONED_SECONDS
                if old and status.getPath().getName().startswith("spark-"):
                    system.delete(status.getPath(), True)

    def _remove_scratch(self) -> None:
        system, path = self._files(self._scratch)
        with suppress(Py4JError):  # else a later run's sweep removes it
            system.delete(path, True)
        if self._local and self._titles_file:
            (self._folder / self._titles_file).unlink(missing_ok=True)

    def open(self, name: str, uris: Sequence[str]) -> None:
        with _translated("open the master dataset"):
            rows = self._spark.read.schema(from_arrow_schema(ARCHIVED, prefer_timestamp_ntz=True)).parquet(*uris)
            rows.createOrReplaceTempView(name)
            self._tasks = max(self._tasks, -(-rows.count() // TASK_ROWS))
        self._spark.conf.set("spark.sql.shuffle.partitions", self._tasks)

    def put(self, name: str, rows: pa.Table) -> None:
        # A plan that holds many rows is slow to handle.
        given = self._spark.createDataFrame(rows)
        (self._kept(name, given) if len(rows) > SMALL_ROWS else given).createOrReplaceTempView(name)

    def define(self, name: str, sql: str, values: Mapping[str, Any]) -> None:
        self._kept(name, self._query(sql, values)).createOrReplaceTempView(name)

    def number(self, name: str, sql: str, values: Mapping[str, Any]) -> None:
        # Each task of a sort numbers its own rows; what the tasks before it hold is then added. A window would sort
        # everything in one task.
        rows = self._query(sql, values).sort("title").select(F.monotonically_increasing_id().alias("place"), "title")
        rows = self._kept(name, rows)
        partition = F.shiftright("place", _PARTITION_BITS).cast("int")
        with _translated(f"count the table {name}"):
            counted = rows.groupBy(partition.alias("number")).count().toArrow().sort_by("number")
        starts, rows_before = [], 0
        for number, count in zip(counted["number"].to_pylist(), counted["count"].to_pylist(), strict=True):
            starts.append((number, rows_before - (number << _PARTITION_BITS)))
            rows_before += count
        shift = self._spark.createDataFrame(
            pa.table({"number": [n for n, _ in starts], "shift": [s for _, s in starts]})
        )
        numbered = rows.join(F.broadcast(shift), partition == F.col("number"))
        numbered = numbered.select((F.col("place") + F.col("shift")).cast("int").alias("id"), "title")
        numbered.createOrReplaceTempView(name)

    def batches(self, sql: str, values: Mapping[str, Any]) -> Iterator[pa.RecordBatch]:
        with _translated("read a result"):
            table = self._query(sql, values).toArrow()
        yield _no_rows(table.schema)
        yield from table.to_batches()

    def titles(self) -> pa.Array:
        """The titles in the order of their ids, mapped from the file that executors get."""
        if self._titles is None:
            with _translated("read the titles"):
                table = self._spark.sql("select id, title from titles").toArrow()
            places = np.empty(len(table), dtype=np.int64)
            places[table["id"].to_numpy()] = np.arange(len(table))
            title = table["title"].combine_chunks().take(pa.array(places))
            path = self._folder / f"titles-{os.urandom(4).hex()}.arrow"
            schema = pa.schema([("title", title.type)])
            with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
                writer.write_batch(pa.record_batch([title], schema=schema))
            if not self._local:
                self._spark.sparkContext.addFile(str(path))
            self._titles_file = path.name
            self._titles = _mapped(path)
        return self._titles

    @contextmanager
    def links(self, sql: str) -> Iterator[DistributedLinks]:
        with (
            _translated("rank the links"),
            distributed_links(self._query(sql, {}), len(self.titles()), self._kept) as links,
        ):
            yield links

    @contextmanager
    def graph_library(self, sql: str, wanted: str | None = None) -> Iterator[GraphLibrary]:
        """A library of graph algorithms over a query's edges: referrer and article, title ids."""
        links = self._query(sql, {}).selectExpr("referrer as source", "article as target")
        with _translated("run graph algorithms"):
            yield graph_library(links, f"{self._scratch}/graph", wanted)

    def store(self, view: StoredView, values: Mapping[str, Any], writer: ViewWriter) -> int:
        rows = self._ranged(view, values)
        if rows is None:
            return writer(_finished(self.batches(view.sql, values), view, self.titles))
        task = _Store(view, writer, self._titles_file)
        with _translated(f"write the view {view.view}"):
            counts = rows.mapInArrow(cast(Any, task), "rows bigint").toArrow()["rows"]
        return sum(counts.to_pylist()) or writer([_no_rows(BATCH_SCHEMAS[view.view])])

    def save(self, view: StoredView, values: Mapping[str, Any], url: str) -> None:
        """Run a view's query and write its rows as Parquet files, sorted within and from one file to the next."""
        with _translated(f"write {url}"):
            rows = self._ranged(view, values)
            if rows is None:
                schema = BATCH_SCHEMAS[view.view]
                found = _finished(self.batches(view.sql, values), view, self.titles)
                self.save_table(pa.Table.from_batches(found, schema), url)
            else:
                columns = from_arrow_schema(BATCH_SCHEMAS[view.view])
                rows.mapInArrow(cast(Any, _Finish(view, self._titles_file)), columns).write.parquet(url, "overwrite")

    def save_table(self, rows: pa.Table, url: str) -> None:
        """Write rows of this machine as one Parquet file in a folder."""
        with _translated(f"write {url}"):
            self._spark.createDataFrame(rows).coalesce(1).write.parquet(url, "overwrite")

    def _ranged(self, view: StoredView, values: Mapping[str, Any]) -> DataFrame | None:
        """A view's rows, each key within one task, sorted there; None when the view is not sorted by its key."""
        if view.titled:
            self.titles()
        found = _ORDER.search(view.sql)
        key = BATCH_SCHEMAS[view.view].names[0]
        if found is None or found[1].split(",")[0].strip() != key:
            return None  # a handful of rows in an order of their own
        ranged = self._query(view.sql[: found.start()], values).repartitionByRange(self._tasks, key)
        return self._spark.sql("select * from {ranged} sort by " + found[1], ranged=ranged)  # noqa: S608, views/*.sql

    def _kept(self, name: str, rows: DataFrame) -> DataFrame:
        path = f"{self._scratch}/{name}"
        with _translated(f"compute the table {name}"):
            rows.write.options(**FILES).parquet(path)
        return self._spark.read.schema(rows.schema).parquet(path)

    def _query(self, sql: str, values: Mapping[str, Any]) -> DataFrame:
        return self._spark.sql(sql, args={name: _literal(values[name]) for name in set(_PARAMETER.findall(sql))})


class WriterFailed(Exception):
    """Carries a known failure of an executor to the driver, as text."""


@dataclass(frozen=True)
class _Finish:
    """What an executor makes of its range of a view's sorted rows."""

    view: StoredView
    titles_file: str

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        rows = (batch for batch in batches if batch.num_rows)
        return _finished(rows, self.view, lambda: _mapped(Path(SparkFiles.get(self.titles_file))))


@dataclass(frozen=True)
class _Store:
    """Hands an executor's range of a view to a copy of the writer; yields how many rows it wrote."""

    view: StoredView
    writer: ViewWriter
    titles_file: str

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        rows = _Finish(self.view, self.titles_file)(batches)
        first = next(rows, None)
        if first is None:
            return
        try:
            count = self.writer(chain([first], rows))
        except ReaderFlowError as error:
            away = "away" if isinstance(error, Unavailable) else "failed"
            raise WriterFailed(f"{away} <<{error}>>") from error
        yield pa.record_batch({"rows": pa.array([count], pa.int64())})


@contextmanager
def _translated(work: str) -> Iterator[None]:
    """Tell what Spark could not do in one line; its own text is pages long."""
    try:
        yield
    except (PySparkException, Py4JError, ConnectionError) as error:
        if known := _KNOWN_FAILURE.search(failure_text(error)):
            kind: type[ReaderFlowError] = SparkUnavailable if known[1] == "away" else SparkFailed
            raise kind(f"Spark could not {work}: {known[2]}") from error
        raise spark_error(error, work) from error


def _finished(
    batches: Iterable[pa.RecordBatch], view: StoredView, titles: Callable[[], pa.Array]
) -> Iterator[pa.RecordBatch]:
    """Rows as the view's schema has them: numbered, with titles instead of ids."""
    schema = BATCH_SCHEMAS[view.view]
    if view.numbered is not None:
        batches = number_rows(batches, view.numbered)
    text = titles() if view.titled else pa.array([], pa.string())
    for batch in batches:
        for name in view.titled:
            index = batch.schema.get_field_index(name)
            batch = batch.set_column(index, name, text.take(batch.column(index)))
        yield batch.select(schema.names).cast(schema)


def _no_rows(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([], schema=schema)


def _mapped(path: Path) -> pa.Array:
    return pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0).column("title")


def _literal(value: Any) -> Column | Any:
    """A parameter as Spark takes it; times are naive, while a datetime would become one of a time zone."""
    return F.expr(f"timestamp_ntz '{value.isoformat(' ')}'") if isinstance(value, datetime) else value
