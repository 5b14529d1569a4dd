"""A dump becomes pairs and rejects, exactly, whatever its dialect and whatever it holds."""

from __future__ import annotations

import gzip
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from readerflow.common.facts import from_json
from readerflow.common.months import Month
from readerflow.common.records import CLASS_OF, PAIRS
from readerflow.preprocessing import reader
from readerflow.preprocessing.data_preprocess import (
    BadDump,
    NotWritten,
    TooManyRejects,
    preprocess,
    refused_rejects_path,
)
from readerflow.preprocessing.drafts import Source, draft_month
from readerflow.preprocessing.rejects import ERROR_CLASSES, KINDS
from readerflow.storage.lease import Leased
from readerflow.storage.pairs import FOOTER_KEY, REJECTED_LINES, PairsFacts, PairStore
from tests.small_month import ODD_TITLES
from tests.test_preprocessing.dump_oracle import Read, quote, read_plainly, what_was_read, write_dump

MARCH = Month(2025, 3)
GOOD = b"other-search\tZagreb\texternal\t100"


def run(
    dump: Path, store: PairStore, *, min_clicks: int = 10, max_rejects: float = 1.0, wiki: str = "hrwiki"
) -> PairsFacts:
    return preprocess(dump, wiki, MARCH, store, min_clicks=min_clicks, max_rejects=max_rejects)


def pairs_of(store: PairStore, wiki: str = "hrwiki") -> list[tuple[str, str, str, int]]:
    table = pq.read_table(store.path(wiki, "2025-03"))
    assert table.schema.equals(PAIRS)
    assert set(table["wiki"].to_pylist()) == {wiki}
    assert set(table["month"].to_pylist()) == {"2025-03"}
    return [tuple(row.values()) for row in table.drop_columns(["wiki", "month"]).to_pylist()]


def rejects_of(store: PairStore) -> list[dict[str, object]]:
    table = pq.read_table(store.rejects_path("hrwiki", "2025-03"))
    assert table.schema.equals(REJECTED_LINES)
    return table.to_pylist()


@pytest.fixture
def store(tmp_path: Path) -> PairStore:
    return PairStore(tmp_path / "pairs")


# Real months


@pytest.mark.parametrize(
    ("name", "dialect", "read", "clicks", "by_type"),
    [
        (
            "clickstream-hrwiki-2025-03.tsv.gz",
            "quoted",
            191_934,
            15_420_134,
            {"link": 1_393_163, "external": 13_978_283, "other": 48_688},
        ),
        ("clickstream-hrwiki-2025-03.curr-crc32-mod10.tsv.gz", "quoted", 19_527, 1_520_918, None),
        ("clickstream-enwiki-2015-02.figshare-head9999.tsv.gz", "2015", 9_999, 1_568_401, None),
        ("clickstream-enwiki-2024-11.sample1039.tsv.gz", "raw", 1_039, 468_653_461, None),
    ],
)
def test_a_real_dump_is_read_without_loss(
    data: Path, store: PairStore, name: str, dialect: str, read: int, clicks: int, by_type: dict[str, int] | None
) -> None:
    dump = data / "clickstream" / name
    facts = run(dump, store)
    assert (facts.dialect, facts.read, facts.accepted, facts.clicks, facts.dump_clicks) == (
        dialect, read, read, clicks, clicks,
    )  # fmt: skip
    assert facts.rejects == {}
    assert sum(facts.clicks_by_type.values()) == sum(facts.clicks_by_class.values()) == clicks
    assert by_type is None or facts.clicks_by_type == by_type
    assert store.facts("hrwiki", "2025-03") == facts
    if read < 20_000:
        assert pairs_of(store) == read_plainly(dump.read_bytes()).pairs


def test_the_real_month_has_its_titles_with_quotes(data: Path, store: PairStore) -> None:
    run(data / "clickstream/clickstream-hrwiki-2025-03.tsv.gz", store)
    titles = {title for pair in pairs_of(store) for title in pair[:2]}
    assert sum('"' in title for title in titles) == 99
    assert not any("\\" in title for title in titles)


def test_what_came_from_a_class_in_2015_is_external_and_red_links_stay(data: Path, store: PairStore) -> None:
    facts = run(data / "clickstream/clickstream-enwiki-2015-02.figshare-head9999.tsv.gz", store)
    pairs = pairs_of(store)
    assert Counter(pair[2] for pair in pairs)["redlink"] == 129
    assert all((pair[2] == "external") == (pair[0] in CLASS_OF) for pair in pairs)
    assert {"other-google", "other-twitter"} < {pair[0] for pair in pairs}
    assert facts.clicks_by_class["other"] == facts.clicks_by_type["other"] + facts.clicks_by_type["redlink"]
    google = sum(pair[3] for pair in pairs if pair[0] in ("other-google", "other-yahoo", "other-bing"))
    assert facts.clicks_by_class["other-search"] == google
    assert sum(title.startswith('"') for title in {pair[1] for pair in pairs}) == 70


