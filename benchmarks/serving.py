"""Load on a running site: requests at a fixed rate (open loop), beside open live streams; percentiles of latency.

    python -m benchmarks.serving http://127.0.0.1:8000/ --rate 200 --seconds 60 --streams 300

An open loop sends each request when it is due, so a server that falls behind shows as latency, not as a lower rate. A
request's latency counts from when it was due. Titles are drawn by their clicks, as readers would, or each alike; for
suggestions (``--kind suggest``) what people type on the way to them.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import random
import sys
import time
from collections import Counter, deque
from urllib.error import URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import urlopen

import pyarrow.parquet as pq

from readerflow.storage.batch_views import RANKINGS

from .searching import queries

KINDS = ("article", "sources", "destinations", "rankings", "related", "suggest")
SETTLE_SECONDS = 5
KEPT_SECONDS = 10  # less than the server keeps an idle connection
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def fetch(connection: Connection, host: str, path: str) -> tuple[int, bytes]:
    """One request on a kept-alive connection."""
    reader, writer = connection
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept-Encoding: gzip\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    length = next(int(line.split(b":")[1]) for line in lines if line.lower().startswith(b"content-length:"))
    body = await reader.readexactly(length)
    return int(lines[0].split()[1]), body


class Load:
    """What was measured."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.idle: deque[tuple[float, Connection]] = deque()
        self.seconds: list[float] = []
        self.failures: Counter[str] = Counter()

    async def request(self, path: str, due: float) -> None:
        try:
            connection = self._kept() or await asyncio.open_connection(self.host, self.port)
            status, _ = await fetch(connection, f"{self.host}:{self.port}", path)
            self.idle.append((time.perf_counter(), connection))
            if status != 200:
                self.failures[str(status)] += 1
        except (OSError, asyncio.IncompleteReadError) as error:
            self.failures[type(error).__name__] += 1
        self.seconds.append(time.perf_counter() - due)

    def _kept(self) -> Connection | None:
        """The connection that has waited longest, as requests of many visitors come by many connections.

        Those that wait for very long are not trusted, since the server closes them when idle.
        """
        while self.idle:
            since, connection = self.idle.popleft()
            if time.perf_counter() - since < KEPT_SECONDS:
                return connection
            connection[1].close()
        return None

    async def run(self, paths: list[str], rate: float, seconds: float) -> None:
        began = time.perf_counter()
        tasks: set[asyncio.Task[None]] = set()
        for number in range(int(rate * seconds)):
            due = began + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            task = asyncio.create_task(self.request(paths[number % len(paths)], due))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)

    def percentile(self, share: float) -> float:
        ranked = sorted(self.seconds)
        return ranked[min(len(ranked) - 1, int(share * len(ranked)))] * 1000


class Streams:
    """Live streams that are open, and when each of them got which update."""

    def __init__(self) -> None:
        self.answers: Counter[str] = Counter()
        self.got: list[dict[str, float]] = []

    async def hold(self, host: str, port: int, wiki: str) -> None:
        """Keep one stream open; ends when the server ends it."""
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(f"GET /api/v1/{wiki}/live HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        got: dict[str, float] = {}
        status = (await reader.readline()).split()[1].decode()
        self.answers[status] += 1
        if status == "200":
            self.got.append(got)
        while line := await reader.readline():
            if line.startswith(b"id:"):
                got.setdefault(line.split()[1].decode(), time.perf_counter())
        self.answers["ended"] += 1

    def told(self, began: float, ended: float) -> str:
        """What came between two times: updates, and how many streams lack one that others got."""
        updates = {name for got in self.got for name, at in got.items() if began < at < ended}
        lacking = sum(len(updates - got.keys()) for got in self.got)
        apart = [
            max(times) - min(times) for name in updates if (times := [got[name] for got in self.got if name in got])
        ]
        within = f", each within {max(apart):.1f} s" if apart else ""
        return f"streams {dict(self.answers)}: {len(updates)} updates{within}, {lacking} not received"


def articles(base: str, wiki: str, month: str) -> tuple[list[str], list[int]]:
    """The titles of the exported articles and their clicks in."""
    with urlopen(f"{base}/api/v1/{wiki}/{month}/export/articles?format=parquet") as answer:  # noqa: S310
        rows = pq.read_table(io.BytesIO(answer.read()), columns=["article", "in_clicks"])
    return rows["article"].to_pylist(), rows["in_clicks"].to_pylist()


def addresses(base: str, asked: argparse.Namespace) -> list[str]:
    """What to ask for, drawn from all articles."""
    titles, clicks = articles(base, asked.wiki, asked.month)
    number = int(asked.rate * asked.seconds)
    if asked.kind == "suggest":
        typed = queries(titles, clicks, number, asked.seed)
        return [f"/api/v1/{asked.wiki}/suggest?{urlencode({'q': query, 'limit': 8})}" for query in typed]
    weights = None if asked.uniform else clicks
    choose = random.Random(asked.seed)  # noqa: S311
    names = choose.choices(*((RANKINGS, None) if asked.kind == "rankings" else (titles, weights)), k=number)
    month = f"{'' if asked.pages else '/api/v1'}/{asked.wiki}/{asked.month}"
    return [f"{month}/{asked.kind}/{quote(name, safe='')}" for name in names]


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--wiki", default="hrwiki")
    parser.add_argument("--month", default="2025-03")
    parser.add_argument("--kind", default="article", choices=KINDS)
    parser.add_argument("--pages", action="store_true", help="ask for HTML pages instead of the API's answers")
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--streams", type=int, default=0)
    parser.add_argument("--uniform", action="store_true", help="draw titles alike instead of by their clicks")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    host, port = urlsplit(asked.url).hostname or "127.0.0.1", urlsplit(asked.url).port or 80
    base = f"http://{host}:{port}"
    try:
        paths = addresses(base, asked)
    except URLError as error:
        sys.exit(f"benchmark: {base} does not answer for {asked.wiki} {asked.month} ({error})")
    streams = Streams()
    tasks = [asyncio.create_task(streams.hold(host, port, asked.wiki)) for _ in range(asked.streams)]
    while streams.answers["200"] + streams.answers["503"] < asked.streams:
        await asyncio.sleep(0.05)
    load = Load(host, port)
    began = time.perf_counter()
    await load.run(paths, asked.rate, asked.seconds)
    took = time.perf_counter() - began
    if tasks:
        await asyncio.sleep(SETTLE_SECONDS)  # an update that some streams have got comes to the others
    for task in tasks:
        task.cancel()
    print(
        f"{len(load.seconds)} requests in {took:.1f} s ({len(load.seconds) / took:.0f}/s), "
        f"{len(set(paths))} addresses, connections {len(load.idle)}; "
        f"p50 {load.percentile(0.5):.1f} ms, p95 {load.percentile(0.95):.1f} ms, p99 {load.percentile(0.99):.1f} ms, "
        f"max {load.percentile(1):.1f} ms; failures {dict(load.failures)}"
    )
    if tasks:
        print(streams.told(began, began + took))
    return 1 if load.failures else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
