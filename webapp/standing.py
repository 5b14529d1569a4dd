"""What rises now and how things stand: trends, freshness, stages, what there is; plain dicts as in :mod:`.answers`."""

from __future__ import annotations

from datetime import datetime, timedelta
from importlib.metadata import version as installed_version
from typing import Any

from readerflow.common.facts import to_dict
from readerflow.common.months import HOUR, format_time
from readerflow.common.tabular import FORMATS
from readerflow.common.titles import display, language
from readerflow.storage.batch_views import RANKINGS, Manifest, NoGeneration, View
from readerflow.storage.serving_views import Reading, ServingViews, Snapshot

from .context import envelope, site
from .explore_models import MAX_NEIGHBOURS
from .many_models import MAX_TITLES
from .models import DEFAULT_LIMIT, MAX_LIMIT
from .problems import NotFound
from .trails import MAX_TRAIL

WINDOWS = (1, 6, 24)
SPARKLINE_HOURS = 24
SYNTHETIC_TIMES = (
    "The dump has no times. The times of a replayed month are synthetic: each pair's clicks are spread over the month "
    "by a stated daily profile."
)


def trending(reading: Reading, window: int, *, limit: int = DEFAULT_LIMIT) -> dict[str, Any]:
    """What rises in the last ``window`` hours before ``live_until``, the highest score first.

    Items are all articles that the stream keeps: those with ``min_clicks`` clicks at least and a score above 0. Only
    those whose score is ``threshold`` or more count as trending, and say so by ``trending``; the others came nearest.

    Each item: position, title, display_title, clicks, expected, times (clicks / expected, null for 0), score,
    trending, hourly: clicks in of the 24 hours from ``hourly_from``, null where no row may tell. ``start`` and ``end``
    are null without any item.

    :raises NotFound: for a window that there is not.
    """
    if window not in WINDOWS:
        raise NotFound(f"no window of {window} hours; there are {', '.join(map(str, WINDOWS))}", windows=list(WINDOWS))
    at, threshold = reading.snapshot, site().trend_threshold
    rows = reading.trending(window).slice(0, limit).to_pylist()
    first_hour = at.live_until - SPARKLINE_HOURS * HOUR
    rows_from = _rows_from(at)
    return {
        **envelope(at),
        "window": window,
        "windows": list(WINDOWS),
        "threshold": threshold,
        "min_clicks": site().trend_min_clicks,
        "formula": site().trend_formula,
        "start": format_time(rows[0]["start"]) if rows else None,
        "end": format_time(rows[0]["end"]) if rows else None,
        "hourly_from": format_time(first_hour),
        "synthetic_times": SYNTHETIC_TIMES,
        "items": [
            {
                "position": row["position"],
                "title": row["article"],
                "display_title": display(row["article"]),
                "clicks": row["clicks"],
                "expected": row["expected"],
                "times": row["clicks"] / row["expected"] if row["expected"] else None,
                "score": row["score"],
                "trending": row["score"] >= threshold,
                "hourly": hourly(reading, row["article"], first_hour, rows_from),
            }
            for row in rows
        ],
    }


def _rows_from(at: Snapshot) -> datetime | None:
    progress = site().serving.stream()
    return progress.rows_from.get(at.source or "") if progress else None


def hourly(reading: Reading, title: str, first: datetime, rows_from: datetime | None) -> list[int | None]:
    """An article's clicks in, of each of the 24 hours from ``first``; None for hours before ``rows_from``."""
    table = reading.hourly(title, SPARKLINE_HOURS + 1)
    found = dict(zip(table["hour"].to_pylist(), table["clicks"].to_pylist(), strict=True))
    hours = [first + timedelta(hours=index) for index in range(SPARKLINE_HOURS)]
    return [found.get(hour, 0) if rows_from is None or hour >= rows_from else None for hour in hours]


def freshness(reading: Reading) -> dict[str, Any]:
    """How fresh the month is, in few words: what the live stream tells (the envelope, nothing else)."""
    return envelope(reading.snapshot)