# Dialects

PAIRS_OF_ALL_KINDS = [
    ("other-search", "Zagreb", "external", 100),
    ("Zagreb", "Split", "link", 20),
    ("Zagreb", "Zagreb", "other", 10),
    ("NaN", "null", "link", 12),
]


def in_dialect(name: str, pairs: list[tuple[str, str, str, int]]) -> list[bytes]:
    if name == "2015":
        head = ["prev_id\tcurr_id\tn\tprev_title\tcurr_title\ttype"]
        body = [f"\t7\t{n}\t{a}\t{b}\t{'other' if kind == 'external' else kind}" for a, b, kind, n in pairs]
    else:
        head = ["prev\tcurr\ttype\tn"] if name == "2016" else []
        write = quote if name == "quoted" else str
        body = [f"{write(a)}\t{write(b)}\t{kind}\t{n}" for a, b, kind, n in pairs]
    return [line.encode() for line in head + body]


@pytest.mark.parametrize("name", ["2015", "2016", "raw", "quoted"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("final", [True, False], ids=["ended", "not_ended"])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"], ids=["", "bom"])
@pytest.mark.parametrize("packed", [True, False], ids=["gzip", "plain"])
def test_every_dialect_gives_the_same_pairs(
    tmp_path: Path, name: str, end: bytes, final: bool, start: bytes, packed: bool
) -> None:
    pairs = PAIRS_OF_ALL_KINDS + ([('Čista_"srijeda"', 'X_"Y"', "link", 11)] if name == "quoted" else [])
    data = start + end.join(in_dialect(name, pairs)) + (end if final else b"")
    dump = tmp_path / "dump"
    dump.write_bytes(gzip.compress(data) if packed else data)
    draft = draft_month(Source(dump, "hrwiki", MARCH, 10, False), tmp_path, lambda *_: None)
    assert what_was_read(draft) == Read(name, pairs, [], len(pairs))


def test_a_leading_quote_is_a_character_in_a_raw_dump(tmp_path: Path, store: PairStore) -> None:
    pairs = [("other-search", '"Heroes"', "external", 50), ('"', 'C"D', "link", 20), ("a\\b", '\\"', "link", 10)]
    facts = run(write_dump(tmp_path / "raw.tsv", in_dialect("raw", pairs)), store)
    assert facts.dialect == "raw"
    assert pairs_of(store) == pairs


def test_a_quoted_field_on_the_last_line_makes_the_whole_dump_quoted(
    tmp_path: Path, store: PairStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "BLOCK_BYTES", 4096)
    lines = [b"other-search\tTitle_%d\texternal\t100" % number for number in range(3000)]
    lines[5] = b'other-search\t"Heroes"\texternal\t100'
    dump = write_dump(tmp_path / "dump.tsv", [*lines, b'other-search\t"X_\\"Y\\""\texternal\t10'])
    facts = run(dump, store)
    assert (facts.dialect, facts.read, facts.rejects) == ("quoted", 3001, {"bad_quoting": 1})
    assert pairs_of(store)[-1] == ("other-search", 'X_"Y"', "external", 10)


@pytest.mark.parametrize("name", ["2015", "2016", "raw", "quoted"])
def test_odd_titles_are_legal(tmp_path: Path, store: PairStore, name: str) -> None:
    pairs = [("Zagreb", title, "link", 10) for title in ODD_TITLES if title != "Zagreb"]
    pairs += [(title, "Split", "link", 10) for title in ODD_TITLES]
    facts = run(write_dump(tmp_path / "dump.tsv", in_dialect(name, pairs)), store)
    assert facts.rejects == {}
    assert pairs_of(store) == pairs


# Rejects

HOSTILE = {
    "one_column": (b"Zagreb", "wrong_columns"),
    "no_column": (b"", "wrong_columns"),
    "two_columns": (b"Zagreb\t10", "wrong_columns"),
    "three_columns": (b"Zagreb\tlink\t10", "wrong_columns"),
    "five_columns": (b"A\tB\tlink\t10\t", "wrong_columns"),
    "seven_columns": (b"1\t2\t3\t4\t5\t6\t7", "wrong_columns"),
    "a_tab_in_a_title": (b"A\tB\tC\tlink\t10", "wrong_columns"),
    "referrer_empty": (b"\tB\tlink\t10", "title_empty"),
    "article_empty": (b"A\t\tlink\t10", "title_empty"),
    "type_empty": (b"A\tB\t\t10", "empty_field"),
    "count_empty": (b"A\tB\tlink\t", "empty_field"),
    "count_is_a_word": (b"A\tB\tlink\tten", "count_not_integer"),
    "count_has_an_exponent": (b"A\tB\tlink\t1e6", "count_not_integer"),
    "count_is_nan": (b"A\tB\tlink\tNaN", "count_not_integer"),
    "count_has_a_fraction": (b"A\tB\tlink\t12.0", "count_not_integer"),
    "count_has_underscores": (b"A\tB\tlink\t1_000", "count_not_integer"),
    "count_has_a_space": (b"A\tB\tlink\t 12", "count_not_integer"),
    "count_has_a_plus": (b"A\tB\tlink\t+12", "count_not_integer"),
    "count_is_hexadecimal": (b"A\tB\tlink\t0x1F", "count_not_integer"),
    "count_has_leading_zeros": (b"A\tB\tlink\t0012", "count_not_integer"),
    "count_in_arabic_digits": ("A\tB\tlink\t١٢".encode(), "count_not_integer"),
    "count_negative": (b"A\tB\tlink\t-12", "count_negative"),
    "count_very_negative": (b"A\tB\tlink\t-99999999999999999999", "count_negative"),
    "count_zero": (b"A\tB\tlink\t0", "count_zero"),
    "count_above_2_to_the_63": (b"A\tB\tlink\t9223372036854775808", "count_too_large"),
    "count_above_2_to_the_64": (b"A\tB\tlink\t18446744073709551617", "count_too_large"),
    "count_above_what_a_replay_takes": (b"A\tB\tlink\t2147483648", "count_too_large"),
    "count_below_the_threshold": (b"A\tB\tlink\t9", "below_threshold"),
    "type_unknown": (b"A\tB\tlinked\t10", "unknown_link_type"),
    "type_in_capitals": (b"A\tB\tLink\t10", "unknown_link_type"),
    "class_with_link": (b"other-search\tB\tlink\t10", "type_against_referrer"),
    "class_with_other": (b"other-empty\tB\tother\t10", "type_against_referrer"),
    "article_with_external": (b"A\tB\texternal\t10", "type_against_referrer"),
    "no_class_with_external": (b"other-thing\tB\texternal\t10", "type_against_referrer"),
    "title_of_256_bytes": (b"A\t" + "š".encode() * 128 + b"\tlink\t10", "title_too_long"),
    "title_with_nul": (b"A\tB\0C\tlink\t10", "title_control"),
    "title_with_a_bell": (b"A\x07\tB\tlink\t10", "title_control"),
    "title_with_delete": (b"A\tB\x7f\tlink\t10", "title_control"),
    "title_with_a_c1_control": ("A\tB\x85C\tlink\t10".encode(), "title_control"),
    "title_with_a_carriage_return": (b"A\rB\tC\tlink\t10", "title_control"),
    "title_with_a_bom": ("A\t\ufeffB\tlink\t10".encode(), "title_bom"),
    "title_with_a_space": (b"A\tB C\tlink\t10", "title_space"),
    "latin_1": (b"A\t\xe9t\xe9\tlink\t10", "not_utf8"),
    "overlong": (b"A\t\xc0\xaf\tlink\t10", "not_utf8"),
    "lone_surrogate": (b"A\t\xed\xa0\x80\tlink\t10", "not_utf8"),
    "beyond_unicode": (b"A\t\xf4\x90\x80\x80\tlink\t10", "not_utf8"),
    "cut_character": (b"A\tB\xc5\tlink\t10", "not_utf8"),
    "line_of_1_mib": (b"A" * (1 << 20), "line_too_long"),
    "line_of_1_mib_with_columns": (b"A\t" + b"B" * (1 << 20) + b"\tlink\t10", "line_too_long"),
    "duplicate": (GOOD, "duplicate"),
    "duplicate_with_another_count": (b"other-search\tZagreb\texternal\t50", "duplicate"),
}
HOSTILE_IN_QUOTED = {
    "quote_not_closed": (b'A\t"B\\"\tlink\t10', "bad_quoting"),
    "quote_not_opened": (b'A\tB"\tlink\t10', "bad_quoting"),
    "quote_inside": (b'A\tB"C\tlink\t10', "bad_quoting"),
    "quoted_without_need": (b'A\t"B"\tlink\t10', "bad_quoting"),
    "quote_not_escaped": (b'A\t"B"C\\""\tlink\t10', "bad_quoting"),
    "one_quote": (b'"\tB\tlink\t10', "bad_quoting"),
    "quoted_empty": (b'A\t""\tlink\t10', "title_empty"),
    "quoted_newline_letter": (b'A\t"B\x00\\""\tlink\t10', "title_control"),
}  # fmt: skip


def test_every_error_class_has_a_hostile_line() -> None:
    tried = {error_class for _, error_class in [*HOSTILE.values(), *HOSTILE_IN_QUOTED.values()]}
    assert tried == set(ERROR_CLASSES)


@pytest.mark.parametrize("quoted", [False, True], ids=["raw", "quoted"])
def test_each_kind_of_bad_line_is_rejected_with_its_class_and_bytes(
    tmp_path: Path, store: PairStore, quoted: bool
) -> None:
    hostile = HOSTILE | (HOSTILE_IN_QUOTED if quoted else {})
    lines = [GOOD, b'A\t"X_\\"Y\\""\tlink\t10' if quoted else b"A\tX\tlink\t10"]
    for place, (bad, _) in enumerate(hostile.values()):
        lines += [bad, b"A\tGood_%d\tlink\t10" % place]
    facts = run(write_dump(tmp_path / "dump.tsv.gz", lines), store)
    expected = {3 + 2 * place: kind for place, kind in enumerate(hostile.values())}
    found = rejects_of(store)
    assert {row["line"]: row["error_class"] for row in found} == {line: kind[1] for line, kind in expected.items()}
    for row in found:
        raw = expected[row["line"]][0]
        assert row["raw"] == raw[: 64 * 1024]
        assert row["cut"] == (len(raw) > 64 * 1024)
        kind = KINDS.get(str(row["error_class"]))
        assert str(row["reason"]).startswith(kind.says if kind else "the same referrer, article and type as in line 1")
        assert len(str(row["reason"])) <= 500
    assert facts.read == len(lines) == facts.accepted + facts.rejected
    assert facts.rejects == Counter(kind for _, kind in hostile.values())
    assert len(pairs_of(store)) == facts.accepted == len(hostile) + 2


def test_the_same_pair_may_come_once_with_each_type(tmp_path: Path, store: PairStore) -> None:
    pairs = [("A", "B", kind, 10) for kind in ("link", "other", "redlink")] + [("A", "A", "link", 10)]
    run(write_dump(tmp_path / "dump.tsv", in_dialect("raw", pairs)), store)
    assert pairs_of(store) == pairs


def test_of_a_repeated_pair_the_first_row_within_the_threshold_is_kept(tmp_path: Path, store: PairStore) -> None:
    lines = [b"A\tB\tlink\t9", b"A\tB\tlink\t12", b"A\tB\tlink\t90", b"A\tC\tlink\t10"]
    facts = run(write_dump(tmp_path / "dump.tsv", lines), store)
    assert pairs_of(store) == [("A", "B", "link", 12), ("A", "C", "link", 10)]
    assert [(row["line"], row["error_class"]) for row in rejects_of(store)] == [
        (1, "below_threshold"),
        (3, "duplicate"),
    ]
    assert (facts.clicks, facts.dump_clicks, facts.clicks_by_type) == (22, 121, {"link": 22})


def test_two_dumps_one_after_the_other_count_once(
    tmp_path: Path, store: PairStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "BLOCK_BYTES", 40_000)
    pairs = [("other-search", f"Title_{number}", "external", 5000 - number) for number in range(4000)]
    dump = tmp_path / "dump.tsv.gz"
    dump.write_bytes(gzip.compress(b"".join(line + b"\n" for line in in_dialect("2016", pairs))) * 2)
    facts = run(dump, store, max_rejects=0.6)
    assert facts.rejects == {"duplicate": 4000, "unknown_link_type": 1}
    assert pairs_of(store) == pairs
    assert facts.clicks == sum(pair[3] for pair in pairs)
    lines = {row["line"]: row["raw"] for row in rejects_of(store) if row["error_class"] == "duplicate"}
    assert lines == {
        4003 + place: f"other-search\tTitle_{place}\texternal\t{5000 - place}".encode() for place in range(4000)
    }


def test_pairs_whose_hashes_are_equal_by_chance_are_all_kept(tmp_path: Path, store: PairStore) -> None:
    pairs = [("other-search", f"Битва_при_Га{end}", "external", 50) for end in ("далове", "палоне", "данане")]
    hashes = {duckdb.execute("select hash(?)", [pair[1]]).fetchall()[0] for pair in pairs}
    assert len(hashes) < len(pairs)
    facts = run(write_dump(tmp_path / "dump.tsv", in_dialect("raw", pairs)), store)
    assert pairs_of(store) == pairs
    assert store.facts("hrwiki", "2025-03") == facts
    assert facts.rejected == 0


def test_the_threshold_is_a_setting(tmp_path: Path, store: PairStore) -> None:
    dump = write_dump(tmp_path / "dump.tsv", [b"A\tB\tlink\t1", b"A\tC\tlink\t30"])
    assert run(dump, store, min_clicks=1).accepted == 2
    assert run(dump, store, min_clicks=30).rejects == {"below_threshold": 1}
    assert pairs_of(store) == [("A", "C", "link", 30)]


def test_ten_thousand_bad_lines_among_half_a_million_are_found_exactly(tmp_path: Path, store: PairStore) -> None:
    dump, expected = _half_a_million(tmp_path)
    with pytest.raises(TooManyRejects, match=r"1\.96%.*refused"):
        run(dump, store, max_rejects=0.01)
    assert not store.path("hrwiki", "2025-03").exists()
    assert store.months() == []
    refused = pq.read_table(refused_rejects_path(store, "hrwiki", MARCH))
    assert refused.num_rows == 10_000

    facts = run(dump, store, max_rejects=0.05)
    assert (facts.read, facts.accepted, facts.rejected) == (510_000, 500_000, 10_000)
    found = {row["line"]: row["error_class"] for row in rejects_of(store)}
    assert found == expected
    assert facts.rejects == Counter(expected.values())
    assert len(facts.rejects) >= 15
    table = pq.read_table(store.path("hrwiki", "2025-03"), columns=["article", "referrer", "clicks"])
    counts = table.filter(pc.starts_with(table["referrer"], "Article_"))["clicks"].to_numpy()
    assert len(counts) == 499_998
    assert np.all(np.diff(counts) < 0)  # in the dump's order
    assert not refused_rejects_path(store, "hrwiki", MARCH).exists()


def _half_a_million(folder: Path) -> tuple[Path, dict[int, str]]:
    """A dump of 500,000 good lines and 10,000 bad ones in between, and the bad lines' classes."""
    kinds = [kind for kind in [*HOSTILE.values(), *HOSTILE_IN_QUOTED.values()] if len(kind[0]) < 1000]
    chance = random.Random(7)  # noqa: S311, a repeatable test
    places = set(chance.sample(range(2, 510_001), 10_000))
    lines, expected = [], {}
    for number in range(1, 510_001):
        if number in places:
            bad, expected[number] = kinds[len(expected) % len(kinds)]
            lines.append(bad)
        else:
            lines.append(b"Article_%d\tB\tlink\t%d" % (number, 600_000 - number))
    lines[0] = GOOD
    lines[next(number for number in range(1, 100) if number + 1 not in places)] = b'A\t"X_\\"Y\\""\tlink\t10'
    return write_dump(folder / "dump.tsv.gz", lines), expected


# Whole files


def _broken_files() -> dict[str, tuple[bytes, str]]:
    packed = gzip.compress(b"\n".join(b"A\tB_%d\tlink\t10" % number for number in range(50_000)))
    return {
        "empty": (b"", "is empty"),
        "empty_gzip": (gzip.compress(b""), "is empty"),
        "cut": (packed[:-1000], "cut short"),
        "cut_in_the_checksum": (packed[:-4], "cut short"),
        "cut_in_the_header": (packed[:5], "cut short"),
        "wrong_crc": (packed[:-8] + b"\0\0\0\0" + packed[-4:], "broken gzip"),
        "wrong_length": (packed[:-4] + b"\0\0\0\1", "broken gzip"),
        "damaged": (packed[:5000] + b"\xff" * 50 + packed[5050:], "broken gzip"),
        "garbage_after_gzip": (packed + b"garbage", "broken gzip"),
        "not_a_gzip": (bytes(range(10, 256)) * 400, "not a clickstream dump"),
        "web_page": (b"<!doctype html>\n<title>404</title>\n", "not a clickstream dump"),
        "zip": (b"PK\x03\x04" + bytes(100), "a zip file"),
        "bzip2": (b"BZh91AY", "a bzip2 file"),
        "only_a_header": (b"prev\tcurr\ttype\tn\n", "nothing but a header"),
        "only_a_bom": (b"\xef\xbb\xbf", "holds no line"),
        "only_a_newline": (b"\n", "not a clickstream dump"),
        "without_types": (b"prev_id\tcurr_id\tn\tprev_title\tcurr_title\n\t1\t10\tA\tB\n", "no column 'type'"),
        "no_good_line": (b"A\tB\tlink\t9\n", "no line that is a pair"),
    }  # fmt: skip


@pytest.mark.parametrize("name", list(_broken_files()))
def test_a_broken_file_is_one_clear_error_and_publishes_nothing(tmp_path: Path, store: PairStore, name: str) -> None:
    good = write_dump(tmp_path / "good.tsv", [GOOD])
    before = run(good, store)
    content, says = _broken_files()[name]
    dump = tmp_path / "dump.tsv.gz"
    dump.write_bytes(content)
    with pytest.raises(BadDump, match=says) as error:
        run(dump, store)
    assert "\n" not in str(error.value)
    assert store.facts("hrwiki", "2025-03") == before
    assert pairs_of(store) == [("other-search", "Zagreb", "external", 100)]
    assert not [path for path in store.root.rglob("*") if ".work" in path.name]


def test_members_and_padding_of_gzip_are_read_on(tmp_path: Path, store: PairStore) -> None:
    dump = tmp_path / "dump.tsv.gz"
    dump.write_bytes(gzip.compress(GOOD + b"\nA\tB\tli") + gzip.compress(b"") + gzip.compress(b"nk\t10") + bytes(600))
    run(dump, store)
    assert pairs_of(store) == [("other-search", "Zagreb", "external", 100), ("A", "B", "link", 10)]


def test_a_missing_file_is_a_clear_error(tmp_path: Path, store: PairStore) -> None:
    with pytest.raises(BadDump, match="can't be read: No such file"):
        run(tmp_path / "nothing.tsv.gz", store)


# Publishing


def test_the_same_dump_again_changes_nothing(tmp_path: Path, store: PairStore) -> None:
    dump = write_dump(tmp_path / "dump.tsv.gz", [GOOD, b"bad", b"A\tB\tlink\t20"])
    facts = run(dump, store)
    files = [store.path("hrwiki", "2025-03"), store.rejects_path("hrwiki", "2025-03")]
    before = [(path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes()) for path in files]
    assert run(dump, store) == facts
    assert [(path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes()) for path in files] == before
    files[1].unlink()
    assert run(dump, store) == facts
    assert [path.read_bytes() for path in files] == [content for *_, content in before]


def test_packing_does_not_change_a_dump_but_its_content_and_the_threshold_do(tmp_path: Path, store: PairStore) -> None:
    lines = [GOOD, b"A\tB\tlink\t20"]
    packed, plain = write_dump(tmp_path / "a.tsv.gz", lines), write_dump(tmp_path / "b.tsv", lines)
    facts = run(packed, store)
    assert run(plain, store) == facts
    other = run(write_dump(tmp_path / "c.tsv", [*lines, b"A\tC\tlink\t20"]), store)
    assert run(plain, store, min_clicks=20).checksum not in (facts.checksum, other.checksum)


def test_another_dump_replaces_the_month(tmp_path: Path, store: PairStore) -> None:
    run(write_dump(tmp_path / "a.tsv", [GOOD, b"bad"]), store)
    run(write_dump(tmp_path / "b.tsv", [b"A\tB\tlink\t20"]), store)
    assert pairs_of(store) == [("A", "B", "link", 20)]
    assert rejects_of(store) == []
    assert store.months() == [("hrwiki", "2025-03")]


def test_a_refused_dump_leaves_the_month_and_its_rejects_alone(tmp_path: Path, store: PairStore) -> None:
    run(write_dump(tmp_path / "a.tsv", [GOOD, b"bad"]), store, max_rejects=0.5)
    bad = write_dump(tmp_path / "b.tsv", [GOOD, b"worse", b"worst"])
    with pytest.raises(
        TooManyRejects, match=r"b\.tsv: 2 of 3 lines \(66\.67%\) are rejected, more than 50\.00%; mostly wrong_columns"
    ):
        run(bad, store, max_rejects=0.5)
    assert [row["raw"] for row in rejects_of(store)] == [b"bad"]
    refused = pq.read_table(refused_rejects_path(store, "hrwiki", MARCH))
    assert refused["raw"].to_pylist() == [b"worse", b"worst"]


def test_a_stricter_ceiling_refuses_what_is_published_already(tmp_path: Path, store: PairStore) -> None:
    dump = write_dump(tmp_path / "a.tsv", [GOOD, b"bad"])
    run(dump, store, max_rejects=0.5)
    with pytest.raises(TooManyRejects):
        run(dump, store, max_rejects=0.1)
    assert pairs_of(store)


def test_a_killed_run_leaves_the_month_and_the_next_one_cleans_up(tmp_path: Path, store: PairStore) -> None:
    before = run(write_dump(tmp_path / "a.tsv", [GOOD]), store)
    lines = [b"A\tB_%d\tlink\t20" % number for number in range(200_000)]
    dump = write_dump(tmp_path / "clickstream-hrwiki-2025-03.tsv", lines)
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from readerflow.common.months import Month\n"
        "from readerflow.preprocessing.data_preprocess import preprocess\n"
        "from readerflow.storage.pairs import PairStore\n"
        "preprocess(Path(sys.argv[1]), 'hrwiki', Month(2025, 3), PairStore(Path(sys.argv[2])), min_clicks=10,"
        " max_rejects=0, progress=lambda *_: os.kill(os.getpid(), signal.SIGKILL))\n"
    )
    assert subprocess.run([sys.executable, "-c", code, dump, store.root], check=False).returncode == -9
    assert store.facts("hrwiki", "2025-03") == before
    assert store.months() == [("hrwiki", "2025-03")]
    assert list(store.root.rglob(".*.work"))
    assert run(dump, store).accepted == 200_000
    assert not list(store.root.rglob(".*.work"))


def test_a_store_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "pairs").write_text("a file in the folder's place")
    with pytest.raises(NotWritten, match="can't be written"):
        run(write_dump(tmp_path / "a.tsv", [GOOD]), PairStore(tmp_path / "pairs"))


