"""Titles as people type them: without case, accents, width, underscores and signs that nobody sees.

:func:`fold` is the rule, a character at a time; :func:`fold_all` follows it for many titles at once, by tables.
Accents go from Latin, Greek, Cyrillic, Hebrew and Arabic letters; marks that make another letter, as in Japanese,
Thai or the scripts of India, stay.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

#: Letters that are no base letter with an accent, so that stripping accents leaves them.
_LETTERS = {
    "đ": "d", "ð": "d", "ł": "l", "ø": "o", "ı": "i", "ħ": "h", "ŧ": "t", "ŋ": "n", "ƒ": "f",
    "æ": "ae", "œ": "oe", "þ": "th",
    "ی": "ي", "ى": "ي", "ک": "ك", "ـ": "",  # Persian keyboards, and a stroke that only stretches words
}  # fmt: skip
CODE_POINTS = 0x110000
#: Blocks whose characters fold to themselves: Han, Hangul, surrogates and private use, the higher planes.
_UNCHANGED = ((0x3400, 0xA000), (0xAC00, 0xD7A4), (0xD800, 0xF900), (0x20000, 0xE0000), (0xE1000, CODE_POINTS))


def fold(text: str) -> str:
    """A title, or a part of one that a visitor typed, without what does not count.

    >>> fold("Đurđevac_Łódź_Straße")
    'durdevac lodz strasse'
    """
    return "".join(map(_folded, text))


@lru_cache(8_192)
def _folded(character: str) -> str:
    if character == "_" or character.isspace():
        return " "
    if unicodedata.category(character) == "Cf":  # joiners, marks of direction
        return ""
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", character).casefold())
    kept = "".join(_LETTERS.get(one, one) for one in plain if not _is_accent(one))
    # A sign such as the acute accent itself decomposes into a space and a mark; it stands for itself.
    return unicodedata.normalize("NFC", kept) if kept.strip() or not plain.strip(" ") or not kept else character


def _is_accent(character: str) -> bool:
    place = unicodedata.combining(character)
    return 10 <= place < 84 or place > 132


@dataclass(frozen=True)
class _Table:
    """What each code point folds to: ``text[start[c] : start[c] + length[c]]``."""

    text: npt.NDArray[np.uint32]
    start: npt.NDArray[np.int32]
    length: npt.NDArray[np.uint8]

    @cached_property
    def ascii(self) -> npt.NDArray[np.uint8]:
        """The same of ASCII, each of which folds to one such character."""
        return self.text[self.start[:128]].astype(np.uint8)


@lru_cache(1)
def _table() -> _Table:
    start = np.arange(CODE_POINTS, dtype=np.int32)
    length = np.ones(CODE_POINTS, np.uint8)
    more: list[int] = []
    edges = [0, *(edge for block in _UNCHANGED for edge in block)]
    for first, end in zip(edges[::2], edges[1::2], strict=False):
        for code in range(first, end):
            folded = _folded(chr(code))
            if folded != chr(code):
                start[code], length[code] = CODE_POINTS + len(more), len(folded)
                more += map(ord, folded)
    return _Table(np.concatenate([np.arange(CODE_POINTS, dtype=np.uint32), np.array(more, np.uint32)]), start, length)


Codes = npt.NDArray[np.uint32] | npt.NDArray[np.uint8]


def fold_all(codes: Codes, borders: npt.NDArray[np.int64]) -> tuple[Codes, npt.NDArray[np.int64]]:
    """Fold many texts.

    :param codes: the code points of all texts, one after the other; uint8 where all are ASCII, which is faster.
    :param borders: shape (texts + 1,): text i is codes[borders[i]:borders[i + 1]].
    :returns: both of the folded texts.
    """
    table = _table()
    if codes.dtype == np.uint8:
        return table.ascii[codes], borders
    lengths, starts = table.length[codes], table.start[codes]
    if (lengths == 1).all():
        return table.text[starts], borders
    ends = np.zeros(len(codes) + 1, np.int64)
    np.cumsum(lengths, out=ends[1:])
    return table.text[np.repeat(starts - ends[:-1], lengths) + np.arange(ends[-1])], ends[borders]
