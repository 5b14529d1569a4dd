"""The word index of a generation in the cluster profile: made once, when it is published, from what the writers of
``articles`` left in parts (:mod:`.cassandra_writer`); each machine's readers map a copy of it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from .cassandra_pages import IN_CLICKS_SCHEMA
from .generation_files import SEARCH, TITLES, GenerationFiles
from .recent import Recent
from .title_index import Numbers, TitleIndex, write_index


def write_generation_index(files: GenerationFiles, folder: str) -> None:
    """Make the index of a generation whose articles have been written."""
    with tempfile.TemporaryDirectory(prefix="readerflow-") as scratch:
        articles = _articles(files, f"{folder}/{TITLES}")
        write_index(Path(scratch), *(articles[name].combine_chunks() for name in IN_CLICKS_SCHEMA.names))
        for path in sorted(Path(scratch).iterdir()):
            files.put(path, f"{folder}/{SEARCH}/{path.name}")


def _articles(files: GenerationFiles, folder: str) -> pa.Table:
    """All parts in the order of articles: each is in it, and none overlaps another."""
    try:
        paths = list(files.local(folder).glob("*.parquet"))
    except FileNotFoundError:  # no part is left where there are no articles
        paths = []
    parts = [part for part in (pq.read_table(path, schema=IN_CLICKS_SCHEMA) for path in paths) if part.num_rows]
    parts.sort(key=lambda part: part["article"][0].as_py().encode())
    return pa.concat_tables([IN_CLICKS_SCHEMA.empty_table(), *parts])


def open_generation_index(files: GenerationFiles, folder: str, hits: Recent[Numbers]) -> TitleIndex:
    """Open the index of a generation; ``hits`` keeps those of its searches.

    :raises FileNotFoundError: when there is none.
    """
    return TitleIndex(files.local(f"{folder}/{SEARCH}"), hits)
