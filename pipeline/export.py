"""Stream a batch view to standard output."""

from __future__ import annotations

import os
import sys

from readerflow.common.months import Month
from readerflow.common.settings import Settings
from readerflow.common.tabular import Format, encode_rows
from readerflow.common.titles import check_wiki
from readerflow.storage import open_storage
from readerflow.storage.batch_views import BATCH_SCHEMAS, NoGeneration, View


def export_view(settings: Settings, view: str, wiki: str, month: str, form: Format, *, spreadsheet: bool) -> None:
    """Write the view of the current generation; memory stays flat.

    :raises NoGeneration: when the month has none.
    """
    wiki, month, chosen = check_wiki(wiki), str(Month.parse(month)), View(view)
    with open_storage(settings) as storage:
        manifest = storage.batch_views.current(wiki, month)
        if manifest is None:
            raise NoGeneration(f"no batch views of {wiki} {month}; run 'readerflow batch {wiki} {month}' first")
        batches = storage.batch_views.export(manifest.generation, chosen)
        try:
            for piece in encode_rows(batches, BATCH_SCHEMAS[chosen], form, spreadsheet=spreadsheet):
                sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            # The reader (head, less) has enough. Point stdout elsewhere so that the interpreter's flush stays quiet.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
