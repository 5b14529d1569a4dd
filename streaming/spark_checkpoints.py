"""The checkpoints of Spark's queries in HDFS: a folder for each incarnation of the stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from readerflow.common.settings import Settings
from readerflow.common.spark_errors import spark_error

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


class Checkpoints:
    """The folders below ``checkpoints`` of the HDFS root, reached as Spark reaches them."""

    def __init__(self, session: SparkSession, settings: Settings) -> None:
        self._session = session
        self._root = f"{settings.hdfs_rpc}{settings.hdfs_root}/checkpoints"

    def uri(self, incarnation: str) -> str:
        return f"{self._root}/{incarnation}"

    def names(self) -> list[str]:
        """The incarnations with a checkpoint that a query can go on from, in the order in which they began.

        :raises Unavailable: when HDFS does not answer.
        """
        try:
            system, root = self._opened(self._root)
            if not system.exists(root):
                return []
            folders = [status.getPath() for status in system.listStatus(root)]
            return sorted(
                folder.getName() for folder in folders if system.exists(self._path(f"{folder.toString()}/metadata"))
            )
        except Exception as error:
            raise spark_error(error, "list its checkpoints") from error

    def drop_before(self, incarnation: str) -> None:
        """Delete the checkpoints of incarnations that began earlier.

        :raises Unavailable: when HDFS does not answer.
        """
        for name in self.names():
            if name < incarnation:
                self.drop(name)

    def drop(self, incarnation: str) -> None:
        """Delete a checkpoint, if there is one.

        :raises Unavailable: when HDFS does not answer.
        """
        try:
            system, folder = self._opened(self.uri(incarnation))
            system.delete(folder, True)
        except Exception as error:
            raise spark_error(error, f"delete the checkpoint {incarnation}") from error

    def _opened(self, uri: str) -> tuple[Any, Any]:
        path = self._path(uri)
        return path.getFileSystem(self._java("_jsc").hadoopConfiguration()), path

    def _path(self, uri: str) -> Any:
        return self._java("_jvm").org.apache.hadoop.fs.Path(uri)

    def _java(self, name: str) -> Any:
        """A part of the gateway to Java, which has no public name."""
        return getattr(self._session.sparkContext, name)
