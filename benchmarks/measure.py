"""Runs a contestant as a process of its own: wall time, processor time and peak memory, children included."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
SAMPLE_SECONDS = 0.05
MIB = 2**20


class Failed(Exception):
    """A contestant ended with an error, or took too long; the text is the end of what it wrote to standard error."""


@dataclass(frozen=True)
class Measurement:
    """What a process took, and the JSON document that ends its standard output (None without one)."""

    seconds: float
    cpu_seconds: float  # of all cores: says what the work costs when other programs run beside it
    peak_mib: float
    result: Any


def measure(command: Sequence[str | Path], *, folder: Path = ROOT, limit_seconds: float = 3600.0) -> Measurement:
    """Run a command in a folder until it ends.

    Peak memory is the highest sum of resident memory of the process and its children, sampled, but at least what the
    kernel recorded for the largest of them: a peak between two samples counts if one process makes it. (The maximum
    that ``wait4`` tells would include the memory of this process, of which the other was forked.) What earlier
    contestants left to be written to disk is written before the clock starts.

    :raises Failed: when it ends with another status than 0 or reaches the limit.
    """
    os.sync()
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        began = perf_counter()
        process = subprocess.Popen(
            [str(part) for part in command], cwd=folder, stdout=output, stderr=errors, env=_environment()
        )
        with _Watch(process.pid, limit_seconds) as watch:
            try:
                _, status, usage = os.wait4(process.pid, 0)
            except BaseException:
                watch.kill()  # whoever interrupts the benchmark means its contestants, too
                raise
            seconds = perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            why = f"stopped after {limit_seconds:.0f} s" if watch.stopped else _read(errors)[-2000:]
            raise Failed(why or f"exit status {process.returncode}")
        text = _read(output)
    # A child that nobody waited for, such as the virtual machine of PySpark, is missing in what the kernel adds up.
    cpu_seconds = max(usage.ru_utime + usage.ru_stime, watch.cpu_seconds)
    return Measurement(seconds, cpu_seconds, watch.peak_bytes / MIB, last_document(text))


def module(name: str, *arguments: str | Path, interpreter: str | Path = sys.executable) -> list[str | Path]:
    """The command that runs one of our modules."""
    return [interpreter, "-m", name, *arguments]


def last_document(text: str) -> Any:
    """The JSON document that ends a text: its last line, or all of it."""
    text = text.strip()
    for candidate in (text.rsplit("\n", 1)[-1], text):
        try:
            return json.loads(candidate)
        except ValueError:
            continue
    return None


def _read(file: Any) -> str:
    file.seek(0)
    return str(file.read().decode(errors="replace")).strip()


def _environment() -> dict[str, str]:
    """The environment without settings of ReaderFlow: everyone is measured with the defaults."""
    return {name: value for name, value in os.environ.items() if not name.startswith("READERFLOW_")}


class _Watch:
    """Samples the memory of a process tree beside it and stops the tree at the limit."""

    def __init__(self, pid: int, limit_seconds: float) -> None:
        self.peak_bytes = 0
        self.stopped = False
        self._cpu_seconds: dict[int, float] = {}
        self._root = psutil.Process(pid)
        self._deadline = perf_counter() + limit_seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            tree = self._tree()
            together = sum(_resident(process) for process in tree)
            self._cpu_seconds |= {process.pid: seconds for process in tree if (seconds := _cpu_seconds(process))}
            self.peak_bytes = max(self.peak_bytes, together, *(_highest(process) for process in tree))
            if perf_counter() > self._deadline:
                self.stopped = True
                self.kill()

    @property
    def cpu_seconds(self) -> float:
        """What all processes of the tree took, as last seen."""
        return sum(self._cpu_seconds.values())

    def kill(self) -> None:
        """End the tree at once."""
        for process in reversed(self._tree()):
            _kill(process)

    def _tree(self) -> list[psutil.Process]:
        try:
            return [self._root, *self._root.children(recursive=True)]
        except psutil.Error:
            return []


def _kill(process: psutil.Process) -> None:
    """Kill a process that may be gone already."""
    try:
        process.kill()
    except psutil.Error:
        return


def _cpu_seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def _highest(process: psutil.Process) -> int:
    """The most that a process has had so far."""
    try:
        match = re.search(r"^VmHWM:\s*(\d+) kB$", Path(f"/proc/{process.pid}/status").read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(match[1]) * 1024 if match else 0


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0
