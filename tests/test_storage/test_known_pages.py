"""Pages that a process has read: each key of a known page leads to it, and no other key to any."""

from __future__ import annotations

from random import Random

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from readerflow.storage.batch_views import View
from readerflow.storage.cassandra_pages import PAGE_SCHEMAS, Key
from readerflow.storage.known_pages import KnownPages
from readerflow.storage.recent import Recent


def page(titles: list[str]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([{"article": title, "community": "x", "size": 1} for title in titles]).select(
        PAGE_SCHEMAS[View.COMMUNITIES].names
    )


def keep(known: KnownPages, titles: list[str]) -> None:
    known.keep(View.COMMUNITIES, (titles[0], 0), page(titles))


@given(st.lists(st.text(max_size=3), min_size=1, max_size=40, unique=True), st.integers(1, 5), st.randoms())
def test_a_key_leads_to_its_page_or_nowhere(titles: list[str], size: int, random: Random) -> None:
    titles.sort(key=str.encode)
    chunks = [titles[start : start + size] for start in range(0, len(titles), size)]
    some = random.sample(chunks, len(chunks) // 2 + 1)
    known = KnownPages("g", Recent(1 << 20))
    for chunk in [*some, *some]:
        keep(known, chunk)
    for chunk in chunks:
        for title in chunk:
            found = known.find(View.COMMUNITIES, (title, 0))
            assert (found.column(0).to_pylist() if found is not None else None) == (chunk if chunk in some else None)


@pytest.mark.parametrize("key", [("A", 0), ("D", 0), ("Z", 0)])
def test_keys_before_between_and_behind_pages_are_not_known(key: Key) -> None:
    known = KnownPages("g", Recent(1 << 20))
    keep(known, ["B", "C"])
    keep(known, ["E", "F"])
    assert known.find(View.COMMUNITIES, key) is None
    assert known.find(View.ARTICLES, ("B", 0)) is None


def test_a_page_that_had_to_go_is_not_known_until_it_is_read_again() -> None:
    kept: Recent[pa.RecordBatch] = Recent(2_000)
    known, other = KnownPages("g", kept), KnownPages("h", kept)
    keep(known, ["B", "C"])
    for number in range(50):
        keep(other, [f"{number:02}"])
    assert known.find(View.COMMUNITIES, ("B", 0)) is None
    keep(known, ["B", "C"])
    assert known.find(View.COMMUNITIES, ("C", 0)) is not None


def test_places_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("readerflow.storage.known_pages.MAX_PLACES", 3)
    known = KnownPages("g", Recent(1 << 20))
    for number in range(9):
        keep(known, [f"{number}"])
        assert known.find(View.COMMUNITIES, (f"{number}", 0)) is not None
    assert sum(known.find(View.COMMUNITIES, (f"{number}", 0)) is not None for number in range(9)) <= 4
