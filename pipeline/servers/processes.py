"""Find, start and end servers' processes (Linux).

A server's command line holds ``-Dreaderflow.server=FOLDER``. That finds it without a pid file, can't mistake another
process that got the same number, and a zombie, whose command line is empty, counts as dead.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
ENV = "/usr/bin/env"
POLL_SECONDS = 0.1


def mark(folder: Path) -> str:
    """The argument that tells a server by its folder."""
    return f"-Dreaderflow.server={folder}"


def find(marks: Iterable[str]) -> dict[str, int]:
    """The process ids of all servers that live, by mark."""
    wanted = {mark.encode(): mark for mark in marks}
    found = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            for argument in wanted.keys() & set(_arguments(int(entry.name))):
                found[wanted[argument]] = int(entry.name)
    return found


def lives(pid: int, mark: str) -> bool:
    """Whether that process is still the server. In the moment of its exec a process has no command line yet."""
    arguments = _arguments(pid)
    return mark.encode() in arguments or (not any(arguments) and _state(pid) not in ("", "Z", "X"))


def launch(command: Sequence[str], folder: Path, log: Path, environment: Mapping[str, str]) -> int:
    """Start a process in a session of its own, so that it outlives us and no Ctrl-C reaches it; return its id.

    Not with subprocess, which warns of a child that its parent does not wait for. Files that we were given open (a
    lock, a pipe that somebody reads to its end) are not passed on: the server would hold them as long as it lives.
    """
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return os.posix_spawn(
        ENV,
        [ENV, "-C", str(folder), *command],
        dict(environment),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), append, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
            *((os.POSIX_SPAWN_CLOSE, number) for number in _inheritable()),
        ],
        setsid=True,
    )


def end(running: Mapping[str, int], seconds: float) -> list[str]:
    """Ask servers (process id by mark) to end, all at once, and kill those that live on; return the killed ones.

    What a server started itself (executors, their Python workers) shares its session and ends with it.
    """
    sessions = set(running.values())
    for pid in running.values():
        _signal(pid, signal.SIGTERM)
    deadline = time.monotonic() + seconds
    killed: list[str] = []
    while left := [mark for mark, pid in running.items() if lives(pid, mark)]:
        if time.monotonic() > deadline and not killed:
            killed = left
            for mark in left:
                _signal(running[mark], signal.SIGKILL)
        time.sleep(POLL_SECONDS)
    while left_over := members(sessions):
        for pid in left_over:
            _signal(pid, signal.SIGKILL)
        time.sleep(POLL_SECONDS)
    for pid in running.values():
        with suppress(ChildProcessError):  # not of our own making
            os.waitpid(pid, os.WNOHANG)
    return killed


def resident_bytes(pid: int) -> int | None:
    """The memory that a process holds, or None when it is gone."""
    try:
        return int((PROC / str(pid) / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None


def members(sessions: set[int]) -> list[int]:
    """The processes that live in these sessions."""
    found = []
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                pid = int(entry.name)
                if os.getsid(pid) in sessions and any(_arguments(pid)):
                    found.append(pid)
    return found


def _inheritable() -> list[int]:
    """Our open files, beside the standard ones, that a child would get."""
    found = []
    for entry in (PROC / "self" / "fd").iterdir():
        with suppress(OSError):  # the one that reads this folder is gone by now
            if int(entry.name) > 2 and os.get_inheritable(int(entry.name)):
                found.append(int(entry.name))
    return found


def _arguments(pid: int) -> list[bytes]:
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def _state(pid: int) -> str:
    """The letter of a process's state (Z is a zombie), or nothing when it is gone."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
