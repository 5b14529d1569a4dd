"""Synthetic months look like published ones, and say that they are none."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from readerflow.common.errors import BadInput
from readerflow.common.months import Month
from readerflow.common.progress import silent
from readerflow.common.records import CLASSES
from readerflow.preprocessing.drafts import Draft, Source, draft_month
from readerflow.preprocessing.synthetic import generate
from readerflow.preprocessing.synthetic_titles import titles

MARCH = Month(2025, 3)
NAME = "clickstream-synthwiki-2025-03.synthetic.tsv"
ROWS = 191_934


def draft_of(path: Path, work: Path) -> Draft:
    work.mkdir(exist_ok=True)
    return draft_month(Source(path, "synthwiki", MARCH, 10, True), work, silent)


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> tuple[Draft, pa.Table]:
    """A synthetic month of as many rows as hrwiki 2025-03 has."""
    folder = tmp_path_factory.mktemp("synthetic")
    generate(folder / f"{NAME}.gz", "synthwiki", MARCH, ROWS, seed=1)
    draft = draft_of(folder / f"{NAME}.gz", folder)
    return draft, pq.read_table(draft.pairs)


def test_it_is_clean_and_has_exactly_the_rows(month: tuple[Draft, pa.Table]) -> None:
    facts = month[0].facts
    assert (facts.read, facts.accepted, facts.rejected, facts.dialect) == (ROWS, ROWS, 0, "quoted")
    assert facts.synthetic


def test_no_pair_comes_twice_and_counts_fall(month: tuple[Draft, pa.Table]) -> None:
    pairs = month[1]
    assert pairs.group_by(["referrer", "article"]).aggregate([]).num_rows == ROWS
    assert np.all(np.diff(pairs["clicks"].to_numpy()) <= 0)
    assert pc.min(pairs["clicks"]).as_py() == 10


def expected(data: Path) -> dict[str, object]:
    """The statistics of the real month."""
    found: dict[str, object] = json.loads((data / "reference/hrwiki-2025-03.expected-aggregates.json").read_text())
    return found


#: Of hrwiki 2025-03: shares of rows and clicks by type, and quantiles of counts.
ROW_SHARES = {"link": 0.2657, "external": 0.7218, "other": 0.0125}
CLICK_SHARES = {"link": 0.0904, "external": 0.9065, "other": 0.0032}
QUANTILES = {0.25: 14, 0.5: 22, 0.75: 52, 0.9: 149, 0.99: 945}


def test_types_have_their_shares(month: tuple[Draft, pa.Table]) -> None:
    facts, pairs = month[0].facts, month[1]
    rows = Counter(pairs["link_type"].to_pylist())
    for link_type in ROW_SHARES:
        assert rows[link_type] / ROWS == pytest.approx(ROW_SHARES[link_type], rel=0.02)
        assert facts.clicks_by_type[link_type] / facts.clicks == pytest.approx(CLICK_SHARES[link_type], rel=0.15)
    assert facts.clicks == pytest.approx(15_420_134, rel=0.15)


def test_counts_have_their_quantiles_and_a_heavy_tail(month: tuple[Draft, pa.Table]) -> None:
    clicks = month[1]["clicks"].to_numpy()
    for share, count in QUANTILES.items():
        assert np.quantile(clicks, share) == pytest.approx(count, rel=0.25)
    above = clicks[clicks >= 1000]
    exponent = 1 + len(above) / np.log(above / 999.5).sum()
    assert 2.2 < exponent < 3.1


def test_the_main_page_leads_and_few_articles_have_most_clicks(month: tuple[Draft, pa.Table]) -> None:
    pairs = month[1]
    assert (pairs["referrer"][0].as_py(), pairs["article"][0].as_py()) == ("other-empty", "Main_Page")
    by_article = pairs.group_by("article").aggregate([("clicks", "sum")])["clicks_sum"].to_numpy()
    by_article.sort()
    assert 70_000 < len(by_article) < 95_000
    top = by_article[::-1].cumsum() / by_article.sum()
    assert 0.15 < top[len(top) // 100] < 0.4
    assert 0.5 < top[len(top) // 10] < 0.8


def test_links_have_heavy_tailed_degrees_and_some_go_both_ways(month: tuple[Draft, pa.Table]) -> None:
    links = month[1].filter(pc.field("link_type") == "link")
    out_degrees = links.group_by("referrer").aggregate([("article", "count")])["article_count"].to_numpy()
    in_degrees = links.group_by("article").aggregate([("referrer", "count")])["referrer_count"].to_numpy()
    assert 2.5 < out_degrees.mean() < 4.5
    assert 1.4 < in_degrees.mean() < 2.6
    assert 50 < out_degrees.max() < 300
    edges = set(zip(links["referrer"].to_pylist(), links["article"].to_pylist(), strict=True))
    assert not any(source == target for source, target in edges)
    assert 0.15 < sum((target, source) in edges for source, target in edges) / len(edges) < 0.35


def test_titles_are_of_many_scripts_and_some_are_quoted(month: tuple[Draft, pa.Table]) -> None:
    names = month[1]["article"].unique()
    lengths = pc.binary_length(names)
    other_scripts = np.mean(lengths.to_numpy() != pc.utf8_length(names).to_numpy())
    assert 0.25 < other_scripts < 0.45
    assert 40 < pc.sum(pc.match_substring(names, '"')).as_py() < 300
    for odd in ("/", ",", "(", ":", "&", "?"):
        assert pc.any(pc.match_substring(names, odd)).as_py()
    assert 10 <= np.median(lengths) <= 20


def test_the_real_month_is_what_the_bounds_say(data: Path) -> None:
    real = expected(data)
    for link_type in ROW_SHARES:
        found = real[link_type]
        assert isinstance(found, dict)
        assert found["rows_pct"] / 100 == pytest.approx(ROW_SHARES[link_type], abs=1e-4)
        assert found["n_pct"] / 100 == pytest.approx(CLICK_SHARES[link_type], abs=1e-4)
    quantiles = real["n_quantiles"]
    assert isinstance(quantiles, dict)
    assert {share: quantiles[str(share)] for share in QUANTILES} == QUANTILES


def test_more_rows_have_more_articles_and_a_greater_share_of_links(tmp_path: Path) -> None:
    rows = 2 * ROWS
    generate(tmp_path / NAME, "synthwiki", MARCH, rows, seed=1)
    draft = draft_of(tmp_path / NAME, tmp_path)
    pairs = pq.read_table(draft.pairs, columns=["article", "link_type"])
    assert draft.facts.accepted == rows
    assert 0.29 < Counter(pairs["link_type"].to_pylist())["link"] / rows < 0.34
    assert 1.4 < len(pairs["article"].unique()) / 80_000 < 2
    assert draft.facts.clicks_by_type["external"] / draft.facts.clicks < 0.9


@pytest.mark.parametrize("rows", [1, 2, 3, 10, 57, 1000])
def test_any_number_of_rows_can_be_had(tmp_path: Path, rows: int) -> None:
    generate(tmp_path / NAME, "synthwiki", MARCH, rows, seed=3)
    facts = draft_of(tmp_path / NAME, tmp_path).facts
    assert (facts.read, facts.accepted) == (rows, rows)


def test_a_seed_gives_the_same_month_again_and_another_seed_another(tmp_path: Path) -> None:
    def text(seed: int, wiki: str = "synthwiki") -> bytes:
        path = tmp_path / f"clickstream-{wiki}-2025-03.synthetic.tsv.gz"
        generate(path, wiki, MARCH, 5000, seed)
        return gzip.decompress(path.read_bytes())

    assert text(1) == text(1)
    assert text(1) != text(2)
    assert text(1) != text(1, "otherwiki")


def test_progress_ends_at_all_rows(tmp_path: Path) -> None:
    calls: list[tuple[int, int | None]] = []
    generate(
        tmp_path / NAME, "synthwiki", MARCH, 1000, 1,
        progress=lambda done, total=None, note="": calls.append((done, total)),
    )  # fmt: skip
    assert calls[-1] == (1000, 1000)


def test_a_name_that_hides_that_it_is_synthetic_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"name it like clickstream-hrwiki-2025-03\.synthetic\.tsv\.gz"):
        generate(tmp_path / "clickstream-hrwiki-2025-03.tsv.gz", "hrwiki", MARCH, 10, 1)
    with pytest.raises(BadInput, match="would hold hrwiki 2025-03"):
        generate(tmp_path / "clickstream-dewiki-2025-03.synthetic.tsv.gz", "hrwiki", MARCH, 10, 1)
    assert list(tmp_path.iterdir()) == []


def test_titles_never_repeat_and_do_not_depend_on_their_number() -> None:
    many = titles(300_000)
    assert pc.count_distinct(many).as_py() == 300_000
    assert many[:1000].equals(titles(1000))
    assert pc.max(pc.binary_length(many)).as_py() <= 255
    assert not pc.any(pc.match_substring(many, " ")).as_py()
    assert not pc.any(pc.starts_with(many, "other-")).as_py()
    assert set(CLASSES).isdisjoint(many[:1000].to_pylist())
