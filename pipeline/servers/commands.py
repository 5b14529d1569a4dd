"""``up``, ``down``, ``logs`` and the servers' part of ``status``, as people see them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from readerflow.common.errors import ReaderFlowError
from readerflow.common.settings import Settings

from ..console import print_json, say, table
from . import control
from .catalogue import ALIASES, SERVERS, log_file, servers_home

FOLLOW_SECONDS = 0.3


class NoLogs(ReaderFlowError):
    """The servers have not run here."""


def expand(names: Iterable[str]) -> list[str]:
    """Server names in the order of their start; ``hdfs`` and ``spark`` stand for two each, nothing for all."""
    wanted = {one for name in names for one in ALIASES.get(name, (name,))} or set(SERVERS)
    return [name for name in SERVERS if name in wanted]


def start_servers(settings: Settings, names: Sequence[str], *, as_json: bool) -> None:
    """Start servers, a line for each as it becomes ready."""
    control.up(settings, expand(names), say)
    if as_json:
        print_json([asdict(state) for state in control.states(settings)])
    elif settings.profile != "cluster":
        say("set READERFLOW_PROFILE=cluster to work with them")


def stop_servers(settings: Settings, names: Sequence[str], *, as_json: bool) -> None:
    """End servers; say which ran."""
    stopped = control.down(settings, expand(names))
    if as_json:
        print_json(stopped)
    else:
        say(f"stopped {', '.join(stopped)}" if stopped else "no server runs")


def show_logs(settings: Settings, names: Sequence[str], *, lines: int, follow: bool) -> None:
    """Print the last lines of servers' logs; with ``follow`` also those to come, until Ctrl-C.

    :raises NoLogs: when none of the servers has a log.
    """
    logs = {name: log_file(settings, name) for name in expand(names) if log_file(settings, name).exists()}
    if not logs:
        raise NoLogs(f"no server has run in {servers_home(settings)}; 'readerflow up' starts them")
    width = max(map(len, logs)) if len(logs) > 1 else 0
    with ExitStack() as opened, suppress(KeyboardInterrupt):
        files = {name: opened.enter_context(path.open(errors="replace")) for name, path in logs.items()}
        for name, file in files.items():
            _print_lines(name, width, deque(file, maxlen=lines))
        while follow:
            for name, path in logs.items():
                if _replaced(files[name], path):
                    files[name] = opened.enter_context(path.open(errors="replace"))
                _print_lines(name, width, files[name])
            time.sleep(FOLLOW_SECONDS)


def servers_status(settings: Settings) -> list[dict[str, Any]]:
    """The state of each local server; empty where none was ever started."""
    return [asdict(state) for state in control.states(settings)] if servers_home(settings).exists() else []


def servers_table(states: Sequence[dict[str, Any]]) -> str:
    """The servers' states for people."""
    rows = [
        [
            state["name"],
            "ready" if state["ready"] else "not ready" if state["pid"] else "not running",
            state["pid"] and str(state["pid"]),
            state["memory_mib"],
            ", ".join(map(str, state["ports"])),
        ]
        for state in states
    ]
    return table(["server", "state", "pid", "MiB", "ports"], rows)


def _print_lines(name: str, width: int, lines: Iterable[str]) -> None:
    for line in lines:
        print(f"{name:<{width}} | {line}" if width else line, end="" if line.endswith("\n") else "\n", flush=True)


def _replaced(file: TextIO, path: Path) -> bool:
    """Whether the log begins anew since it was opened."""
    with suppress(FileNotFoundError):
        return file.tell() > path.stat().st_size
    return False
