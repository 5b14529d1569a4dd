"""Does a batch run of one month take longer when the archive holds other months too?"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from .measure import Measurement, measure
from .month import MONTH, WIKI, generated, readerflow

RUNS = 3


@dataclass(frozen=True)
class OtherMonths:
    """Best batch time of a month alone in the archive, and among others."""

    rows: int
    others: int
    alone_seconds: float
    among_seconds: float
    alone_cpu_seconds: float
    among_cpu_seconds: float


def other_months(folder: Path, work: Path, rows: int, others: int) -> OtherMonths:
    """Measure the batch of a month before and after so many months of the same size join it in the archive."""
    dump = generated(folder, rows)
    home = work / "months-home"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    _archive(home, dump, MONTH)
    alone = _batches(home)
    for place in range(1, others + 1):
        _archive(home, dump, f"{2030 + place // 12}-{place % 12 + 1:02}")
    among = _batches(home)
    shutil.rmtree(home)
    return OtherMonths(
        rows,
        others,
        min(run.seconds for run in alone),
        min(run.seconds for run in among),
        min(run.cpu_seconds for run in alone),
        min(run.cpu_seconds for run in among),
    )


def _archive(home: Path, dump: Path, month: str) -> None:
    for arguments in (
        ("preprocess", dump, "--wiki", WIKI, "--month", month),
        ("replay", WIKI, month, "--grain", "month"),
        ("archive",),
    ):
        measure(readerflow(home, *arguments), folder=home)


def _batches(home: Path) -> list[Measurement]:
    return [measure(readerflow(home, "batch", WIKI, MONTH), folder=home) for _ in range(RUNS)]
