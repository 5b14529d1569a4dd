"""Files of a generation beside its rows: arrays of the link graph, the word index of articles and what it is made of.

Names are paths like ``hrwiki/2025-03/<generation>/graph``. The cluster keeps them in HDFS; :class:`LocalFiles` serves
where all processes share a disk.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

#: Folders of a generation; ``titles`` has the articles and their clicks in, in parts as their writers left them.
GRAPH, SEARCH, TITLES = "graph", "search", "titles"


class GenerationFiles(Protocol):
    """A tree of files that all processes see; picklable. Written once, read whole."""

    def put(self, local: Path, name: str) -> None:
        """Copy a local file to ``name``, as a whole, over what is there."""

    def local(self, folder: str) -> Path:
        """A local folder that holds the files of ``folder``; copied on first use where they are elsewhere.

        :raises FileNotFoundError: when there is no such folder.
        """

    def remove(self, folder: str) -> None:
        """Remove a folder, if it is there, and what :meth:`local` made of it."""


def generation_folder(wiki: str, month: str, generation: str) -> str:
    """The folder of a generation."""
    return f"{wiki}/{month}/{generation}"


@dataclass(frozen=True)
class LocalFiles:
    """Files in a local folder."""

    root: Path

    def put(self, local: Path, name: str) -> None:
        target = self.root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(target.name + ".tmp")
        shutil.copyfile(local, temporary)
        temporary.replace(target)

    def local(self, folder: str) -> Path:
        path = self.root / folder
        if not path.is_dir():
            raise FileNotFoundError(path)
        return path

    def remove(self, folder: str) -> None:
        shutil.rmtree(self.root / folder, ignore_errors=True)
