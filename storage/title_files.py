"""Titles in byte order as two flat files that readers map into memory; the id of a title is its place."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

TITLE = "title"


def _files(folder: Path, name: str) -> tuple[Path, Path]:
    return folder / f"{name}_offsets.npy", folder / f"{name}_bytes.npy"


def write_titles(folder: Path, titles: pa.Array, name: str = TITLE) -> None:
    """Write titles, or other texts under another name, which must be in byte order where their places are asked for."""
    _make_room(folder, name)
    files: tuple[npt.NDArray[Any], ...] = flat(titles.cast(pa.large_string()))
    for path, array in zip(_files(folder, name), files, strict=True):
        np.save(path, array)


def link_titles(folder: Path, same: Path) -> None:
    """Make ``folder`` hold the titles of the folder ``same``, without a copy."""
    _make_room(folder, TITLE)
    for theirs, ours in zip(_files(same, TITLE), _files(folder, TITLE), strict=True):
        os.link(theirs, ours)


def _make_room(folder: Path, name: str) -> None:
    """Writing into a file that is there would change those that are linked to it."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in _files(folder, name):
        path.unlink(missing_ok=True)


class Titles:
    """The titles that :func:`write_titles` wrote; pages of the files are read when they are touched."""

    def __init__(self, folder: Path, name: str = TITLE) -> None:
        """:raises FileNotFoundError: when they are not there."""
        offsets, data = (np.load(path, mmap_mode="r") for path in _files(folder, name))
        self.array = pa.LargeStringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(data))

    def __len__(self) -> int:
        return len(self.array)

    def place(self, title: str) -> int:
        """The id of the first title that is not before ``title``; the number of titles when all are before it."""
        return place_of(self.array, title)

    def id_of(self, title: str) -> int | None:
        """The id of a title; None when it is not there."""
        place = self.place(title)
        return place if place < len(self) and self.array[place].as_py() == title else None

    def of(self, ids: Sequence[int] | pa.Array) -> pa.Array:
        """The titles of ids, as large_string."""
        return self.array.take(pa.array(ids, pa.int32()))


def place_of(titles: pa.Array, text: str | bytes) -> int:
    """How many of the titles, which are in byte order, come before a text."""
    wanted, low, high = text.encode() if isinstance(text, str) else text, 0, len(titles)
    while low < high:
        middle = (low + high) // 2
        if titles[middle].as_buffer().to_pybytes() < wanted:
            low = middle + 1
        else:
            high = middle
    return low


def flat(titles: pa.LargeStringArray) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """(offsets, bytes) of an array of text: item i is bytes[offsets[i]:offsets[i + 1]]."""
    if len(titles) == 0:
        return np.zeros(1, dtype=np.int64), np.zeros(0, dtype=np.uint8)
    _, offsets_buffer, data = titles.buffers()
    offsets = np.frombuffer(offsets_buffer, dtype=np.int64)[titles.offset : titles.offset + len(titles) + 1]
    return offsets - offsets[0], np.frombuffer(data, dtype=np.uint8)[offsets[0] : offsets[-1]]
