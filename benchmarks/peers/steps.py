"""What all peers share: their arguments, the time of their steps, and the names of the rankings."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, process_time

CLASSES = ("other-search", "other-empty", "other-internal", "other-external", "other-other")
#: Ranking -> the expression over a row of ``articles`` whose first rows it lists.
RANKINGS = {
    "in": "in_clicks",
    "out": "out_clicks",
    "entries": "in_clicks - in_link_clicks - in_other_clicks",
    "pagerank": "pagerank",
    "reader_rank": "reader_rank",
    "link_rank": "link_rank",
    "under_linked": "case when in_link_clicks >= 100 and reader_rank > link_rank then reader_rank / link_rank end",
    "over_linked": "case when in_link_clicks >= 100 and link_rank > reader_rank and reader_rank > 0 "
    "then link_rank / reader_rank end",
    "search": "entries_search",
    "empty": "entries_empty",
    "internal": "entries_internal",
    "external": "entries_external",
    "other": "entries_other",
}
RANKING_ROWS = 100_000


class Steps:
    """Seconds by step: of the wall clock, and of all cores for this process."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.cpu_seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        began, cpu_began = perf_counter(), process_time()
        yield
        self.seconds[name] += perf_counter() - began
        self.cpu_seconds[name] += process_time() - cpu_began

    def tell(self, **more: object) -> None:
        """Print the steps for the process that measures."""
        print(json.dumps({"steps": self.seconds, "cpu_steps": self.cpu_seconds, **more}))


def arguments() -> tuple[Path, Path]:
    """The dump to read and the folder to write to."""
    dump, folder = sys.argv[1:]
    Path(folder).mkdir(parents=True, exist_ok=True)
    return Path(dump), Path(folder)
