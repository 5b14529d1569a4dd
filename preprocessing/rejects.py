"""What makes a line of a dump unfit: one table of kinds, each with its error class and its reason.

The first kind that holds counts, and a later one may rely on the earlier ones. What is in no kind is legal: quotes,
slashes, ``NaN``, ``-``, ``.``, ``..``, ``%``, percent escapes, markup, backslashes, bidi controls, any script; a
referrer that is the article itself; the same pair once for each link type.

The conditions are SQL over the columns of :mod:`.lines`: ``size`` (bytes of the line), ``text``, ``fields``,
``referrer``, ``article``, ``link_type``, ``count_text``, ``clicks``, ``is_class`` (the referrer is a class), and the
parameters ``$columns``, ``$min_clicks``, ``$unusual`` (the block holds characters that no title may have).
"""

from __future__ import annotations

from typing import NamedTuple

from readerflow.common.records import LINK_TYPES, MAX_PAIR_CLICKS, MAX_RAW_BYTES, MAX_REASON_CHARS
from readerflow.common.titles import ILLEGAL, MAX_TITLE_BYTES


class Kind(NamedTuple):
    """A reason to reject a line: SQL of the condition, what it says, SQL of the piece of the line that it shows."""

    condition: str
    says: str
    shown: str = "text"


def _illegal(name: str, pattern: str) -> Kind:
    ends = " or ".join(f"regexp_matches({end}, '{pattern}')" for end in ("referrer", "article"))
    return Kind(f"$unusual and ({ends})", f"a title is illegal ({name.replace('_', ' ')})")


#: Error class -> kind. ``duplicate`` is found when all lines have been read.
KINDS: dict[str, Kind] = {
    "line_too_long": Kind(f"size > {MAX_RAW_BYTES}", f"the line is longer than {MAX_RAW_BYTES} bytes", "null"),
    "not_utf8": Kind("text is null", "the line is not UTF-8", "null"),
    "wrong_columns": Kind(
        "len(fields) <> $columns", "the number of tab-separated columns is wrong", "len(fields) || ' in ' || text"
    ),
    "bad_quoting": Kind("referrer is null or article is null", "a field of this quoted dump is not quoted well"),
    "title_empty": Kind("referrer = '' or article = ''", "a title is empty"),
    "empty_field": Kind("link_type = '' or count_text = ''", "the type or the count is empty"),
    **{name: _illegal(name, pattern) for name, pattern in ILLEGAL.items() if name != "title_empty"},
    "title_too_long": Kind(
        f"strlen(referrer) > {MAX_TITLE_BYTES} or strlen(article) > {MAX_TITLE_BYTES}",
        f"a title is longer than {MAX_TITLE_BYTES} bytes",
    ),
    "unknown_link_type": Kind(
        f"link_type not in ({', '.join(repr(name) for name in LINK_TYPES)})",
        f"the type is none of {', '.join(LINK_TYPES)}",
        "link_type",
    ),
    "type_against_referrer": Kind(
        "(link_type = 'external') <> is_class",
        "the type is external exactly when the referrer is a class",
        "referrer || ' with ' || link_type",
    ),
    "count_negative": Kind(
        "clicks < 0 or (clicks is null and regexp_full_match(count_text, '-[0-9]+'))",
        "the count is negative",
        "count_text",
    ),
    "count_zero": Kind("clicks = 0", "the count is zero", "count_text"),
    "count_too_large": Kind(
        f"clicks > {MAX_PAIR_CLICKS} or (clicks is null and regexp_full_match(count_text, '[1-9][0-9]*'))",
        f"the count is greater than {MAX_PAIR_CLICKS}",
        "count_text",
    ),
    "count_not_integer": Kind("clicks is null", "the count is not a plain decimal integer", "count_text"),
    "below_threshold": Kind("clicks < $min_clicks", "the count is below the threshold", "count_text"),
}
DUPLICATE = "duplicate"
ERROR_CLASSES = (*KINDS, DUPLICATE)

#: SQL of the error class of a line; null when it is a pair.
ERROR_CLASS_SQL = "case " + " ".join(f"when {kind.condition} then '{name}'" for name, kind in KINDS.items()) + " end"
#: SQL of the reason, given the column ``error_class``.
REASON_SQL = (
    "left(case error_class "
    + " ".join(
        f"when '{name}' then concat_ws(': ', '{kind.says}', left({kind.shown}, 120))" for name, kind in KINDS.items()
    )
    + f" end, {MAX_REASON_CHARS})"
)
