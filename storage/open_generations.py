"""Opened files of generations, shared by a process's readers, and the watchdog that ends their long queries.

A generation's file never changes, so one read-only DuckDB instance serves all threads, a cursor each while they read.
An open file survives its removal: a request that began on a generation ends on it.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from readerflow.common.errors import ReaderFlowError

from .batch_views import NoGeneration, View
from .click_graph import ClickGraph
from .generation_files import GRAPH, SEARCH
from .graph_files import read_click_graph
from .neighbour_tables import VIEWS, titles_folder
from .recent import Recent
from .serving_views import QueryTooLong
from .title_files import Titles
from .title_index import HITS_BYTES, Numbers, TitleIndex

#: Months side by side read one generation each; an open one takes 7 MB and what it has cached.
MAX_OPEN = 32
#: What DuckDB keeps of a generation in a process, of blocks that the system's cache holds, too. Its own bound is most
#: of the machine's memory, and each worker of a site would come to it.
MEMORY = "1GB"
WATCH_SECONDS = 0.1
#: What a process remembers of a generation: answers of hot articles, not those with thousands of rows.
REMEMBERED_QUERIES, REMEMBERED_ROWS = 5_000, 500


class GenerationGone(ReaderFlowError):
    """The file of a generation is not there (any more); who reads the pointer again finds another one."""


def too_long(seconds: float) -> QueryTooLong:
    return QueryTooLong(f"the question took longer than {seconds:g} s and was stopped; ask for fewer rows, or later")


class Watchdog:
    """Interrupts DuckDB cursors that are still at work after their deadline; its thread runs while there are any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._busy: dict[int, tuple[float, duckdb.DuckDBPyConnection]] = {}
        self._running = False

    @contextmanager
    def watching(self, cursor: duckdb.DuckDBPyConnection, deadline: float) -> Iterator[None]:
        """Interrupt ``cursor`` when the block is not left before ``deadline`` (time.monotonic)."""
        with self._lock:
            self._busy[id(cursor)] = (deadline, cursor)
            if not self._running:
                self._running = True
                threading.Thread(target=self._watch, name="query-watchdog", daemon=True).start()
        try:
            yield
        finally:
            with self._lock:
                del self._busy[id(cursor)]

    def _watch(self) -> None:
        idle = 0
        while True:
            time.sleep(WATCH_SECONDS)
            now = time.monotonic()
            with self._lock:
                for deadline, cursor in self._busy.values():
                    if now > deadline:
                        cursor.interrupt()
                idle = 0 if self._busy else idle + 1
                if idle > 100:
                    self._running = False
                    return


class RecentRows:
    """Rows of the queries that were asked last. A generation never changes, so neither do they."""

    def __init__(self, queries: int, rows: int) -> None:
        self._queries, self._rows = queries, rows
        self._known: OrderedDict[tuple[str, ...], list[Any]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[str, ...]) -> list[Any] | None:
        """The rows of a query; None when they are not known any more. Nobody may change them."""
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
            return self._known.get(key)

    def put(self, key: tuple[str, ...], rows: list[Any]) -> None:
        """Keep the rows of a query, unless there are too many of them."""
        if len(rows) > self._rows:
            return
        with self._lock:
            self._known[key] = rows
            while len(self._known) > self._queries:
                self._known.popitem(last=False)


class OpenGeneration:
    """One generation's file and the cursors on it that nobody uses at the moment."""

    def __init__(self, path: Path, hits: Recent[Numbers]) -> None:
        try:
            self._connection = duckdb.connect(str(path), read_only=True, config={"memory_limit": MEMORY})
            self.titles = {view: Titles(titles_folder(path.parent, view)) for view in VIEWS}
            self.graph = read_click_graph(path.parent / GRAPH)
        except (duckdb.IOException, FileNotFoundError) as error:
            raise GenerationGone(f"{path} can't be opened: {error}") from None
        self._index = _index(path.with_name(SEARCH), hits)
        self._connection.execute("set threads to 1")
        self._free: list[duckdb.DuckDBPyConnection] = []
        self._lock = threading.Lock()
        self.users = 0
        self.remembered = RecentRows(REMEMBERED_QUERIES, REMEMBERED_ROWS)

    @property
    def index(self) -> TitleIndex:
        """The word index of its articles.

        :raises NoGeneration: when an earlier version wrote the generation, without one.
        """
        if self._index is None:
            raise NoGeneration("these batch views were written by an earlier version; run 'readerflow batch' again")
        return self._index

    @contextmanager
    def cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor that no other thread uses within the block."""
        with self._lock:
            cursor = self._free.pop() if self._free else self._connection.cursor()
        try:
            yield cursor
        finally:
            with self._lock:
                self._free.append(cursor)

    def close(self) -> None:
        for cursor in self._free:
            cursor.close()
        self._connection.close()


def _index(folder: Path, hits: Recent[Numbers]) -> TitleIndex | None:
    try:
        return TitleIndex(folder, hits)
    except FileNotFoundError:
        return None


class OpenGenerations:
    """The generations that a process has open, by path; those unused for longest are closed."""

    def __init__(self) -> None:
        self._open: OrderedDict[Path, OpenGeneration] = OrderedDict()
        self._hits: Recent[Numbers] = Recent(HITS_BYTES)
        self._lock = threading.Lock()

    @contextmanager
    def use(self, path: Path) -> Iterator[OpenGeneration]:
        """Keep a generation open for the length of the block.

        :raises GenerationGone: when its file is not there.
        """
        with self._lock:
            generation = self._open.get(path)
            if generation is None:
                generation = self._open[path] = OpenGeneration(path, self._hits)
            self._open.move_to_end(path)
            generation.users += 1
        try:
            yield generation
        finally:
            with self._lock:
                generation.users -= 1
                self._close_unused(MAX_OPEN)

    def _close_unused(self, keep: int) -> None:
        for path in [path for path, one in self._open.items() if not one.users][: max(0, len(self._open) - keep)]:
            self._open.pop(path).close()

    def close(self) -> None:
        with self._lock:
            self._close_unused(0)


class BatchQueries:
    """Queries of one request on one generation, each ended at the request's deadline."""

    def __init__(self, generation: OpenGeneration, watchdog: Watchdog, deadline: float, seconds: float) -> None:
        self._generation = generation
        self._watchdog = watchdog
        self._deadline = deadline
        self._seconds = seconds

    def titles(self, view: View) -> Titles:
        """The titles whose ids the table of a view holds."""
        return self._generation.titles[view]

    @property
    def graph(self) -> ClickGraph:
        """The link graph."""
        return self._generation.graph

    @property
    def index(self) -> TitleIndex:
        """The word index of the articles."""
        return self._generation.index

    def check(self) -> None:
        """:raises QueryTooLong: when the request's time is over."""
        if time.monotonic() > self._deadline:
            raise too_long(self._seconds)

    def rows(self, sql: str, values: dict[str, Any]) -> list[Any]:
        """Run a query and take all its rows.

        :raises QueryTooLong: at the deadline.
        """
        known = self._generation.remembered
        key = (sql, *map(str, values.values()))
        rows = known.get(key)
        if rows is None:
            rows = self._run(sql, values)
            known.put(key, rows)
        return rows

    def _run(self, sql: str, values: dict[str, Any]) -> list[Any]:
        self.check()
        with self._generation.cursor() as cursor, self._watchdog.watching(cursor, self._deadline):
            try:
                return cursor.execute(sql, values).fetchall()
            except duckdb.InterruptException:
                raise too_long(self._seconds) from None
