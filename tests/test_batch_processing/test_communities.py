"""Communities follow their definition, agree with a plain-Python model, and come with a batch run."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pytest

from readerflow.batch_processing import communities as module
from readerflow.batch_processing.communities import ROUNDS, communities, popularity, votes_of
from readerflow.batch_processing.graph import NO_LINKS
from readerflow.storage.batch_views import LinkGraph, View
from tests.test_batch_processing.conftest import Home
from tests.test_batch_processing.segments import records
from tests.test_batch_processing.test_pagerank import graph_of

Edge = tuple[str, str, int]


def model(edges: list[Edge], rounds: int = ROUNDS) -> dict[str, tuple[str, int]]:
    """Name and size of each article's community, by the definition."""
    votes: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    clicks_in: dict[str, int] = defaultdict(int)
    for source, target, clicks in edges:
        votes[source][target] += clicks
        votes[target][source] += clicks
        clicks_in[target] += clicks
    for title, given in votes.items():
        given[title] += max(given.values())
    order = sorted(votes, key=lambda title: (-clicks_in[title], title.encode()))
    labels = {title: place for place, title in enumerate(order)}
    for _ in range(rounds):
        before = dict(labels)
        for title, given in votes.items():
            tally: dict[int, int] = defaultdict(int)
            for other, count in given.items():
                tally[before[other]] += count
            labels[title] = min(tally, key=lambda label: (-tally[label], label))
    members: dict[int, list[str]] = defaultdict(list)
    for title in order:
        members[labels[title]].append(title)
    return {title: (members[labels[title]][0], len(members[labels[title]])) for title in order}


def found(graph: LinkGraph, rounds: int = ROUNDS) -> dict[str, tuple[str, int]]:
    titles = graph.titles.to_pylist()
    result = communities(graph, rounds)
    return {
        title: (titles[name], size)
        for title, name, size in zip(titles, result.names.tolist(), result.sizes.tolist(), strict=True)
    }


@pytest.mark.parametrize("seed", range(12))
def test_random_graphs_have_the_communities_of_the_definition(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_ENTRIES", 7)
    random = np.random.default_rng(seed)
    nodes = int(random.integers(2, 90))
    pairs = sorted({(int(a), int(b)) for a, b in random.integers(0, nodes, (nodes * int(random.integers(1, 4)), 2))})
    # Few different numbers of clicks: ties are the rule.
    edges = [(f"n{a:03d}", f"n{b:03d}", int(random.integers(1, 4))) for a, b in pairs]
    for rounds in (1, 2, ROUNDS):
        assert found(graph_of(edges), rounds) == model(edges, rounds)


def test_a_hub_and_its_leaves_are_one_community_named_by_the_hub() -> None:
    edges = [*((f"leaf {n}", "hub", 10) for n in range(9)), *(("hub", f"leaf {n}", 10) for n in range(5))]
    assert set(found(graph_of(edges)).values()) == {("hub", 10)}


def test_two_clusters_with_a_weak_bridge_stay_apart() -> None:
    left, right = "abcd", "wxyz"
    edges = [(a, b, 50) for group in (left, right) for a in group for b in group if a != b]
    result = found(graph_of([*edges, ("d", "w", 60), ("w", "d", 30)]))
    # w has more clicks in than the others of its cluster, d likewise.
    assert [result[title] for title in left] == [("d", 4)] * 4
    assert [result[title] for title in right] == [("w", 4)] * 4


def test_a_name_is_a_member_even_where_the_labels_first_owner_has_left() -> None:
    random = np.random.default_rng(5)
    pairs = {(int(a), int(b)) for a, b in random.integers(0, 400, (900, 2))}
    result = communities(graph_of((f"n{a:03d}", f"n{b:03d}", int(random.zipf(1.5)) % 1000 + 1) for a, b in pairs))
    assert np.array_equal(result.names[result.names], result.names)
    sizes = np.bincount(result.names, minlength=len(result.names))
    assert np.array_equal(sizes[result.names], result.sizes)
    assert result.count == np.count_nonzero(sizes)


def test_without_links_there_are_no_communities_and_a_link_to_itself_is_one() -> None:
    assert communities(NO_LINKS).count == 0
    assert found(graph_of([("a", "a", 3)])) == {"a": ("a", 1)}


def test_votes_count_clicks_both_ways_and_a_nodes_strongest_link_for_itself() -> None:
    graph = graph_of([("a", "b", 3), ("b", "a", 4), ("b", "c", 9)])
    assert votes_of(graph).toarray().tolist() == [[7, 7, 0], [7, 9, 9], [0, 9, 9]]
    assert popularity(graph).tolist() == [1, 2, 0]


def test_a_batch_run_stores_the_communities_of_linked_articles(home: Home) -> None:
    edges = [("Zagreb", "Split", 40), ("Split", "Zagreb", 30), ("Pula", "Rijeka", 20), ("Rijeka", "Split", 1)]
    rows = [(source, target, "link", clicks) for source, target, clicks in edges]
    home.archive.add(0, records([*rows, ("other-search", "Lonely", "external", 99)]))
    manifest = home.run()
    stored = home.rows(View.COMMUNITIES)
    expected: list[dict[str, Any]] = [
        {"article": title, "community": name, "size": size} for title, (name, size) in sorted(model(edges).items())
    ]
    assert stored == expected
    assert manifest.rows["communities"] == 4
