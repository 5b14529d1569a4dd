"""What each replay was asked for: ``replays/<source>.json``, written before its first record.

A source is a hash and can't be read back; ``reconcile`` and the site find grain, seed, bursts and noise here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from readerflow.common.errors import ReaderFlowError
from readerflow.common.facts import from_json, to_json


class NoReplay(ReaderFlowError):
    """Nothing is known of a source."""


@dataclass(frozen=True)
class ReplayFacts:
    """A replay by its source."""

    source: str
    wiki: str
    month: str
    grain: str
    seed: int
    partitions: int
    checksum: str  # of the pairs
    begin: datetime  # where its first part began
    noise: bool = False
    bursts: list[str] = field(default_factory=list)  # as the command line takes them


@dataclass(frozen=True)
class ReplayStore:
    """The folder of replay facts."""

    root: Path

    def path(self, source: str) -> Path:
        return self.root / f"{source}.json"

    def find(self, source: str) -> ReplayFacts | None:
        """The facts of a source; None when they were never written here."""
        try:
            return from_json(ReplayFacts, self.path(source).read_bytes())
        except FileNotFoundError:
            return None

    def facts(self, source: str) -> ReplayFacts:
        """The facts of a source.

        :raises NoReplay: when they were never written here.
        """
        found = self.find(source)
        if found is None:
            raise NoReplay(f"no facts of the replay {source} in {self.root}; run the same replay again to write them")
        return found

    def write(self, facts: ReplayFacts) -> None:
        """Write the facts as a whole, durably."""
        self.root.mkdir(parents=True, exist_ok=True)
        path = self.path(facts.source)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        with temporary.open("w", encoding="utf-8") as file:
            file.write(to_json(facts) + "\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
