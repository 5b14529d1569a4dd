"""The site that an app serves: its stores, the few settings that show, and what every answer says about itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from flask import current_app

from readerflow.common.months import Month, format_time
from readerflow.common.titles import check_wiki, language
from readerflow.storage.recent import Recent
from readerflow.storage.serving_views import ServingViews, Snapshot

from .path_search import Workspaces
from .problems import NotFound
from .walks import Walked

WALKS_BYTES = 8 << 20
REPLIES_BYTES = 32 << 20
#: A response's body and headers.
Reply = tuple[bytes, list[tuple[str, str]]]
LATEST = "latest"
SITE = "readerflow"  # in app.extensions


@dataclass(frozen=True)
class Site:
    """What answers rest on: the stores and the few settings that show. Pages and API get it from :func:`site`."""

    serving: ServingViews
    live_clients: int = 300
    poll_seconds: float = 0.5
    heartbeat_seconds: float = 12.0  # a gone client is noticed at the second one
    trend_threshold: float = 6.0
    trend_min_clicks: int = 20
    trend_formula: str = ""  # as the stream's module states it
    generated: Callable[[str, str], bool] = lambda wiki, month: False  # is the month made up by `generate`?
    log_ends: Callable[[], Mapping[int, int]] | None = None  # partition -> end offset of the log, where it is known

    workspaces: Workspaces = field(default_factory=Workspaces, repr=False, compare=False)  # of searches for paths
    walks: Recent[Walked] = field(default_factory=lambda: Recent(WALKS_BYTES), repr=False, compare=False)
    replies: Recent[Reply] = field(default_factory=lambda: Recent(REPLIES_BYTES), repr=False, compare=False)

    _generated: dict[tuple[str, str, str | None], bool] = field(default_factory=dict, repr=False, compare=False)

    def is_generated(self, at: Snapshot) -> bool:
        """Whether the month of a snapshot is made up; asked once a source, since a source never changes."""
        key = at.wiki, at.month, at.source
        if key not in self._generated:
            self._generated[key] = self.generated(at.wiki, at.month)
        return self._generated[key]


def site() -> Site:
    """The site of the running app."""
    return cast(Site, current_app.extensions[SITE])


def envelope(at: Snapshot) -> dict[str, Any]:
    """What every answer says about itself.

    ``complete`` is about [month's start, live_until): false while clicks before the horizon are ``late``, a part of it
    is one of ``holes`` (from, until), or the source was ``replaced`` and the new one has no generation yet.
    """
    return {
        "wiki": at.wiki,
        "month": at.month,
        "lang": language(at.wiki),
        "source": at.source,
        "generation": at.generation,
        "horizon": format_time(at.horizon),
        "incarnation": at.incarnation,
        "realtime_batch": at.batch_id,
        "live_until": format_time(at.live_until),
        "complete": at.complete,
        "late": at.late,
        "holes": [{"from": format_time(start), "until": format_time(end)} for start, end in at.holes],
        "replaced": at.replaced,
        "generated": site().is_generated(at),
    }


def resolve_month(serving: ServingViews, wiki: str, month: str) -> str:
    """Turn ``latest`` into the wiki's greatest month with a generation; other months are checked for their form.

    :raises NotFound: when the wiki has none.
    :raises BadInput: for a name or month of the wrong form.
    """
    check_wiki(wiki)
    if month != LATEST:
        return str(Month.parse(month))
    found = serving.latest(wiki)
    if found is None:
        raise _unknown_wiki(serving, wiki)
    return found


def live_month(serving: ServingViews, wiki: str) -> str:
    """The month that trends and the live stream are about: the greatest one with realtime rows.

    :raises NotFound: when the wiki has none.
    """
    check_wiki(wiki)
    found = serving.latest_live(wiki)
    if found is None:
        raise NotFound(f"no realtime rows of {wiki}", wikis=sorted({name for name, _ in serving.months()}))
    return found


def _unknown_wiki(serving: ServingViews, wiki: str) -> NotFound:
    return NotFound(f"no published month of {wiki}", wikis=sorted({name for name, _ in serving.months()}))
