"""The production server: gunicorn with threads, since each open live stream holds one for as long as it lasts.

Stores are opened in each worker after the fork, never in the master: neither SQLite nor DuckDB survives one.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.workers.gthread import ThreadWorker

from .exchange import SECURITY_HEADERS
from .live import HUB
from .problems import MEDIA_TYPE, details

#: Longer than the longest address that the app takes, so that the app's own answer tells of it.
MAX_REQUEST_LINE = 8_190
KEEPALIVE_SECONDS = 15
STOP_SECONDS = 5
#: A peer that vanished without a word (no RST) is given up when data stays unacknowledged for so long.
LOST_PEER_MILLISECONDS = 20_000
#: A worker on a machine that is overloaded for a while must not lose its streams; only one that is stuck for long is.
STUCK_SECONDS = 120
SPARE_CONNECTIONS = 600  # kept alive between requests, beside those that hold a thread


class Worker(ThreadWorker):  # type: ignore[misc]
    """A worker that ends live streams when it stops and tells of broken requests as the app does."""

    def handle_exit(self, sig: int, frame: Any) -> None:
        hub = getattr(self.wsgi, "extensions", {}).get(HUB)
        if hub is not None:
            hub.close()
        super().handle_exit(sig, frame)

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: Exception) -> None:
        """Answer a request that is no HTTP; gunicorn's own method logs it and knows the status."""
        recorder = _Recorder()
        super().handle_error(req, recorder, addr, exc)
        status = int(recorder.sent.split(b" ", 2)[1])
        reason = "the request can't be read as HTTP, or is too large"
        body = json.dumps(details(status, reason, getattr(req, "path", None) or "")).encode()
        headers = {
            **SECURITY_HEADERS,
            "Content-Type": MEDIA_TYPE,
            "Content-Length": str(len(body)),
            "Cache-Control": "no-cache",
            "Connection": "close",
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        try:
            client.sendall(f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{head}\r\n".encode() + body)
        except OSError:
            self.log.debug("the client of a broken request is gone")


class _Recorder:
    """A socket that only remembers what was sent."""

    def __init__(self) -> None:
        self.sent = b""

    def sendall(self, data: bytes) -> None:
        self.sent += data

    def gettimeout(self) -> float:
        return 0.0  # as a socket that does not block


class Server(BaseApplication):  # type: ignore[misc]
    """gunicorn, configured by arguments only."""

    def __init__(self, open_app: Callable[[], Flask], options: dict[str, Any]) -> None:
        self._open_app = open_app
        self._options = options
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        return self._open_app()


def serve(
    open_app: Callable[[], Flask],
    *,
    host: str,
    port: int,
    workers: int,
    threads: int,
    announce: Callable[[str], None],
) -> None:
    """Serve until a signal ends it (then SystemExit is raised).

    :param open_app: called once in each worker, after the fork.
    :param port: 0 takes a free one.
    :param announce: told the address, once it takes connections.
    """

    def listening(arbiter: Any) -> None:
        for listener in arbiter.LISTENERS:
            listener.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, LOST_PEER_MILLISECONDS)
        bound_host, bound_port = arbiter.LISTENERS[0].sock.getsockname()[:2]
        announce(f"http://{_bracketed(bound_host)}:{bound_port}/")

    Server(
        open_app,
        {
            "bind": [f"{_bracketed(host)}:{port}"],
            "workers": workers,
            "threads": threads,
            "worker_class": Worker,
            "worker_connections": threads + SPARE_CONNECTIONS,
            "keepalive": KEEPALIVE_SECONDS,
            "graceful_timeout": STOP_SECONDS,
            "timeout": STUCK_SECONDS,
            "limit_request_line": MAX_REQUEST_LINE,
            "control_socket_disable": True,
            "loglevel": "warning",
            "proc_name": "readerflow",
            "when_ready": listening,
        },
    ).run()


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
