"""How pages write numbers, shares, times and names: plain functions that the templates use as filters.

Thousands have a comma, shares one decimal and a narrow space before the percent sign. The shares of a table are rounded
together (:func:`.merge.round_shares`), so that the column adds to what its total says.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from readerflow.common.months import HOUR, Month, parse_time
from readerflow.common.titles import display, language

NARROW_SPACE = "\u202f"
NO_VALUE = "–"

#: Kind of source -> its name, everywhere.
KIND_NAMES = {
    "search": "Search engines",
    "empty": "No referrer",
    "internal": "Other Wikimedia pages",
    "external": "Other web sites",
    "other": "Unknown",
    "article": "Articles",
}

#: Referrers of the 2015 files that name one site of a kind.
SITES_2015 = {
    "other-google": "Google",
    "other-yahoo": "Yahoo",
    "other-bing": "Bing",
    "other-wikipedia": "Wikipedia, other pages",
    "other-facebook": "Facebook",
    "other-twitter": "Twitter",
}

#: Languages of the wikis that publish clickstream dumps, and of some small ones.
LANGUAGES = {
    "ar": "Arabic", "cs": "Czech", "de": "German", "en": "English", "es": "Spanish", "fa": "Persian", "fi": "Finnish",
    "fr": "French", "he": "Hebrew", "hr": "Croatian", "hu": "Hungarian", "id": "Indonesian", "it": "Italian",
    "ja": "Japanese", "ko": "Korean", "nl": "Dutch", "no": "Norwegian", "pl": "Polish", "pt": "Portuguese",
    "ro": "Romanian", "ru": "Russian", "sl": "Slovene", "sr": "Serbian", "sv": "Swedish", "tr": "Turkish",
    "uk": "Ukrainian", "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip

#: Ranking -> (short name, what its values are).
RANKING_NAMES = {
    "in": ("Clicks in", "clicks that led to the article, from articles and from elsewhere"),
    "out": ("Clicks out", "clicks from the article to other articles"),
    "entries": ("Entries", "clicks that led to the article from outside: search, bookmarks, other sites"),
    "search": (KIND_NAMES["search"], "entries from search engines"),
    "empty": (KIND_NAMES["empty"], "entries that told no referrer: bookmarks, typed addresses, apps"),
    "internal": (KIND_NAMES["internal"], "entries from other language editions and sister projects"),
    "external": (KIND_NAMES["external"], "entries from other web sites"),
    "other": (KIND_NAMES["other"], "entries whose referrer fits no other kind"),
    "reader_rank": (
        "Reader rank",
        "share of time that a reader spends on the article who starts where readers really come in and follows links "
        "as often as readers do",
    ),
    "pagerank": (
        "PageRank",
        "share of time that a reader spends on the article who starts anywhere and follows links as often as readers "
        "do",
    ),
    "link_rank": (
        "Link rank",
        "share of time that a reader spends on the article who starts anywhere and follows any link, however often it "
        "is clicked",
    ),
    "under_linked": (
        "Under-linked",
        "how many times the reader rank is the link rank: readers are there more than links alone would bring them; of "
        "articles with 100 clicks by links at least",
    ),
    "over_linked": (
        "Over-linked",
        "how many times the link rank is the reader rank: links lead there, but readers seldom follow them; of "
        "articles with 100 clicks by links at least",
    ),
}

#: Upper bound of a share -> how a sentence says it.
_FRACTIONS = (
    (0.005, "Hardly any"),
    (0.075, "A few in a hundred"),
    (0.15, "About a tenth"),
    (0.225, "About a fifth"),
    (0.29, "About a quarter"),
    (0.37, "About a third"),
    (0.46, "About four in ten"),
    (0.54, "About half"),
    (0.63, "About six in ten"),
    (0.71, "About two thirds"),
    (0.8, "About three quarters"),
    (0.9, "Most"),
)


def number(value: int | None) -> str:
    """Thousands with a comma; a dash for None."""
    return NO_VALUE if value is None else f"{value:,}"


def signed(value: int) -> str:
    return f"{value:+,}".replace("-", "−")


def decimal(value: float | None, digits: int = 1) -> str:
    return NO_VALUE if value is None else f"{value:,.{digits}f}"


def percent(value: float | None, digits: int = 1) -> str:
    """Write a number that is percent already: 58.1 -> ``58.1 %``."""
    return NO_VALUE if value is None else f"{value:.{digits}f}{NARROW_SPACE}%"


def share(part: float | None) -> str:
    """Write a fraction as percent: 0.581 -> ``58.1 %``. One of a column goes through ``round_shares`` instead."""
    return NO_VALUE if part is None else percent(100 * part)


def ppm(value: float) -> str:
    """Write a small share in parts per million."""
    parts = 1e6 * value
    return f"{parts:,.0f}{NARROW_SPACE}ppm" if parts >= 1000 else f"{parts:,.1f}{NARROW_SPACE}ppm"


def ranked_value(value: float, unit: str) -> str:
    """Write what a ranking lists: clicks, shares of time, or how many times one rank is another."""
    if unit == "ratio":
        return f"{value:,.1f}{NARROW_SPACE}×"
    return ppm(value) if unit == "share" else number(int(value))


def times(value: float | None) -> str:
    """How many times as much: 6.1 -> ``6.1×``."""
    if value is None:
        return NO_VALUE
    return f"{value:,.0f}×" if value >= 100 else f"{value:.1f}×"


def fraction_words(part: float) -> str:
    """Say a share in words, for sentences: 0.35 -> ``About a third``."""
    return next((words for bound, words in _FRACTIONS if part < bound), "Nearly all")


def top_share(position: int, of: int) -> str:
    """Among what share of all a position is; never 0."""
    return f"top {max(0.1, 100 * position / of):.1f}{NARROW_SPACE}%" if of else NO_VALUE


def plural(count: int, one: str, many: str | None = None) -> str:
    """``1 article``, ``1,234 articles``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def joined(parts: list[str]) -> str:
    """Join words of a sentence: a, b and c."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else ""


def known_language(wiki: str) -> str | None:
    """The language code of a wiki's titles, for ``lang``; None where it may not be one."""
    code = language(wiki)
    return code if wiki.endswith("wiki") and code in LANGUAGES else None


