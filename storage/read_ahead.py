"""Has a generation's files in memory before visitors ask for them: the first look-ups would each wait for the disk."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path

#: What one reading takes in.
BLOCK_BYTES = 4 << 20
#: Files of more than this share of the machine's memory would only push out each other.
MEMORY_SHARE = 0.25

log = logging.getLogger(__name__)


class ReadAhead:
    """Reads all files below a folder once, beside whatever else goes on; the system keeps them as long as it can."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="read-ahead", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End early."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            files = [path for path in sorted(self._folder.rglob("*")) if path.is_file()]
            if sum(path.stat().st_size for path in files) > MEMORY_SHARE * _memory_bytes():
                log.info("%s is too large to be read ahead", self._folder)
                return
            block = bytearray(BLOCK_BYTES)
            for path in files:
                if self._stop.is_set():
                    return
                with path.open("rb", buffering=0) as file:
                    while not self._stop.is_set() and file.readinto(block):
                        continue
        except OSError as error:
            log.info("%s is not read ahead: %s", self._folder, error)  # it may have been replaced meanwhile


def _memory_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
