"""Measure ReaderFlow beside the same work written for other tools, on one generated month, in one run.

    make bench SIZE=3.4M
    python -m benchmarks.run --size 34M --parts views,ranks --interpreter /path/to/a/python/with/pyspark

Prints a page of Markdown and keeps it, and the figures as JSON, in build/bench/results-SIZE.{md,json}. When a smaller
size was measured before, the page compares the two.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from . import machine, same
from .contestants import PEERS, Run, peer_run, readerflow_on_spark, readerflow_runs
from .measure import ROOT, Failed
from .month import generated, into_cache, rows_of
from .months import other_months
from .ranks import all_libraries, rank_runs
from .rates import cluster_rates, rates
from .report import BATCH_PARTS, Results, markdown

PARTS = ("views", "ranks", "rates", "months")
#: Measured when asked for: ``cluster`` needs the ports of the servers and half an hour; ``spark``, the batch on
#: Spark beside DataFrames, an hour for 34M.
CLUSTER, SPARK = "cluster", "spark"


def main() -> None:
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder: Path = options.folder.absolute()
    work = folder / f"work-{os.getpid()}"
    folder.mkdir(parents=True, exist_ok=True)
    results: Results = {"size": options.size}
    try:
        for found in measured(options, folder, work):
            results |= found
            keep(results, folder)  # a later part may fail
    except Failed as failure:
        sys.exit(f"benchmark: {failure}")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(keep(results, folder))
    if any(run["differences"] for part in BATCH_PARTS for run in results.get(part, {}).get("runs", [])):
        sys.exit("benchmark: the contestants disagree")


def keep(results: Results, folder: Path) -> str:
    """Write results and their page to the folder; return the page."""
    page = markdown(results, smaller_results(folder, results["rows"]))
    (folder / f"results-{results['size']}.json").write_text(json.dumps(results, indent=1))
    (folder / f"results-{results['size']}.md").write_text(page)
    return page


def parse() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="3.4M", help="rows of the generated month, e.g. 3.4M or 34M (3.4M)")
    parser.add_argument(
        "--parts", default=",".join(PARTS), type=_names, help=f"what to measure ({','.join(PARTS)}; {CLUSTER}, {SPARK})"
    )
    parser.add_argument("--peers", default=[peer.package for peer in PEERS], type=_names, help="duckdb,polars,pyspark")
    parser.add_argument(
        "--libraries", default=all_libraries(), type=_names, help="of the ranks; readerflow is always one"
    )
    parser.add_argument(
        "--interpreter", action="append", default=[], type=Path, help="another Python, for peers not installed here"
    )
    parser.add_argument("--others", default=11, type=int, help="other months in the archive (11)")
    parser.add_argument("--month-size", default="340k", help="rows of each of them (340k)")
    parser.add_argument("--limit", default=3600.0, type=float, help="seconds after which a peer is stopped (3600)")
    parser.add_argument(
        "--folder", default=ROOT / "build" / "bench", type=Path, help="for months and results (build/bench)"
    )
    parser.add_argument("--dump", type=Path, help="a dump of synthwiki 2025-03 to use instead of a generated one")
    return parser.parse_args()


def measured(options: argparse.Namespace, folder: Path, work: Path) -> Iterator[Results]:
    """Run all parts, one after the other; yields the results of each."""
    rows = rows_of(options.size)
    yield {"rows": rows, "machine": machine.facts()}
    dump = options.dump or generated(folder, rows)
    into_cache(dump)
    if "views" in options.parts:
        yield {"views": views(readerflow_runs, options, options.peers, dump, work)}
    if SPARK in options.parts:
        yield {"spark": views(readerflow_on_spark, options, ["pyspark"], dump, work)}
    if "ranks" in options.parts:
        libraries = ["readerflow", *(name for name in options.libraries if name != "readerflow")]
        (work / "ranks").mkdir(parents=True, exist_ok=True)
        graph, runs = rank_runs(dump, work / "ranks", libraries, options.limit)
        yield {"graph": graph, "ranks": [asdict(run) for run in runs]}
        shutil.rmtree(work / "ranks")
    if "rates" in options.parts:
        label, found = rates(folder, work)
        yield {"rates_of": label, "rates": [asdict(rate) for rate in found]}
    if CLUSTER in options.parts:
        label, found = cluster_rates(folder, work)
        yield {"rates_of": label, "cluster": [asdict(rate) for rate in found]}
    if "months" in options.parts:
        yield {"months": asdict(other_months(folder, work, rows_of(options.month_size), options.others))}


def views(
    ours: Callable[[Path, Path, Path], list[Run]], options: argparse.Namespace, peers: list[str], dump: Path, work: Path
) -> dict[str, Any]:
    """ReaderFlow, then each peer; what a peer made is compared with ReaderFlow's views and removed."""
    made = work / "readerflow"
    runs = ours(dump, work / "home", made)
    compared = []
    for peer in PEERS:
        if peer.package not in peers:
            continue
        run = peer_run(peer, dump, work / peer.package, options.interpreter, options.limit)
        runs.append(run)
        if not run.note:
            run.differences = same.differences(made, work / peer.package)
            compared.append(run.name)
        shutil.rmtree(work / peer.package, ignore_errors=True)
    totals = same.totals(made)
    shutil.rmtree(made)
    return {"runs": [asdict(run) for run in runs], "totals": totals, "compared": compared}


def smaller_results(folder: Path, rows: int) -> Results | None:
    """The results of the largest smaller size that are there."""
    found = [json.loads(path.read_text()) for path in folder.glob("results-*.json")]
    smaller = [results for results in found if results["rows"] < rows and any(part in results for part in BATCH_PARTS)]
    return max(smaller, key=lambda results: int(results["rows"]), default=None)


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


if __name__ == "__main__":
    main()
