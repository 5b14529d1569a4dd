"""Has files in the system's memory before visitors ask for what is in them: first look-ups would wait for the disk."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from queue import SimpleQueue

#: What one reading takes in.
BLOCK_BYTES = 4 << 20
#: Files of more than this share of the machine's memory would only push out each other.
MEMORY_SHARE = 0.25

log = logging.getLogger(__name__)


class FileWarming:
    """Reads folders, up to MEMORY_SHARE in all."""

    def __init__(self) -> None:
        self._left = int(MEMORY_SHARE * _memory_bytes())
        self._waiting: SimpleQueue[Path | None] = SimpleQueue()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, folder: Path) -> None:
        """Read a folder after those that were added before, beside whatever else goes on."""
        self._waiting.put(folder)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="file-warming", daemon=True)
            self._thread.start()

    def read(self, folder: Path) -> None:
        """Read all files below a folder, unless they are too many bytes for what is left."""
        try:
            files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
            size = sum(path.stat().st_size for path in files)
            if size > self._left:
                log.info("%s is too large to be read ahead", folder)
                return
            self._left -= size
            block = bytearray(BLOCK_BYTES)
            for path in files:
                if self._closed.is_set():
                    return
                with path.open("rb", buffering=0) as file:
                    while not self._closed.is_set() and file.readinto(block):
                        continue
        except OSError as error:
            log.info("%s is not read ahead: %s", folder, error)  # a sweep may have removed it meanwhile

    def close(self) -> None:
        """End early."""
        self._closed.set()
        self._waiting.put(None)
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while (folder := self._waiting.get()) is not None:
            self.read(folder)


def _memory_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