def test_two_runs_of_a_month_at_once_are_refused(tmp_path: Path, store: PairStore) -> None:
    dump = write_dump(tmp_path / "a.tsv", [GOOD])

    def again(done: int, total: int | None = None, note: str = "") -> None:
        with pytest.raises(Leased, match="preprocessing of hrwiki 2025-03"):
            run(dump, store)

    preprocess(dump, "hrwiki", MARCH, store, min_clicks=10, max_rejects=0, progress=again)
    assert store.months() == [("hrwiki", "2025-03")]


def test_the_footers_of_both_files_hold_the_facts(tmp_path: Path, store: PairStore) -> None:
    facts = run(write_dump(tmp_path / "clickstream-hrwiki-2025-03.synthetic.tsv.gz", [GOOD, b"bad"]), store)
    assert facts.synthetic
    assert facts.dump == "clickstream-hrwiki-2025-03.synthetic.tsv.gz"
    footer = pq.read_metadata(store.rejects_path("hrwiki", "2025-03")).metadata[FOOTER_KEY]
    assert from_json(PairsFacts, footer) == store.facts("hrwiki", "2025-03") == facts


def test_progress_ends_at_all_lines(tmp_path: Path, store: PairStore) -> None:
    calls: list[tuple[int, int | None]] = []
    dump = write_dump(tmp_path / "dump.tsv", [b"A\tB_%d\tlink\t10" % number for number in range(1000)])
    preprocess(
        dump, "hrwiki", MARCH, store, min_clicks=10, max_rejects=0,
        progress=lambda done, total=None, note="": calls.append((done, total)),
    )  # fmt: skip
    assert calls[-1] == (1000, 1000)


