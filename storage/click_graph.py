"""A generation's link graph as readers use it: the links out of and into each article, and how many clicks left it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from threading import Lock

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .batch_views import LinkGraph
from .title_files import place_of


@dataclass(frozen=True)
class Links:
    """Links by one of their ends: those of node i are places ``offsets[i]:offsets[i + 1]`` of the other two arrays.

    ``offsets`` int64 (n + 1,); ``ends`` int32 (m,), the node at the other end, ascending for each i; ``clicks`` int64
    (m,), above 0.
    """

    offsets: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int32]
    clicks: npt.NDArray[np.int64]

    def of(self, node: int) -> slice:
        """The places of a node's links."""
        return slice(int(self.offsets[node]), int(self.offsets[node + 1]))

    def of_all(self, nodes: npt.NDArray[np.integer]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The places of the links of many nodes, one node after the other, and how many each of them has."""
        starts = self.offsets[nodes]
        counts = self.offsets[nodes + 1] - starts
        ends = np.cumsum(counts)
        places = np.arange(counts.sum()) + np.repeat(starts - (ends - counts), counts)
        return places, counts

    def clicks_between(self, node: int, end: int) -> int:
        """The clicks on the link from a node to another end; 0 without one."""
        row = self.of(node)
        place = row.start + int(np.searchsorted(self.ends[row], end))
        return int(self.clicks[place]) if place < row.stop and self.ends[place] == end else 0

    def node_of(self, place: int) -> int:
        """The node whose links hold a place."""
        return int(np.searchsorted(self.offsets, place, side="right")) - 1


class ClickGraph:
    """Links of type ``link`` in both directions; nodes are numbered in the byte order of their titles.

    Arrays are mapped files where there are such: processes share them and pages are read when they are touched. Nobody
    may change them. Threads may share a graph.

    :param outgoing: the links by referrer.
    :param read_incoming: gives the links by article and the clicks out of each node; asked once, on first use.
    """

    def __init__(
        self,
        titles: pa.Array,
        outgoing: Links,
        read_incoming: Callable[[], tuple[Links, npt.NDArray[np.int64]]],
    ) -> None:
        self.titles = titles
        self.outgoing = outgoing
        self._read_incoming = read_incoming
        self._lock = Lock()

    @property
    def nodes(self) -> int:
        return len(self.titles)

    @property
    def edges(self) -> int:
        return len(self.outgoing.ends)

    @property
    def incoming(self) -> Links:
        """The links by article; their ends are referrers."""
        return self._both[0]

    @property
    def out_clicks(self) -> npt.NDArray[np.int64]:
        """Clicks on all links out of each node, shape (n,)."""
        return self._both[1]

    @property
    def _both(self) -> tuple[Links, npt.NDArray[np.int64]]:
        with self._lock:
            return self._once

    @cached_property
    def _once(self) -> tuple[Links, npt.NDArray[np.int64]]:
        return self._read_incoming()

    def node(self, title: str) -> int | None:
        """The node of a title; None outside the graph."""
        place = place_of(self.titles, title)
        return place if place < self.nodes and self.titles[place].as_py() == title else None

    def titles_of(self, nodes: npt.NDArray[np.integer] | list[int]) -> list[str]:
        """The titles of nodes."""
        found: list[str] = self.titles.take(pa.array(nodes, pa.int64())).to_pylist()
        return found


def incoming_of(outgoing: Links) -> Links:
    """Turn links by referrer into links by article."""
    from scipy.sparse import csr_array  # half a second that only those pay who write a graph

    nodes, edges = len(outgoing.offsets) - 1, len(outgoing.ends)
    offsets = outgoing.offsets.astype(np.int32 if edges < 2**31 else np.int64)  # narrow, as the ends are
    columns = csr_array((outgoing.clicks, outgoing.ends, offsets), shape=(nodes, nodes)).tocsc()
    return Links(columns.indptr.astype(np.int64), columns.indices.astype(np.int32), columns.data)


def clicks_out(outgoing: Links) -> npt.NDArray[np.int64]:
    """Clicks on all links out of each node, shape (n,)."""
    sums = np.zeros(len(outgoing.clicks) + 1, dtype=np.int64)
    np.cumsum(outgoing.clicks, out=sums[1:])
    found: npt.NDArray[np.int64] = np.diff(sums[outgoing.offsets])
    return found


def click_graph(graph: LinkGraph) -> ClickGraph:
    """The click graph of a link graph in memory."""
    outgoing = Links(graph.offsets, graph.targets, graph.clicks)
    return ClickGraph(graph.titles, outgoing, lambda: (incoming_of(outgoing), clicks_out(outgoing)))
