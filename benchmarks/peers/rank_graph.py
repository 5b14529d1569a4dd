"""The link graph of a dump as numpy files, so that all rank contestants start from the same arrays.

Usage: python -m benchmarks.peers.rank_graph DUMP FOLDER
Writes sources, targets (int32), clicks (int64), in the byte order of titles, and entries (float64, one a node).
"""

from __future__ import annotations

import duckdb
import numpy as np

from .duckdb_views import EDGES, GRAPH, INCOMING, NODE_ENTRIES, NODES, READ
from .steps import Steps, arguments


def main() -> None:
    dump, folder = arguments()
    steps = Steps()
    with steps.step("graph"), duckdb.connect(config={"temp_directory": str(folder / "spill")}) as con:
        con.execute(READ, {"dump": str(dump)})
        for statement in (INCOMING, GRAPH, NODES):
            con.execute(statement)
        edges = con.execute(f"{EDGES} order by all").fetchnumpy()
        entries = con.execute(NODE_ENTRIES).fetchnumpy()["entries"]
    np.save(folder / "sources.npy", edges["source"].astype(np.int32))
    np.save(folder / "targets.npy", edges["target"].astype(np.int32))
    np.save(folder / "clicks.npy", edges["clicks"].astype(np.int64))
    np.save(folder / "entries.npy", entries.astype(np.float64))
    steps.tell(nodes=len(entries), edges=len(edges["source"]))


if __name__ == "__main__":
    main()
