"""How the command line talks: data to standard output, messages and progress to standard error."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

REPORT_SECONDS = 3.0


def say(text: str) -> None:
    """Tell people something, on standard error."""
    print(text, file=sys.stderr, flush=True)


def print_json(value: object) -> None:
    """Print one JSON document for a program."""
    print(json.dumps(value, ensure_ascii=False, indent=2, default=str), flush=True)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Lay rows out in columns; numbers are right-aligned with thousands separators."""
    cells = [list(head), *([_cell(value) for value in row] for row in rows)]
    numeric = [all(isinstance(row[i], int | float) or row[i] is None for row in rows) for i in range(len(head))]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    lines = (
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        )
        for row in cells
    )
    return "\n".join(line.rstrip() for line in lines)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.1f}" if isinstance(value, float) else str(value)


class Stage:
    """Progress of one stage: a bar on a terminal, a line every few seconds otherwise. Callable as ``Progress``."""

    def __init__(self, name: str, unit: str) -> None:
        self.name, self.unit = name, unit
        self.started = self._reported = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Stage:
        if sys.stderr.isatty():
            from rich import progress
            from rich.console import Console

            self._bar = progress.Progress(
                progress.TextColumn("{task.description:<12}"),
                progress.BarColumn(bar_width=30),
                progress.TextColumn("{task.fields[text]}"),
                progress.TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task(self.name, total=None, text="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def __call__(self, done: int, total: int | None = None, note: str = "") -> None:
        """Say that ``done`` units of ``total`` are behind."""
        rate = done / max(self.seconds, 1e-9)
        text = f"{done:,} {self.unit}, {rate:,.0f}/s" + (f", {note}" if note else "")
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total, text=text)
        elif time.monotonic() - self._reported >= REPORT_SECONDS:
            self._reported = time.monotonic()
            left = f", {(total - done) / rate:,.0f} s left" if total and rate > 0 and total > done else ""
            share = f" of {total:,}" if total else ""
            say(f"{self.name}: {done:,}{share} {self.unit}, {rate:,.0f}/s{left}" + (f", {note}" if note else ""))


@contextmanager
def stage(name: str, unit: str) -> Iterator[Stage]:
    """Run a block under the eyes of a progress bar."""
    with Stage(name, unit) as running:
        yield running