def month_name(month: str) -> str:
    """``2025-03`` -> ``March 2025``."""
    return f"{Month.parse(month).start:%B %Y}"


def wiki_name(wiki: str) -> str:
    """``hrwiki`` -> ``Croatian Wikipedia``; the database name where the language is not known."""
    name = LANGUAGES.get(language(wiki)) if wiki.endswith("wiki") else None
    return f"{name} Wikipedia" if name else wiki


@lru_cache(1_000)  # a page says the few times of its envelope again and again
def moment(time: str, year: bool = False) -> str:
    """``2025-03-31T18:00Z`` -> ``31 March, 18:00 UTC``."""
    at = parse_time(time)
    day = f"{at.day} {at:%B %Y}" if year else f"{at.day} {at:%B}"
    return f"{day}, {_clock(at)} UTC"


def clock(time: str) -> str:
    """``2025-03-31T18:00Z`` -> ``18:00 UTC``."""
    return f"{_clock(parse_time(time))} UTC"


def _clock(at: datetime) -> str:
    return f"{at:%H:%M:%S}" if at.second else f"{at:%H:%M}"


def hours_of(intervals: list[dict[str, str]]) -> int:
    """Full hours within intervals (from, until)."""
    return sum((parse_time(one["until"]) - parse_time(one["from"])) // HOUR for one in intervals)


def missing(answer: Mapping[str, Any]) -> dict[str, str] | None:
    """Say what an answer lacks, or None: ``short`` for the freshness line, ``what`` and ``why`` for a banner."""
    if answer["complete"]:
        return None
    what, why = [], []
    if answer["holes"]:
        spans = joined([f"{moment(one['from'])} to {moment(one['until'])}" for one in answer["holes"][:3]])
        more = len(answer["holes"]) - 3
        lost = hours_of(answer["holes"])
        what.append(f"{plural(lost, 'hour')} {'is' if lost == 1 else 'are'} missing")
        why.append(f"Not counted: {spans}{f' and {more} more' if more > 0 else ''}.")
    if answer["late"]:
        late = plural(answer["late"], "click")
        what.append(f"{late} came late")
        why.append(f"{late} of hours before {moment(answer['horizon'])} came after the batch views had counted them.")
    if answer["replaced"]:
        what.append("the replay was replaced")
        why.append("The month is being replayed anew; the numbers are those of the replay before.")
    why.append("The next batch run mends this.")
    return {"short": f"Incomplete: {what[0]}", "what": joined(what), "why": " ".join(why)}


def expected(value: float) -> str:
    """Expected clicks: whole from 10 on, one decimal below."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def shown(title: str) -> str:
    """What a title reads as; one of nothing but underscores stays as it is, so that there is something to see."""
    text = display(title)
    return text if text.strip() else title


def isolated(text: str) -> str:
    """Keep the direction of a title from the text around it where no markup can (FSI ... PDI)."""
    return f"\u2068{text}\u2069"


def seconds(value: float) -> str:
    """A duration: ``0.4 s``, ``12 s``, ``3 min 20 s``."""
    if value < 10:
        return f"{value:.1f}{NARROW_SPACE}s"
    if value < 120:
        return f"{value:.0f}{NARROW_SPACE}s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes:,}{NARROW_SPACE}min {rest}{NARROW_SPACE}s"


def neighbour_name(item: dict[str, Any]) -> str:
    """What a row of sources or destinations is called."""
    if item["kind"] == "article":
        return shown(item["title"])
    site = SITES_2015.get(item["title"])
    name = KIND_NAMES[item["kind"]]
    return f"{name}: {site}" if site else name


FILTERS = {
    function.__name__: function
    for function in (
        number, signed, decimal, percent, share, ppm, ranked_value, times, expected, fraction_words, top_share, plural,
        month_name, wiki_name, moment, clock, hours_of, seconds, isolated, shown,
    )
}  # fmt: skip
