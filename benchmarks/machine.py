"""Facts about the machine and the versions that a measurement was made with."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from .measure import ROOT

PACKAGES = ("duckdb", "igraph", "networkit", "networkx", "numpy", "polars", "pyarrow", "rustworkx", "scipy")


def facts() -> dict[str, str]:
    """What a reader must know to judge the figures, by name."""
    memory = psutil.virtual_memory().total / 2**30
    return {
        "measured": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, load {os.getloadavg()[0]:.1f} at the start",
        "machine": f"{len(os.sched_getaffinity(0))} cores ({cpu()}), {memory:.0f} GiB RAM",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "versions": ", ".join(f"{name} {version_of(name)}" for name in ("readerflow", *PACKAGES)),
        "commit": commit(),
    }


def version_of(package: str) -> str:
    """The installed version of a package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def cpu() -> str:
    """The processor's name; its architecture where the kernel does not tell a name."""
    info = Path("/proc/cpuinfo")
    match = re.search(r"^model name\s*:\s*(.+)$", info.read_text() if info.exists() else "", re.MULTILINE)
    return match[1] if match else platform.machine()


def commit() -> str:
    """The commit of the work tree, with a plus when it has changes."""
    try:
        head = _git(["rev-parse", "--short", "HEAD"])
        return head + ("+" if _git(["status", "--porcelain"]) else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(arguments: Sequence[str]) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S607
