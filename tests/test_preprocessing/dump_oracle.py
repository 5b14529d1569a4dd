"""A reader of dumps in plain Python, line by line, written from the rules and not from the fast reader."""

from __future__ import annotations

import gzip
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

from readerflow.common.records import CLASS_OF
from readerflow.preprocessing.drafts import Draft
from readerflow.preprocessing.reader import BadDump

Pair = tuple[str, str, str, int]


@dataclass
class Read:
    """What a dump holds: pairs in order, and (line, raw bytes, error class) of rejects by line."""

    dialect: str
    pairs: list[Pair] = field(default_factory=list)
    rejects: list[tuple[int, bytes, str]] = field(default_factory=list)
    lines: int = 0


class Reject(Exception):
    """A line that is no pair."""


def read_plainly(data: bytes, min_clicks: int = 10) -> Read:
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    if not data:
        raise BadDump("empty")
    if data.startswith(b"\xef\xbb\xbf"):
        data = data[3:]
    lines = data.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
        ended = True
    else:
        ended = False
    lines = [
        line[:-1] if line.endswith(b"\r") and (ended or number < len(lines) - 1) else line
        for number, line in enumerate(lines)
    ]
    quoted = any(_is_quoted_field(cell) for line in lines for cell in line.split(b"\t"))
    header = lines[0].split(b"\t") if lines else []
    if header == b"prev_id curr_id n prev_title curr_title type".split():
        name, columns = "2015", ("", "", "n", "prev", "curr", "type")
    elif header == b"prev curr type n".split():
        name, columns = "2016", ("prev", "curr", "type", "n")
    else:
        name, columns, header = "raw", ("prev", "curr", "type", "n"), []
    first = 2 if header else 1
    named_quoted = {"2015": "2015, quoted", "2016": "2016, quoted", "raw": "quoted"}
    read = Read(named_quoted[name] if quoted else name)
    seen = set()
    for number, line in enumerate(lines[first - 1 :], first):
        read.lines += 1
        try:
            pair = _pair(line, columns, quoted, name == "2015", min_clicks)
            if pair[:3] in seen:
                raise Reject("duplicate")
            seen.add(pair[:3])
            read.pairs.append(pair)
        except Reject as error:
            read.rejects.append((number, line[: 64 * 1024], str(error)))
    return read


def _is_quoted_field(cell: bytes) -> bool:
    return len(cell) > 2 and b'\\"' in cell and _unquoted(cell.decode("latin-1")) is not None


def _unquoted(cell: str) -> str | None:
    """Walk through a quoted cell; None when it is not one."""
    if len(cell) < 2 or cell[0] != '"' or cell[-1] != '"':
        return None
    out, place, escaped = "", 1, False
    while place < len(cell) - 1:
        if cell[place] == '"':
            return None
        if cell[place] == "\\":
            if place + 1 == len(cell) - 1:
                return None
            if cell[place + 1] in '"\\':
                out += cell[place + 1]
            else:
                out += cell[place : place + 2]
            escaped = escaped or cell[place + 1] == '"'
            place += 2
        else:
            out += cell[place]
            place += 1
    return out if escaped or cell == '""' else None


def _pair(line: bytes, columns: tuple[str, ...], quoted: bool, of_2015: bool, min_clicks: int) -> Pair:
    if len(line) > 64 * 1024:
        raise Reject("line_too_long")
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise Reject("not_utf8") from None
    cells = text.split("\t")
    if len(cells) != len(columns):
        raise Reject("wrong_columns")
    row = dict(zip(columns, cells, strict=True))
    referrer, article = (_title(row[name], quoted) for name in ("prev", "curr"))
    if referrer is None or article is None:
        raise Reject("bad_quoting")
    ends = (referrer, article)
    if "" in ends:
        raise Reject("title_empty")
    if not row["type"] or not row["n"]:
        raise Reject("empty_field")
    if any(unicodedata.category(letter) == "Cc" for end in ends for letter in end):
        raise Reject("title_control")
    if any("\ufeff" in end for end in ends):
        raise Reject("title_bom")
    if any(" " in end for end in ends):
        raise Reject("title_space")
    if any(len(end.encode()) > 255 for end in ends):
        raise Reject("title_too_long")
    link_type = row["type"]
    if of_2015 and link_type == "other" and referrer in CLASS_OF:
        link_type = "external"
    if link_type not in ("link", "external", "other", "redlink"):
        raise Reject("unknown_link_type")
    if (link_type == "external") != (referrer in CLASS_OF):
        raise Reject("type_against_referrer")
    return referrer, article, link_type, _count(row["n"], min_clicks)


def _title(cell: str, quoted: bool) -> str | None:
    return _unquoted(cell) if quoted and '"' in cell else cell


def _count(text: str, min_clicks: int) -> int:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()):
        raise Reject("count_not_integer")
    number = int(text)
    if text == "0":
        raise Reject("count_zero")
    if number < 0:
        raise Reject("count_negative")
    if digits.startswith("0") or text == "-0":
        raise Reject("count_not_integer")
    if number >= 1 << 31:
        raise Reject("count_too_large")
    if number < min_clicks:
        raise Reject("below_threshold")
    return number


def what_was_read(draft: Draft) -> Read:
    """The same of the fast reader's files."""
    import pyarrow.parquet as pq

    facts = draft.facts
    pairs = pq.read_table(draft.pairs).select(["referrer", "article", "link_type", "clicks"]).to_pylist()
    rejects = pq.read_table(draft.rejects).to_pylist()
    return Read(
        facts.dialect,
        [tuple(pair.values()) for pair in pairs],
        sorted((row["line"], row["raw"], row["error_class"]) for row in rejects),
        facts.read,
    )


def quote(title: str) -> str:
    """A field as the current dialect writes it."""
    if '"' not in title:
        return title
    return '"' + title.replace("\\", "\\\\").replace('"', '\\"') + '"'


def write_dump(path: Path, lines: list[bytes], end: bytes = b"\n") -> Path:
    data = end.join([*lines, b""])
    path.write_bytes(gzip.compress(data, 1) if path.suffix == ".gz" else data)
    return path
