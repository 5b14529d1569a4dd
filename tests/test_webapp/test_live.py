"""Server-sent events: one poller a wiki, newest state to all, bounded places."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask

from readerflow.common.errors import ReaderFlowError
from readerflow.common.months import HOUR
from readerflow.storage.embedded_serving import EmbeddedServing
from readerflow.webapp import models
from readerflow.webapp.app import create_app
from readerflow.webapp.live import Feed, Places, State, event, stream
from readerflow.webapp.problems import Busy
from tests.serving_store import MONTH, START, WIKI, Click, Store, micro_batch, numbered

CLICKS = numbered([Click(hour, "other-search", "Zagreb", "external", 5) for hour in range(10)])
TREND = (1, 1, "Zagreb", 90, 3.5, 20.0, START + 9 * HOUR, START + 10 * HOUR)
LIVE = f"/api/v1/{WIKI}/live"


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    store.publish(CLICKS, 3)
    store.stream(micro_batch(CLICKS, 1, 10, trends=[TREND]))
    return store


@pytest.fixture
def app(store: Store) -> Iterator[Flask]:
    with EmbeddedServing(store.serving_db, store.views_root) as serving:
        app = create_app(serving, live_clients=2, poll_seconds=0.02, heartbeat_seconds=0.2)
        yield app
        app.extensions["readerflow.hub"].close()


def events(chunk: bytes) -> dict[str, tuple[str, dict[str, object]]]:
    """name -> (id, data)"""
    found = {}
    for block in chunk.decode().strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        found[fields["event"]] = (fields["id"], json.loads(fields["data"]))
    return found


def test_a_client_gets_freshness_and_trends_at_once_and_again_when_they_change(app: Flask, store: Store) -> None:
    with app.test_client().get(LIVE) as response:
        assert response.status_code == 200
        assert response.mimetype == "text/event-stream"
        assert response.headers["Cache-Control"] == "no-store"
        assert "Content-Security-Policy" in response.headers
        chunks = iter(response.response)
        assert next(chunks) == b"retry: 5000\n\n"
        first = events(next(chunks))
        models.Envelope.model_validate(first["freshness"][1])
        models.Overview.model_validate(first["classes"][1])
        windows = first["trending"][1]["windows"]
        assert isinstance(windows, dict)
        models.Trending.model_validate(windows["1"])
        assert windows["1"]["items"][0]["title"] == "Zagreb"
        assert first["freshness"][0] == first["trending"][0]
        store.stream(micro_batch([Click(10, "other-search", "Zagreb", "external", 1)], 2, 11))
        news = next(chunk for chunk in chunks if not chunk.startswith(b":"))
        assert events(news)["freshness"][1]["live_until"] == "2025-03-01T11:00Z"
        assert events(news)["freshness"][0] != first["freshness"][0]
    assert app.extensions["readerflow.hub"].streams.taken == 0


def test_a_client_that_comes_back_with_the_last_id_gets_nothing_it_has(app: Flask) -> None:
    with app.test_client().get(LIVE) as response:
        chunks = iter(response.response)
        next(chunks)
        seen = events(next(chunks))["trending"][0]
    with app.test_client().get(LIVE, headers={"Last-Event-ID": seen}) as response:
        chunks = iter(response.response)
        next(chunks)
        assert next(chunks) == b": still here\n\n"
    with app.test_client().get(LIVE, headers={"Last-Event-ID": "older"}) as response:
        chunks = iter(response.response)
        next(chunks)
        assert events(next(chunks))["trending"][0] == seen


def test_more_clients_than_places_are_told_to_come_back(app: Flask) -> None:
    client = app.test_client()
    first, second = client.get(LIVE), app.test_client().get(LIVE)
    refused = app.test_client().get(LIVE)
    assert refused.status_code == 503
    assert refused.mimetype == "application/problem+json"
    assert int(refused.headers["Retry-After"]) > 0
    first.close()
    with app.test_client().get(LIVE) as third:
        assert third.status_code == 200
    second.close()
    assert app.extensions["readerflow.hub"].streams.taken == 0


def test_head_takes_no_place(app: Flask) -> None:
    for _ in range(5):
        assert app.test_client().head(LIVE).status_code == 200
    assert app.extensions["readerflow.hub"].streams.taken == 0


def feed_of(versions: list[str], prepared: list[str], poll_seconds: float = 0.005) -> Feed:
    def prepare(version: str) -> bytes:
        prepared.append(version)
        return event("freshness", version, b"{}")

    return Feed(lambda: versions[-1], prepare, poll_seconds)


def test_one_thread_a_feed_prepares_each_version_once_for_all_clients() -> None:
    versions, prepared = ["1"], list[str]()
    feed = feed_of(versions, prepared)
    seen: list[list[str]] = []

    def listen(mine: list[str]) -> None:
        for chunk in stream(feed, None, 5.0):
            if chunk.startswith(b"event"):
                mine.append(chunk.split(b"id: ")[1].split(b"\n")[0].decode())

    threads = []
    for _ in range(25):
        feed.join()
        seen.append([])
        threads.append(threading.Thread(target=listen, args=(seen[-1],)))
        threads[-1].start()
    until(lambda: all(mine == ["1"] for mine in seen))
    assert [thread.name for thread in threading.enumerate()].count("live-feed") == 1
    versions.append("2")
    until(lambda: all(mine == ["1", "2"] for mine in seen))
    assert prepared == ["1", "2"]
    feed.close()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)


def test_a_slow_client_gets_the_newest_state_and_not_all_in_between() -> None:
    versions, prepared = ["1"], list[str]()
    feed = feed_of(versions, prepared)
    feed.join()
    state = feed.wait(None, 30)
    assert state is not None
    for version in ("2", "3", "4"):
        versions.append(version)
        until(lambda: prepared[-1] == versions[-1])
    until(lambda: feed.wait(None, 0) == State("4", event("freshness", "4", b"{}")))
    feed.close()


def test_the_poller_ends_when_nobody_listens_and_starts_again_for_the_next() -> None:
    versions, prepared = ["1"], list[str]()
    feed = feed_of(versions, prepared)
    feed.join()
    assert feed.wait(None, 30) is not None
    feed.leave()
    until(lambda: feed._thread is None)
    versions.append("2")
    feed.join()
    state = feed.wait(None, 30)
    assert state is not None
    assert state.version == "2"
    feed.close()


def test_a_poller_survives_stores_that_fail_for_a_while(caplog: pytest.LogCaptureFixture) -> None:
    failures: list[Exception] = [ReaderFlowError("busy"), ValueError("a defect")]

    def look() -> str:
        if failures:
            raise failures.pop()
        return "1"

    feed = Feed(look, lambda version: b"", 0.005)
    feed.join()
    assert feed.wait(None, 30) == State("1", b"")
    assert "a defect" in caplog.text
    feed.close()


def test_a_closed_feed_ends_its_streams() -> None:
    feed = feed_of(["1"], [])
    feed.join()
    chunks = stream(feed, None, 30)
    next(chunks)
    next(chunks)
    threading.Timer(0.05, feed.close).start()
    began = time.monotonic()
    assert [chunk for chunk in chunks if chunk.startswith(b"event")] == []
    assert time.monotonic() - began < 10


def test_a_place_is_given_back_once() -> None:
    places = Places(1, "seats")
    give_back = places.take()
    with pytest.raises(Busy, match="all 1 seats"):
        places.take()
    give_back()
    give_back()
    assert places.taken == 0


def test_the_live_month_is_the_greatest_with_realtime_rows(tmp_path: Path) -> None:
    store = Store(tmp_path, months={"a1b2c3d4": (WIKI, MONTH), "s4": (WIKI, "2025-02")})
    store.stream(micro_batch(CLICKS, 1, 10, months=store.months), micro_batch(CLICKS, 2, 10, "s4", months=store.months))
    with EmbeddedServing(store.serving_db, store.views_root) as serving:
        assert serving.latest_live(WIKI) == MONTH
