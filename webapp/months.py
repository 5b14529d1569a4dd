"""Months side by side: totals of all months and wikis, and one article through the months of its wiki.

Plain dicts as in :mod:`.answers`; each month of an answer carries the envelope of its own. Months have 28 to 31 days,
and one that is not over yet has fewer, so that clicks also come per day covered.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from readerflow.common.months import HOUR, Month
from readerflow.common.records import CLASS_ROWS
from readerflow.common.titles import check_wiki, display
from readerflow.storage.batch_views import NoGeneration
from readerflow.storage.serving_views import Reading, ServingViews, Snapshot

from . import answers
from .context import envelope
from .merge import Count, count, total
from .problems import NotFound

DAY_HOURS = 24


def covered(month: str, until: datetime) -> dict[str, Any]:
    """How much of a month is counted up to a time: ``hours``, ``days`` (fractions too), ``whole``."""
    calendar = Month.parse(month)
    hours = (min(until, calendar.end) - calendar.start) // HOUR
    return {"hours": hours, "days": hours / DAY_HOURS, "whole": until >= calendar.end}


def per_day(clicks: int, span: Mapping[str, Any]) -> float | None:
    """Clicks a day covered; None where nothing is."""
    return clicks * DAY_HOURS / span["hours"] if span["hours"] else None


def months(serving: ServingViews, wiki: str | None = None, month: str | None = None) -> dict[str, Any]:
    """Totals of each month of each wiki: clicks by class, pairs and articles (batch).

    :param wiki: only this wiki's, ``month`` only this month's.
    :raises NotFound: when there is none.
    """
    if wiki is not None:
        check_wiki(wiki)
    wanted = None if month is None else str(Month.parse(month))
    found = [at for at in serving.snapshots() if wiki in (None, at.wiki) and wanted in (None, at.month)]
    if not found:
        raise no_month(serving, " ".join(part for part in (wiki, wanted) if part))
    return {"total": len(found), "items": [_totals(serving, at) for at in found]}


def no_month(serving: ServingViews, wanted: str) -> NotFound:
    return NotFound(
        f"no month of {wanted}" if wanted else "no month has been loaded yet",
        months=[f"{wiki}/{month}" for wiki, month in serving.months()],
    )


def _totals(serving: ServingViews, at: Snapshot) -> dict[str, Any]:
    """The totals of a month, from its manifest; rows are read only where there are live ones."""
    live: dict[str, int] = {}
    if at.live_until > at.horizon:
        with suppress(NoGeneration), serving.read(at.wiki, at.month) as reading:
            at, rows = reading.snapshot, reading.classes()[1]
            live = dict(zip(rows["class"].to_pylist(), rows["clicks"].to_pylist(), strict=True))
    manifest = at.manifest
    batch = manifest.classes if manifest else {}
    merged = {name: count(batch.get(name, 0), live.get(name, 0)) for name in CLASS_ROWS}
    whole = total(merged.values())
    span = covered(at.month, at.live_until)
    return {
        **envelope(at),
        "covered": span,
        "clicks": whole,
        "clicks_per_day": per_day(whole["clicks"], span),
        "articles": manifest.articles if manifest else 0,
        "linked_articles": manifest.linked_articles if manifest else 0,
        "pairs": manifest.pairs if manifest else 0,
        "classes": [
            {"class": name, "kind": answers.KINDS[name], "clicks": clicks, "share": answers.share(clicks, whole)}
            for name, clicks in merged.items()
        ],
    }


def kept_months(serving: ServingViews, wiki: str) -> list[str]:
    """The months of a wiki, the oldest first."""
    return [month for name, month in serving.months() if name == wiki]


def history(serving: ServingViews, wiki: str, title: str, only: Collection[str] | None = None) -> dict[str, Any]:
    """An article's numbers in each month of its wiki, the oldest first; null in a month that has not heard of it.

    :param only: the months to read; all of them when None.
    :raises NotFound: when no month has, with ``near`` of the newest month, or there is no month.
    """
    check_wiki(wiki)
    items = []
    for month in kept_months(serving, wiki):
        if only is not None and month not in only:
            continue
        with suppress(NoGeneration), serving.read(wiki, month) as reading:
            items.append(_month_of(reading, title))
    if not items:
        raise no_month(serving, wiki)
    if all(item["in"] is None for item in items):
        with serving.read(wiki, items[-1]["month"]) as reading:
            near = answers.near_titles(reading, title)
        raise NotFound(f"no article '{display(title)}' in any month of {wiki}", near=near)
    return {"wiki": wiki, "title": title, "display_title": display(title), "total": len(items), "items": items}


def _month_of(reading: Reading, title: str) -> dict[str, Any]:
    at = reading.snapshot
    span = covered(at.month, at.live_until)
    numbers = answers.article_numbers(reading, title) or answers.UNKNOWN
    return {
        **envelope(at),
        "covered": span,
        **numbers,
        "in_per_day": _day(numbers["in"], span),
        "out_per_day": _day(numbers["out"], span),
    }


def _day(clicks: Count | None, span: Mapping[str, Any]) -> float | None:
    return None if clicks is None else per_day(clicks["clicks"], span)
