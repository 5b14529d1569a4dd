"""The one Spark session of a process: master, memory, jars, Python, HDFS and our code for executors.

Spark jobs of all layers (batch_processing/, streaming/) open it here. pyspark is imported when a session is asked for:
the embedded profile does not need it.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ReaderFlowError
from .jars import spark_jars
from .settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

#: What executors import; other rooms run on the driver alone.
ROOMS = ("common", "storage", "batch_processing", "streaming")
_LOCAL = ("local", "spark://127.0.0.1", "spark://localhost")
_PACKAGE = Path(__file__).parents[1]


class NoSpark(ReaderFlowError):
    """Spark is not installed."""


@contextmanager
def spark_session(
    app: str, settings: Settings, conf: Mapping[str, str] | None = None, *, kafka: bool = True
) -> Iterator[SparkSession]:
    """Open the process's Spark session and end it, and Java, with the block; one that runs already is lent.

    What ``spark-submit`` was told on its command line counts more than the settings, and both more than ``conf``.

    :param conf: Spark properties that the job wants by default.
    :param kafka: whether the job needs the Kafka connector's jars, which Maven fetches.
    :raises NoSpark: when pyspark is missing; what :func:`.jars.spark_jars` raises when the jars are.
    """
    try:
        from py4j.protocol import Py4JError
        from pyspark import SparkConf, SparkContext
        from pyspark.sql import SparkSession
    except ImportError:
        raise NoSpark("pyspark is not installed; install it with `pip install readerflow[cluster]`") from None
    if SparkContext._active_spark_context is not None:
        yield SparkSession.builder.getOrCreate()
        return
    _environment(settings)
    submitted = "PYSPARK_GATEWAY_PORT" in os.environ  # by spark-submit, which runs the JVM already
    gateway: Any = None
    if submitted:
        SparkContext._ensure_initialized()
        gateway = SparkContext._jvm
        gateway.java.lang.System.setProperty("HADOOP_USER_NAME", settings.hdfs_user)
    properties = SparkConf()
    for name, value in (_properties(settings) | dict(conf or {})).items():
        properties.setIfMissing(name, value)
    if kafka and not properties.contains("spark.jars"):
        jars = spark_jars(settings)
        properties.set("spark.jars", ",".join(map(str, jars)))
        if submitted:
            _load(gateway, jars)
    with tempfile.TemporaryDirectory(prefix="readerflow-") as folder:
        with _own_interrupt():
            session = SparkSession.builder.appName(app).config(conf=properties).getOrCreate()
        try:
            if not session.sparkContext.master.startswith("local"):
                _send_code(session, Path(folder))
            yield session
        finally:
            with suppress(OSError, Py4JError):  # when Java has died: whoever used the session has met that
                session.stop()
            if not submitted:
                _end_java()


def _load(gateway: Any, jars: list[Path]) -> None:
    """Let a JVM that runs already find the classes of jars; ``spark.jars`` comes too late for its driver."""
    loader = gateway.java.lang.Thread.currentThread().getContextClassLoader()
    for jar in jars:
        loader.addURL(gateway.java.io.File(str(jar)).toURI().toURL())


def _end_java() -> None:
    """End the JVM that pyspark started: it holds the heap, and the next session may want other jars."""
    from pyspark import SparkContext

    gateway: Any = SparkContext._gateway
    SparkContext._gateway = SparkContext._jvm = None
    with suppress(OSError):
        gateway.shutdown()
    gateway.proc.stdin.close()
    gateway.proc.wait()


@contextmanager
def _own_interrupt() -> Iterator[None]:
    """Keep the process's handler of SIGINT: Spark sets one of its own, by which a job can't end cleanly."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)


def _environment(settings: Settings) -> None:
    """What the JVM and the Python workers take from the environment; set before they start."""
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("PYSPARK_DRIVER_PYTHON", sys.executable)
    os.environ.setdefault("HADOOP_USER_NAME", settings.hdfs_user)
    if settings.spark_master.startswith(_LOCAL):
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")


def _properties(settings: Settings) -> dict[str, str]:
    found = {
        "spark.master": settings.spark_master,
        "spark.driver.memory": settings.spark_driver_memory,
        "spark.executor.memory": settings.spark_executor_memory,
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.extraJavaOptions": f'"-Dlog4j2.configurationFile={_PACKAGE / "common" / "log4j2.properties"}"',
        "spark.executorEnv.HADOOP_USER_NAME": settings.hdfs_user,
        "spark.hadoop.dfs.replication": str(settings.hdfs_replication),
        # By default a client waits 400 ms for the last block of each small file.
        "spark.hadoop.dfs.client.block.write.locateFollowingBlock.initial.delay.ms": "5",
    }
    if settings.hdfs_replication == 1:
        found["spark.hadoop.dfs.client.block.write.replace-datanode-on-failure.policy"] = "NEVER"
    if settings.spark_master.startswith(_LOCAL):
        found |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
    return found


def _send_code(session: SparkSession, folder: Path) -> None:
    """Give executors in other processes our code, and keep the driver's own copy of it first.

    :param folder: from which executors fetch it, whenever they join the session.
    """
    if not _PACKAGE.is_dir():
        return  # we run from a zip that spark-submit was given, and so do they
    # A name of its own: spark-submit may have been given a readerflow.zip, and Spark takes each name once.
    archive = code_zip(folder / f"readerflow-{os.urandom(4).hex()}.zip")
    known = list(sys.path)
    session.sparkContext.addPyFile(str(archive))
    sys.path[:] = known


def code_zip(target: Path) -> Path:
    """Write what executors import as a zip, in the form of ``spark-submit --py-files``."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for room in ROOMS:
            for path in sorted((_PACKAGE / room).rglob("*")):
                if path.suffix in (".py", ".sql"):
                    archive.write(path, Path("readerflow") / path.relative_to(_PACKAGE))
    return target
