"""Leases on generations: who writes or exports one says so in Cassandra, in rows that die with it.

A row lives for :data:`LEASE_SECONDS` and a thread renews it. That is slow to tell that a run died, so a run of this
machine is judged by its file lock (:mod:`.lease`) instead, which goes at once.
"""

from __future__ import annotations

import os
import socket
import threading
from contextlib import ExitStack
from pathlib import Path

from .cassandra_session import Cassandra, ViewsUnavailable
from .lease import is_leased, lease

#: Longer than Cassandra may be away while a run waits for it.
LEASE_SECONDS = 600
WRITER, READER = "writer", "reader"

_HOLD = f"insert into {{ks}}.leases (generation, lease, kind) values (?, ?, ?) using ttl {LEASE_SECONDS}"  # noqa: S608
_RELEASE = "delete from {ks}.leases where generation = ? and lease = ?"
_HELD = "select kind from {ks}.leases where generation = ?"


class Leases:
    """The leases that this process holds."""

    def __init__(self, cassandra: Cassandra, folder: Path) -> None:
        self._cassandra = cassandra
        self._folder = folder.absolute()
        self._lock = threading.Lock()
        self._held: dict[tuple[str, str], str] = {}  # (generation, lease) -> kind
        self._files: dict[str, ExitStack] = {}
        self._stop: threading.Event | None = None

    @property
    def holder(self) -> str:
        """Names the machine and folder whose file locks tell who lives."""
        return f"{socket.gethostname()}:{self._folder}"

    def hold(self, generation: str, kind: str) -> str:
        """Take a lease and keep it until :meth:`release`; returns its name."""
        name = os.urandom(8).hex()
        if kind == WRITER:
            held = ExitStack()
            held.enter_context(lease(self._file(generation), f"generation {generation}"))
            self._files[generation] = held
        try:
            self._cassandra.rows(_HOLD, (generation, name, kind))
        except BaseException:
            self._close_file(generation, kind)
            raise
        with self._lock:
            self._held[generation, name] = kind
            if self._stop is None:
                self._stop = threading.Event()
                threading.Thread(target=self._renew, args=(self._stop,), name="lease-renewal", daemon=True).start()
        return name

    def release(self, generation: str, name: str) -> None:
        """Give a lease up. Where Cassandra is away it lapses."""
        with self._lock:
            kind = self._held.pop((generation, name), "")
            if not self._held and self._stop is not None:
                self._stop.set()
                self._stop = None
        try:
            self._cassandra.rows(_RELEASE, (generation, name))
        except ViewsUnavailable:
            pass
        finally:
            self._close_file(generation, kind)

    def release_writer(self, generation: str) -> None:
        """Give up what :meth:`hold` took for writing a generation, if it did."""
        for held, name in [key for key, kind in self._held.items() if kind == WRITER]:
            if held == generation:
                self.release(generation, name)

    def written(self, generation: str, holder: str | None) -> bool:
        """Whether the run that writes a generation, which is ``holder``'s, lives."""
        if holder == self.holder:
            return is_leased(self._file(generation))
        return any(row[0] == WRITER for row in self._cassandra.rows(_HELD, (generation,)))

    def exported(self, generation: str) -> bool:
        """Whether anybody exports a generation."""
        return any(row[0] == READER for row in self._cassandra.rows(_HELD, (generation,)))

    def close(self) -> None:
        """Stop renewing, and free the file locks; rows lapse."""
        with self._lock:
            self._held.clear()
            if self._stop is not None:
                self._stop.set()
                self._stop = None
        for generation in list(self._files):
            self._close_file(generation, WRITER)

    def _renew(self, stop: threading.Event) -> None:
        while not stop.wait(LEASE_SECONDS / 10):
            for (generation, name), kind in list(self._held.items()):
                try:
                    self._cassandra.rows(_HOLD, (generation, name, kind))
                except ViewsUnavailable:
                    continue
                if (generation, name) not in self._held:  # released meanwhile
                    self.release(generation, name)

    def _file(self, generation: str) -> Path:
        return self._folder / f"generation-{generation}.lock"

    def _close_file(self, generation: str, kind: str) -> None:
        if kind == WRITER and (held := self._files.pop(generation, None)):
            held.close()
            self._file(generation).unlink(missing_ok=True)
