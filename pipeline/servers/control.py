"""Start servers until they are ready, and end them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from readerflow.common.errors import ReaderFlowError
from readerflow.common.settings import PREFIX, Settings
from readerflow.storage.lease import lease

from . import processes, ready
from .catalogue import SERVERS, NotLocal, folder, log_file, ports_of, servers_home
from .machine import check_folder, check_ports, check_room, find_java, spark_home
from .render import render

STOP_SECONDS = 20.0
LOG_BYTES = 10_000_000
#: The part of the log that may tell why a server that ran before does not answer.
RECENT_BYTES = 10_000
_TROUBLE = re.compile(r"\b(?:ERROR|FATAL|Caused by:|\w*(?:Exception|Error):)")


class ServerDied(ReaderFlowError):
    """A server ended instead of becoming ready."""


class ServerNotReady(ReaderFlowError):
    """A server runs but does not answer in time."""


@dataclass(frozen=True)
class State:
    """What a server does now."""

    name: str
    pid: int | None
    ready: bool
    memory_mib: int | None
    ports: tuple[int, ...]
    log: str


def pid_of(settings: Settings, name: str) -> int | None:
    """The process of a server, or None when it does not run."""
    return _running(settings, [name]).get(name)


def is_ready(settings: Settings, name: str) -> bool:
    """Whether a server runs and answers as it should."""
    return pid_of(settings, name) is not None and ready.answers(settings, name)


def states(settings: Settings) -> list[State]:
    """What each server does now."""
    running = _running(settings, SERVERS)
    found = []
    for name in SERVERS:
        pid = running.get(name)
        memory = None if pid is None else processes.resident_bytes(pid)
        found.append(
            State(
                name=name,
                pid=pid,
                ready=pid is not None and ready.answers(settings, name),
                memory_mib=None if memory is None else memory // 1024**2,
                ports=_ports(settings, name),
                log=str(log_file(settings, name)),
            )
        )
    return found


def up(
    settings: Settings, names: Iterable[str] = tuple(SERVERS), tell: Callable[[str], None] = lambda text: None
) -> list[str]:
    """Start those of the servers that do not run, one after the other, wait until all are ready; return the started.

    One after the other, since together they are not faster on two cores and each has the memory of its start to itself.

    :raises ReaderFlowError: one of this package's or of :mod:`readerflow.common.jars`; servers that are up stay up.
    """
    wanted = [name for name in SERVERS if name in set(names)]
    check_folder(settings)
    with lease(servers_home(settings) / "up.lock", "'readerflow up'"):
        running = _running(settings, wanted)
        idle = [name for name in wanted if name not in running]
        java, _ = find_java()
        check_ports(settings, idle)
        check_room(settings, idle)
        for name in wanted:
            began = time.monotonic()
            if name in running:
                _wait_until_ready(settings, name, running[name], _size(log_file(settings, name)) - RECENT_BYTES)
                tell(f"{name} runs already")
            else:
                _start(settings, name, java)
                tell(f"{name} is ready after {time.monotonic() - began:.1f} s")
    return idle


def start(settings: Settings, name: str) -> None:
    """Start one server unless it runs, and wait until it is ready."""
    up(settings, [name])


def down(settings: Settings, names: Iterable[str] = tuple(SERVERS), *, seconds: float = STOP_SECONDS) -> list[str]:
    """Ask servers to end, kill those that have not after ``seconds``; return the names of those that ran.

    They are asked all at once: each ends on its own, and in turn it would take five times as long.
    """
    marks = {processes.mark(folder(settings, name)): name for name in names}
    running = processes.find(marks)
    processes.end(running, seconds)
    return [marks[mark] for mark in running]


def stop(settings: Settings, name: str) -> None:
    """End one server."""
    down(settings, [name])


def _ports(settings: Settings, name: str) -> tuple[int, ...]:
    try:
        return tuple(port.number for port in ports_of(settings, name))
    except NotLocal:
        return ()


def _running(settings: Settings, names: Iterable[str]) -> dict[str, int]:
    marks = {processes.mark(folder(settings, name)): name for name in names}
    return {marks[mark]: pid for mark, pid in processes.find(marks).items()}


def _start(settings: Settings, name: str, java: Path) -> None:
    """Bring a server that does not run to readiness."""
    log = log_file(settings, name)
    render(settings, name)
    _rotate(log)
    environment = _environment(java)
    _format_once(settings, name, java, environment)
    begin = _size(log)
    pid = processes.launch(_command(settings, name, java), folder(settings, name), log, environment)
    _wait_until_ready(settings, name, pid, begin)


def _command(settings: Settings, name: str, java: Path) -> list[str]:
    home, server = folder(settings, name), SERVERS[name]
    ports = ports_of(settings, name)
    addresses = ["--host", "127.0.0.1", "--port", str(ports[0].number), "--webui-port", str(ports[-1].number)]
    arguments = {
        "kafka": [str(home / "conf" / "server.properties")],
        "spark-master": addresses,
        "spark-worker": [
            *addresses,
            "--cores", str(settings.spark_worker_cores),
            "--memory", settings.spark_worker_memory,
            "--work-dir", str(home / "work"),
            f"spark://127.0.0.1:{settings.spark_master_port}",
        ],
    }  # fmt: skip
    mark = processes.mark(home)
    return [str(java), mark, f"@{home / 'java.args'}", server.main_class, *arguments.get(name, [])]


def _environment(java: Path) -> dict[str, str]:
    """Our own variables, without our settings: some are secrets, and servers read none of them."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(PREFIX)}
    return {
        **kept,
        "JAVA_HOME": os.environ.get("JAVA_HOME") or str(java.resolve().parents[1]),
        "LC_ALL": "C.UTF-8",
        "SPARK_HOME": str(spark_home()),
        "SPARK_SCALA_VERSION": "2.13",
        "SPARK_LOCAL_IP": "127.0.0.1",
        "PYSPARK_PYTHON": sys.executable,
    }


