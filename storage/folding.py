"""Titles as people type them: without case, diacritics and underscores. One SQL expression for titles and queries."""

from __future__ import annotations

#: Letters that are no base letter with an accent, so that stripping accents leaves them: each becomes one ...
_SINGLE = {"đ": "d", "ð": "d", "ł": "l", "ø": "o", "ı": "i", "ħ": "h", "ŧ": "t", "ŋ": "n", "ƒ": "f"}
#: ... or two plain letters.
_DOUBLE = {"ß": "ss", "æ": "ae", "œ": "oe", "þ": "th"}


def folded(expression: str) -> str:
    """The DuckDB expression that folds a text expression, such as ``article`` or ``$query``."""
    plain = f"replace(lower({expression}), '_', ' ')"
    sql = f"translate(strip_accents({plain}), '{''.join(_SINGLE)}', '{''.join(_SINGLE.values())}')"
    for letter, letters in _DOUBLE.items():
        sql = f"replace({sql}, '{letter}', '{letters}')"
    # Most titles are ASCII, as many bytes as letters, and have nothing else to fold.
    return f"case when strlen({expression}) = length({expression}) then {plain} else {sql} end"
