"""Rules of packing: what goes in comes out, and where pages and buckets begin depends on the rows alone."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from readerflow.common.records import LINK_TYPES
from readerflow.storage.batch_views import BATCH_SCHEMAS, View
from readerflow.storage.cassandra_pages import (
    BUCKET_ROWS,
    IN_CLICKS,
    IN_CLICKS_SCHEMA,
    PAGE_ROWS,
    Page,
    entries_of,
    page_rows,
    pages,
    stored_page,
)

SIZE = 4


@pytest.fixture(autouse=True, scope="module")
def small_pages() -> object:
    patch = pytest.MonkeyPatch()
    for view in (View.SOURCES, View.RANKINGS, View.ARTICLES, IN_CLICKS):
        patch.setitem(PAGE_ROWS, view, SIZE)
        patch.setitem(BUCKET_ROWS, view, 3 * SIZE)
    patch.setattr("readerflow.storage.cassandra_pages.CHUNK_ROWS", 7)
    yield
    patch.undo()


def lists(lengths: list[int]) -> pa.Table:
    """Articles A000, A001, ... with so many sources."""
    keys = np.repeat(np.arange(len(lengths)), lengths).tolist()
    rows = sum(lengths)
    return pa.table(
        [
            [f"A{key:03d}č" for key in keys],
            [place for length in lengths for place in range(1, length + 1)],
            [f"other-{row}" for row in range(rows)],
            [LINK_TYPES[row % len(LINK_TYPES)] for row in range(rows)],
            list(range(rows)),
        ],
        schema=BATCH_SCHEMAS[View.SOURCES],
    )


def rankings(lengths: list[int]) -> pa.Table:
    table = lists(lengths)
    columns = [table["article"], table["position"], table["referrer"], table["clicks"].cast(pa.float64())]
    return pa.table(columns, schema=BATCH_SCHEMAS[View.RANKINGS])


def read(view: str, found: list[Page], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_batches([page_rows(view, page.data) for page in found], schema)


LENGTHS = st.lists(st.integers(1, 3 * SIZE + 1), max_size=30)


@given(LENGTHS, st.integers(1, 40))
def test_rows_come_back_as_they_were_however_they_arrive(lengths: list[int], batch: int) -> None:
    for view, table in ((View.SOURCES, lists(lengths)), (View.RANKINGS, rankings(lengths))):
        found = list(pages(view, table.to_batches(batch)))
        assert read(view, found, table.schema).equals(table.combine_chunks())
        at_once = list(pages(view, table.to_batches()))
        assert [(page.first, page.bucket) for page in found] == [(page.first, page.bucket) for page in at_once]
        assert [page.first for page in found] == sorted({page.first for page in found})


@given(LENGTHS)
def test_pages_and_buckets_are_bounded(lengths: list[int]) -> None:
    found = list(pages(View.SOURCES, lists(lengths).to_batches()))
    rows: dict[tuple[str, int], int] = {}
    for page in found:
        count = page_rows(View.SOURCES, page.data).num_rows
        assert count < 2 * SIZE
        rows[page.bucket] = rows.get(page.bucket, 0) + count
    assert all(count < 5 * SIZE for count in rows.values())


@given(LENGTHS)
def test_a_bucket_is_named_by_its_first_page_and_holds_contiguous_ones(lengths: list[int]) -> None:
    found = list(pages(View.SOURCES, lists(lengths).to_batches()))
    assert not found or found[0].opens_bucket
    for before, page in pairwise(found):
        assert page.opens_bucket or page.bucket == before.bucket


@given(LENGTHS)
def test_an_article_is_found_whole(lengths: list[int]) -> None:
    table = lists(lengths)
    found = list(pages(View.SOURCES, table.to_batches()))
    for key, length in enumerate(lengths):
        title = f"A{key:03d}č"
        parts = [entries_of(stored_page(View.SOURCES, page.data), title) for page in found]
        parts = [part for part in parts if part[0]]
        # Few rows lie in one page; many begin a page, which is full, like all of theirs but the last.
        assert [position for position, _ in parts] == list(range(1, length + 1, SIZE))
        assert sum(part.num_rows for _, part in parts) == length
        assert all(part.num_rows == SIZE for _, part in parts[:-1])


def test_a_page_tells_that_an_article_is_not_in_it() -> None:
    (page,) = pages(View.SOURCES, lists([2]).to_batches())
    position, entries = entries_of(stored_page(View.SOURCES, page.data), "B")
    assert (position, entries.num_rows) == (0, 0)


@given(st.integers(0, 50), st.integers(1, 20))
def test_views_with_a_row_a_key_have_full_pages(rows: int, batch: int) -> None:
    table = pa.table([[f"A{row:03d}" for row in range(rows)], list(range(rows))], schema=IN_CLICKS_SCHEMA)
    found = list(pages(IN_CLICKS, table.to_batches(batch)))
    assert read(IN_CLICKS, found, IN_CLICKS_SCHEMA).equals(table.combine_chunks())
    assert [page.first for page in found] == [(f"A{row:03d}", 0) for row in range(0, rows, SIZE)]


def test_each_ranking_begins_a_page() -> None:
    found = list(pages(View.RANKINGS, rankings([1, 5, 2]).to_batches()))
    assert [page.first for page in found] == [("A000č", 1), ("A001č", 1), ("A001č", 5), ("A002č", 1)]


def test_rows_that_begin_within_an_article_are_refused() -> None:
    with pytest.raises(ValueError, match="within a key"):
        list(pages(View.SOURCES, lists([3]).slice(1).to_batches()))


def test_an_unknown_link_type_is_refused() -> None:
    table = lists([1]).set_column(3, "link_type", pa.array(["new"]))
    with pytest.raises(ValueError, match="link types"):
        list(pages(View.SOURCES, table.to_batches()))