def test_the_job_runs_from_its_file(tmp_path: Path) -> None:
    import readerflow.preprocessing.data_preprocess as job

    dump = write_dump(tmp_path / "clickstream-hrwiki-2025-03.tsv.gz", [GOOD])
    environment = {name: value for name, value in os.environ.items() if not name.startswith("READERFLOW_")}
    command = [sys.executable, str(job.__file__), str(dump)]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert PairStore(tmp_path / ".readerflow/pairs").facts("hrwiki", "2025-03").accepted == 1
    dump.write_bytes(b"")
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


# Laws

CELLS = [
    b"A", b"B", b"Zagreb", b"other-search", b"other-google", b"other-empty", b"other-", b'"', b'""', b'"X"', b'X"Y',
    b'"X_\\"Y\\""', b"\\", b'\\"', b'"\\\\\\""', b'"\\a\\""', b"", b" ", b"\r", b"\0", b"\xc2\x85", b"\xc2",
    b"\xff", b"\xef\xbb\xbf", b"NaN", "š".encode() * 127, "š".encode() * 128, "東京".encode(), "\u202e".encode(),
    b"%", b"<b>", b"-", b"..",
]  # fmt: skip
TYPES = [b"link", b"external", b"other", b"redlink", b"", b"x", b"Link"]
COUNTS = [
    b"10",
    b"11",
    b"9",
    b"0",
    b"-1",
    b"1e6",
    b"2147483647",
    b"2147483648",
    b"99999999999999999999",
    b"",
    b"10\r",
    b"010",
]