def status(reading: Reading) -> dict[str, Any]:
    """Stages as far as the serving layer can see them.

    ``generations``: newest first, ``state`` serving or kept. ``stream``: null without one, else records, rejects,
    duplicates and partitions: offset, end_offset and lag (null when the log's end is not known), passed (end of the
    last slot that heartbeats closed for this month's source), covered (offset that the generation reaches).
    """
    at = reading.snapshot
    serving = site().serving
    return {
        **envelope(at),
        "generations": [_generation(one, at.generation) for one in serving.retained(at.wiki, at.month)],
        "stream": _stream(at),
        "synthetic_times": SYNTHETIC_TIMES,
    }


def _generation(manifest: Manifest, current: str | None) -> dict[str, Any]:
    return {
        "generation": manifest.generation,
        "state": "serving" if manifest.generation == current else "kept",
        "source": manifest.source,
        "horizon": format_time(manifest.horizon),
        "started": format_time(manifest.started),
        "finished": format_time(manifest.finished),
        "seconds": (manifest.finished - manifest.started).total_seconds(),
        "engine": manifest.engine,
        "version": manifest.version,
        "articles": manifest.articles,
        "linked_articles": manifest.linked_articles,
        "pairs": manifest.pairs,
        "clicks": sum(manifest.classes.values()),
        "rows": manifest.rows,
        "ranks": {name: to_dict(facts) for name, facts in manifest.ranks.items()},
    }


def _stream(at: Snapshot) -> dict[str, Any] | None:
    progress = site().serving.stream()
    if progress is None:
        return None
    ends = site().log_ends
    ended = dict(ends()) if ends else {}
    covered = at.manifest.offsets if at.manifest else {}
    partitions = []
    for partition, offset in sorted(progress.offsets.items()):
        closed = progress.closed.get(partition, {}).get(at.source or "", [])
        end = ended.get(partition)
        partitions.append(
            {
                "partition": partition,
                "offset": offset,
                "end_offset": end,
                "lag": max(0, end - offset) if end is not None else None,
                "passed": format_time(max(until for _, until in closed)) if closed else None,
                "covered": covered.get(partition),
            }
        )
    return {
        "incarnation": at.incarnation,
        "batch_id": progress.batch_id,
        "records": progress.records,
        "rejects": progress.rejects,
        "duplicates": progress.duplicates,
        "partitions": partitions,
    }


def meta(serving: ServingViews) -> dict[str, Any]:
    """What there is: wikis with their months (each with the envelope), rankings, windows, limits, versions."""
    wikis: dict[str, list[dict[str, Any]]] = {}
    for wiki, month in serving.months():
        try:
            with serving.read(wiki, month) as reading:
                wikis.setdefault(wiki, []).append(envelope(reading.snapshot))
        except NoGeneration:
            continue
    return {
        "name": "ReaderFlow",
        "version": installed_version("readerflow"),
        "wikis": [
            {
                "wiki": wiki,
                "lang": language(wiki),
                "latest": serving.latest(wiki),
                "latest_live": serving.latest_live(wiki),
                "months": months,
            }
            for wiki, months in wikis.items()
        ],
        "rankings": list(RANKINGS),
        "windows": list(WINDOWS),
        "exports": {"views": [view.value for view in View], "formats": list(FORMATS)},
        "limits": {
            "limit": MAX_LIMIT,
            "default_limit": DEFAULT_LIMIT,
            "titles": MAX_TITLES,
            "trail": MAX_TRAIL,
            "neighbours": MAX_NEIGHBOURS,
            "live_clients": site().live_clients,
        },
        "trends": {
            "threshold": site().trend_threshold,
            "min_clicks": site().trend_min_clicks,
            "formula": site().trend_formula,
        },
        "synthetic_times": SYNTHETIC_TIMES,
        "licence": "Wikimedia clickstream, CC0; pairs with fewer than 10 clicks a month are not published",
    }
