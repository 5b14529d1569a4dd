"""Answers a second of the merge alone, in one thread and without HTTP: an article's numbers, and its sources.

Usage: python -m benchmarks.answering HOME WIKI MONTH SECONDS
Titles are drawn by their clicks, as readers draw them. ``benchmarks.serving`` measures the site with its server.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import pyarrow as pa

from readerflow.common.settings import load
from readerflow.storage import Storage, open_storage
from readerflow.storage.batch_views import View
from readerflow.storage.serving_views import Reading, Side
from readerflow.webapp.answers import article, neighbours
from readerflow.webapp.app import create_app

DRAWN = 20_000
LIMIT = 50


def main() -> None:
    home, wiki, month, seconds = sys.argv[1:]
    with open_storage(load(home=Path(home))) as storage:
        titles = drawn_titles(storage, wiki, month)
        questions: dict[str, Callable[[Reading, str], Any]] = {
            "merge: an article": article,
            f"merge: {LIMIT} sources": lambda reading, title: neighbours(reading, Side.SOURCES, title, limit=LIMIT),
        }
        # Answers ask the app for what a site knows beside its stores.
        with create_app(storage.serving_views).app_context():
            found = {
                name: ask(storage, wiki, month, titles, ask_one, float(seconds)) for name, ask_one in questions.items()
            }
    print(json.dumps(found))


def drawn_titles(storage: Storage, wiki: str, month: str) -> list[str]:
    """Titles with clicks in, drawn by clicks."""
    manifest = storage.batch_views.current(wiki, month)
    assert manifest is not None
    rows = pa.Table.from_batches(storage.batch_views.export(manifest.generation, View.ARTICLES))
    clicks = rows["in_clicks"].to_numpy().astype(float)
    drawn = np.random.default_rng(1).choice(len(rows), DRAWN, p=clicks / clicks.sum())
    titles: list[str] = rows["article"].take(pa.array(drawn)).to_pylist()
    return titles


def ask(
    storage: Storage, wiki: str, month: str, titles: list[str], question: Callable[[Reading, str], Any], seconds: float
) -> dict[str, float]:
    """Ask one question after the other for some seconds, each with a view of the stores of its own, as requests do."""
    began, cpu_began = perf_counter(), process_time()
    answers = 0
    for title in itertools.cycle(titles):
        with storage.serving_views.read(wiki, month) as reading:
            question(reading, title)
        answers += 1
        if perf_counter() - began >= seconds:
            break
    return {"answers": answers, "seconds": perf_counter() - began, "cpu_seconds": process_time() - cpu_began}


if __name__ == "__main__":
    main()
