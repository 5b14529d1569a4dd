"""Who makes the batch views of a month: ReaderFlow with its own commands, and the same work for other engines."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from .machine import version_of
from .measure import Failed, Measurement, measure, module
from .month import MONTH, WIKI, readerflow


@dataclass
class Run:
    """What a contestant did in one run, or why it did not."""

    name: str
    does_not: str = ""
    note: str = ""  # why there are no figures
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_mib: float = 0.0
    steps: dict[str, float] = field(default_factory=dict)
    disk_mib: float = 0.0
    versions: str = ""
    differences: list[str] = field(default_factory=list)

    def add(self, step: str, measurement: Measurement) -> None:
        self.steps[step] = measurement.seconds
        self.seconds += measurement.seconds
        self.cpu_seconds += measurement.cpu_seconds
        self.peak_mib = max(self.peak_mib, measurement.peak_mib)


def readerflow_runs(dump: Path, home: Path, views: Path) -> list[Run]:
    """ReaderFlow: preprocess and batch, and the whole way through log and master dataset; views are exported after."""
    steps = _to_archive(dump) | {"batch": ("batch", WIKI, MONTH, "--json")}
    short, whole = Run("ReaderFlow: preprocess, batch"), Run("ReaderFlow: the whole way, with log and archive")
    home.mkdir(parents=True)
    for name, arguments in steps.items():
        measured = measure(readerflow(home, *arguments), folder=home)
        whole.add(name, measured)
        if name in ("preprocess", "batch"):
            short.add(name, measured)
    short.disk_mib, whole.disk_mib = size_mib(home / "pairs") + size_mib(home / "views"), size_mib(home)
    measure(module("benchmarks.exported", home, WIKI, MONTH, views))
    shutil.rmtree(home)
    return [short, whole]


def readerflow_on_spark(dump: Path, home: Path, views: Path) -> list[Run]:
    """ReaderFlow's batch on Spark, of a month that is in the master dataset already."""
    home.mkdir(parents=True)
    for arguments in _to_archive(dump).values():
        measure(readerflow(home, *arguments), folder=home)
    run = Run(
        "ReaderFlow: batch on Spark",
        does_not="from the master dataset; Parquet files",
        versions=f"pyspark {version_of('pyspark')}",
    )
    measured = measure(module("benchmarks.spark_batch", home, WIKI, MONTH, views))
    run.add("all", measured)
    run.steps = measured.result["steps"]
    run.disk_mib = size_mib(views)
    shutil.rmtree(home)
    return [run]


def _to_archive(dump: Path) -> dict[str, tuple[str | Path, ...]]:
    """The commands that bring a dump into the master dataset, by stage."""
    return {
        "preprocess": ("preprocess", dump, "--wiki", WIKI, "--month", MONTH, "--json"),
        "replay": ("replay", WIKI, MONTH, "--grain", "month", "--json"),
        "archive": ("archive", "--json"),
    }


@dataclass(frozen=True)
class Peer:
    """The same work by hand for another engine; what it leaves out is said in the table."""

    name: str
    module: str
    package: str
    does_not: str


#: Left out by all of them, said once below the table.
ALL_LEAVE_OUT = (
    "No peer tells dialects apart, checks counts and duplicates, keeps rejected lines, knows event times, sources and "
    "a horizon, or publishes atomically with a manifest. None stores titles once for search."
)
PEERS = (
    Peer("DuckDB", "benchmarks.peers.duckdb_views", "duckdb", "titles as keys; one DuckDB file"),
    Peer("Polars", "benchmarks.peers.polars_views", "polars", "titles as keys; Parquet files, all in memory"),
    Peer("PySpark", "benchmarks.peers.pyspark_views", "pyspark", "titles as keys; Parquet files; ranks on the driver"),
)


def peer_run(peer: Peer, dump: Path, folder: Path, interpreters: list[Path], limit_seconds: float) -> Run:
    """Run a peer with the first interpreter that has its package."""
    run = Run(peer.name, does_not=peer.does_not)
    interpreter, run.versions = installed(peer.package, interpreters)
    if interpreter is None:
        run.note = "not installed"
        return run
    try:
        command = module(peer.module, dump, folder, interpreter=interpreter)
        measured = measure(command, limit_seconds=limit_seconds)
    except Failed as failure:
        run.note = f"failed: {str(failure).splitlines()[-1]}"
        return run
    run.add("all", measured)
    run.steps = measured.result["steps"]
    for left in ("pairs", "spill", "incoming", "outgoing"):
        shutil.rmtree(folder / left, ignore_errors=True)
    run.disk_mib = size_mib(folder)
    return run


def installed(package: str, interpreters: list[Path]) -> tuple[Path | None, str]:
    """The first interpreter that has a package, and the package's version."""
    if version_of(package) != "not installed":
        return Path(sys.executable), f"{package} {version_of(package)}"
    asked = f"from importlib.metadata import version; print(version('{package}'))"
    for interpreter in interpreters:
        found = subprocess.run([str(interpreter), "-c", asked], capture_output=True, text=True)
        if not found.returncode:
            return interpreter, f"{package} {found.stdout.strip()}"
    return None, ""


def size_mib(folder: Path) -> float:
    """What the files below a folder take."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20
