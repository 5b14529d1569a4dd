"""Generated months of a given size, made once and kept."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

from .measure import Failed, measure

WIKI, MONTH = "synthwiki", "2025-03"
SEED = 1
_UNITS = {"": 1, "K": 1_000, "M": 1_000_000}


def rows_of(size: str) -> int:
    """Read a number of rows such as ``20k``, ``3.4M`` or ``500000``."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kKmM]?)", size)
    rows = round(float(match[1]) * _UNITS[match[2].upper()]) if match else 0
    if not rows:
        raise Failed(f"'{size}' is not a size; write it like 20k, 3.4M or 500000")
    return rows


def readerflow(home: Path, *arguments: str | Path) -> list[str | Path]:
    """The command that runs the product."""
    return [Path(sys.executable).parent / "readerflow", "--home", home, *arguments]


def generated(folder: Path, rows: int, month: str = MONTH) -> Path:
    """The dump of so many rows; made by ``readerflow generate`` where it is not there yet."""
    made = folder / f"{rows}-rows-seed-{SEED}"
    dump = made / f"clickstream-{WIKI}-{month}.synthetic.tsv.gz"
    if not dump.exists():
        unfinished = folder / f"{made.name}.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        options = ("--wiki", WIKI, "--month", month, "--rows", str(rows), "--seed", str(SEED))
        measure(readerflow(unfinished, "generate", unfinished / dump.name, *options), folder=unfinished)
        made.mkdir(exist_ok=True)
        (unfinished / dump.name).rename(dump)
        shutil.rmtree(unfinished)
    return dump


def into_cache(path: Path) -> None:
    """Read a file once, so that the first contestant does not wait for the disk alone."""
    with path.open("rb") as file:
        while file.read(2**24):
            pass