def _format_once(settings: Settings, name: str, java: Path, environment: dict[str, str]) -> None:
    """Format the storage of a new server. The mark is ours: a half-done format is done again, a done one never."""
    home = folder(settings, name)
    steps = {
        "kafka": [
            "kafka.tools.StorageTool", "format", "--standalone", "--ignore-formatted",
            "-t", str(uuid.uuid4()), "-c", str(home / "conf" / "server.properties"),
        ],
        "namenode": [SERVERS["namenode"].main_class, "-format", "-force", "-nonInteractive"],
    }  # fmt: skip
    done = home / "formatted"
    if name not in steps or done.exists():
        return
    path = log_file(settings, name)
    begin = _size(path)
    with path.open("ab") as log:
        command = [str(java), f"@{home / 'java.args'}", *steps[name]]
        result = subprocess.run(  # noqa: S603 no shell; the command is ours
            command, cwd=home, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
    if result.returncode:
        raise ServerDied(f"{name} can't be formatted: {_trouble(settings, name, begin)}")
    done.touch()


def _wait_until_ready(settings: Settings, name: str, pid: int, begin: int) -> None:
    mark = processes.mark(folder(settings, name))
    deadline = time.monotonic() + settings.servers_timeout
    while True:
        if not processes.lives(pid, mark):
            raise ServerDied(f"{name} ended at its start: {_trouble(settings, name, begin)}")
        if ready.answers(settings, name):
            return
        if time.monotonic() > deadline:
            raise ServerNotReady(
                f"{name} runs but is not ready after {settings.servers_timeout:g} s: "
                f"{_trouble(settings, name, begin)}; 'readerflow down' ends it"
            )
        time.sleep(processes.POLL_SECONDS)


def _trouble(settings: Settings, name: str, begin: int) -> str:
    """The line of the log since ``begin`` that tells most, and where the log is."""
    log = log_file(settings, name)
    with log.open("rb") as file:
        file.seek(max(begin, 0))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    telling = [line for line in lines if _TROUBLE.search(line)] or lines or ["it wrote nothing"]
    return f"{telling[-1][:300]} ({log})"


def _size(log: Path) -> int:
    return log.stat().st_size if log.exists() else 0


def _rotate(log: Path) -> None:
    if _size(log) > LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))
