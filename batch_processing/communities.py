"""Communities: articles between which readers move, found by label propagation over the link graph.

Synchronous label propagation as GraphX defines it: in each round every node takes the label that most votes are for,
and all nodes move at once. A link counts both ways and has a vote for each click; links between the same two articles
add up. Two rules make an answer of it. A node votes for its own label too, as strongly as its strongest link does:
otherwise a hub and its leaves swap labels for ever. And a tie goes to the label that began at the article with more
clicks in by links (then: the first in byte order). Votes are whole numbers, so the result is the same everywhere.

A community is named by its member with most clicks in by links. Labels can outlive their first owner, who is then no
member: the name says who is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.sparse import csr_array

from readerflow.storage.batch_views import LinkGraph

from .graph import Ids

#: Rounds of a batch run. On a real month hardly a node still moves after six.
ROUNDS = 10
#: Entries of the vote matrix that are counted in one go.
BLOCK_ENTRIES = 4_000_000

Nodes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Communities:
    """The community of each node, shape (n,)."""

    names: Nodes  # the node that names it
    sizes: Nodes  # how many members it has

    @property
    def count(self) -> int:
        return int(np.count_nonzero(self.names == np.arange(len(self.names))))


def communities(graph: LinkGraph, rounds: int = ROUNDS) -> Communities:
    """Find the communities of a link graph."""
    if not graph.nodes:
        return Communities(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
    places = popularity(graph)
    labels = propagate(votes_of(graph), places, rounds)
    # Of nodes in the order of popularity, the first one with a label names it.
    by_place = np.argsort(places)
    first = np.full(graph.nodes, graph.nodes)
    np.minimum.at(first, labels, places)
    sizes = np.bincount(labels, minlength=graph.nodes)
    return Communities(by_place[first[labels]], sizes[labels])


def popularity(graph: LinkGraph) -> Nodes:
    """The place of each node, from 0, by clicks in by links descending, then by node."""
    clicks_in = np.bincount(graph.targets, weights=graph.clicks, minlength=graph.nodes)
    places = np.empty(graph.nodes, dtype=np.int64)
    places[np.argsort(-clicks_in, kind="stable")] = np.arange(graph.nodes)
    return places


def votes_of(graph: LinkGraph) -> csr_array:
    """Votes between nodes, symmetric, shape (n, n), int64: clicks both ways, and those of nodes for themselves."""
    nodes = np.arange(graph.nodes, dtype=np.int32)
    sources = np.repeat(nodes, np.diff(graph.offsets))
    rows = np.concatenate([sources, graph.targets, nodes])
    columns = np.concatenate([graph.targets, sources, nodes])
    clicks = np.concatenate([graph.clicks, graph.clicks, np.zeros(graph.nodes, dtype=np.int64)])
    votes = csr_array((clicks, (rows, columns)), shape=(graph.nodes, graph.nodes))
    strongest = np.maximum.reduceat(votes.data, votes.indptr[:-1])
    itself = votes.indices == np.repeat(nodes, np.diff(votes.indptr))
    votes.data[itself] += np.maximum(strongest, 1)  # at least its own: a node without links keeps its label
    return votes


def propagate(votes: csr_array, labels: Nodes, rounds: int) -> Nodes:
    """Let all nodes take the label with most votes, the smallest of equal ones, a number of times.

    :param votes: symmetric, shape (n, n); row i has the votes that count at node i, at least one.
    :param labels: shape (n,), 0 <= label < n.
    """
    nodes = len(labels)
    active = np.arange(nodes)
    for _ in range(rounds):
        taken = labels.copy()
        for rows, part in _parts(votes, active):
            taken[rows] = _most_voted(part, labels)
        changed = np.flatnonzero(taken != labels)
        labels = taken
        # Only where a voter has changed can the outcome; while most do, finding out where costs more than it saves.
        if len(changed) < nodes // 4:
            touched = np.zeros(nodes, dtype=bool)
            for _, part in _parts(votes, changed):
                touched[part.indices] = True
            active = np.flatnonzero(touched)
    return labels


def _parts(votes: csr_array, rows: Nodes) -> Iterator[tuple[Nodes, csr_array]]:
    """Copies of some rows, so that each part has a bounded number of entries, or one row."""
    ends = np.cumsum(votes.indptr[rows + 1] - votes.indptr[rows], dtype=np.int64)
    for part in np.split(rows, np.flatnonzero(np.diff(ends // BLOCK_ENTRIES)) + 1):
        if len(part):
            first, last = int(part[0]), int(part[-1])
            # Neighbouring rows are copied much faster as a slice.
            yield part, votes[first : last + 1] if last - first + 1 == len(part) else votes[part]


def _most_voted(votes: csr_array, labels: Nodes) -> Nodes:
    """The winning label of each row; ``votes`` becomes the tally by label."""
    votes.indices = labels[votes.indices].astype(votes.indices.dtype)
    votes.has_canonical_format = False
    votes.sum_duplicates()  # sorts each row, which is many times faster here than a product of sparse matrices
    starts = votes.indptr[:-1]
    most = np.maximum.reduceat(votes.data, starts)
    won = votes.data == np.repeat(most, np.diff(votes.indptr))
    winners: Nodes = np.minimum.reduceat(np.where(won, votes.indices, len(labels)), starts).astype(np.int64)
    return winners


def community_columns(found: Communities, ids: Ids) -> pa.Table:
    """Communities by article: title ids of the article and of the one that names its community, and the size."""
    return pa.table({"article": ids, "community": ids[found.names], "size": found.sizes})
