"""The views of neighbours hold numbers; what is read back are titles, whatever they were written from."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from readerflow.storage.batch_views import BATCH_SCHEMAS, View
from readerflow.storage.duckdb_views import FILE, DuckDBViews, TableWriter
from readerflow.storage.neighbour_tables import titles_folder
from readerflow.storage.title_files import Titles, write_titles

TITLES = ["-", "NaN", "Split", "Zagreb", "other-search", "Žepče", "東京"]
ROWS = [
    {"article": "Zagreb", "position": 1, "referrer": "other-search", "link_type": "external", "clicks": 2**40},
    {"article": "Zagreb", "position": 2, "referrer": "東京", "link_type": "link", "clicks": 20},
    {"article": "Zagreb", "position": 3, "referrer": "東京", "link_type": "other", "clicks": 20},
    {"article": "Žepče", "position": 1, "referrer": "-", "link_type": "redlink", "clicks": 1},
]


def text(rows: list[dict[str, object]]) -> list[pa.RecordBatch]:
    table = pa.Table.from_pylist(rows, schema=BATCH_SCHEMAS[View.SOURCES])
    return [batch for start in range(0, len(rows), 3) for batch in table.slice(start, 3).to_batches()]


def encoded(rows: list[dict[str, object]], titles: pa.Array) -> list[pa.RecordBatch]:
    """The same with the titles as a dictionary that the batches share."""
    batches = []
    for batch in text(rows):
        for name in ("article", "referrer"):
            index = batch.schema.get_field_index(name)
            ids = pa.array([titles.to_pylist().index(value) for value in batch.column(index).to_pylist()], pa.int32())
            batch = batch.set_column(index, name, pa.DictionaryArray.from_arrays(ids, titles))
        batches.append(batch)
    return batches


@pytest.fixture
def written(tmp_path: Path) -> tuple[DuckDBViews, str, Path]:
    views = DuckDBViews(tmp_path / "views", kept=1)
    generation = views.begin("hrwiki", "2025-03")
    views._serving.execute("update generations set state = 'published'")
    return views, generation.id, tmp_path / "views" / "hrwiki" / "2025-03" / generation.id


def rows_of(views: DuckDBViews, generation: str, view: View) -> list[dict[str, object]]:
    return pa.Table.from_batches(views.export(generation, view), BATCH_SCHEMAS[view]).to_pylist()


@pytest.mark.parametrize("as_dictionary", [False, True], ids=["text", "dictionary"])
def test_titles_come_back_as_they_were_written(written: tuple[DuckDBViews, str, Path], as_dictionary: bool) -> None:
    views, generation, folder = written
    batches = encoded(ROWS, pa.array(TITLES)) if as_dictionary else text(ROWS)
    with views:
        assert TableWriter(folder / FILE, View.SOURCES)(iter(batches)) == len(ROWS)
        assert rows_of(views, generation, View.SOURCES) == ROWS


def test_two_views_of_the_same_titles_keep_them_once(written: tuple[DuckDBViews, str, Path]) -> None:
    views, generation, folder = written
    titles = pa.array(TITLES)
    with views:
        for view in (View.SOURCES, View.DESTINATIONS):
            TableWriter(folder / FILE, view)(iter(encoded(ROWS, titles)))
        sources, destinations = (titles_folder(folder, view) for view in (View.SOURCES, View.DESTINATIONS))
        assert all(path.samefile(destinations / path.name) for path in sources.iterdir())
        # Replacing one of the two leaves the other as it is.
        TableWriter(folder / FILE, View.DESTINATIONS)(iter(text(ROWS[:1])))
        assert rows_of(views, generation, View.SOURCES) == ROWS
        assert len(rows_of(views, generation, View.DESTINATIONS)) == 1


def test_batches_with_different_dictionaries_are_refused(written: tuple[DuckDBViews, str, Path]) -> None:
    views, _, folder = written
    batches = [*encoded(ROWS[:1], pa.array(TITLES)), *encoded(ROWS[1:], pa.array([*TITLES, "龍"]))]
    with views, pytest.raises(Exception, match="share one dictionary"):
        TableWriter(folder / FILE, View.SOURCES)(iter(batches))


def test_a_view_without_rows_is_written(written: tuple[DuckDBViews, str, Path]) -> None:
    views, generation, folder = written
    with views:
        assert TableWriter(folder / FILE, View.SOURCES)(iter([])) == 0
        assert rows_of(views, generation, View.SOURCES) == []


def test_a_title_is_found_by_its_bytes(tmp_path: Path) -> None:
    write_titles(tmp_path, pa.array(TITLES))
    titles = Titles(tmp_path)
    assert [titles.id_of(title) for title in TITLES] == list(range(len(TITLES)))
    assert [titles.id_of(title) for title in ("", "Zag", "Zagreba", "zagreb", "龍")] == [None] * 5
    assert [titles.place(title) for title in ("", "Zag", "Zagreba", "龍")] == [0, 3, 4, 7]
    assert titles.of([6, 0, 6]).to_pylist() == ["東京", "-", "東京"]
