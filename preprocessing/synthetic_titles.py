"""Titles of synthetic articles: a pure function of the article's number, never the same twice.

A title is a made-up name in one of several scripts, set into one of that script's patterns (``History_of_Velmora``).
Names are numbers written with syllables as digits, so different numbers give different names.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

MAIN_PAGE = "Main_Page"
#: Every so many-th title holds a pair of double quotes, as one in 850 does on hrwiki.
_QUOTED_EVERY = 853


class _Script(NamedTuple):
    """Syllables (no one begins another), the first ones as they begin a name, and patterns with one ``*``."""

    first: list[str]
    syllables: list[str]
    patterns: list[str]


def _latin(syllables: str, patterns: str) -> _Script:
    return _Script([syllable.capitalize() for syllable in syllables.split()], syllables.split(), patterns.split())


def _caseless(syllables: str, patterns: str) -> _Script:
    return _Script(syllables.split(), syllables.split(), patterns.split())


_PLAIN = _latin(
    "ve lo ma ri to ne sa da ko li mo ra be nu pa ti ga do le si fa ru mi ka",
    "* *_River *_Castle *_County *_Bridge *_Island *_(film) *_(album) *_(novel) *_University *_Airport"
    " *_railway_station *_Museum_of_Art *_F.C. *_Valley *_National_Park *,_Ohio *_family *_(surname) *_(band)"
    " *_language *-class_cruiser Battle_of_* History_of_* List_of_mayors_of_* Mayor_of_* Old_* New_* Lake_* Mount_*"
    " Saint_* University_of_* Treaty_of_* Duchy_of_* Geography_of_* 2024_*_earthquake Portal:* */Notes"
    " Music_of_*_&_others Who_was_*?",
)
_ACCENTED = _latin(
    "šo ča ži đu ćo še če žu ša ći žo šu či ža šć čo đe ši đa",
    "* *_(film) *_(naselje) *_(rijeka) Općina_* Povijest_* Grb_* Dodatak:* Nogometni_klub_* Dvorac_* Bitka_kod_*",
)
_CYRILLIC = _latin("ве ло ма ри то не са да ко ли мо ра бе ну па ти га до ле си", "* *_(город) История_* Битва_при_*")
_GREEK = _latin("λα μη νο ρι τα σο κε πα δι βε γα φο", "* *_(ταινία) Ιστορία_της_*")
_KANA = _caseless("ア カ サ タ ナ ハ マ ヤ ラ ワ キ シ チ ニ ヒ ミ リ コ", "* *駅 *市 *_(映画)")
_ARABIC = _caseless("با سا لي مو را نو دا كي", "* تاريخ_* *_(فيلم)")

#: The script of an article is that at its number modulo their count: a third of all titles is not ASCII.
_SCRIPTS = [_PLAIN, _PLAIN, _ACCENTED, _PLAIN, _PLAIN, _CYRILLIC, _PLAIN, _GREEK, _PLAIN, _ACCENTED, _PLAIN, _PLAIN]
_SCRIPTS += [_PLAIN, _KANA, _PLAIN, _PLAIN, _ACCENTED, _PLAIN, _ARABIC, _PLAIN]


def titles(count: int) -> pa.StringArray:
    """The titles of the articles 0 (the main page) to ``count`` - 1."""
    parts: list[pa.Array] = []
    places: list[npt.NDArray[np.int64]] = []
    for turn, script in enumerate(_SCRIPTS):
        numbers = np.arange(turn, count, len(_SCRIPTS))
        places.append(numbers)
        # Of the turns of one script each takes its own share of the script's names.
        turns = [place for place, other in enumerate(_SCRIPTS) if other is script]
        parts.append(_titles_of(script, numbers // len(_SCRIPTS) * len(turns) + turns.index(turn)))
    order = np.argsort(np.concatenate(places), kind="stable")
    made = pa.concat_arrays(parts).take(pa.array(order))
    quoted = pa.array(np.arange(count) % _QUOTED_EVERY == 11)
    made = pc.if_else(quoted, pc.binary_join_element_wise(made, '_"Alfa"', ""), made)
    return pa.concat_arrays([pa.array([MAIN_PAGE]), made[1:]])


def _titles_of(script: _Script, numbers: npt.NDArray[np.int64]) -> pa.StringArray:
    pattern = numbers % len(script.patterns)
    parts = [text.partition("*") for text in script.patterns]
    before, after = (pa.array([part[place] for part in parts]).take(pa.array(pattern)) for place in (0, 2))
    # Neighbours get different names, each pattern still each name once: short names are shuffled by multiplication.
    names = numbers // len(script.patterns)
    short = len(script.syllables) ** 3
    names = np.where(names < short, (names * 7919 + pattern * 5923) % short, names)
    return pc.binary_join_element_wise(before, _names(script, names), after, "")


def _names(script: _Script, numbers: npt.NDArray[np.int64]) -> pa.StringArray:
    """Numbers in bijective notation, from three syllables on, with the first syllable as the lowest digit."""
    base = len(script.syllables)
    rest = numbers + base * (base + 1)
    digits = pa.array(script.syllables, pa.string())
    name = pa.array(script.first, pa.string()).take(pa.array(rest % base))
    rest = rest // base
    while np.any(rest > 0):
        here = rest > 0
        digit = digits.take(pa.array((rest - 1) % base))
        name = pc.binary_join_element_wise(name, pc.if_else(pa.array(here), digit, ""), "")
        rest = np.where(here, (rest - 1) // base, 0)
    return name
