"""What changed between two generations of a wiki, as lists that stand in a file: movers, and pairs new or vanished.

The file is Arrow IPC with a record batch a list, which readers map; its facts are JSON in the schema. What is in it is
worked out by :mod:`.change_lists`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

#: Rows that each list keeps.
KEPT_ROWS = 10_000

#: What movers are told by -> SQL over a row of the view ``articles``; the names are those of rankings.
MEASURES = {
    "in": "in_clicks",
    "out": "out_clicks",
    "entries": "in_clicks - in_link_clicks - in_other_clicks",
    **{name: f"entries_{name}" for name in ("search", "empty", "internal", "external", "other")},
}
#: Change in clicks a day covered, or in the share of the month's clicks of that measure.
ORDERS = ("clicks", "share")
DIRECTIONS = ("rise", "fall")
#: Pairs that only one of the generations has.
PAIR_LISTS = ("new", "vanished")

#: A mover; null where the generation has no such article.
MOVER = pa.schema([("title", pa.string()), ("now", pa.int64()), ("before", pa.int64())])
PAIR = pa.schema(
    [("referrer", pa.string()), ("article", pa.string()), ("link_type", pa.string()), ("clicks", pa.int64())]
)
_FACTS = b"facts"


def mover_list(measure: str, order: str, direction: str) -> str:
    """The name of a list of movers."""
    return f"{measure}.{order}.{direction}"


class Changes:
    """The lists of a comparison, mapped into memory; threads may share it.

    ``facts`` of movers: ``totals``, clicks of each measure as [now, before]; ``found``, how many articles each list
    would hold if it kept them all. ``facts`` of pairs: ``new``, ``vanished`` and ``both``, as {pairs, now, before}.
    """

    def __init__(self, path: Path) -> None:
        """:raises FileNotFoundError: when it has not been worked out."""
        with pa.memory_map(str(path)) as source:
            file = pa.ipc.open_file(source)
            stored = json.loads(file.schema.metadata[_FACTS])
            self._lists = {name: file.get_batch(place) for place, name in enumerate(stored["lists"])}
        self.facts: dict[str, Any] = stored["facts"]

    def page(self, name: str, after: int, limit: int) -> pa.Table:
        """Rows after a position of a list, which has at most KEPT_ROWS: MOVER or PAIR."""
        return pa.Table.from_batches([self._lists[name].slice(after, limit)]).replace_schema_metadata()

    def kept(self, name: str) -> int:
        """How many rows a list holds."""
        return int(self._lists[name].num_rows)


def write_changes(path: Path, schema: pa.Schema, lists: dict[str, pa.RecordBatch], facts: dict[str, Any]) -> None:
    """Write the file of a comparison as a whole.

    :param schema: of the rows of each list, MOVER or PAIR.
    """
    stored = json.dumps({"lists": list(lists), "facts": facts}).encode()
    temporary = path.with_suffix(".tmp")
    with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, schema.with_metadata({_FACTS: stored})) as file:
        for rows in lists.values():
            file.write_batch(rows.replace_schema_metadata({_FACTS: stored}))
    temporary.rename(path)
