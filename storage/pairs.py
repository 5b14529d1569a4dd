"""Preprocessed months: one Parquet file of pairs, one of rejects, with their facts in the pairs' footer.

``pairs/<wiki>/<month>.parquet`` (schema ``records.PAIRS``, in the dump's order) and
``pairs/<wiki>/<month>.rejects.parquet`` (schema :data:`REJECTED_LINES`). Both profiles keep them in a local folder.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from readerflow.common.errors import ReaderFlowError
from readerflow.common.facts import from_json

FOOTER_KEY = b"readerflow.pairs"

#: Lines of a dump that are not pairs; ``line`` counts from 1, ``raw`` is capped at records.MAX_RAW_BYTES.
REJECTED_LINES = pa.schema(
    [
        ("line", pa.int64()),
        ("raw", pa.binary()),
        ("cut", pa.bool_()),
        ("error_class", pa.string()),
        ("reason", pa.string()),
    ]
)


class NoPairs(ReaderFlowError):
    """The month has not been preprocessed."""


@dataclass(frozen=True)
class PairsFacts:
    """What preprocessing found in a dump. read = accepted + rejected."""

    wiki: str
    month: str
    dump: str  # file name
    dialect: str
    synthetic: bool
    read: int
    accepted: int
    rejected: int
    clicks: int  # of accepted lines
    checksum: str  # of the dump's content and the threshold; if equal, so are the pairs and their order
    rejects: dict[str, int] = field(default_factory=dict)  # by error class
    clicks_by_type: dict[str, int] = field(default_factory=dict)
    clicks_by_class: dict[str, int] = field(default_factory=dict)  # CLASS_ROWS
    dump_clicks: int = 0  # sum of all counts that could be read, rejected lines included


@dataclass(frozen=True)
class PairStore:
    """The folder of preprocessed months."""

    root: Path

    def path(self, wiki: str, month: str) -> Path:
        return self.root / wiki / f"{month}.parquet"

    def rejects_path(self, wiki: str, month: str) -> Path:
        return self.root / wiki / f"{month}.rejects.parquet"

    def months(self) -> list[tuple[str, str]]:
        """(wiki, month) of all preprocessed months, sorted."""
        files = self.root.glob("*/*.parquet")
        return sorted((file.parent.name, file.stem) for file in files if not file.stem.endswith(".rejects"))

    def facts(self, wiki: str, month: str) -> PairsFacts:
        """Read the facts of a month.

        :raises NoPairs: when it has not been preprocessed, or its file is broken.
        """
        path = self.path(wiki, month)
        if not path.exists():
            raise NoPairs(f"no pairs of {wiki} {month} in {self.root}; run 'readerflow preprocess FILE' first")
        try:
            return from_json(PairsFacts, pq.read_metadata(path).metadata[FOOTER_KEY])
        except (pa.ArrowInvalid, KeyError, TypeError, ValidationError):
            raise NoPairs(f"{path} is not a whole file of pairs; run 'readerflow preprocess FILE' again") from None
