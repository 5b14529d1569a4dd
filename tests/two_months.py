"""A site with two months of one wiki and one of another, for tests of months side by side."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from readerflow.storage.embedded_serving import EmbeddedServing
from tests.serving_store import MONTH, SOURCE, WIKI, Click, Store, numbered

EARLIER, EARLIER_SOURCE = "2025-02", "b2c3d4e5"
OTHER_WIKI, OTHER_SOURCE = "be_taraskwiki", "c3d4e5f6"
#: Hours from START of the earlier and the later horizon: both months are whole, of 28 and 31 days.
EARLIER_END, END = 0, 744

#: Legal titles that addresses and routes could break on.
ODD_TITLES = (
    "NaN", ".", "..", "a/b", "/a", "a/", "a//b", "a/sources/2025-02", "2025-02", "latest", "history", "sources",
    "a/destinations/latest", "?", "#", "100%", "%2F", '"', "<script>alert(1)</script>", "日本国憲法第9条", "\u202eevil",
    "x" * 255, "=1+1",
)  # fmt: skip


def pairs(later: bool) -> dict[tuple[str, str, str], int]:
    """The pairs of a month: (referrer, article, link type) -> clicks."""
    found = {
        ("other-search", "Zagreb", "external"): 3_100 if later else 1_400,
        ("other-empty", "Zagreb", "external"): 310 if later else 560,
        ("Split", "Zagreb", "link"): 93 if later else 84,
        ("Zagreb", "Split", "link"): 62 if later else 28,
        ("Zagreb", "Rijeka", "other"): 31,
        ("other-search", "Only_now" if later else "Only_before", "external"): 50 if later else 40,
        ("New_source" if later else "Old_source", "Zagreb", "link"): 25 if later else 35,
    }
    for place, title in enumerate(ODD_TITLES):
        found["other-search", title, "external"] = (20 if later else 30) + place
        found["Zagreb", title, "link"] = 15
    return found


def clicks(later: bool, hour: int = 0) -> list[Click]:
    return numbered([Click(hour, *key, n) for key, n in pairs(later).items()])


def fill(home: Path, end: int = END) -> Store:
    """Publish the months; the later one up to ``end`` hours."""
    months = {SOURCE: (WIKI, MONTH), EARLIER_SOURCE: (WIKI, EARLIER), OTHER_SOURCE: (OTHER_WIKI, MONTH)}
    store = Store(home, months=months)
    store.publish(clicks(later=False, hour=-1), EARLIER_END, source=EARLIER_SOURCE)
    store.publish(clicks(later=True), end)
    store.publish(clicks(later=True)[:5], END, source=OTHER_SOURCE)
    return store


@contextmanager
def opened(home: Path) -> Iterator[EmbeddedServing]:
    """The filled site's stores; who asks for a comparison waits until it has been worked out."""
    store = fill(home)
    with EmbeddedServing(store.serving_db, store.views_root) as serving:
        serving._comparisons._wait_seconds = 60
        yield serving
