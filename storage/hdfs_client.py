"""How a WebHDFS client is made, and what its failures mean to whoever runs ReaderFlow.

No text here repeats a request's address: it may hold the delegation token.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import requests
from hdfs import Client, HdfsError, InsecureClient, TokenClient
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError, ReadTimeoutError

from readerflow.common.cluster_settings import ClusterSettings

from .archive import ArchiveRefused, ArchiveUnavailable

#: Connections that are kept; more requests at once work too, on connections of their own.
CONNECTIONS = 16
#: What the client raises.
FAILURES = (requests.RequestException, HTTPError, HdfsError)

_LOST = (requests.ConnectionError, requests.exceptions.ChunkedEncodingError, HTTPError)
_TIMEOUTS = (requests.Timeout, ReadTimeoutError)
_AGAIN = {"RetriableException", "StandbyException"}
_RIGHTS = {"AccessControlException", "SecurityException", "InvalidToken", "AuthorizationException"}
_QUOTA = {"NSQuotaExceededException", "DSQuotaExceededException", "QuotaExceededException"}


def connect_hdfs(settings: ClusterSettings) -> Client:
    """Make a client; nothing is asked yet."""
    session = requests.Session()
    session.trust_env = False  # a proxy of the environment knows nothing of the cluster
    session.headers["Accept-Encoding"] = "identity"
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(pool_maxsize=CONNECTIONS))
    if settings.hdfs_ca_file is not None:
        session.verify = str(settings.hdfs_ca_file)
    about = {"session": session, "timeout": settings.hdfs_timeout}
    if settings.hdfs_token is not None:
        return TokenClient(settings.hdfs_web, settings.hdfs_token.get_secret_value(), **about)
    return InsecureClient(settings.hdfs_web, settings.hdfs_user, **about)


def may_be_asked_again(error: Exception) -> bool:
    """Whether the same request may succeed in a moment: a connection broke, or a NameNode is changing its role."""
    if isinstance(error, requests.exceptions.SSLError):
        return False
    if isinstance(error, HdfsError):
        return error.exception in _AGAIN
    return isinstance(error, _LOST) and not isinstance(error, _TIMEOUTS)


def translated(error: Exception, settings: ClusterSettings, about: str) -> Exception:
    """The known failure that stands for an error of the client.

    :param about: the file or folder in question.
    :returns: FileNotFoundError, ArchiveRefused or ArchiveUnavailable.
    """
    if isinstance(error, HdfsError):
        return _answered(error, about)
    server = _server(error) or settings.hdfs_web
    if isinstance(error, requests.exceptions.SSLError):
        return ArchiveRefused(
            f"the certificate of HDFS at {server} can't be trusted; set READERFLOW_HDFS_CA_FILE to the file (PEM) that"
            " vouches for it"
        )
    if isinstance(error, _TIMEOUTS):
        return ArchiveUnavailable(
            f"HDFS at {server} has not answered for {settings.hdfs_timeout:g} s; see whether it is overloaded, or raise"
            " READERFLOW_HDFS_TIMEOUT"
        )
    if server not in settings.hdfs_web:
        return ArchiveUnavailable(
            f"the DataNode at {server}, which the NameNode names, can't be reached ({type(error).__name__}); start it"
            " ('readerflow up' on one machine), and see whether this machine can resolve its name"
        )
    return ArchiveUnavailable(
        f"HDFS at {server} can't be reached ({type(error).__name__}); start it ('readerflow up' on one machine), or set"
        " READERFLOW_HDFS_WEB to the NameNode's address"
    )


def _answered(error: HdfsError, about: str) -> Exception:
    text = str(error).partition("\n")[0][:300]
    kind = error.exception
    if kind == "FileNotFoundException":
        return FileNotFoundError(about)
    if kind == "SafeModeException" or "in safe mode" in text:
        return ArchiveUnavailable(
            "HDFS is in safe mode and takes no changes yet; it leaves it when its DataNodes have reported: start those"
            " that are missing, or see 'hdfs dfsadmin -safemode get'"
        )
    if kind in _AGAIN:
        return ArchiveUnavailable(f"HDFS is starting or changes its NameNode ({text}); try again in a moment")
    if "could only be" in text or "Failed to find datanode" in text or kind == "BlockMissingException":
        return ArchiveUnavailable(
            f"no DataNode of HDFS serves {about}: {text}; start the DataNodes ('readerflow up' on one machine) and see"
            " whether their disks are full"
        )
    if kind in _RIGHTS or "Authentication failure" in text:
        return ArchiveRefused(
            f"HDFS refuses {about}: {text}; set READERFLOW_HDFS_USER or READERFLOW_HDFS_TOKEN to somebody who may"
        )
    if kind in _QUOTA:
        return ArchiveRefused(f"HDFS refuses {about}: {text}; ask for a larger quota")
    return ArchiveUnavailable(f"HDFS can't do this with {about}: {text} ({kind}); see the NameNode's log")


def _server(error: Exception) -> str | None:
    """host:port that a request went to: the NameNode, or the DataNode that it named."""
    request = getattr(error, "request", None)
    url = getattr(request, "url", None)
    return urlsplit(url).netloc.rpartition("@")[2] if isinstance(url, str) else None
