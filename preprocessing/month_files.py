"""A month being written: the two Parquet files of the pair store, in a work folder until they are complete."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from readerflow.common.facts import to_json
from readerflow.common.records import PAIRS
from readerflow.storage.pairs import FOOTER_KEY, REJECTED_LINES, PairsFacts

_MAGIC = b"PAR1"
#: Few values, often repeated; titles are too many for a dictionary.
_FEW_VALUES = ["wiki", "month", "link_type"]


class PairsFile:
    """A Parquet file of pairs, a row group a block."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writer = pq.ParquetWriter(
            path,
            PAIRS,
            compression="zstd",
            compression_level=1,
            use_dictionary=_FEW_VALUES,
            write_statistics=["clicks"],
        )

    def write(self, pairs: pa.Table) -> None:
        if len(pairs):
            self._writer.write_table(pairs, row_group_size=len(pairs))

    def close(self) -> None:
        """End the file; it can be read then, but says nothing yet of what it holds."""
        self._writer.close()

    def add_facts(self, facts: PairsFacts) -> None:
        """Put the month's facts, which show only when the file is complete, into the footer of the closed file."""
        with pq.ParquetFile(self.path) as file:
            written = file.metadata
        footer = pa.BufferOutputStream()
        with pq.ParquetWriter(footer, PAIRS) as writer:
            writer.add_key_value_metadata({FOOTER_KEY: to_json(facts).encode()})
        metadata = pq.read_metadata(pa.BufferReader(footer.getvalue()))
        metadata.append_row_groups(written)
        alone = self.path.with_suffix(".footer")
        metadata.write_metadata_file(alone)
        # A reader looks for the footer at the file's end, so the one before it is only some bytes that nobody reads.
        with self.path.open("ab") as end:
            end.write(alone.read_bytes().removeprefix(_MAGIC))
        alone.unlink()


class RejectsFile:
    """A Parquet file of rejected lines, with what is to be known of them all."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.by_class: Counter[str] = Counter()
        self._numbers: list[npt.NDArray[np.int64]] = []
        self._writer = pq.ParquetWriter(path, REJECTED_LINES, compression="zstd", compression_level=1)

    @property
    def numbers(self) -> npt.NDArray[np.int64]:
        """The numbers of the rejected lines as they were written."""
        return np.concatenate(self._numbers) if self._numbers else np.empty(0, np.int64)

    @property
    def count(self) -> int:
        return self.by_class.total()

    def write(self, rejects: pa.Table) -> None:
        if len(rejects):
            self._numbers.append(rejects["line"].to_numpy())
            for count in rejects["error_class"].value_counts().to_pylist():
                self.by_class[count["values"]] += count["counts"]
            self._writer.write_table(rejects)

    def close(self, facts: PairsFacts | None = None) -> None:
        """End the file, with the month's facts in its footer."""
        if facts is not None:
            self._writer.add_key_value_metadata({FOOTER_KEY: to_json(facts).encode()})
        self._writer.close()


@contextmanager
def work_folder(path: Path) -> Iterator[Path]:
    """An empty folder for the length of the block; what a killed process left there goes first."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def publish(written: Path, target: Path) -> None:
    """Put a complete file in the place of ``target``, durably and in one step."""
    _sync(written)
    os.replace(written, target)
    _sync(target.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
