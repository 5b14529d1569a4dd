"""Titles of articles: what is legal, how a title is shown, how it is compared.

A title is exact UTF-8 with underscores; two titles are the same if their bytes are. Quotes, slashes, ``NaN``, ``-``,
``.``, ``..``, ``%``, ``<`` and bidi controls are legal, since Wikipedia has such titles or might; only what no title
can hold is refused (:data:`ILLEGAL`).
"""

from __future__ import annotations

import re

from .errors import BadInput

MAX_TITLE_BYTES = 255  # MediaWiki's own limit
_WIKI = re.compile(r"[a-z][a-z0-9_]{1,31}")

#: What makes a title illegal: error class -> regular expression (RE2 syntax, as DuckDB and Arrow run it).
#: Invalid UTF-8 is the fifth reason; it is found before a text exists.
ILLEGAL = {
    "title_empty": r"^$",
    "title_control": r"[\x00-\x1f\x7f\x{80}-\x{9f}]",
    "title_bom": r"\x{feff}",
    "title_space": r" ",
}


def check_wiki(name: str) -> str:
    """Return ``name`` if it is a wiki's database name such as ``hrwiki``.

    :raises BadInput: otherwise.
    """
    if not _WIKI.fullmatch(name):
        raise BadInput(f"'{name}' is not a wiki; write its database name, like hrwiki or enwiki")
    return name


def from_request(text: str) -> str:
    """Turn a title as a visitor writes it (spaces allowed) into the stored form."""
    return text.replace(" ", "_")


def display(title: str) -> str:
    """Turn a stored title into what a page shows."""
    return title.replace("_", " ")


def language(wiki: str) -> str:
    """The language code of a wiki: ``hr`` for ``hrwiki``, for ``lang`` attributes and links."""
    return wiki.removesuffix("wiki").replace("_", "-") or "und"
