"""ReaderFlow's rank kernel beside other libraries on one link graph."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .machine import version_of
from .measure import Failed, measure, module
from .peers.rankers import LIBRARIES

RANKS = ("pagerank", "reader_rank", "link_rank")
#: networkx keeps a graph of Python dictionaries: beyond this many edges it takes minutes and gigabytes.
NETWORKX_EDGES = 3_000_000


@dataclass
class RankRun:
    """What a library took for the three ranks; seconds include building its graph."""

    library: str
    note: str = ""
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_mib: float = 0.0
    steps: dict[str, float] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    apart: dict[str, float] = field(default_factory=dict)  # largest distance of an article's rank from ReaderFlow's


def rank_runs(
    dump: Path, folder: Path, libraries: list[str], limit_seconds: float
) -> tuple[dict[str, int], list[RankRun]]:
    """Extract the link graph once, then let each library rank it.

    :returns: nodes and edges; a run for each library, ReaderFlow's first.
    """
    made = measure(module("benchmarks.peers.rank_graph", dump, folder))
    graph = {"nodes": made.result["nodes"], "edges": made.result["edges"]}
    runs = []
    for library in libraries:
        run = RankRun(library)
        runs.append(run)
        if version_of(library) == "not installed":
            run.note = "not installed"
        elif library == "networkx" and graph["edges"] > NETWORKX_EDGES:
            run.note = f"left out beyond {NETWORKX_EDGES:,} edges"
        else:
            _measure(run, folder, limit_seconds)
    return graph, runs


def all_libraries() -> list[str]:
    return list(LIBRARIES)


def _measure(run: RankRun, folder: Path, limit_seconds: float) -> None:
    try:
        measured = measure(module("benchmarks.peers.rankers", run.library, folder), limit_seconds=limit_seconds)
    except Failed as failure:
        run.note = f"failed: {str(failure).splitlines()[-1]}"
        return
    run.steps = measured.result["steps"]
    run.seconds, run.peak_mib = sum(run.steps.values()), measured.peak_mib
    run.cpu_seconds = sum(measured.result["cpu_steps"].values())
    for rank in RANKS:
        path = folder / f"{run.library}-{rank}.npy"
        if path.exists():
            ours = np.load(folder / f"readerflow-{rank}.npy")
            run.apart[rank] = float(np.abs(np.load(path) - ours).max(initial=0.0))
        else:
            run.missing.append(rank)
