"""Rates of one machine: records a second of replay, archiver and stream, and answers a second of the merge."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .measure import measure, module
from .month import MONTH, WIKI, generated, readerflow

REAL = ("hrwiki", "2025-03", "clickstream/clickstream-hrwiki-2025-03.tsv.gz")
GENERATED_ROWS = 200_000
#: The stream takes what follows the horizon; a week of it lasts long enough to measure.
HORIZON_DAY = 24
ANSWER_SECONDS = 10


@dataclass(frozen=True)
class Rate:
    """How much of something went through a stage, the start of its process included."""

    stage: str
    amount: int
    unit: str
    seconds: float
    cpu_seconds: float
    peak_mib: float

    @property
    def per_second(self) -> float:
        return self.amount / self.seconds


def rates(folder: Path, work: Path) -> tuple[str, list[Rate]]:
    """Take a month through every stage at grain ``hour``, and ask for answers.

    :returns: what month it is, and the rates.
    """
    with _home(work / "rates-home") as home:
        label, wiki, month, found = _stages(folder, home)
        measured = measure(module("benchmarks.answering", home, wiki, month, str(ANSWER_SECONDS)))
        for name, result in measured.result.items():
            took = (result["seconds"], result["cpu_seconds"], measured.peak_mib)
            found.append(Rate(name, result["answers"], "answers", *took))
    return label, found


def cluster_rates(folder: Path, work: Path) -> tuple[str, list[Rate]]:
    """As :func:`rates`, through Kafka, HDFS, Spark and Cassandra: local servers that start and end with it."""
    with _home(work / "cluster-home") as home:
        try:
            measure(readerflow(home, "up"), folder=home)
            label, _, _, found = _stages(folder, home, "--profile", "cluster")
        finally:
            measure(readerflow(home, "down"), folder=home)
    return label, found


@contextmanager
def _home(path: Path) -> Iterator[Path]:
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def _stages(folder: Path, home: Path, *options: str) -> tuple[str, str, str, list[Rate]]:
    """Run the stages one after the other; gives (what month it is, wiki, month, their rates)."""
    label, dump, wiki, month = _month(folder)
    horizon = f"{month}-{HORIZON_DAY}T00:00Z"
    stages = (
        ("preprocess", ("preprocess", dump, "--wiki", wiki, "--month", month, "--json"), "accepted", "pairs"),
        ("replay", ("replay", wiki, month, "--grain", "hour", "--json"), "records", "records"),
        ("archive", ("archive", "--json"), "records", "records"),
        ("batch", ("batch", wiki, month, "--until", horizon, "--json"), "pairs", "pairs"),
        ("stream", ("stream", "--json"), "records", "records"),
    )
    found = []
    for stage, arguments, field, unit in stages:
        measured = measure(readerflow(home, *arguments, *options), folder=home)
        amount = int(measured.result[field])
        found.append(Rate(stage, amount, unit, measured.seconds, measured.cpu_seconds, measured.peak_mib))
    return label, wiki, month, found


def _month(folder: Path) -> tuple[str, Path, str, str]:
    data = os.environ.get("READERFLOW_DATA")
    wiki, month, path = REAL
    if data and (Path(data) / path).exists():
        return f"{wiki} {month}, a real month", Path(data).absolute() / path, wiki, month
    return f"a generated month of {GENERATED_ROWS:,} rows", generated(folder, GENERATED_ROWS), WIKI, MONTH
