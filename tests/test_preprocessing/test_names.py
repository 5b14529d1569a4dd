"""Names of dump files tell wiki and month, and whether a file is a full, real month."""

from __future__ import annotations

from pathlib import Path

import pytest

from readerflow.common.errors import BadInput
from readerflow.common.months import Month
from readerflow.preprocessing.names import find_dump, identify, is_synthetic


@pytest.mark.parametrize(
    ("name", "wiki", "month"),
    [
        ("clickstream-hrwiki-2025-03.tsv.gz", "hrwiki", "2025-03"),
        ("clickstream-hrwiki-2025-03.tsv", "hrwiki", "2025-03"),
        ("clickstream-zh_yuewiki-2025-12.tsv.gz", "zh_yuewiki", "2025-12"),
        ("clickstream-hrwiki-2025-03.curr-crc32-mod10.tsv.gz", "hrwiki", "2025-03"),
        ("clickstream-enwiki-2015-02.figshare-head9999.tsv.gz", "enwiki", "2015-02"),
        ("clickstream-synthwiki-2025-03.synthetic.tsv.gz", "synthwiki", "2025-03"),
        ("clickstream-hrwiki-2025-03.tsv.gz.part", "hrwiki", "2025-03"),
        ("2015_02_clickstream.tsv.gz", "enwiki", "2015-02"),
        ("2015_01_en_clickstream.tsv.gz", "enwiki", "2015-01"),
        ("2015_02_clickstream_preview.tsv", "enwiki", "2015-02"),
        ("2016_08_clickstream.tsv", "enwiki", "2016-08"),
        ("2017_01_fa_clickstream.tsv.gz", "fawiki", "2017-01"),
    ],
)
def test_a_name_tells_wiki_and_month(name: str, wiki: str, month: str) -> None:
    assert identify(Path("/some/where") / name) == (wiki, Month.parse(month))


@pytest.mark.parametrize(
    "name",
    ["dump.tsv.gz", "clickstream-hrwiki.tsv.gz", "clickstream-hrwiki-2025-13.tsv.gz", "clickstream-1-2025-03.tsv"],
)
def test_a_name_that_tells_nothing_is_refused_with_the_way_out(name: str) -> None:
    with pytest.raises(BadInput, match="--wiki hrwiki --month 2025-03"):
        identify(Path(name))


def test_a_name_declares_synthetic_data() -> None:
    assert is_synthetic(Path("clickstream-synthwiki-2025-03.synthetic.tsv.gz"))
    assert not is_synthetic(Path("clickstream-hrwiki-2025-03.tsv.gz"))


def put(folder: Path, name: str, size: int) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    return path


def test_the_newest_full_month_is_found_and_of_several_the_smallest(tmp_path: Path) -> None:
    put(tmp_path, "clickstream-enwiki-2025-04.sample1039.tsv.gz", 1)
    put(tmp_path, "clickstream-hrwiki-2025-04.curr-crc32-mod10.tsv.gz", 1)
    put(tmp_path, "clickstream-enwiki-2015-02.figshare-head9999.tsv.gz", 1)
    put(tmp_path, "clickstream-hrwiki-2025-05.tsv.gz.part", 1)
    put(tmp_path, "clickstream-hrwiki-2025-02.tsv.gz", 1)
    (tmp_path / "clickstream-hrwiki-2025-06.tsv.gz").mkdir()
    put(tmp_path, "below/this/clickstream-enwiki-2025-03.tsv.gz", 9)
    chosen = put(tmp_path, "below/clickstream-hrwiki-2025-03.tsv.gz", 5)
    assert find_dump(tmp_path) == chosen


def test_a_synthetic_month_is_taken_only_without_a_real_one(tmp_path: Path) -> None:
    made = put(tmp_path, "clickstream-synthwiki-2025-03.synthetic.tsv.gz", 1)
    assert find_dump(tmp_path) == made
    real = put(tmp_path, "clickstream-hrwiki-2020-01.tsv", 5)
    assert find_dump(tmp_path) == real


def test_an_empty_or_missing_folder_has_no_dump(tmp_path: Path) -> None:
    assert find_dump(tmp_path) is None
    assert find_dump(tmp_path / "missing") is None


def test_the_real_month_is_found_among_samples(data: Path) -> None:
    found = find_dump(data)
    assert found is not None
    assert found.name == "clickstream-hrwiki-2025-03.tsv.gz"
