"""The Croatian Wikipedia of March 2025 through replay and archiver; needs the real dump."""

from __future__ import annotations

from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from readerflow.common.months import Month
from readerflow.kafka.archiver import archive
from readerflow.kafka.expected import expected, law_of
from readerflow.kafka.plan import ReplayPlan
from readerflow.kafka.producer import replay
from readerflow.kafka.replay import Grain
from readerflow.preprocessing.data_preprocess import preprocess
from readerflow.storage.archive import gaps
from readerflow.storage.local_archive import LocalArchive
from readerflow.storage.pairs import PairStore
from readerflow.storage.sqlite_log import SQLiteLog
from tests.conftest import HRWIKI

MARCH = Month(2025, 3)
BY_TYPE = {"link": 1_393_163, "external": 13_978_283, "other": 48_688}


@pytest.mark.data
def test_the_real_month_is_archived_click_by_click(data: Path, tmp_path: Path) -> None:
    pairs = PairStore(tmp_path / "pairs")
    preprocess(data / HRWIKI, "hrwiki", MARCH, pairs, min_clicks=10, max_rejects=0.01)
    plan = ReplayPlan("hrwiki", MARCH, Grain.DAY, noise=True)
    with (
        SQLiteLog(tmp_path / "log.db", "clicks", 8) as log,
        SQLiteLog(tmp_path / "log.db", "clicks.dlq", 1) as dead_letters,
        LocalArchive(tmp_path / "archive") as master,
    ):
        replayed = replay(plan, pairs, log)
        archived = archive(log, master, dead_letters)
        segments = master.segments("hrwiki", "2025-03")
    assert replayed.clicks == 15_420_134
    assert archived.records == replayed.records
    assert (archived.rejects, archived.duplicates, gaps(segments)) == (0, 0, [])
    rows = pq.read_table([segment.uri for segment in segments], columns=["referrer", "article", "link_type", "clicks"])
    by_type = rows.group_by("link_type").aggregate([("clicks", "sum")]).to_pylist()
    assert {row["link_type"]: row["clicks_sum"] for row in by_type} == BY_TYPE
    by_pair = rows.group_by(["referrer", "article", "link_type"]).aggregate([("clicks", "sum")])
    assert by_pair.num_rows == 191_934
    told = expected(law_of(plan, pairs, 8), MARCH.start, MARCH.end)
    assert pc.sum(told["records"]).as_py() == replayed.records
    assert pc.sum(told["clicks"]).as_py() == replayed.clicks
