"""The merge of batch and realtime views: answer = batch (event time < T) + realtime rows of hours >= T.

Pure functions over what a :class:`~readerflow.storage.serving_views.Reading` gives; both parts of it rest on one
snapshot, so that nothing here can count twice. T is the generation's horizon; before a first generation it is the
month's start and batch parts are 0. Ranks are never summed: they are batch only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

import pyarrow as pa
import pyarrow.compute as pc

from readerflow.common.records import CLASS_ROWS, CLASSES
from readerflow.storage.serving_views import PageKey

#: How neighbours are sorted: merged clicks descending, then title by UTF-8 bytes, then link type.
ORDER = [("clicks", "descending"), ("title", "ascending"), ("link_type", "ascending")]


class Count(TypedDict):
    """Clicks and where they come from; clicks = batch + live."""

    clicks: int
    batch: int
    live: int


def count(batch: int, live: int) -> Count:
    return {"clicks": batch + live, "batch": batch, "live": live}


def total(counts: Iterable[Count]) -> Count:
    batch = live = 0
    for one in counts:
        batch += one["batch"]
        live += one["live"]
    return count(batch, live)


def minus(whole: Count, *parts: Count) -> Count:
    """What is left of a count; never below 0, since live rows may have moved across a page border meanwhile."""
    taken = total(parts)
    return count(max(0, whole["batch"] - taken["batch"]), max(0, whole["live"] - taken["live"]))


@dataclass(frozen=True)
class ArticleNumbers:
    """Merged numbers of an article. clicks_in = sum of entries + in_link + in_other, in each part."""

    clicks_in: Count
    clicks_out: Count
    entries: dict[str, Count]  # by CLASSES
    in_link: Count
    in_other: Count

    @property
    def dead_end_share(self) -> float | None:
        """max(0, 1 - out/in): readers who did not go on, at most; None without clicks in."""
        if not self.clicks_in["clicks"]:
            return None
        return max(0.0, 1 - self.clicks_out["clicks"] / self.clicks_in["clicks"])


def merge_article(batch: Mapping[str, Any] | None, live: Mapping[str, int]) -> ArticleNumbers | None:
    """Merge an article's batch row and its row of live clicks; None when neither has heard of it.

    :param live: in_clicks, out_clicks, and clicks in by each of CLASS_ROWS.
    """
    if batch is None and not (live["in_clicks"] or live["out_clicks"]):
        return None

    def both(batch_column: str, live_column: str) -> Count:
        return count((batch[batch_column] or 0) if batch else 0, live[live_column])

    return ArticleNumbers(
        clicks_in=both("in_clicks", "in_clicks"),
        clicks_out=both("out_clicks", "out_clicks"),
        entries={name: both(name.replace("other-", "entries_"), name) for name in CLASSES},
        in_link=both("in_link_clicks", "link"),
        in_other=both("in_other_clicks", "other"),
    )


@dataclass(frozen=True)
class Neighbour:
    """A source or destination with its merged clicks."""

    title: str
    link_type: str
    clicks: Count

    @property
    def key(self) -> PageKey:
        return PageKey(self.clicks["clicks"], self.title, self.link_type)


def merge_neighbours(batch: pa.Table, live: pa.Table, after: PageKey | None, limit: int) -> list[Neighbour]:
    """Merge a page of neighbours, in order of merged clicks.

    :param batch: title, link_type, clicks of every neighbour that is in ``live``, and of the others at least the first
        ``limit`` after ``after``.
    :param live: title, link_type, clicks of every neighbour with live rows.
    """
    parts = [_part(batch, "batch", "live"), _part(live, "live", "batch")]
    rows = pa.concat_tables(parts).group_by(["title", "link_type"], use_threads=False)  # threads cost more
    summed = rows.aggregate([("batch", "sum"), ("live", "sum")])
    merged = summed.append_column("clicks", pc.add(summed["batch_sum"], summed["live_sum"]))
    if after is not None:
        merged = merged.filter(_behind(after))
    page = merged.take(pc.select_k_unstable(merged, limit, ORDER))
    columns = (page[name].to_pylist() for name in ("title", "link_type", "batch_sum", "live_sum"))
    return [Neighbour(title, link_type, count(was, now)) for title, link_type, was, now in zip(*columns, strict=True)]


def _part(rows: pa.Table, mine: str, other: str) -> pa.Table:
    """Neighbours with their clicks in the column of their part."""
    clicks = rows["clicks"]
    nothing = pa.chunked_array([pa.repeat(pa.scalar(0, pa.int64()), len(rows))], pa.int64())
    named = {"title": rows["title"], "link_type": rows["link_type"], mine: clicks.cast(pa.int64()), other: nothing}
    return pa.table(named).select(["title", "link_type", "batch", "live"])


def _behind(key: PageKey) -> pc.Expression:
    """Rows that come after a key in ORDER."""
    clicks, title, link_type = (pc.field(name) for name in ("clicks", "title", "link_type"))
    same = (title > key.title) | ((title == key.title) & (link_type > key.link_type))
    return (clicks < key.clicks) | ((clicks == key.clicks) & same)


def merge_classes(batch: pa.Table, live: pa.Table) -> dict[str, Count]:
    """Merge a month's clicks by class; every one of CLASS_ROWS is there.

    :param batch: class, clicks (and more).
    :param live: class, clicks.
    """
    parts = [dict(zip(table["class"].to_pylist(), table["clicks"].to_pylist(), strict=True)) for table in (batch, live)]
    return {name: count(parts[0].get(name) or 0, parts[1].get(name) or 0) for name in CLASS_ROWS}


def round_shares(parts: list[int], whole: int, digits: int = 1) -> list[float]:
    """Round shares of a whole to percent so that they add up: by largest remainder, earlier rows first when equal.

    :param parts: non-negative; with a row for the rest they sum to ``whole``.
    :returns: percent with ``digits`` decimals; all 0 when ``whole`` is 0.
    """
    units = 100 * 10**digits
    if whole <= 0:
        return [0.0] * len(parts)
    floors = [part * units // whole for part in parts]
    missing = sum(parts) * units // whole - sum(floors)
    by_remainder = sorted(range(len(parts)), key=lambda index: (-(parts[index] * units % whole), index))
    for index in by_remainder[:missing]:
        floors[index] += 1
    return [floor / 10**digits for floor in floors]
