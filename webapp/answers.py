"""What the site knows, as plain dicts: the one function behind a page and its JSON twin. Templates only format.

Every answer carries the envelope of :func:`.context.envelope`. Every number that live rows add to is a
:class:`.merge.Count`: ``{"clicks": 912, "batch": 900, "live": 12}``. Shares are exact fractions (0 to 1); pages round a
table's shares together with :func:`.merge.round_shares`. Times are text, UTC, ``2025-03-31T00:00Z``. Titles are stored
titles; ``display_title`` has spaces. ``kind`` is what a referrer is: article, search, empty, internal, external, other.

Use from a page::

    with site().serving.read(wiki, month) as reading:        # month from resolve_month(); both are in .context
        numbers = article(reading, title)
        came_from = neighbours(reading, Side.SOURCES, title, limit=12)

A page that follows a ``next`` token uses :func:`open_page` instead of ``serving.read``. Errors are those of
:mod:`.problems`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import quote

from readerflow.common.facts import to_dict
from readerflow.common.records import CLASS_OF, CLASSES
from readerflow.common.titles import display, language
from readerflow.storage.batch_views import RANKINGS, Manifest, NoGeneration
from readerflow.storage.serving_views import Reading, ServingViews, Side

from .context import envelope
from .merge import Count, merge_article, merge_classes, merge_neighbours, minus, total
from .models import DEFAULT_LIMIT
from .paging import NeighbourPage, RankingPage, generation_of
from .problems import Gone, NotFound
from .search_models import MAX_QUERY_CHARS
from .standing import SYNTHETIC_TIMES, WINDOWS, freshness, meta, status, trending

#: With those of :mod:`.standing`, which belong to them.
__all__ = [
    "SYNTHETIC_TIMES",
    "WINDOWS",
    "article",
    "freshness",
    "meta",
    "names_of",
    "near_titles",
    "neighbours",
    "no_such_title",
    "open_page",
    "overview",
    "ranking",
    "share",
    "status",
    "suggest",
    "trending",
]

RANKS = ("pagerank", "reader_rank", "link_rank")
RATIOS = ("under_linked", "over_linked")
#: Row of the classes view -> kind.
KINDS = {**{name: name.removeprefix("other-") for name in CLASSES}, "link": "article", "other": "article"}
#: The numbers of an article that nobody knows, where an answer has a place for them.
UNKNOWN: dict[str, Any] = dict.fromkeys(("in", "out", "entries", "in_link", "in_other", "dead_end_share", "ranks"))


def article(reading: Reading, title: str) -> dict[str, Any]:
    """An article's numbers.

    ``in`` = sum of ``entries`` (by kind) + ``in_link`` + ``in_other``, in each part. ``ranks`` are batch only; a rank
    is null outside the link graph, ``of`` says how many articles are in it. ``community`` likewise; its name is the
    title of the member with most clicks in by links.

    :raises NotFound: with ``near``, titles like it.
    """
    numbers = article_numbers(reading, title)
    if numbers is None:
        raise no_such_title(reading, title)
    return {
        **envelope(reading.snapshot),
        **names_of(reading.snapshot.wiki, title),
        **numbers,
        "in_pairs": reading.neighbour_counts(Side.SOURCES, title),
        "out_pairs": reading.neighbour_counts(Side.DESTINATIONS, title),
        "community": _community(reading, title),
    }


def article_numbers(reading: Reading, title: str) -> dict[str, Any] | None:
    """What one look-up tells of an article: clicks, entries, dead ends, ranks; None for a title that nobody knows."""
    row, live = reading.article(title)
    numbers = merge_article(row, live)
    if numbers is None:
        return None
    manifest = reading.snapshot.manifest
    return {
        "in": numbers.clicks_in,
        "out": numbers.clicks_out,
        "entries": {KINDS[name]: clicks for name, clicks in numbers.entries.items()},
        "in_link": numbers.in_link,
        "in_other": numbers.in_other,
        "dead_end_share": numbers.dead_end_share,
        "ranks": {
            **{name: _rank(row, name) for name in RANKS},
            "of": manifest.linked_articles if manifest else 0,
        },
    }


def _community(reading: Reading, title: str) -> dict[str, Any] | None:
    row = reading.community(title)
    return {"name": row["community"], "size": row["size"]} if row else None


def names_of(wiki: str, title: str) -> dict[str, str]:
    """How an article is called, and its address on Wikipedia."""
    return {
        "title": title,
        "display_title": display(title),
        "wikipedia": f"https://{language(wiki)}.wikipedia.org/wiki/{quote(title, safe='')}",
    }


def _rank(row: Mapping[str, Any] | None, name: str) -> dict[str, Any] | None:
    if row is None or row[name] is None:
        return None
    return {"position": row[f"{name}_position"], "value": row[name]}


def no_such_title(reading: Reading, title: str) -> NotFound:
    """What to raise for a title that nobody knows."""
    at = reading.snapshot
    return NotFound(f"no article '{display(title)}' in {at.wiki} {at.month}", near=near_titles(reading, title))


def near_titles(reading: Reading, title: str, limit: int = 5) -> list[str]:
    """Titles with words that begin like those of one that does not exist, most clicked first."""
    text = title[:MAX_QUERY_CHARS]
    while text:
        found: list[str] = reading.suggest(text, limit)["article"].to_pylist()
        if found:
            return found
        text = text[: len(text) * 2 // 3]
    return []


@contextmanager
def open_page(serving: ServingViews, wiki: str, month: str, token: str | None) -> Iterator[Reading]:
    """Read as the ``next`` token's page did: of the same generation, while it is kept.

    :raises Gone: when the generation of the token is no longer kept.
    :raises BadRequest: when it is no token.
    """
    with ExitStack() as stack:
        if token is None:
            yield stack.enter_context(serving.read(wiki, month))
            return
        try:
            reading = stack.enter_context(serving.read_at(wiki, month, generation_of(token)))
        except NoGeneration:
            raise _gone() from None
        yield reading


def _gone() -> Gone:
    return Gone("this list has ended: its generation or its live rows are no longer kept; begin again without 'next'")


def neighbours(
    reading: Reading, side: Side, title: str, *, limit: int = DEFAULT_LIMIT, token: str | None = None
) -> dict[str, Any]:
    """A page of an article's sources or destinations, by merged clicks, then title bytes, then link type.

    ``clicks`` is the article's total on that side, ``before`` what earlier pages showed, ``rest`` what no page has
    shown yet (rows, clicks, share): before + items + rest = total. ``next`` is null on the last page.

    :raises NotFound: for a title that nobody knows.
    :raises Gone: when the token's incarnation is gone.
    """
    at = reading.snapshot
    page = NeighbourPage.parse(token) if token else NeighbourPage.first(at.generation, at.incarnation)
    if page.incarnation != at.incarnation:
        raise _gone()
    row, live_row = reading.article(title)
    numbers = merge_article(row, live_row)
    if numbers is None:
        raise no_such_title(reading, title)
    whole = numbers.clicks_in if side is Side.SOURCES else numbers.clicks_out
    batch, live = reading.neighbours(side, title, page.after, limit + 1)
    merged = merge_neighbours(batch, live, page.after, limit + 1)
    shown, more = merged[:limit], len(merged) > limit
    rows = reading.neighbour_counts(side, title)
    here = total(one.clicks for one in shown)
    rest = minus(whole, page.shown, here)
    return {
        **envelope(at),
        **names_of(at.wiki, title),
        "side": side.value,
        "total": rows,
        "clicks": whole,
        "before": {"rows": page.rows, "clicks": page.shown},
        "items": [
            {
                "position": position,
                "title": one.title,
                "display_title": display(one.title) if one.title not in CLASS_OF else one.title,
                "kind": KINDS[CLASS_OF[one.title]] if one.title in CLASS_OF else "article",
                "link_type": one.link_type,
                "clicks": one.clicks,
                "share": share(one.clicks, whole),
            }
            for position, one in enumerate(shown, page.rows + 1)
        ],
        "rest": {
            "rows": max(0, rows - page.rows - len(shown)),
            "clicks": rest,
            "share": share(rest, whole),
        },
        "next": page.following(shown, here).token() if more else None,
    }


def share(part: Count, whole: Count) -> float | None:
    """A part of a whole, 0 to 1; None when the whole is 0."""
    return part["clicks"] / whole["clicks"] if whole["clicks"] else None


def ranking(reading: Reading, name: str, *, limit: int = DEFAULT_LIMIT, token: str | None = None) -> dict[str, Any]:
    """A page of a ranking; batch only, since ranks and positions can't be merged.

    ``unit`` is clicks; share for the three ranks, whose values sum to 1; ratio where two of these are compared.

    :raises NotFound: for a ranking that there is not.
    """
    if name not in RANKINGS:
        raise NotFound(f"no ranking '{name}'; there are {', '.join(RANKINGS)}", rankings=list(RANKINGS))
    at = reading.snapshot
    page = RankingPage.parse(token) if token else RankingPage(at.generation, 0)
    rows = reading.ranking(name, page.position, limit + 1).to_pylist()
    shown, more = rows[:limit], len(rows) > limit
    unit = "share" if name in RANKS else "ratio" if name in RATIOS else "clicks"
    return {
        **envelope(at),
        "ranking": name,
        "unit": unit,
        "batch_only": True,
        "total": reading.ranking_total(name),
        "iterations": _iterations(at.manifest, name),
        "items": [
            {
                "position": row["position"],
                "title": row["article"],
                "display_title": display(row["article"]),
                "value": int(row["value"]) if unit == "clicks" else row["value"],
            }
            for row in shown
        ],
        "next": RankingPage(at.generation, shown[-1]["position"]).token() if more else None,
    }


def _iterations(manifest: Manifest | None, name: str) -> dict[str, Any] | None:
    facts = manifest.ranks.get(name) if manifest else None
    return to_dict(facts) if facts else None


def overview(reading: Reading) -> dict[str, Any]:
    """A month as a whole: all clicks, and by class (five entry classes, ``link``, ``other``); counts of things, batch.

    Each item: class, kind, clicks, pairs (batch), share.
    """
    batch, live = reading.classes()
    merged = merge_classes(batch, live)
    pairs = dict(zip(batch["class"].to_pylist(), batch["pairs"].to_pylist(), strict=True))
    whole = total(merged.values())
    manifest = reading.snapshot.manifest
    return {
        **envelope(reading.snapshot),
        "clicks": whole,
        "articles": manifest.articles if manifest else 0,
        "linked_articles": manifest.linked_articles if manifest else 0,
        "pairs": manifest.pairs if manifest else 0,
        "items": [
            {
                "class": name,
                "kind": KINDS[name],
                "clicks": clicks,
                "pairs": pairs.get(name) or 0,
                "share": share(clicks, whole),
            }
            for name, clicks in merged.items()
        ],
    }


def suggest(reading: Reading, query: str, *, limit: int = 10) -> dict[str, Any]:
    """The most clicked articles whose titles have words that begin like what a visitor types; batch only."""
    rows = reading.suggest(query, limit).to_pylist() if query.strip() else []
    return {
        **envelope(reading.snapshot),
        "query": query,
        "items": [
            {"title": row["article"], "display_title": display(row["article"]), "in_clicks": row["in_clicks"]}
            for row in rows
        ],
    }
