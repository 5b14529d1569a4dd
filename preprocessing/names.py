"""What the names of dump files say: wiki, month, whether the data is synthetic, whether it is a full month."""

from __future__ import annotations

import re
from pathlib import Path

from readerflow.common.errors import BadInput
from readerflow.common.months import Month
from readerflow.common.titles import check_wiki

_MONTH = r"(?P<month>\d{4}-(0[1-9]|1[0-2]))"
_CURRENT = re.compile(rf"clickstream-(?P<wiki>[a-z][a-z0-9_]{{1,31}})-{_MONTH}(?=[._-]|$)")
_EARLY = re.compile(r"(?P<month>201[5-7]_(0[1-9]|1[0-2]))_((?P<language>[a-z]{2,3})_)?clickstream(?=[._-]|$)")
_FULL_MONTH = re.compile(rf"clickstream-(?P<wiki>[a-z][a-z0-9_]{{1,31}})-{_MONTH}(\.synthetic)?\.tsv(\.gz)?")
SYNTHETIC = ".synthetic"


def dump_name(wiki: str, month: Month) -> str:
    """The name of a published dump."""
    return f"clickstream-{wiki}-{month}.tsv.gz"


def identify(path: Path) -> tuple[str, Month]:
    """Guess wiki and month from a dump's name; early releases are of enwiki where they name no language.

    :raises BadInput: when the name does not tell.
    """
    if match := _CURRENT.search(path.name):
        return check_wiki(match["wiki"]), Month.parse(match["month"])
    if match := _EARLY.search(path.name):
        return f"{match['language'] or 'en'}wiki", Month.parse(match["month"].replace("_", "-"))
    raise BadInput(
        f"the name {path.name} does not tell wiki and month; give both (--wiki hrwiki --month 2025-03),"
        " or name the file like clickstream-hrwiki-2025-03.tsv.gz"
    )


def is_synthetic(path: Path) -> bool:
    """Whether a dump's name declares it synthetic."""
    return f"{SYNTHETIC}." in path.name


def find_dump(folder: Path) -> Path | None:
    """The dump of a full month in a folder or below it: the newest month, then the smallest file.

    Samples are skipped: a dump is named exactly ``clickstream-<wiki>-<month>.tsv`` or ``.tsv.gz``. A synthetic one is
    taken only where there is no real one.
    """
    found = [
        (path, match)
        for path in folder.rglob("clickstream-*")
        if (match := _FULL_MONTH.fullmatch(path.name)) and path.is_file()
    ]
    real = [(path, match) for path, match in found if not is_synthetic(path)] or found
    newest = max((match["month"] for _, match in real), default="")
    chosen = [path for path, match in real if match["month"] == newest]
    return min(chosen, key=lambda path: (path.stat().st_size, str(path)), default=None)
