"""How long work tells of itself, without knowing who listens."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called by a running stage; the command line shows a bar or plain lines."""

    def __call__(self, done: int, total: int | None = None, note: str = "") -> None:
        """Say that ``done`` units of ``total`` (None: unknown) are behind; ``note`` is for counts such as rejects."""


def silent(done: int, total: int | None = None, note: str = "") -> None:
    """Progress that nobody watches."""
