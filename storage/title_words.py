"""The words of titles, for search: where they begin, and the words of many titles at once.

A word goes from where it begins to the next space; its first MAX_WORD characters count. One begins after a space and
after a sign, so that "Spider-Man_(2002)" is found by "spider-man", "man", "(2002)" and "2002". In scripts that are
written without spaces one begins with each character.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from .folding import CODE_POINTS, Codes, fold, fold_all
from .title_files import flat

#: Longer words are told apart by their beginnings only.
MAX_WORD = 24
#: Han and kana; Thai and Lao; Burmese; Khmer.
_WITHOUT_SPACES = (
    (0x3005, 0x3008), (0x3040, 0x3130), (0x31F0, 0x3200), (0x3400, 0xA000), (0xF900, 0xFB00), (0xFF66, 0xFFA0),
    (0x20000, 0x32000), (0xE00, 0xF00), (0x1000, 0x10A0), (0x1780, 0x1800),
)  # fmt: skip
SPACE, SIGN, LETTER, CHARACTER, MARK = range(5)


def query_words(text: str) -> list[str]:
    """The words of a query, each once: the parts between spaces, folded and cut as the words of titles are."""
    folded = fold(unicodedata.normalize("NFC", text))
    return list(dict.fromkeys(part[:MAX_WORD] for part in folded.split(" ") if part))


def words_of(titles: pa.Array) -> tuple[pa.Array, npt.NDArray[np.int64]]:
    """The words of titles, in no order.

    :param titles: large_string, some 100,000 at a time.
    :returns: the words (large_string), and for each the place of its title.
    """
    ascii_only = pc.string_is_ascii(titles)
    kinds = ascii_only, pc.invert(ascii_only)
    parts = [_words(*flat(titles.filter(kind))) for kind in kinds]
    places = [np.flatnonzero(kind)[of_title] for kind, (_, of_title) in zip(kinds, parts, strict=True)]
    return pa.concat_arrays([words for words, _ in parts]), np.concatenate(places)


def _words(offsets: npt.NDArray[np.int64], data: npt.NDArray[np.uint8]) -> tuple[pa.Array, npt.NDArray[np.int64]]:
    """The words of titles, all of which are ASCII, or not."""
    places, codes = offsets, data
    if (data & 0x80).any():
        codes = np.frombuffer(data.tobytes().decode().encode("utf-32-le"), np.uint32)
        by_byte = np.zeros(len(data) + 1, np.int64)
        np.cumsum((data & 0xC0) != 0x80, out=by_byte[1:])
        places = by_byte[offsets]
    folded, borders = fold_all(codes, places)
    starts, ends = _spans(folded, borders)
    return _slices(folded, starts, ends), np.searchsorted(borders, starts, side="right") - 1


def _spans(folded: Codes, borders: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Where words begin and end in folded titles."""
    kinds = _kinds()[folded]
    before = np.empty_like(kinds)
    before[1:] = kinds[:-1]
    before[borders[:-1][borders[:-1] < len(folded)]] = SPACE
    begins = (kinds == CHARACTER) | ((kinds == LETTER) & ((before == SIGN) | (before == CHARACTER)))
    starts = np.flatnonzero((kinds != SPACE) & (begins | (before == SPACE)))
    is_break = np.append(kinds == SPACE, True)
    is_break[borders] = True
    breaks = np.flatnonzero(is_break)
    ends = breaks[np.searchsorted(breaks, starts, side="right")]
    return starts, np.minimum(ends, starts + MAX_WORD)


def _slices(text: Codes, starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> pa.Array:
    """Parts of a text of code points, as large_string."""
    data = text
    if text.dtype != np.uint8:
        data = np.frombuffer(text.tobytes().decode("utf-32-le").encode(), np.uint8)
        at = np.zeros(len(text) + 1, np.int64)
        np.cumsum(1 + (text >= 0x80).astype(np.uint8) + (text >= 0x800) + (text >= 0x10000), out=at[1:])
        starts, ends = at[starts], at[ends]
    lengths = ends - starts
    offsets = np.zeros(len(starts) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    places = np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
    return pa.LargeStringArray.from_buffers(len(starts), pa.py_buffer(offsets), pa.py_buffer(data[places]))


@lru_cache(1)
def _kinds() -> npt.NDArray[np.uint8]:
    """The kind of each code point."""
    kinds = np.full(CODE_POINTS, SIGN, np.uint8)
    characters = [chr(code) for code in range(0x32000)]
    for code, character in enumerate(characters):
        if character.isalnum():
            kinds[code] = LETTER
        elif unicodedata.category(character)[0] == "M":
            kinds[code] = MARK
    for first, end in _WITHOUT_SPACES:
        block = kinds[first:end]
        block[block == LETTER] = CHARACTER
    kinds[ord(" ")] = SPACE
    return kinds
