"""Starting the site: what is open before the first visitor comes."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import NoReturn

import pytest

from readerflow.common.errors import Unavailable
from readerflow.pipeline.serving import open_newest_months
from readerflow.storage.open_generations import OpenGenerations
from tests.serving_store import WIKI, Click, Store, numbered

CLICKS = numbered([Click(0, "A", "B", "link", 20), Click(1, "B", "A", "link", 10)])


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Months whose generations are opened."""
    months: list[str] = []
    real = OpenGenerations.use

    def use(self: OpenGenerations, path: Path) -> object:
        months.append(path.parent.parent.name)
        return real(self, path)

    monkeypatch.setattr(OpenGenerations, "use", use)
    return months


def test_the_newest_month_of_a_wiki_is_opened(tmp_path: Path, opened: list[str]) -> None:
    store = Store(tmp_path)
    store.publish(CLICKS, 5)
    with store.serving() as serving:
        open_newest_months(serving)
        assert opened == [serving.latest(WIKI)]


def test_a_site_without_a_generation_opens_nothing(tmp_path: Path, opened: list[str]) -> None:
    with Store(tmp_path).serving() as serving:
        open_newest_months(serving)
    assert opened == []


@pytest.mark.parametrize("error", [Unavailable("Cassandra does not answer"), sqlite3.DatabaseError("is no database")])
def test_a_store_that_is_away_or_broken_is_told_of_and_no_reason_not_to_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def months() -> NoReturn:
        raise error

    with Store(tmp_path).serving() as serving:
        monkeypatch.setattr(serving, "months", months)
        open_newest_months(serving)
    assert str(error) in caplog.text
