"""Related articles: how often they are what readers really see, beside other measures, and how fast they come.

    python -m benchmarks.related HOME WIKI MONTH

Two questions, both about what was held back:

- *hidden links*: a fifth of the month's links is hidden; are the hidden neighbours of an article among its ten related
  ones? (Known neighbours do not count.)
- *games*: real sessions of Wikispeedia (West & Leskovec 2012; under READERFLOW_DATA), by players: those of four fifths
  make the click graph; in the games of the others, are the articles of a game among the ten related to each of them?

Beside: the articles with most clicks ("most popular"), the strongest neighbours, and the cosine of click profiles. Exit
status 1 when ReaderFlow's measure does not find MARGINS times what "most popular" finds.
"""

from __future__ import annotations

import argparse
import gzip
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from time import perf_counter
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.sparse import csr_array, diags_array

from readerflow.batch_processing.graph import link_graph
from readerflow.common.settings import load
from readerflow.storage import open_storage
from readerflow.storage.click_graph import ClickGraph, click_graph
from readerflow.webapp.walks import see_also

from . import machine
from .paths import percentiles

GAMES = "sessions/wikispeedia_paths_unfinished.first5000.tsv.gz"
TOP = 10
HIDDEN, PLAYED = "hidden links", "games"
MARGINS = {HIDDEN: 10.0, PLAYED: 1.5}
MOST_QUESTIONS = 3000
LEAST_NEIGHBOURS = 3
#: Related articles of a node that may hold some of no interest: so many are asked for beyond TOP.
SPARE = 400

OURS, NEIGHBOURS, POPULAR = "ReaderFlow: short walks", "strongest neighbours", "most popular"

Question = tuple[int, set[int], set[int]]  # an article, what was held back, what does not count
Ranker = Callable[[int], Iterable[int]]
Ids = npt.NDArray[np.int64]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("wiki")
    parser.add_argument("month")
    parser.add_argument(
        "--questions", default=",".join(MARGINS), help=f"what to ask ({','.join(MARGINS)}); '' for speed"
    )
    asked = parser.parse_args()
    with open_storage(load(home=asked.home)) as storage, storage.serving_views.read(asked.wiki, asked.month) as reading:
        graph = reading.graph()
    assert graph is not None, "no generation"
    for name, fact in machine.facts().items():
        print(f"{name}: {fact}")
    speed(graph)
    failed = False
    if HIDDEN in asked.questions.split(","):
        failed |= judged(HIDDEN, *hidden_links(graph))
    if PLAYED in asked.questions.split(","):
        games = Path(os.environ.get("READERFLOW_DATA", "")) / GAMES
        if games.exists():
            failed |= judged(PLAYED, *held_out_games(games))
        else:
            print(f"{PLAYED}: not asked, READERFLOW_DATA has no {GAMES}")
    return 1 if failed else 0


def speed(graph: ClickGraph) -> None:
    """Time articles drawn alike, by their clicks, and those with most links."""
    rng = np.random.default_rng(1)
    degrees = np.diff(graph.outgoing.offsets) + np.diff(graph.incoming.offsets)
    drawn = {
        "any articles": rng.integers(graph.nodes, size=1000),
        "articles by clicks out": rng.choice(graph.nodes, 1000, p=graph.out_clicks / graph.out_clicks.sum()),
        "the 200 with most links": np.argsort(-degrees)[:200],
    }
    print(f"{graph.nodes:,} articles, {graph.edges:,} links, at most {degrees.max():,} at an article")
    for name, nodes in drawn.items():
        seconds = []
        for node in nodes.tolist():
            began = perf_counter()
            see_also(graph, node, 50)
            seconds.append(perf_counter() - began)
        print(f"{name}: {percentiles(seconds)}", flush=True)


def hidden_links(graph: ClickGraph) -> tuple[ClickGraph, list[Question]]:
    """The graph without a fifth of its links, and questions about them."""
    rng = np.random.default_rng(1)
    referrers = np.repeat(np.arange(graph.nodes), np.diff(graph.outgoing.offsets))
    articles, clicks = graph.outgoing.ends.astype(np.int64), graph.outgoing.clicks
    hidden = rng.random(graph.edges) < 0.2
    left = _graph(graph.nodes, referrers[~hidden], articles[~hidden], clicks[~hidden])
    wanted = _neighbours(referrers[hidden], articles[hidden])
    known = _neighbours(referrers[~hidden], articles[~hidden])
    questions = [
        (node, ends - known.get(node, set()) - {node}, known.get(node, set()) | {node}) for node, ends in wanted.items()
    ]
    questions = [one for one in questions if one[1] and len(one[2]) > LEAST_NEIGHBOURS]
    return left, [questions[place] for place in rng.permutation(len(questions))[:MOST_QUESTIONS]]