@st.composite
def dumps(draw: st.DrawFn) -> bytes:
    header = draw(st.sampled_from([b"", b"prev\tcurr\ttype\tn", b"prev_id\tcurr_id\tn\tprev_title\tcurr_title\ttype"]))
    cell, kind = st.sampled_from(CELLS), st.sampled_from(TYPES[:4]) | st.sampled_from(TYPES)
    count = st.just(b"10") | st.sampled_from(COUNTS)
    if header.startswith(b"prev_id"):
        row = st.tuples(st.just(b""), st.just(b"1"), count, cell, cell, kind)
    else:
        row = st.tuples(cell, cell, kind, count)
    odd = st.lists(cell, max_size=7).map(tuple)
    rows = draw(st.lists(st.one_of(row, row, row, odd), min_size=1, max_size=30))
    end = draw(st.sampled_from([b"\n", b"\r\n"]))
    lines = ([header] if header else []) + [b"\t".join(row) for row in rows]
    start = draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))
    data = start + end.join(lines) + draw(st.sampled_from([b"", end]))
    return gzip.compress(data) if draw(st.booleans()) else data


# A failing example is small anyway, and finding a smaller one would take minutes.
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)


@settings(max_examples=60, deadline=None, phases=PHASES, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=dumps(), block_bytes=st.sampled_from([300, 1 << 20, 1 << 20]))
def test_hostile_dumps_are_read_as_a_plain_reader_reads_them(tmp_path: Path, data: bytes, block_bytes: int) -> None:
    dump = tmp_path / "dump"
    dump.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "BLOCK_BYTES", block_bytes)
        patch.setattr(reader, "_INPUT_BYTES", min(block_bytes, 64))
        try:
            draft = draft_month(Source(dump, "hrwiki", MARCH, 10, False), tmp_path, lambda *_: None)
        except BadDump:
            return
    expected = read_plainly(data)
    assert what_was_read(draft) == expected
    assert draft.facts.read == draft.facts.accepted + draft.facts.rejected
    assert draft.facts.clicks == sum(pair[3] for pair in expected.pairs)


