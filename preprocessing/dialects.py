"""The dialects in which dumps were published: their columns, whether they have a header, whether fields are quoted.

===========  ========  ===============================================  ========================================
published    header    columns                                          fields
===========  ========  ===============================================  ========================================
2015         yes       prev_id, curr_id, n, prev_title, curr_title, type  raw
2016-17      yes       prev, curr, type, n                              raw
2017-11 on   no        prev, curr, type, n                              raw
2024-05 on   no        prev, curr, type, n                              a field with a quote is ``"X_\\"Y\\""``
===========  ========  ===============================================  ========================================

Raw means that nothing is quoted: a ``"`` is a character like any other. A file is quoted if any field in the whole of
it reads ``"...\\"..."``; in real files the first one comes after a thousand lines.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from .reader import BadDump

#: Columns by their names in headers.
_REFERRER, _ARTICLE = ("prev", "prev_title"), ("curr", "curr_title")
_QUOTED_FIELD = re.compile(rb'(?:^|[\t\n])"(?:[^"\\\t\n]|\\[^"\t\n])*+\\"(?:[^"\\\t\n]|\\[^\t\n])*+"(?=[\t\n]|\Z)')
#: Lines of the beginning among which at least one must have the right number of columns.
_LOOKED_AT = 10_000


@dataclass(frozen=True)
class Dialect:
    """How the lines of a dump are read. Places count from 1."""

    name: str
    columns: int
    referrer: int
    article: int
    link_type: int
    count: int
    header: bool
    quoted: bool = False

    def as_quoted(self) -> Dialect:
        return replace(self, name="quoted" if self.name == "raw" else f"{self.name}, quoted", quoted=True)


PLAIN = Dialect("raw", columns=4, referrer=1, article=2, link_type=3, count=4, header=False)


def recognise(start: bytes, source: str) -> Dialect:
    """Tell the dialect, but for quoting, from the first lines of a dump; ``source`` names the file in errors.

    :raises BadDump: when they do not look like a dump at all.
    """
    lines = start.split(b"\n", _LOOKED_AT)[:_LOOKED_AT]
    header = lines[0].decode(errors="replace").split("\t")
    dialect = _from_header(header, source) or PLAIN
    if not any(line.count(b"\t") == dialect.columns - 1 for line in lines):
        raise BadDump(
            f"{source} is not a clickstream dump: no line has {dialect.columns} tab-separated columns;"
            " give a file like clickstream-hrwiki-2025-03.tsv.gz"
        )
    return dialect


def has_quoted_field(data: bytes) -> bool:
    """Whether a field in these lines reads ``"...\\"..."``."""
    return b'\\"' in data and _QUOTED_FIELD.search(data) is not None


def _from_header(names: list[str], source: str) -> Dialect | None:
    places = {name: place for place, name in enumerate(names, 1)}
    referrer = next((places[name] for name in _REFERRER if name in places), None)
    article = next((places[name] for name in _ARTICLE if name in places), None)
    if referrer is None or article is None or "n" not in places:
        return None
    if "type" not in places:
        raise BadDump(f"{source} has no column 'type', so nobody knows what its pairs are; use a later release")
    name = "2015" if "prev_id" in places else "2016"
    return Dialect(name, len(names), referrer, article, places["type"], places["n"], header=True)
