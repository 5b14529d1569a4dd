"""Sentences of the pages that say what their numbers show. Pure functions over the dicts of answers and tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import format


def kinds_heading(kinds: Mapping[str, Any]) -> str:
    """The answer that the table of kinds gives."""
    first = kinds["rows"][0]
    if not first["clicks"]["clicks"]:
        return "No click that led here is published"
    names = {
        "search": "come from search engines",
        "empty": "have no referrer",
        "internal": "come from other Wikimedia pages",
        "external": "come from other web sites",
        "other": "come from places unknown",
        "article": "come from other articles",
    }
    amount = "All clicks" if first["percent"] == 100 else "Most clicks" if first["percent"] > 50 else "The most clicks"
    return f"{amount} {names[first['kind']]}"


def lead(kinds: Mapping[str, Any], came_from: Mapping[str, Any], went_to: Mapping[str, Any]) -> dict[str, Any]:
    """Parts of the sentence below the title."""
    words = {
        "search": "from search engines",
        "empty": "without a referrer",
        "internal": "from other Wikimedia pages",
        "external": "from other web sites",
        "other": "from unknown places",
        "article": "from other articles",
    }
    parts = [row for row in kinds["rows"] if row["clicks"]["clicks"]][:2]
    parts.sort(key=lambda row: row["kind"] == "article")  # what comes last goes on with the most clicked one
    said = [f"{format.percent(row['percent'])} {words[row['kind']]}" for row in parts]
    return {
        "shares": format.joined(said),
        "source": _first_article(came_from) if parts and parts[-1]["kind"] == "article" else None,
        "destination": _first_article(went_to),
    }


def _first_article(table: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return next((row for row in table["rows"] if row["kind"] == "article"), None)


def positions(numbers: Mapping[str, Any]) -> list[dict[str, Any]]:
    ranks = numbers["ranks"]
    return [
        {"ranking": name, "name": format.RANKING_NAMES[name][0], **ranks[name]}
        for name in ("reader_rank", "pagerank", "link_rank")
        if ranks[name]
    ]


def over_or_under_linked(numbers: Mapping[str, Any]) -> str | None:
    """Say whether readers value an article more or less than its links do; None when the ranks are alike."""
    by_readers, by_links = numbers["ranks"]["reader_rank"], numbers["ranks"]["link_rank"]
    if not by_readers or not by_links:
        return None
    readers, links = by_readers["position"], by_links["position"]
    if links >= 2 * readers:
        return f"Under-linked: readers rank it {readers:,}, links alone {links:,}."
    if readers >= 2 * links:
        return f"Over-linked: links alone rank it {links:,}, readers {readers:,}."
    return None


def stages(found: Mapping[str, Any], clicks: Mapping[str, int], lags: list[int]) -> list[dict[str, str]]:
    """The stages that the serving layer sees: figure, text, state (ok, warn, bad) and its word."""
    serving = next((one for one in found["generations"] if one["state"] == "serving"), None)
    stream = found["stream"]
    hours = format.hours_of(found["holes"])
    return [
        {
            "name": "Batch views",
            "figure": format.number(serving["clicks"] if serving else None),
            "text": f"clicks up to {format.moment(found['horizon'])}" if serving else "no generation yet",
            "state": "ok" if serving else "warn",
            "word": "serving" if serving else "waiting for a batch run",
        },
        {
            "name": "Live views",
            "figure": format.number(stream["records"] if stream else None),
            "text": f"records read, passed {format.moment(found['live_until'])}" if stream else "no stream has run",
            "state": "ok" if stream else "warn",
            "word": f"micro-batch {stream['batch_id']:,}" if stream else "waiting for a stream",
        },
        {
            "name": "Lag",
            "figure": format.number(sum(lags) if lags else None),
            "text": "log entries not read yet" if lags else "the log’s end is not known here",
            "state": "ok" if lags and not sum(lags) else "warn" if sum(lags) else "",
            "word": "caught up" if lags and not sum(lags) else "behind" if lags else "not known",
        },
        {
            "name": "Rejects",
            "figure": format.number(stream["rejects"] if stream else None),
            "text": "broken records in the log",
            "state": ("bad" if stream["rejects"] else "ok") if stream else "",
            "word": ("look at the dead letters" if stream["rejects"] else "none") if stream else "not known",
        },
        {
            "name": "Late and missing",
            "figure": format.number(found["late"]),
            "text": f"late clicks, {format.plural(hours, 'hour')} not counted",
            "state": "ok" if found["complete"] else "warn",
            "word": "complete" if found["complete"] else "incomplete",
        },
        {
            "name": "Merged answers",
            "figure": format.number(clicks["clicks"]),
            "text": f"clicks: {clicks['batch']:,} batch + {clicks['live']:,} live",
            "state": "ok" if found["complete"] else "warn",
            "word": f"to {format.moment(found['live_until'])}",
        },
    ]


def summary(found: Mapping[str, Any], lags: list[int]) -> str:
    behind = sum(1 for lag in lags if lag)
    says = [
        f"All hours from the month’s start to {format.moment(found['live_until'])} are counted."
        if found["complete"]
        else f"Numbers are incomplete: {(format.missing(found) or {})['what']}."
    ]
    if behind:
        says.append(f"The stream is behind in {format.plural(behind, 'partition')}.")
    if found["stream"] and found["stream"]["rejects"]:
        says.append(f"{format.plural(found['stream']['rejects'], 'record')} of the log could not be read.")
    return " ".join(says)
