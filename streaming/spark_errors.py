"""What Spark's failures mean: Java's words -> an error that says whether trying again may help."""

from __future__ import annotations

import re

from readerflow.common.errors import ReaderFlowError, Unavailable
from readerflow.storage.log import OffsetGone

#: Java's names for a server that is away, restarts or is not ready yet.
_AWAY = re.compile(
    r"ConnectException|ConnectTimeoutException|SocketTimeoutException|SocketException|NoRouteToHostException"
    r"|UnknownHostException|EOFException|ClosedChannelException|errors\.TimeoutException|TimeoutException: Cannot fetch"
    r"|DisconnectException|NetworkException|BrokerNotAvailable|LeaderNotAvailable|NotLeaderOrFollower"
    r"|CoordinatorNotAvailable|SafeModeException|StandbyException|RetriableException|BlockMissingException"
    r"|could only be written to 0 of|All datanodes|Bad connect ack|Connection refused|Connection reset"
    r"|LeaseExpiredException|Unable to close file|could only get 0 nodes"
)
_WORKER = re.compile(r"Python worker exited unexpectedly|Python worker failed to connect back")
_LOST = re.compile(r"KAFKA_DATA_LOSS|failOnDataLoss|OffsetOutOfRangeException")


class SparkFailed(ReaderFlowError):
    """A Spark query failed for a reason that trying again does not mend."""


class SparkServersAway(Unavailable):
    """Kafka or HDFS did not answer Spark."""


def known_error(error: BaseException) -> ReaderFlowError:
    """The error that a failure of a query stands for."""
    from py4j.protocol import Py4JNetworkError

    if isinstance(error, ReaderFlowError):
        return error
    if isinstance(error, (Py4JNetworkError, ConnectionError)):
        return SparkFailed("Spark's Java process is gone (killed, or out of memory); start the job again")
    text = f"{error}\n{getattr(error, '_stackTrace', None) or ''}"
    if _LOST.search(text):
        return OffsetGone(
            f"the log has lost entries that the stream needs ({_line(text)}); start it with --fresh, so that it "
            "begins where the archive lets it"
        )
    if _WORKER.search(text):
        return SparkFailed("a Python worker of Spark died (killed, or out of memory); start the job again")
    if away := _AWAY.search(text):
        return SparkServersAway(f"Kafka or HDFS does not answer Spark ({_around(text, away.start())})")
    return SparkFailed(f"the Spark query failed: {_line(text)}")


def _line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "no reason given")[:300]


def _around(text: str, place: int) -> str:
    """The line of a text that holds a place, without the name of its exception's package."""
    line = text[text.rfind("\n", 0, place) + 1 :].split("\n", 1)[0].strip()
    return re.sub(r"^(Caused by: )?([a-z]\w*\.)+", "", line)[:200]
