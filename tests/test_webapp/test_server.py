"""The production server as a process: where it listens, what it says to broken requests, how streams end."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from readerflow.common.months import HOUR
from readerflow.webapp.exchange import SECURITY_HEADERS
from tests.serving_store import MONTH, START, WIKI, Click, Store, micro_batch, numbered

CLICKS = numbered([Click(hour, "other-search", "Zagreb", "external", 5) for hour in range(10)])
TREND = (1, 1, "Zagreb", 90, 3.5, 20.0, START + 9 * HOUR, START + 10 * HOUR)
STREAMS = 60
SERVE = f"""
import sys
from pathlib import Path
from readerflow.storage.embedded_serving import EmbeddedServing
from readerflow.webapp.app import create_app
from readerflow.webapp.server import serve

def open_app():
    serving = EmbeddedServing(Path(sys.argv[1]), Path(sys.argv[2]))
    return create_app(serving, live_clients={STREAMS}, heartbeat_seconds=0.3, poll_seconds=0.05)

serve(open_app, host="127.0.0.1", port=0, workers=int(sys.argv[3]), threads={STREAMS + 10},
      announce=lambda url: print(url, flush=True))
"""


@contextmanager
def running(store: Store, workers: int = 1) -> Iterator[tuple[subprocess.Popen[str], tuple[str, int]]]:
    command = [sys.executable, "-c", SERVE, str(store.serving_db), str(store.views_root), str(workers)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = urlsplit(process.stdout.readline().strip())
        yield process, (url.hostname or "", url.port or 0)
    finally:
        process.terminate()
        try:
            process.wait(30)
        finally:
            process.kill()
            if process.stdout is not None:
                process.stdout.close()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("server"))
    store.publish(CLICKS, 3)
    store.stream(micro_batch(CLICKS, 1, 10, trends=[TREND]))
    return store


@pytest.fixture(scope="module")
def address(store: Store) -> Iterator[tuple[str, int]]:
    with running(store) as (_, bound):
        yield bound


def ask(address: tuple[str, int], request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send bytes, read the whole answer."""
    with socket.create_connection(address, 30) as connection:
        connection.sendall(request)
        answer = b""
        while part := connection.recv(65_536):
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:])}
    return int(lines[0].split()[1]), headers, body


def get(address: tuple[str, int], path: str) -> tuple[int, dict[str, str], bytes]:
    return ask(address, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())


def open_stream(address: tuple[str, int]) -> socket.socket:
    connection = socket.create_connection(address, 30)
    connection.sendall(f"GET /api/v1/{WIKI}/live HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return connection


def read_until(connection: socket.socket, what: bytes) -> bytes:
    got = b""
    while what not in got:
        part = connection.recv(65_536)
        assert part, got
        got += part
    return got


def live_streams(address: tuple[str, int]) -> int:
    text = get(address, "/metrics")[2].decode()
    return int(float(text.split("\nreaderflow_live_streams ")[1].split("\n")[0]))


def test_it_answers_and_listens_on_the_loopback_address_only(store: Store) -> None:
    with running(store) as (process, address):
        status, _, body = get(address, f"/api/v1/{WIKI}/{MONTH}/article/Zagreb")
        assert status == 200
        assert json.loads(body)["in"] == {"clicks": 50, "batch": 15, "live": 35}
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        listening = {c.laddr.ip for p in family for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN}
        assert listening == {"127.0.0.1"}


def test_invalid_utf8_in_an_address_is_refused_over_the_wire_too(address: tuple[str, int]) -> None:
    for path in (b"/api/v1/hrwiki/2025-03/article/%ff", b"/api/v1/hrwiki/2025-03/article?title=%ff"):
        status, _, body = ask(address, b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (status, b"UTF-8" in body) == (400, True)


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", 400),
        (
            b"GET /" + b"x" * 5_000 + b" HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\nConnection: close\r\n\r\n",
            414,
        ),
        (b"GET /" + b"x" * 9_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: x\r\nLong: " + b"x" * 20_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\nBad header\r\n\r\n", 400),
    ],
)
def test_a_request_that_is_no_http_gets_a_problem_and_security_headers(
    address: tuple[str, int], request_bytes: bytes, status: int
) -> None:
    got, headers, body = ask(address, request_bytes)
    assert got == status
    assert headers["content-type"] == "application/problem+json"
    assert json.loads(body)["status"] == status
    for name, value in SECURITY_HEADERS.items():
        assert headers[name.lower()] == value


def test_as_many_streams_as_there_are_places_are_served_at_once_beside_requests(address: tuple[str, int]) -> None:
    streams = [open_stream(address) for _ in range(STREAMS)]
    try:
        for connection in streams:
            assert b"HTTP/1.1 200" in read_until(connection, b"event: trending")
        assert live_streams(address) == STREAMS
        assert get(address, f"/api/v1/{WIKI}/{MONTH}/article/Zagreb")[0] == 200
        status, headers, body = get(address, f"/api/v1/{WIKI}/live")
        assert (status, headers["content-type"]) == (503, "application/problem+json")
        assert int(headers["retry-after"]) > 0
        assert json.loads(body)["status"] == 503
    finally:
        for connection in streams:
            connection.close()
    deadline = time.monotonic() + 30
    while live_streams(address):
        assert time.monotonic() < deadline, "gone clients keep their places"
        time.sleep(0.05)


def test_a_stream_beats_while_nothing_happens_and_tells_what_does(store: Store, address: tuple[str, int]) -> None:
    with open_stream(address) as connection:
        first = read_until(connection, b": still here")
        assert b"event: freshness" in first
        store.stream(micro_batch([Click(10, "other-search", "Zagreb", "external", 1)], 2, 11))
        assert b'"live_until":"2025-03-01T11:00Z"' in read_until(connection, b"event: trending")


def test_it_stops_at_once_although_streams_are_open(store: Store) -> None:
    with running(store) as (process, address), open_stream(address) as connection:
        read_until(connection, b"event: trending")
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert time.monotonic() - began < 10


def test_several_workers_each_open_their_own_stores(store: Store) -> None:
    with running(store, workers=2) as (process, address):
        for _ in range(20):
            assert get(address, f"/api/v1/{WIKI}/{MONTH}/sources/Zagreb")[0] == 200
        assert len(psutil.Process(process.pid).children()) == 2


def test_a_worker_that_is_killed_is_replaced_and_answers_go_on(store: Store) -> None:
    with running(store) as (process, address):
        assert get(address, "/healthz")[0] == 200
        (worker,) = psutil.Process(process.pid).children()
        worker.kill()
        deadline = time.monotonic() + 30
        while True:
            try:
                status = get(address, f"/api/v1/{WIKI}/{MONTH}/article/Zagreb")[0]
                break
            except (OSError, IndexError):
                assert time.monotonic() < deadline
                time.sleep(0.05)
        assert status == 200


def test_the_module_needs_no_settings_to_be_imported(tmp_path: Path) -> None:
    code = "import readerflow.webapp.server, readerflow.webapp.app"
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True).returncode == 0
