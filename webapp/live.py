"""Live updates as server-sent events: trends, classes and freshness, told again whenever the views' version changes.

One thread a wiki and process polls the version and prepares the events; all clients of the wiki wait for it. A client
that was slow or away gets the newest state, not every state in between: events replace what was known, so nothing is
queued. The event id is the version, so a client that comes back with ``Last-Event-ID`` gets nothing it has.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

from flask import Flask, current_app
from pydantic_core import to_json

from readerflow.common.errors import ReaderFlowError

from . import answers
from .context import envelope, live_month, site
from .problems import Busy

RETRY_SECONDS = 5
MAX_EXPORTS = 16
LIVE_ROWS = 20  # of each window in a ``trending`` event
HUB = "readerflow.hub"  # in app.extensions

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class State:
    """What clients should know: the version and its events, ready to send."""

    version: str
    events: bytes


def event(name: str, version: str, data: bytes) -> bytes:
    """One server-sent event; ``data`` is JSON and so a single line."""
    return b"event: %s\nid: %s\ndata: %s\n\n" % (name.encode(), version.encode(), data)


class Feed:
    """One wiki's updates. Its thread runs while somebody listens.

    :param look: the version now. Cheap.
    :param prepare: the events of now, under the version that was seen before; called when that has changed.
    """

    def __init__(self, look: Callable[[], str], prepare: Callable[[str], bytes], poll_seconds: float) -> None:
        self._look = look
        self._prepare = prepare
        self._poll_seconds = poll_seconds
        self._changed = threading.Condition()
        self._state: State | None = None
        self._listeners = 0
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    def join(self) -> None:
        with self._changed:
            self._listeners += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._poll, name="live-feed", daemon=True)
                self._thread.start()

    def leave(self) -> None:
        with self._changed:
            self._listeners -= 1

    def close(self) -> None:
        """End all streams."""
        self._closed.set()
        with self._changed:
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        return self._closed.is_set()

    def wait(self, seen: str | None, seconds: float) -> State | None:
        """Wait for a state other than the one seen; None when there is none within the time."""
        with self._changed:
            self._changed.wait_for(lambda: self.closed or self._news(seen) is not None, seconds)
            return None if self.closed else self._news(seen)

    def _news(self, seen: str | None) -> State | None:
        return self._state if self._state is not None and self._state.version != seen else None

    def _poll(self) -> None:
        while not self.closed:
            with self._changed:
                if not self._listeners:
                    # The next listener must not get what was true when the last one left.
                    self._state = None
                    self._thread = None
                    return
            try:
                version = self._look()
                if self._state is None or version != self._state.version:
                    state = State(version, self._prepare(version))
                    with self._changed:
                        self._state = state
                        self._changed.notify_all()
            except ReaderFlowError as error:
                log.warning("live updates wait: %s", error)
            except Exception:
                log.exception("live updates wait")
            self._closed.wait(self._poll_seconds)


class Places:
    """A bounded number of places, for streams that hold a thread each."""

    def __init__(self, total: int, what: str) -> None:
        self.total = total
        self.taken = 0
        self._what = what
        self._lock = threading.Lock()

    def take(self) -> Callable[[], None]:
        """Take a place; the function returned gives it back, once however often it is called.

        :raises Busy: when all are taken.
        """
        with self._lock:
            if self.taken >= self.total:
                raise Busy(f"all {self.total} {self._what} are taken; try again later", retry_seconds=RETRY_SECONDS)
            self.taken += 1
        given_back = threading.Event()

        def give_back() -> None:
            with self._lock:
                if not given_back.is_set():
                    given_back.set()
                    self.taken -= 1

        return give_back


def stream(feed: Feed, last_event_id: str | None, heartbeat_seconds: float) -> Iterator[bytes]:
    """The body of one client's stream: events as they come, and a comment where nothing comes.

    The comment is what tells the server that a client is gone: writing to it fails.
    """
    seen = last_event_id
    yield b"retry: %d\n\n" % (RETRY_SECONDS * 1000)
    while not feed.closed:
        state = feed.wait(seen, heartbeat_seconds)
        if state is None:
            yield b": still here\n\n"
        else:
            seen = state.version
            yield state.events


class Hub:
    """The feeds of a process, by wiki, and the places of those whom a thread each serves."""

    def __init__(self, app: Flask, live_clients: int, poll_seconds: float) -> None:
        self._app = app
        self._poll_seconds = poll_seconds
        self._feeds: dict[str, Feed] = {}
        self._lock = threading.Lock()
        self.streams = Places(live_clients, "live streams")
        self.exports = Places(MAX_EXPORTS, "downloads")

    def join(self, wiki: str) -> tuple[Feed, Callable[[], None]]:
        """Take a place at a wiki's feed; the function returned leaves it again.

        :raises Busy: when all places are taken.
        """
        give_back = self.streams.take()
        with self._lock:
            feed = self._feeds.get(wiki)
            if feed is None:
                feed = self._feeds[wiki] = Feed(
                    self._look, lambda version: self._prepare(wiki, version), self._poll_seconds
                )
        feed.join()

        def leave() -> None:
            feed.leave()
            give_back()

        return feed, leave

    def close(self) -> None:
        """End all streams: the server stops."""
        with self._lock:
            for feed in self._feeds.values():
                feed.close()

    def _look(self) -> str:
        with self._app.app_context():
            return site().serving.version()

    def _prepare(self, wiki: str, version: str) -> bytes:
        with self._app.app_context():
            month = live_month(site().serving, wiki)
            with site().serving.read(wiki, month) as reading:
                now = envelope(reading.snapshot)
                classes = answers.overview(reading)
                windows = {
                    str(window): answers.trending(reading, window, limit=LIVE_ROWS) for window in answers.WINDOWS
                }
        trends = {"wiki": wiki, "month": month, "windows": windows}
        told = {"classes": classes, "trending": trends, "freshness": now}
        return b"".join(event(name, version, to_json(data)) for name, data in told.items())


def hub() -> Hub:
    """The hub of the running app."""
    return cast(Hub, current_app.extensions[HUB])
