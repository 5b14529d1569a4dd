"""Named crash points between durable steps. Tests set ``READERFLOW_CRASH_AT=<name>[:kill|raise|hang]``.

The variable counts only where ``READERFLOW_TESTING=1`` is set too, so that no operator trips over it.
"""

from __future__ import annotations

import os
import signal
import time

from .errors import ReaderFlowError

POINTS = (
    "replay.appended",
    "archiver.polled",
    "archiver.file_half_written",
    "archiver.file_closed",
    "archiver.renamed",
    "archiver.dead_letter_written",
    "stream.offsets_chosen",
    "stream.rows_half_written",
    "stream.rows_written",
    "batch.half_written",
    "batch.before_publish",
    "batch.published",
    "serving.pointer_read",
)


MODES = ("", "kill", "raise", "hang")


class Crashed(ReaderFlowError):
    """Raised at a crash point in mode ``raise``."""


def crash_point(name: str) -> None:
    """Die here if a test asked for it; otherwise cost one dictionary look-up."""
    wanted = os.environ.get("READERFLOW_CRASH_AT")
    if not wanted or os.environ.get("READERFLOW_TESTING") != "1":
        return
    point, _, mode = wanted.partition(":")
    if point not in POINTS or mode not in MODES:
        raise ReaderFlowError(f"READERFLOW_CRASH_AT={wanted} names no crash point; they are in common/crash.py")
    if point != name:
        return
    if mode in ("", "kill"):
        os.kill(os.getpid(), signal.SIGKILL)
    elif mode == "hang":
        while True:
            time.sleep(0.05)
    else:
        raise Crashed(f"crash point {name}")
