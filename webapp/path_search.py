"""The best path between two articles in a click graph: a search from both ends that moves whole frontiers at a time.

A path's value is that of its links joined by multiplication or by minimum, so it never grows along a path. Each end
keeps the best value that it knows of each article (0: none yet). While articles are *open*, it expands those whose
value is within a band below the highest open one, all their links at once: a label-correcting search in the manner of
delta-stepping (Meyer & Sanders 2003). Where both ends know an article they have a path. The search ends when no two
open articles could make a better one, so what it found is the best. An article is not expanded when even the highest
open value of the other end could not bring it above the best path, or when the other end's value of it is final.

A search looks at some 50,000 links of a graph of millions; all work on links is numpy's, which lets other
threads run meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from readerflow.storage.click_graph import ClickGraph, Links
from readerflow.storage.serving_views import QueryTooLong

#: Open articles are expanded together down to this part of the highest open value: fewer rounds, some links twice.
BAND = 0.3
#: Searches of a process at the same time; each holds 27 bytes an article of the graph.
MAX_SEARCHES = 2
WAIT_SECONDS = 10.0

Nodes = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]


class GaveUp(Exception):
    """A search looked at more links than it may; whether there is a (better) path is not known."""


@dataclass
class Effort:
    """How many links a request may still look at."""

    links: int

    def spend(self, links: int) -> None:
        """:raises GaveUp: when there are none left."""
        if links > self.links:
            raise GaveUp
        self.links -= links


@dataclass(frozen=True)
class Measure:
    """What makes a path good: more is better, and no link adds to it.

    :param join: np.multiply or np.minimum.
    :param weigh: values of links, from their clicks and the clicks on all links out of their referrers; 0 bars a link.
        At most 1 for np.multiply.
    :param whole: the value of a path without links.
    """

    join: np.ufunc
    weigh: Callable[[npt.NDArray[np.int64], npt.NDArray[np.int64]], Values]
    whole: float


@dataclass
class _End:
    """What one end of a search knows; arrays of a workspace, zero where nothing is known."""

    score: Values
    via: npt.NDArray[np.int32]  # the link that gave an article its score: a place in this end's links
    open: npt.NDArray[np.bool_]
    links: Links = field(init=False)
    pending: Nodes = field(init=False)  # the open articles
    ahead: Values = field(init=False)  # their scores
    top: float = field(init=False)  # the highest of these; 0 when none is open
    touched: list[Nodes] = field(default_factory=list)

    def begin(self, links: Links) -> None:
        self.links = links
        self.keep(np.zeros(0, np.int64))

    def keep(self, nodes: Nodes) -> None:
        """Make these the open articles; all of them have been marked as open."""
        self.pending, self.ahead = nodes, self.score[nodes]
        self.top = float(self.ahead.max(initial=0.0))

    def next_links(self) -> int:
        """How many links the next round would look at."""
        now = self.pending[self.ahead >= self.top * BAND]
        return int((self.links.offsets[now + 1] - self.links.offsets[now]).sum())

    def clear(self) -> None:
        for nodes in self.touched:
            self.score[nodes] = 0.0
            self.open[nodes] = False
        self.touched.clear()


class Workspace:
    """Scratch arrays for searches in graphs of up to ``nodes`` articles; all zero between two searches."""

    def __init__(self, nodes: int) -> None:
        self.nodes = nodes
        # Memory that nothing is written to costs nothing.
        self.ends = [_End(np.zeros(nodes), np.zeros(nodes, np.int32), np.zeros(nodes, np.bool_)) for _ in range(2)]
        self.banned = np.zeros(nodes, np.bool_)


class Workspaces:
    """The workspaces of a process: so many searches run at a time, further ones wait."""

    def __init__(self, places: int = MAX_SEARCHES, wait_seconds: float = WAIT_SECONDS) -> None:
        self._places = threading.BoundedSemaphore(places)
        self._wait_seconds = wait_seconds
        self._lock = threading.Lock()
        self._free: list[Workspace] = []

    @contextmanager
    def take(self, nodes: int) -> Iterator[Workspace]:
        """A workspace for a graph of so many articles.

        :raises QueryTooLong: when others hold all places for too long.
        """
        if not self._places.acquire(timeout=self._wait_seconds):
            raise QueryTooLong(
                f"no place to search within {self._wait_seconds:g} s: too many requests; come back later"
            )
        try:
            with self._lock:
                found = self._free.pop() if self._free else None
            if found is None or found.nodes < nodes:
                found = Workspace(nodes)
            yield found
            with self._lock:  # not after an error: nobody knows what it left
                self._free.append(found)
        finally:
            self._places.release()


class Search:
    """Searches in one graph with one workspace."""

    def __init__(self, graph: ClickGraph, workspace: Workspace, effort: Effort) -> None:
        self.graph = graph
        self._effort = effort
        self._ends = workspace.ends
        self._banned = workspace.banned
        self._best = 0.0
        self._meeting = -1

    def best(
        self,
        source: int,
        target: int,
        measure: Measure,
        *,
        begin: float | None = None,
        floor: float = 0.0,
        banned: Sequence[int] = (),
        barred: Sequence[int] = (),
    ) -> list[int] | None:
        """The best path from ``source`` to another article: its links, as places in the outgoing ones; None without.

        :param begin: the value that the path starts with, when it goes on from another one.
        :param floor: only a path of a greater value is wanted.
        :param banned: articles that the path may not visit; it never comes back to its source.
        :param barred: places of links that it may not begin with.
        :raises GaveUp: when the effort is spent.
        """
        forward, backward = self._ends
        avoided = np.array([source, *banned], np.int64)
        self._banned[avoided] = True
        self._best, self._meeting = floor, -1
        try:
            forward.begin(self.graph.outgoing)
            backward.begin(self.graph.incoming)
            self._open_target(backward, target, measure)
            self._open_links_of(source, measure, measure.whole if begin is None else begin, barred)
            while float(measure.join(forward.top, backward.top)) > self._best:
                ahead = forward.next_links() <= backward.next_links()
                self._expand(*((forward, backward) if ahead else (backward, forward)), measure)
            return self._path(source, target) if self._meeting >= 0 else None
        finally:
            self._banned[avoided] = False
            forward.clear()
            backward.clear()

    def _open_target(self, backward: _End, target: int, measure: Measure) -> None:
        nodes = np.array([target], np.int64)
        backward.score[nodes] = measure.whole
        backward.open[nodes] = True
        backward.touched.append(nodes)
        backward.keep(nodes)

    def _open_links_of(self, source: int, measure: Measure, begin: float, barred: Sequence[int]) -> None:
        """Label the articles one link from the source, which itself stays out of the search."""
        forward, backward = self._ends
        row = self.graph.outgoing.of(source)
        places = np.arange(row.start, row.stop)
        if barred:
            places = places[~np.isin(places, barred)]
        self._effort.spend(len(places))
        clicks = self.graph.outgoing.clicks[places]
        values = measure.join(begin, measure.weigh(clicks, self.graph.out_clicks[source]))
        forward.keep(self._label(forward, backward, places, values, measure))

    def _expand(self, end: _End, other: _End, measure: Measure) -> None:
        """One round: label what is one link from the best open articles of an end."""
        near = end.ahead >= end.top * BAND
        now, scores, rest = end.pending[near], end.ahead[near], end.pending[~near]
        end.open[now] = False
        known = other.score[now]
        live = (measure.join(scores, other.top) > self._best) & ~((known > 0) & (known >= other.top))
        now, scores = now[live], scores[live]
        places, counts = end.links.of_all(now)
        self._effort.spend(len(places))
        clicks = end.links.clicks[places]
        out_clicks = self.graph.out_clicks
        out = np.repeat(out_clicks[now], counts) if end is self._ends[0] else out_clicks[end.links.ends[places]]
        values = measure.join(np.repeat(scores, counts), measure.weigh(clicks, out))
        opened = np.concatenate([rest, self._label(end, other, places, values, measure)])
        end.keep(opened)
        hopeless = measure.join(end.ahead, other.top) <= self._best
        if hopeless.any():
            end.open[opened[hopeless]] = False
            end.keep(opened[~hopeless])

    def _label(self, end: _End, other: _End, places: npt.NDArray[np.int64], values: Values, measure: Measure) -> Nodes:
        """Give the far ends of links their values where these are better and matter; returns those not open before."""
        nodes = end.links.ends[places].astype(np.int64)
        joined = measure.join(values, other.score[nodes])
        fit = ~self._banned[nodes] & (values > end.score[nodes])
        if fit.any():
            at = int(np.where(fit, joined, 0.0).argmax())
            if joined[at] > self._best:
                self._best, self._meeting = float(joined[at]), int(nodes[at])
        fit &= (measure.join(values, other.top) > self._best) | (joined >= self._best)
        nodes, values, places = nodes[fit], values[fit], places[fit]
        end.touched.append(nodes[end.score[nodes] == 0])
        np.maximum.at(end.score, nodes, values)
        won = values == end.score[nodes]
        nodes, places = nodes[won], places[won]
        end.via[nodes] = places
        first = end.via[nodes] == places  # one link for each article
        fresh: Nodes = nodes[first & ~end.open[nodes]]
        end.open[fresh] = True
        return fresh

    def _path(self, source: int, target: int) -> list[int]:
        """Follow the links that led to the meeting, to both ends."""
        forward, backward = self._ends
        outgoing, incoming = self.graph.outgoing, self.graph.incoming
        found, node = [], self._meeting
        while node != source:
            found.append(int(forward.via[node]))
            node = outgoing.node_of(found[-1])
        found.reverse()
        node = self._meeting
        while node != target:
            after = incoming.node_of(int(backward.via[node]))
            found.append(place_of_link(outgoing, node, after))
            node = after
        return found


def place_of_link(outgoing: Links, referrer: int, article: int) -> int:
    """The place of a link that there is."""
    row = outgoing.of(referrer)
    return int(row.start + np.searchsorted(outgoing.ends[row], article))


def _shares(clicks: npt.NDArray[np.int64], out: Any) -> Values:
    # One rounding, so that a link that takes all clicks has the share 1: a value must not grow on a way in a circle.
    shares: Values = clicks / out
    return shares


#: The probability that a reader who follows links as often as readers do takes the path.
PROBABILITY = Measure(np.multiply, _shares, 1.0)
#: The clicks of the path's least clicked link.
FEWEST_CLICKS = Measure(np.minimum, lambda clicks, out: clicks.astype(np.float64), np.inf)


def few_steps(clicks: float) -> Measure:
    """2 to the power of minus the number of steps, over links of at least so many clicks."""
    return Measure(np.multiply, lambda found, out: np.where(found >= clicks, 0.5, 0.0), 1.0)
