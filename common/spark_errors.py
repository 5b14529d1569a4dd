"""What Spark's failures mean: Java's words -> an error in a line that says whether trying again may help."""

from __future__ import annotations

import re

from .errors import ReaderFlowError, Unavailable

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


class SparkFailed(ReaderFlowError):
    """Spark could not do something, and trying again does not help."""


class SparkUnavailable(Unavailable):
    """A server that Spark needs (HDFS, Kafka, its master) or the view store did not answer."""


def spark_error(error: BaseException, work: str) -> ReaderFlowError:
    """The error that a failure of Spark stands for; one of ours stays what it is.

    :param work: what Spark was to do, after "could not".
    """
    from py4j.protocol import Py4JNetworkError

    if isinstance(error, ReaderFlowError):
        return error
    if isinstance(error, (Py4JNetworkError, ConnectionError)):
        return SparkFailed(
            f"Spark could not {work}: its Java process is gone (killed, or out of memory); start the job again"
        )
    text = failure_text(error)
    if _WORKER.search(text):
        return SparkFailed(
            f"Spark could not {work}: a Python worker died (killed, or out of memory); start the job again"
        )
    if away := _AWAY.search(text):
        reason = _around(text, away.start())
        return SparkUnavailable(f"Spark could not {work}: a server does not answer ({reason}); see 'readerflow status'")
    return SparkFailed(f"Spark could not {work}: {first_line(text)}")


def failure_text(error: BaseException) -> str:
    """All that Spark tells of a failure, with Java's stack trace."""
    return f"{error}\n{getattr(error, '_stackTrace', None) or ''}"


def first_line(text: str) -> str:
    """The first line of a text that says something."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "no reason given")[:300]


def _around(text: str, place: int) -> str:
    """The line of a text that holds a place, without the name of its exception's package."""
    line = text[text.rfind("\n", 0, place) + 1 :].split("\n", 1)[0].strip()
    return re.sub(r"^(Caused by: )?([a-z]\w*\.)+", "", line)[:200]
