"""The real month, from its dump to its page, as a newcomer runs it; needs READERFLOW_DATA."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient

from readerflow.common.settings import load
from readerflow.storage import open_storage
from readerflow.webapp.app import create_app

WIKI, MONTH = "hrwiki", "2025-03"
Rows = list[dict[str, str]]


def readerflow(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "readerflow.pipeline.cli", "--home", str(home), *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env=dict(os.environ),
    )


@pytest.fixture(scope="module")
def home(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which the demo has run; its batch views end a day before the month."""
    folder = tmp_path_factory.mktemp("real") / "home"
    done = readerflow(folder, "demo", "--no-serve")
    assert done.returncode == 0, done.stderr
    assert "15,420,134" in done.stdout
    return folder


@pytest.fixture(scope="module")
def reference(data: Path) -> dict[str, Any]:
    text = (data / "reference" / "hrwiki-2025-03.expected-aggregates.json").read_text()
    loaded: dict[str, Any] = json.loads(text)
    return loaded


@pytest.fixture
def client(home: Path) -> Iterator[FlaskClient]:
    with open_storage(load(home=home)) as storage:
        yield create_app(storage.serving_views).test_client()


def test_all_stages_agree_and_batch_and_live_parts_add_up(home: Path, reference: dict[str, Any]) -> None:
    done = readerflow(home, "reconcile", WIKI, MONTH, "--json")
    report = json.loads(done.stdout)
    assert (done.returncode, report["problems"], report["agrees"]) == (0, [], True)
    stages = {stage["stage"]: stage for stage in report["stages"]}
    assert [stages[name]["pairs"] for name in ("dump", "pairs", "log", "archive")] == [reference["rows"]] * 4
    for stage in (stages[name] for name in ("dump", "pairs", "log", "archive", "merged")):
        assert stage["clicks"] == reference["sum_n"] == 15_420_134
        assert {name: stage["by_type"][name] for name in ("link", "external", "other")} == {
            "link": 1_393_163,
            "external": 13_978_283,
            "other": 48_688,
        }
    assert report["batch_clicks"] + report["live_clicks"] == 15_420_134
    assert report["live_clicks"] > 0


def test_titles_with_quotes_are_reachable_through_api_and_page(client: FlaskClient, data: Path) -> None:
    with gzip.open(data / "clickstream" / "clickstream-hrwiki-2025-03.tsv.gz", "rt", encoding="utf-8") as dump:
        fields = {field for line in dump for field in line.split("\t")[:2] if field.startswith('"')}
    titles = {field[1:-1].replace('\\"', '"') for field in fields}
    assert len(titles) == 99
    for title in titles:
        path = f"{WIKI}/{MONTH}/article/{quote(title, safe='')}"
        answer = client.get(f"/api/v1/{path}")
        assert answer.status_code == 200, title
        assert answer.json is not None
        assert answer.json["title"] == title
        assert client.get(f"/{path}").status_code == 200


def test_the_article_of_the_mock_has_its_published_numbers(client: FlaskClient) -> None:
    answer = client.get(f"/api/v1/{WIKI}/{MONTH}/article/Petar_IV._Zrinski").json
    assert answer is not None
    assert answer["in"]["clicks"] == answer["in"]["batch"] + answer["in"]["live"] == 5_077
    assert answer["out"]["clicks"] == 1_761
    assert answer["entries"]["search"]["clicks"] == 2_950
    assert answer["complete"] is True


def export(home: Path, view: str) -> Rows:
    done = readerflow(home, "export", view, WIKI, MONTH, "--format", "csv")
    assert done.returncode == 0, done.stderr
    return list(csv.DictReader(io.StringIO(done.stdout, newline="")))


@pytest.fixture(scope="module")
def whole(home: Path) -> dict[str, Rows]:
    """The exported views of a generation that covers the whole month."""
    done = readerflow(home, "batch", WIKI, MONTH, "--until", "2025-04-01T00:00Z")
    assert done.returncode == 0, done.stderr
    return {view: export(home, view) for view in ("articles", "classes", "graph")}


def test_exported_articles_equal_the_reference(whole: dict[str, Rows], reference: dict[str, Any]) -> None:
    articles = whole["articles"]
    clicks = {row["article"]: int(row["in_clicks"]) for row in articles}
    assert len(articles) == reference["articles"] == 84_463
    assert sum(int(row["in_pairs"]) for row in articles) == reference["rows"]
    assert sum(clicks.values()) == reference["sum_n"]
    assert sum(number > 0 for number in clicks.values()) == reference["distinct_curr"]
    assert sum(int(row["in_link_clicks"]) for row in articles) == reference["link"]["n"]
    assert sum(int(row["in_other_clicks"]) for row in articles) == reference["other"]["n"]
    top = sorted(clicks.items(), key=lambda item: (-item[1], item[0].encode()))[:20]
    assert [list(item) for item in top] == reference["per_article"]["top20"]


def test_exported_classes_equal_the_reference(whole: dict[str, Rows], reference: dict[str, Any]) -> None:
    classes = {row["class"]: (int(row["clicks"]), int(row["pairs"])) for row in whole["classes"]}
    published = {name: (facts["n"], facts["rows"]) for name, facts in reference["externals"].items()}
    published |= {name: (reference[name]["n"], reference[name]["rows"]) for name in ("link", "other")}
    assert classes == published


def test_exported_graph_equals_the_reference(whole: dict[str, Rows], reference: dict[str, Any]) -> None:
    graph = whole["graph"]
    keys = [(row["referrer"].encode(), row["article"].encode()) for row in graph]
    out_of, into = {referrer for referrer, _ in keys}, {article for _, article in keys}
    facts = reference["link_graph"]
    assert keys == sorted(keys)
    assert (len(keys), len(out_of | into)) == (facts["edges"], facts["nodes_in_link_rows"])
    assert (len(out_of), len(into)) == (facts["articles_with_outlinks"], facts["articles_with_inlinks"])
    assert sum(int(row["clicks"]) for row in graph) == reference["link"]["n"]


@pytest.mark.parametrize("rank", ["pagerank", "reader_rank", "link_rank"])
def test_ranks_sum_to_one_over_linked_articles_and_are_empty_elsewhere(rank: str, whole: dict[str, Rows]) -> None:
    values = [float(row[rank]) for row in whole["articles"] if row[rank]]
    assert len(values) == 30_910
    assert sum(values) == pytest.approx(1, abs=1e-9)
    assert all(not row[f"{rank}_position"] for row in whole["articles"] if not row[rank])
