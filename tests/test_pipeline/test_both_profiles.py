"""Both profiles publish the same numbers: each view row by row, and merged answers at several horizons.

Needs READERFLOW_DATA: the real month goes through Kafka, HDFS, Spark and Cassandra, and through the embedded engines.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from readerflow.common.months import Month
from readerflow.common.settings import Settings, load
from readerflow.common.spark_session import spark_session
from readerflow.kafka.plan import ReplayPlan
from readerflow.kafka.replay import Grain
from readerflow.pipeline import steps
from readerflow.pipeline.reconcile import reconcile_month
from readerflow.storage import Storage, open_storage
from readerflow.storage.batch_views import BATCH_SCHEMAS, RANKINGS, View
from readerflow.storage.serving_views import Side
from readerflow.webapp.app import create_app
from tests.conftest import HRWIKI

WIKI, MONTH = "hrwiki", Month(2025, 3)
START = datetime(2025, 3, 30)
#: Hours of the replay before each horizon. The first is where the stream begins; the last leaves nothing to it.
HORIZONS = tuple(START + timedelta(hours=hours) for hours in (6, 12, 18, 23, 24, 30, 36, 42, 47, 48))
SAMPLED = 400
#: What differs by profile, run or clock; all else of an answer must be equal.
OWN = ("generation", "incarnation", "realtime_batch", "next", "engine", "created", "published")

pytestmark = [pytest.mark.cluster, pytest.mark.data, pytest.mark.slow]


class Profile:
    """The month in one profile, up to the stream's end."""

    def __init__(self, settings: Settings, storage: Storage, dump: Path) -> None:
        self.settings, self.storage = settings, storage
        steps.preprocess(settings, storage, dump, None, None)
        steps.replay(storage, ReplayPlan(WIKI, MONTH, Grain.HOUR, seed=1), start=START)
        steps.archive(settings, storage)
        self.batch(HORIZONS[0])
        steps.stream(settings, storage)

    def batch(self, horizon: datetime) -> None:
        steps.batch(self.settings, self.storage, WIKI, str(MONTH), horizon)

    def view(self, view: View) -> pa.Table:
        manifest = self.storage.batch_views.current(WIKI, str(MONTH))
        assert manifest is not None
        return pa.Table.from_batches(
            self.storage.batch_views.export(manifest.generation, view), BATCH_SCHEMAS[view]
        ).combine_chunks()

    def answers(self, titles: list[str]) -> dict[str, Any]:
        """What the API says of titles and of the month."""
        site = create_app(self.storage.serving_views).test_client()
        month = f"/api/v1/{WIKI}/{MONTH}"
        asked = [(f"{month}/{what}", {"title": title}) for title in titles for what in ("article", *Side)]
        asked += [(f"{month}/rankings/{ranking}", {"limit": "100"}) for ranking in RANKINGS]
        asked += [(f"/api/v1/{WIKI}/suggest", {"q": text}) for text in ("zagreb", "hrv", "č", "glav")]
        return {f"{path} {query}": _without_own(site.get(path, query_string=query).json) for path, query in asked}


def _without_own(answer: Any) -> Any:
    if isinstance(answer, dict):
        return {name: _without_own(value) for name, value in answer.items() if name not in OWN}
    if isinstance(answer, list):
        return [_without_own(value) for value in answer]
    return answer


@pytest.fixture(scope="module")
def profiles(data: Path, cluster: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Profile]]:
    with ExitStack() as stack:
        stack.enter_context(spark_session("tests", cluster))
        own = {
            "home": tmp_path_factory.mktemp("cluster"),
            "kafka_topic": f"{cluster.kafka_topic}_both",
            "hdfs_root": f"{cluster.hdfs_root}_both",
            "cassandra_keyspace": f"{cluster.cassandra_keyspace}_both",
        }
        settings = [load(home=tmp_path_factory.mktemp("embedded")), cluster.model_copy(update=own)]
        yield [Profile(one, stack.enter_context(open_storage(one)), data / HRWIKI) for one in settings]


@pytest.mark.parametrize("horizon", HORIZONS, ids=lambda horizon: f"{horizon:%m-%dT%H}")
def test_views_and_merged_answers_are_equal(profiles: list[Profile], horizon: datetime) -> None:
    embedded, cluster = profiles
    if horizon != HORIZONS[0]:
        for profile in profiles:
            profile.batch(horizon)
    for view in View:
        assert embedded.view(view).equals(cluster.view(view)), view
    titles = embedded.view(View.ARTICLES).sort_by([("in_clicks", "descending")])["article"].to_pylist()
    sample = titles[:50] + titles[50 :: max(1, len(titles) // SAMPLED)]
    expected, found = embedded.answers(sample), cluster.answers(sample)
    for name, answer in expected.items():
        assert found[name] == answer, name


def test_reconciliation_finds_the_same_in_both(profiles: list[Profile], capsys: pytest.CaptureFixture[str]) -> None:
    """The replay began late in the month: that hole is all there is to find."""
    for profile in profiles:
        assert reconcile_month(profile.settings, WIKI, str(MONTH), as_json=True)
    found = capsys.readouterr().out
    report, after = json.JSONDecoder().raw_decode(found)
    assert report == json.loads(found[after:])
    assert report["problems"] == ["merged: nothing is known from 2025-03-01T00:00Z to 2025-03-30T00:00Z"]
