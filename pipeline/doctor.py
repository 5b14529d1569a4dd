"""Check what the machine has: one line a finding, with the way to mend it."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from readerflow.common.errors import ReaderFlowError
from readerflow.common.settings import Settings

from .console import print_json
from .servers import SERVERS, machine, pid_of, ports_of, servers_home

GIB = 1024**3
NEEDED_PACKAGES = ("duckdb", "pyarrow", "numpy", "scipy", "flask", "gunicorn")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    state: Literal["ok", "warning", "missing"]
    found: str
    mend: str = ""


def check_machine(settings: Settings, *, as_json: bool) -> int:
    """Print all findings; return 1 if something that is needed is missing, else 0."""
    findings = [
        *_python(),
        *_memory(),
        *_home(settings.home.absolute()),
        *_port(settings),
        *_charts(),
        *_data(settings),
        *servers_findings(settings),
    ]
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            print(f"{finding.state:<8} {finding.what}: {finding.found}" + (f"; {finding.mend}" if finding.mend else ""))
    return int(any(finding.state == "missing" for finding in findings))


def _python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= (3, 11)
    yield Finding("Python", "ok" if good else "missing", version, "" if good else "ReaderFlow needs 3.11 or newer")
    for name in NEEDED_PACKAGES:
        try:
            yield Finding(name, "ok", importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name, "missing", "not installed", "run 'make setup'")


def _memory() -> Iterator[Finding]:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    enough = total >= 4
    mend = "" if enough else "months over 10 M rows need 8 GiB; lower the setting memory_limit"
    yield Finding("memory", "ok" if enough else "warning", f"{total:.1f} GiB, {os.cpu_count()} cores", mend)


def _home(home: Path) -> Iterator[Finding]:
    place = next(path for path in (home, *home.parents) if path.exists())
    if not os.access(place, os.W_OK):
        yield Finding("home", "missing", f"{place} can't be written", "set READERFLOW_HOME to a folder of yours")
        return
    free = shutil.disk_usage(place).free / GIB
    enough = free >= 5
    mend = "" if enough else "a small wiki's month needs 1 GiB, the largest about 20 GiB"
    yield Finding("home", "ok" if enough else "warning", f"{home}, {free:.1f} GiB free", mend)


def _port(settings: Settings) -> Iterator[Finding]:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            mend = "stop what uses it or choose another with --port"
            yield Finding("port", "warning", f"{settings.host}:{settings.port}: {error.strerror}", mend)
            return
    yield Finding("port", "ok", f"{settings.host}:{settings.port} is free")


def _charts() -> Iterator[Finding]:
    from importlib.resources import files

    there = files("readerflow.webapp").joinpath("static/vendor/echarts.min.js").is_file()
    mend = "" if there else "pages show tables only; install Node.js and run 'make setup'"
    yield Finding("charts", "ok" if there else "warning", "ECharts is there" if there else "ECharts is not there", mend)


def _data(settings: Settings) -> Iterator[Finding]:
    if settings.data is None:
        yield Finding("dumps", "ok", "READERFLOW_DATA is not set", "the demo downloads or generates a month")
    elif settings.data.is_dir():
        yield Finding("dumps", "ok", f"{settings.data}")
    else:
        yield Finding("dumps", "warning", f"{settings.data} is not a folder", "mend READERFLOW_DATA")


def servers_findings(settings: Settings) -> Iterator[Finding]:
    """What 'readerflow up' needs. It is needed by the ``cluster`` profile; to others it is a warning."""
    lacking: Literal["missing", "warning"] = "missing" if settings.profile == "cluster" else "warning"
    for what, look in (("Java", _java), ("Maven", _maven), ("pyspark", _pyspark)):
        try:
            yield Finding(what, "ok", look())
        except ReaderFlowError as error:
            found, _, mend = str(error).partition("; ")
            yield Finding(what, lacking, found, f"for the cluster profile {mend}")
    if not sys.platform.startswith("linux"):
        yield Finding("local servers", lacking, sys.platform, "'readerflow up' needs Linux; name servers elsewhere")
        return
    try:
        idle = [name for name in SERVERS if pid_of(settings, name) is None]
        ports = {name: machine.taken(ports_of(settings, name)) for name in idle}
        machine.check_folder(settings)
        machine.check_room(settings, idle)
    except ReaderFlowError as error:
        found, _, mend = str(error).partition("; ")
        yield Finding("local servers", "warning", found, mend)
        return
    for name, taken in ports.items():
        for port in taken:
            mend = f"stop what uses it or change the setting {port.setting}"
            yield Finding(name, "warning", f"port {port.number} is taken", mend)
    running = [name for name in SERVERS if name not in idle]
    room = f"room for {', '.join(idle)} in {servers_home(settings)}" if idle else ""
    yield Finding("local servers", "ok", "; ".join([*(f"{name} runs" for name in running), *([room] if room else [])]))


def _java() -> str:
    java, version = machine.find_java()
    return f"{version} ({java})" + ("" if version == machine.JAVA else f"; the servers are tried with {machine.JAVA}")


def _maven() -> str:
    from readerflow.common.jars import find_maven

    return find_maven()


def _pyspark() -> str:
    machine.spark_home()
    return importlib.metadata.version("pyspark")
