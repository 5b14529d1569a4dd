"""Write all batch views of a home as Parquet files, to compare them with those of others.

Usage: python -m benchmarks.exported HOME WIKI MONTH FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow.parquet as pq

from readerflow.common.settings import load
from readerflow.storage import open_storage
from readerflow.storage.batch_views import BATCH_SCHEMAS


def main() -> None:
    home, wiki, month, folder = sys.argv[1:]
    Path(folder).mkdir(parents=True)
    with open_storage(load(home=Path(home))) as storage:
        manifest = storage.batch_views.current(wiki, month)
        assert manifest is not None
        for view, schema in BATCH_SCHEMAS.items():
            with pq.ParquetWriter(Path(folder) / f"{view}.parquet", schema) as writer:
                for rows in storage.batch_views.export(manifest.generation, view):
                    writer.write_batch(rows)


if __name__ == "__main__":
    main()