def held_out_games(path: Path) -> tuple[ClickGraph, list[Question]]:
    """The click graph of four fifths of the players, and questions about the games of the others."""
    numbers: dict[str, int] = {}
    games: list[tuple[str, list[tuple[int, int]], list[int]]] = []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            if line.strip() and not line.startswith("#"):
                player, _, _, walk, *_ = line.rstrip("\n").split("\t")
                games.append((player, *_moves(walk, numbers)))
    players = sorted({player for player, *_ in games})
    held = set(np.array(players)[np.random.default_rng(1).random(len(players)) < 0.2].tolist())
    moves = np.array([move for player, made, _ in games if player not in held for move in made])
    pairs, clicks = np.unique(moves[moves[:, 0] != moves[:, 1]], axis=0, return_counts=True)
    known = _neighbours(pairs[:, 0], pairs[:, 1])
    questions = [
        (node, set(seen) - {node}, {node})
        for player, _, seen in games
        if player in held and len(seen) > 2
        for node in seen
        if len(known.get(node, ())) >= LEAST_NEIGHBOURS
    ]
    return _graph(len(numbers), pairs[:, 0], pairs[:, 1], clicks), questions


def _moves(walk: str, numbers: dict[str, int]) -> tuple[list[tuple[int, int]], list[int]]:
    """A game's clicks from article to article, and the articles seen; ``<`` goes back to the one before."""
    trail: list[int] = []
    moves, seen = [], []
    for name in walk.split(";"):
        if name == "<":
            del trail[max(1, len(trail) - 1) :]
            continue
        node = numbers.setdefault(unquote(name), len(numbers))
        if trail:
            moves.append((trail[-1], node))
        trail.append(node)
        seen.append(node)
    return moves, list(dict.fromkeys(seen))


def _neighbours(referrers: Ids, articles: Ids) -> dict[int, set[int]]:
    found: dict[int, set[int]] = {}
    for here, there in zip(referrers.tolist(), articles.tolist(), strict=True):
        found.setdefault(here, set()).add(there)
        found.setdefault(there, set()).add(here)
    return found


def _graph(nodes: int, referrers: Ids, articles: Ids, clicks: Ids) -> ClickGraph:
    """A click graph over all nodes; those without links have one to themselves, which walks never take."""
    alone = np.setdiff1d(np.arange(nodes), np.concatenate([referrers, articles]))
    ends = [pa.array(np.concatenate([column, alone]), pa.int32()) for column in (referrers, articles)]
    columns = [*ends, pa.array(np.concatenate([clicks, np.ones_like(alone)]), pa.int64())]
    rows = pa.record_batch(columns, names=["referrer", "article", "clicks"])
    titles = pa.array([f"{node:08}" for node in range(nodes)])
    return click_graph(link_graph(titles, [rows])[0])


def judged(name: str, graph: ClickGraph, questions: list[Question]) -> bool:
    """Print what each measure finds; whether ReaderFlow's fails its margin."""
    print(f"\n{name}: {len(questions)} questions, the first {TOP}", flush=True)
    rankers = measures(graph)
    if name == HIDDEN:
        del rankers[NEIGHBOURS]  # known neighbours do not count
    found = {measure: _recall(ranker, questions) for measure, ranker in rankers.items()}
    for measure, (recall, hit) in found.items():
        print(f"  {measure:36s} recall {recall:6.2%}   at least one {hit:6.2%}")
    times = found[OURS][0] / found[POPULAR][0]
    print(f"  {times:.1f} times most popular; at least {MARGINS[name]:g} is promised", flush=True)
    return times < MARGINS[name]


def _recall(ranker: Ranker, questions: list[Question]) -> tuple[float, float]:
    """How much of what was held back is among the first, and how often any of it is."""
    recalls, hits = [], []
    for node, wanted, left_out in questions:
        first = [other for other in ranker(node) if other not in left_out][:TOP]
        right = len(wanted.intersection(first))
        recalls.append(right / min(TOP, len(wanted)))
        hits.append(right > 0)
    return float(np.mean(recalls)), float(np.mean(hits))


def measures(graph: ClickGraph) -> dict[str, Ranker]:
    """Name -> what ranks the articles related to one."""
    shape = (graph.nodes, graph.nodes)
    one_way = csr_array((graph.outgoing.clicks.astype(float), graph.outgoing.ends, graph.outgoing.offsets), shape=shape)
    both = (one_way + one_way.T).tocsr()
    popular = np.argsort(-both.sum(axis=0), kind="stable")[: TOP + SPARE].tolist()
    lengths = np.sqrt(both.multiply(both).sum(axis=1))
    unit = (diags_array(np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0)) @ both).tocsr()
    return {
        OURS: lambda node: see_also(graph, node, TOP + SPARE)[0].tolist(),
        NEIGHBOURS: lambda node: _strongest(both[[node]]),
        "cosine of click profiles": lambda node: _strongest(unit[[node]] @ unit.T),
        POPULAR: lambda node: popular,
    }


def _strongest(row: csr_array) -> list[int]:
    row = row.tocsr()
    found: list[int] = row.indices[np.argsort(-row.data, kind="stable")].tolist()
    return found


if __name__ == "__main__":
    sys.exit(main())
