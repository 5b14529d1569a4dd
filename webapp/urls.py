"""Where pages and their JSON twins are: the one place that puts a title into an address.

Titles are the last part of a path, with their slashes. Browsers fold the path segments ``.`` and ``..`` (escaped, too),
so a title with such a segment goes into ``?title=`` instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlencode

API = "/api/v1"
_SAFE_IN_PATH = "/:(),!*"  # readable, and without a meaning of their own in a path


def address(path: str, **query: Any) -> str:
    """A path with those parameters that are not None; a list is a parameter that is given several times."""
    given = {name: value for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(given, doseq=True)}" if given else path


def title_address(path: str, title: str, **query: Any) -> str:
    """The address of ``path`` (without a final slash) about a title."""
    if any(segment in (".", "..") for segment in title.split("/")):
        return address(path, title=title, **query)
    return address(f"{path}/{quote(title, safe=_SAFE_IN_PATH)}", **query)


def home_url(wiki: str, month: str) -> str:
    return f"/{wiki}/{month}/"


def article_url(wiki: str, month: str, title: str) -> str:
    return title_address(f"/{wiki}/{month}/article", title)


def neighbours_url(wiki: str, month: str, side: str, title: str, **query: str | None) -> str:
    """The page of all sources or destinations."""
    return title_address(f"/{wiki}/{month}/{side}", title, **query)


def ranking_url(wiki: str, month: str, name: str, token: str | None = None) -> str:
    return address(f"/{wiki}/{month}/rankings/{quote(name, safe='')}", next=token)


def trending_url(wiki: str, window: int | None = None) -> str:
    return address(f"/{wiki}/trending", window=window)


def path_url(wiki: str, month: str, source: str = "", target: str = "", by: str = "probability") -> str:
    """The page of paths; with both titles it shows them."""
    mode = None if by == "probability" else by
    return address(f"/{wiki}/{month}/path", **{"from": source or None, "to": target or None}, by=mode)


def months_url(wiki: str | None = None) -> str:
    return address("/months", wiki=wiki)


def movers_url(wiki: str, month: str, **query: str | None) -> str:
    return address(f"/{wiki}/{month}/movers", **query)


def changed_pairs_url(wiki: str, month: str, **query: str | None) -> str:
    return address(f"/{wiki}/{month}/changed-pairs", **query)


def changes_url(wiki: str, month: str, title: str, **query: str | None) -> str:
    """The page that compares an article in two months."""
    return title_address(f"/{wiki}/{month}/changes", title, **query)


def status_url(wiki: str, month: str) -> str:
    return address("/status", **{"in": f"{wiki}/{month}"})


def search_url(wiki: str, month: str, query: str, token: str | None = None) -> str:
    """The page of all hits of a query, also where it is the title of an article."""
    return address("/search", q=query, next=token, **{"in": f"{wiki}/{month}", "all": 1})


def articles_url(wiki: str, month: str, titles: Sequence[str] = (), **query: Any) -> str:
    """The page of many articles."""
    return address(f"/{wiki}/{month}/articles", title=titles, **query)


def explore_url(wiki: str, month: str, titles: Sequence[str], steps: str = "", *more: str, **query: Any) -> str:
    """The page of a trail; ``more`` are further parts of its path."""
    return address(
        "/".join((f"/{wiki}/{month}/explore", *more)), trail=titles, steps=(steps.strip("f") and steps) or None, **query
    )


def api_url(*parts: str, **query: Any) -> str:
    """The JSON of something that has no title."""
    return address("/".join((API, *parts)), **query)


def api_title_url(wiki: str, month: str, kind: str, title: str, **query: Any) -> str:
    """The JSON of ``article``, ``sources``, ``destinations`` or ``related`` of a title."""
    return title_address(f"{API}/{wiki}/{month}/{kind}", title, **query)