TITLES = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters=" \ufeff"), min_size=1, max_size=60
).filter(lambda title: len(title.encode()) <= 255 and title not in CLASS_OF)
KEYS = st.lists(st.tuples(TITLES | st.sampled_from(sorted(CLASS_OF)), TITLES), unique=True, min_size=1, max_size=20)


@settings(max_examples=40, deadline=None, phases=PHASES, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keys=KEYS, name=st.sampled_from(["2015", "2016", "raw", "quoted"]))
def test_what_a_dialect_writes_is_what_is_read(tmp_path: Path, keys: list[tuple[str, str]], name: str) -> None:
    pairs = [(a, b, "external" if a in CLASS_OF else "link", 10 + n) for n, (a, b) in enumerate(keys)]
    if name != "quoted" and any(title.startswith('"') and '\\"' in title for pair in pairs for title in pair[:2]):
        return  # a raw title may look quoted; no reader can know
    dump = write_dump(tmp_path / "dump", in_dialect(name, pairs))
    draft = draft_month(Source(dump, "hrwiki", MARCH, 10, False), tmp_path, lambda *_: None)
    read = what_was_read(draft)
    assert (read.pairs, read.rejects) == (pairs, [])


def test_blocks_do_not_change_the_result(tmp_path: Path, store: PairStore, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(3)  # noqa: S311, a repeatable test
    lines = [
        b"\t".join([chance.choice(CELLS), chance.choice(CELLS), chance.choice(TYPES), chance.choice(COUNTS)])
        for _ in range(3000)
    ]
    dump = write_dump(tmp_path / "dump", lines)
    whole = draft_month(Source(dump, "hrwiki", MARCH, 10, False), tmp_path, lambda *_: None)
    read = what_was_read(whole)
    monkeypatch.setattr(reader, "BLOCK_BYTES", 1000)
    parts = draft_month(Source(dump, "hrwiki", MARCH, 10, False), tmp_path, lambda *_: None)
    assert what_was_read(parts) == read == read_plainly(dump.read_bytes())
    assert parts.facts == whole.facts
