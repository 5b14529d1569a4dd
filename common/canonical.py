"""The layout in which ReaderFlow writes a click record, written and read without a JSON library.

Nearly all values of a log are of this layout, and a third of the time is enough for them. It has no spaces or escapes:

    {"source":"S","seq":N,"wiki":"W","month":"M","event_time":"T","referrer":"R","article":"A","link_type":"L","clicks":C}

:func:`read` takes only values that match it byte by byte and whose fields are good; all others
are left to the decoder of any JSON (see decode.py), which would judge those taken here just the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from .months import FIRST_YEAR, LAST_YEAR
from .records import CLASS_OF, CLICKS, LINK_TYPES, TIME
from .titles import ILLEGAL, MAX_TITLE_BYTES

TIME_FORM = r"\d{4}-\d\d-\d\dT([01]\d|2[0-3]):[0-5]\d(:[0-5]\d)?Z"
MONTH_FORM = r"\d{4}-(0[1-9]|1[0-2])"
WIKI_FORM = r"[a-z][a-z0-9_]{1,31}"
SOURCE_FORM = r"[0-9A-Za-z_.-]{1,64}"

#: What stands before each field, and at the end.
_BEFORE = {
    "source": b'{"source":"',
    "seq": b'","seq":',
    "wiki": b',"wiki":"',
    "month": b'","month":"',
    "event_time": b'","event_time":"',
    "referrer": b'","referrer":"',
    "article": b'","article":"',
    "link_type": b'","link_type":"',
    "clicks": b'","clicks":',
}
_END = b"}"
_NUMBERS = ("seq", "clicks")
_QUOTES = b"".join(_BEFORE.values()).count(b'"')
_AT_ONCE = 8192  # texts whose bytes and places stay in a core's cache: twice as fast as all at once
_WORD = 8  # bytes that are compared at once
#: Bytes that begin what may be illegal in a title: DEL, U+0080 to U+00BF, and among others the BOM.
_DOUBTFUL = (0x7F, 0xC2, 0xEF)
_LINK_TYPES = pa.array(LINK_TYPES, pa.string())

#: A title that holds one of these is illegal (RE2 syntax).
_ILLEGAL = "|".join(ILLEGAL.values())
_CLASSES = pa.array(list(CLASS_OF), pa.string())

Mask = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]


def read(texts: pa.Array) -> tuple[Mask, pa.Table]:
    """Read the texts (nulls allowed) that are of the layout.

    :returns: which texts are good records of the layout, shape (texts,), and these records (schema CLICKS).
    """
    found = [_read(texts.slice(start, _AT_ONCE)) for start in range(0, len(texts), _AT_ONCE)]
    records = [piece for _, piece in found if piece.num_rows]
    return (
        np.concatenate([taken for taken, _ in found]) if found else np.zeros(0, np.bool_),
        pa.concat_tables(records).combine_chunks() if records else CLICKS.empty_table(),
    )


def _read(texts: pa.Array) -> tuple[Mask, pa.Table]:
    taken = np.zeros(len(texts), dtype=np.bool_)
    data, offsets = _bytes(texts)
    rows, quotes = _likely(texts, data, offsets)
    spans = _spans(data, offsets[rows], offsets[rows + 1], quotes)
    good, columns = _columns(spans)
    taken[rows[spans.rows[good]]] = True
    if not good.all():
        columns = {name: column.filter(pa.array(good)) for name, column in columns.items()}
    return taken, pa.table([columns[name] for name in CLICKS.names], schema=CLICKS)


def _bytes(texts: pa.Array) -> tuple[Bytes, Places]:
    """The bytes of all texts, with room to read a word at any place, and where each begins and the last ends."""
    _, borders, data = texts.buffers()
    offsets = np.frombuffer(borders, np.int32)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    used = np.frombuffer(data or b"", np.uint8)[offsets[0] : offsets[-1]]
    return np.concatenate([used, np.zeros(_WORD, np.uint8)]), offsets - offsets[0]


def _likely(texts: pa.Array, data: Bytes, offsets: Places) -> tuple[Places, Places]:
    """The places of texts with the right number of quotes and no escapes, and their quotes: shape (_QUOTES, places)."""
    quotes = np.flatnonzero(data == ord('"'))
    escapes = np.flatnonzero(data == ord("\\"))
    if len(quotes) == _QUOTES * len(texts) and not len(escapes) and not texts.null_count:
        table = quotes.reshape(-1, _QUOTES).T
        if (table[0] >= offsets[:-1]).all() and (table[-1] < offsets[1:]).all():
            return np.arange(len(texts)), table
    borders = np.searchsorted(quotes, offsets)
    likely = np.diff(borders) == _QUOTES
    likely[np.searchsorted(offsets, escapes, side="right") - 1] = False
    if texts.null_count:
        likely &= texts.is_valid().to_numpy(zero_copy_only=False)
    rows = np.flatnonzero(likely)
    return rows, quotes[borders[rows] + np.arange(_QUOTES)[:, np.newaxis]]


@dataclass(frozen=True)
class _Spans:
    """Texts that match the layout: their places among the likely ones, and where their fields begin and end."""

    data: Bytes
    words: Words
    rows: Places
    begin: dict[str, Places]
    end: dict[str, Places]

    def lengths(self, name: str) -> Places:
        return self.end[name] - self.begin[name]


def _spans(data: Bytes, starts: Places, stops: Places, quotes: Places) -> _Spans:
    words = np.ndarray(shape=(len(data) - _WORD + 1,), dtype="<u8", buffer=data, strides=(1,))
    good = np.ones(len(starts), dtype=np.bool_)
    begin, end = {}, {}
    at, seen = starts, 0
    for name, before in _BEFORE.items():
        good &= _match(words, at, before)
        seen += before.count(b'"')
        begin[name] = at + len(before)
        end[name] = at = quotes[seen] - 1 if name == "seq" else stops - len(_END) if name == "clicks" else quotes[seen]
        good &= end[name] > begin[name]
    good &= _match(words, at, _END)
    rows = np.flatnonzero(good)
    if len(rows) < len(good):
        begin, end = ({name: places[rows] for name, places in ends.items()} for ends in (begin, end))
    return _Spans(data, words, rows, begin, end)


def _match(words: Words, at: Places, expected: bytes) -> Mask:
    """Whether the expected bytes stand at the places."""
    good = np.ones(len(at), dtype=np.bool_)
    for start in range(0, len(expected), _WORD):
        piece = expected[start : start + _WORD]
        found = words[at + start]
        if len(piece) < _WORD:
            found &= np.uint64((1 << 8 * len(piece)) - 1)
        good &= found == np.uint64(int.from_bytes(piece, "little"))
    return good


def _columns(spans: _Spans) -> tuple[Mask, dict[str, pa.Array]]:
    """The columns of the matching texts, and which of them are good records."""
    columns = {name: _texts(spans, name) for name in _BEFORE if name not in _NUMBERS}
    good = _matches(columns["source"], SOURCE_FORM) & _matches(columns["wiki"], WIKI_FORM)
    good &= _matches(columns["month"], MONTH_FORM, FIRST_YEAR, LAST_YEAR)
    good &= _match_month(spans)
    columns["event_time"], fine = _times(columns["event_time"])
    good &= fine
    for name, least in (("seq", 0), ("clicks", 1)):
        numbers, fine = _numbers(spans, name)
        good &= fine & (numbers >= least)
        columns[name] = pa.array(numbers)
    for name in ("referrer", "article"):
        good &= (spans.lengths(name) <= MAX_TITLE_BYTES) & _legal(columns[name])
    types = columns["link_type"].dictionary_encode()
    known = pc.is_in(types.dictionary, value_set=_LINK_TYPES).to_numpy(zero_copy_only=False)
    external = pc.equal(types.dictionary, "external").to_numpy(zero_copy_only=False)
    codes = types.indices.to_numpy()
    is_class = pc.is_in(columns["referrer"], value_set=_CLASSES).to_numpy(zero_copy_only=False)
    good &= known[codes] & (external[codes] == is_class)
    return good, columns


def _texts(spans: _Spans, name: str) -> pa.Array:
    """A field as text: every other piece of the bytes cut where it begins and ends."""
    count = len(spans.rows)
    borders = np.zeros(2 * count + 1, np.int32)
    borders[0:-1:2], borders[1::2] = spans.begin[name], spans.end[name]
    borders[-1] = borders[-2] if count else 0
    pieces = pa.Array.from_buffers(pa.string(), 2 * count, [None, pa.py_buffer(borders), pa.py_buffer(spans.data)])
    return pieces.take(pa.array(np.arange(0, 2 * count, 2, dtype=np.int32)))


def _matches(texts: pa.Array, form: str, least: str = "", most: str = "") -> Mask:
    """Whether texts, of which few are distinct, have a form, and begin between two texts."""
    codes = texts.dictionary_encode()
    fine = pc.match_substring_regex(codes.dictionary, f"^(?:{form})\\z").to_numpy(zero_copy_only=False)
    if least:
        year = pc.binary_slice(codes.dictionary.cast(pa.binary()), 0, len(least))
        in_range = pc.and_(pc.greater_equal(year, least.encode()), pc.less_equal(year, most.encode()))
        fine = fine & in_range.to_numpy(zero_copy_only=False)
    found: Mask = fine[codes.indices.to_numpy()]
    return found


def _match_month(spans: _Spans) -> Mask:
    """Whether the event time begins with the month, of which the form is judged elsewhere."""
    mask = np.uint64((1 << 8 * len("YYYY-MM")) - 1)
    event, month = (spans.words[spans.begin[name]] & mask for name in ("event_time", "month"))
    found: Mask = event == month
    return found


def _times(texts: pa.Array) -> tuple[pa.Array, Mask]:
    """Times, and which texts have the form of one and a day that exists."""
    codes = texts.dictionary_encode()
    fine = pc.match_substring_regex(codes.dictionary, f"^(?:{TIME_FORM})\\z")
    bare = pc.replace_substring_regex(pc.if_else(fine, codes.dictionary, None), "Z\\z", "")
    try:
        times = bare.cast(TIME)
    except pa.ArrowInvalid:  # at least one day does not exist; whoever is left to the other decoder is judged there
        fine = pc.and_(fine, pc.match_substring_regex(codes.dictionary, "^.{8}([01]|2[0-8])"))
        times = pc.if_else(fine, bare, None).cast(TIME)
    return times.take(codes.indices), fine.to_numpy(zero_copy_only=False)[codes.indices.to_numpy()]


def _numbers(spans: _Spans, name: str) -> tuple[Places, Mask]:
    """Numbers of at most 16 digits, and which fields hold one as JSON writes it."""
    lengths = spans.lengths(name)
    good = (lengths <= 2 * _WORD) & ((lengths == 1) | (spans.data[spans.begin[name]] != ord("0")))
    numbers, fine = _digits(spans.words[spans.end[name] - _WORD], np.clip(lengths, 0, _WORD))
    good &= fine
    if (lengths > _WORD).any():
        upper, fine = _digits(spans.words[spans.end[name] - 2 * _WORD], np.clip(lengths - _WORD, 0, _WORD))
        good &= fine
        numbers += upper * 10**_WORD
    return numbers, good


def _digits(words: Words, lengths: Places) -> tuple[Places, Mask]:
    """The number that the last ``lengths`` of eight bytes say, and whether they are digits.

    Eight digits in a word are added up pairwise: Lemire, "Quickly parsing eight digits", 2018.
    """
    zeros = np.uint64(0x3030303030303030)
    unused = ((_WORD - lengths) * 8).astype(np.uint64)
    mask = np.where(lengths > 0, np.uint64(2**64 - 1) << np.minimum(unused, np.uint64(63)), np.uint64(0))
    digits = (words & mask) | (zeros & ~mask)
    nibbles = np.uint64(0xF0F0F0F0F0F0F0F0)
    good = ((digits & nibbles) == zeros) & (((digits + np.uint64(0x0606060606060606)) & nibbles) == zeros)
    digits -= zeros
    digits = (digits * np.uint64(10) + (digits >> np.uint64(8))) & np.uint64(0x00FF00FF00FF00FF)
    digits = (digits * np.uint64(100) + (digits >> np.uint64(16))) & np.uint64(0x0000FFFF0000FFFF)
    digits = (digits * np.uint64(10_000) + (digits >> np.uint64(32))) & np.uint64(0x00000000FFFFFFFF)
    return digits.astype(np.int64), good


def _legal(titles: pa.Array) -> Mask:
    """Whether titles hold only what a title may; each is looked at only where the bytes of all raise a doubt."""
    data, _ = _bytes(titles)
    data = data[:-_WORD]
    doubtful = len(data) and (data.min() <= ord(" ") or any((data == byte).any() for byte in _DOUBTFUL))
    if not doubtful:
        return np.ones(len(titles), dtype=np.bool_)
    found: Mask = ~pc.match_substring_regex(titles, _ILLEGAL).to_numpy(zero_copy_only=False)
    return found


def write(records: pa.Table) -> pa.Array | None:
    """Write click records (schema CLICKS) in the layout, as text.

    Quotes and backslashes in titles are escaped, so :func:`read` leaves those values to the other decoder. None where
    more would be needed: a field is null, holds other such characters, or a time has fractions of a second.
    """
    if any(column.null_count for column in records.columns):
        return None
    columns = {name: _whole(records[name]) for name in CLICKS.names}
    for name in ("referrer", "article"):
        for character in ("\\", '"'):
            if _holds(columns[name], character):
                columns[name] = pc.replace_substring(columns[name], character, f"\\{character}")
    if any(_is_unsafe(columns[name]) for name in ("source", "wiki", "month", "link_type")):
        return None
    if any(_has_controls(columns[name]) for name in ("referrer", "article")):
        return None
    times = columns["event_time"].dictionary_encode()
    written = _written(times.dictionary)
    if written is None:
        return None
    columns["event_time"] = written.take(times.indices)
    parts: list[pa.Array | str] = []
    for name, before in _BEFORE.items():
        parts += [before.decode(), columns[name].cast(pa.string())]
    return pc.binary_join_element_wise(*parts, _END.decode(), "")


def _whole(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _holds(texts: pa.Array, character: str) -> bool:
    return bool((_bytes(texts)[0] == ord(character)).any())


def _has_controls(texts: pa.Array) -> bool:
    data = _bytes(texts)[0][:-_WORD]
    return bool(len(data) and data.min() < ord(" "))


def _is_unsafe(texts: pa.Array) -> bool:
    return _has_controls(texts) or _holds(texts, "\\") or _holds(texts, '"')


def _written(times: pa.Array) -> pa.Array | None:
    """Times as text; None where one is not a whole second of the years that are taken."""
    try:
        seconds = times.cast(pa.timestamp("s"))
    except pa.ArrowInvalid:
        return None
    years = pc.year(seconds)
    if not pc.all(pc.and_(pc.greater_equal(years, int(FIRST_YEAR)), pc.less_equal(years, int(LAST_YEAR)))).as_py():
        return None
    return pc.if_else(
        pc.equal(pc.second(seconds), 0),
        pc.strftime(seconds, "%Y-%m-%dT%H:%MZ"),
        pc.strftime(seconds, "%Y-%m-%dT%H:%M:%SZ"),
    )
