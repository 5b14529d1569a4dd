"""Words of titles and the index of them: what a plain reading of the rule finds, in any script, in the same order."""

from __future__ import annotations

import itertools
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from readerflow.storage import title_index
from readerflow.storage.folding import fold, fold_all
from readerflow.storage.recent import Recent
from readerflow.storage.title_index import Numbers, TitleIndex, write_index
from readerflow.storage.title_words import MAX_WORD, query_words, words_of
from tests.small_month import ODD_TITLES

TITLES = (
    "Čakovec", "cakavica", "Đakovo", "C%", "C_d", "Zadar", "Spider-Man_(2002)", "Spider-Man_Spider", "New_York",
    "York,_New_Hampshire", "New_New_York", "日本国憲法第9条", "日本", "憲法", "ガンダム", "المملكة_العربية_السعودية",
    "إبراهيم", "Ёлка", "Война_и_мир", "กรุงเทพ", "हिन्दी", "Straße", "ﬁnd", "Ｗｉｄｅ", "U.S.A.", "AC/DC", "!!!", "?",
    "_", "-", "日本abc東京", "A" * 40 + "x", "A" * 40 + "y", "한국어", "Þór", "x\u200cy", "e\u0301", "´",
)  # fmt: skip
#: What titles and queries are made of: letters that fold, scripts without spaces, signs, spaces.
ALPHABET = "aAbčČéßæıİđ_ -.(/'9²½日本ガ゛กิกहकि्ЖйЁعأإـيی😀\u0301\u200c\u202eﬁＡ𝔸한"
text = st.text(st.sampled_from(ALPHABET) | st.characters(exclude_categories=("Cs",)), max_size=12)


def begins_word(folded: str, place: int) -> bool:
    """The rule, a character at a time."""

    def without_spaces(character: str) -> bool:
        name = unicodedata.name(character, "")
        scripts = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "MYANMAR", "KHMER")
        return character.isalnum() and (name.startswith(scripts) or character in "々〆〇")

    here, before = folded[place], folded[place - 1] if place else " "
    if here == " ":
        return False
    if before == " " or without_spaces(here):
        return True
    mark = unicodedata.category(before)[0] == "M"
    return here.isalnum() and not mark and (without_spaces(before) or not before.isalnum())


def words(title: str) -> set[str]:
    folded = fold(title)
    return {folded[place:].split(" ")[0][:MAX_WORD] for place in range(len(folded)) if begins_word(folded, place)}


def is_hit(query: str, title: str) -> bool:
    """Whether the query's words can each be given a word of the title that begins with it."""
    asked = query_words(query)
    return bool(asked) and any(
        all(word.startswith(one) for one, word in zip(asked, chosen, strict=True))
        for chosen in itertools.permutations(words(title), len(asked))
    )


def made(folder: Path, titles: list[str], clicks: list[int]) -> TitleIndex:
    rows = sorted(zip(titles, clicks, strict=True), key=lambda row: row[0].encode())
    write_index(folder, pa.array([row[0] for row in rows], pa.string()), pa.array([row[1] for row in rows], pa.int64()))
    return TitleIndex(folder)


def codes_of(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    borders = np.cumsum([0, *map(len, texts)])
    return np.array([ord(one) for one in "".join(texts)], np.uint32), borders


@settings(deadline=None)
@given(st.lists(text, max_size=6))
def test_many_titles_are_folded_as_one_is(titles: list[str]) -> None:
    codes, borders = fold_all(*codes_of(titles))
    folded = ["".join(map(chr, codes[start:end])) for start, end in itertools.pairwise(borders)]
    assert folded == [fold(title) for title in titles]


@pytest.mark.parametrize(
    ("title", "folded"),
    [
        ("ĐURĐEVAC_Łódź_Ærø_Straße_İstanbul_Þór_Čakovec", "durdevac lodz aero strasse istanbul thor cakovec"),
        ("Ёлка_ЙОД", "елка иод"),
        ("إبراهيم", "ابراهيم"),
        ("مُحَمَّد", "محمد"),
        ("שָׁלוֹם", "שלום"),
        ("ガ", "ガ"),
        ("ﬁＡ²", "fia2"),
        ("हिन्दी", "हिन्दी"),
        ("\u202ebidi\u200c", "bidi"),
        ("´", "´"),
        ("_a__b", " a  b"),
    ],
)
def test_case_accents_and_what_nobody_sees_do_not_count(title: str, folded: str) -> None:
    assert fold(title) == folded


@settings(deadline=None)
@given(st.lists(text, max_size=8))
def test_words_are_those_of_the_rule(titles: list[str]) -> None:
    found, places = words_of(pa.array(titles, pa.large_string()))
    for place, title in enumerate(titles):
        mine = {word for word, at in zip(found.to_pylist(), places, strict=True) if at == place}
        assert mine == words(title)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("čAk", ["cakavica", "Čakovec"]),
        ("dako", ["Đakovo"]),
        ("c%", ["C%"]),
        ("c d", ["C_d"]),
        ("spider man", ["Spider-Man_(2002)", "Spider-Man_Spider"]),
        ("2002", ["Spider-Man_(2002)"]),
        ("(2002)", ["Spider-Man_(2002)"]),
        ("man spider-man spider", ["Spider-Man_Spider"]),
        ("york new", ["New_New_York", "New_York", "York,_New_Hampshire"]),
        ("new n", []),
        ("new ne y", []),
        ("憲法", ["憲法", "日本国憲法第9条"]),
        ("国憲法", ["日本国憲法第9条"]),
        ("東京", ["日本abc東京"]),
        ("abc", ["日本abc東京"]),
        ("カ", []),
        ("العرب", ["المملكة_العربية_السعودية"]),
        ("ابراه", ["إبراهيم"]),
        ("мир вой", ["Война_и_мир"]),
        ("елк", ["Ёлка"]),
        ("strass", ["Straße"]),
        ("dc", ["AC/DC"]),
        ("!", ["!!!"]),
        ("wide", ["Ｗｉｄｅ"]),
        ("A" * MAX_WORD, ["A" * 40 + "x", "A" * 40 + "y"]),
        ("A" * 40 + "x", ["A" * 40 + "x", "A" * 40 + "y"]),  # the first letters of a long word count
        ("   ", []),
        ("", []),
        ("_", []),
        ("x'; drop table articles", []),
    ],
)
def test_a_hit_has_another_word_for_each_word_of_the_query(tmp_path: Path, query: str, found: list[str]) -> None:
    index = made(tmp_path, list(TITLES), [5] * len(TITLES))
    expected = sorted(found, key=str.encode)
    assert index.suggest(query, 50)["article"].to_pylist() == expected
    rows, total = index.search(query, 0, 50)
    assert (rows["article"].to_pylist(), total) == (expected, len(expected))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(text.filter(bool), st.integers(0, 30)), min_size=1, max_size=30, unique_by=lambda row: row[0]),
    text,
    st.integers(1, 4),
)
def test_search_and_suggestions_are_what_a_plain_search_finds(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, int]], query: str, limit: int
) -> None:
    index = made(tmp_path_factory.mktemp("index"), [row[0] for row in rows], [row[1] for row in rows])
    ranked = sorted(rows, key=lambda row: (-row[1], row[0].encode()))
    hits = [(place, *row) for place, row in enumerate(ranked, 1) if is_hit(query, row[0])]
    assert [tuple(row.values()) for row in index.suggest(query, limit).to_pylist()] == hits[:limit]
    found: list[tuple[int, str, int]] = []
    while True:
        page, total = index.search(query, found[-1][0] if found else 0, limit)
        assert total == len(hits)
        if not page.num_rows:
            break
        found += [tuple(row.values()) for row in page.to_pylist()]
    assert found == hits


@pytest.mark.parametrize("limit", [1, 7, 8, 9, 50])
def test_first_hits_of_wide_words_are_those_of_a_whole_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(title_index, "BLOCK", 64)
    monkeypatch.setattr(title_index, "HEAD", 8)
    monkeypatch.setattr(title_index, "SORTED_NUMBERS", 100)
    monkeypatch.setattr(title_index, "TESTED_NUMBERS", 5)
    numbers = np.random.default_rng(7).integers(0, 60, (900, 3))
    titles = list(dict.fromkeys("_".join(f"w{number}" for number in row) for row in numbers.tolist()))
    index = made(tmp_path, titles, [len(titles) - place // 3 for place in range(len(titles))])
    for query in ("w", "w1", "w w", "w1 w2", "w59", "w w1 w", "w1 w", "x"):
        found, total = index.search(query, 0, 1_000)
        assert found["article"].to_pylist() == [
            title
            for title in sorted(titles, key=lambda one: (titles.index(one) // 3, one.encode()))
            if is_hit(query, title)
        ]
        assert total == found.num_rows
        assert index.suggest(query, limit) == found.slice(0, limit)


@pytest.mark.parametrize("title", ODD_TITLES)
def test_every_odd_title_with_a_sign_is_found_by_itself(tmp_path: Path, title: str) -> None:
    index = made(tmp_path, list(ODD_TITLES), [1] * len(ODD_TITLES))
    assert title in index.suggest(title, 50)["article"].to_pylist()


def test_a_search_asks_before_each_piece_whether_there_is_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(title_index, "TESTED_NUMBERS", 5)
    index = made(tmp_path, [f"w_w{number:03}" for number in range(100)], [1] * 100)
    calls: list[None] = []

    def third_is_late() -> None:
        calls.append(None)
        if len(calls) == 3:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        index.search("w w0", 0, 5, third_is_late)
    assert index.search("w w0", 0, 5, lambda: calls.append(None))[1] == 100
    assert len(calls) == 3 + 20
    assert index.search("w w0", 5, 5, third_is_late)[1] == 100  # known by now


def test_indexes_that_share_what_they_keep_tell_their_hits_apart(tmp_path: Path) -> None:
    hits: Recent[Numbers] = Recent(60_000)
    for name, titles in (("a", ["Zagreb"]), ("b", ["Zadar", "Zagreb"])):
        made(tmp_path / name, titles, [1] * len(titles))
    first, second = (TitleIndex(tmp_path / name, hits) for name in "ab")
    for _ in range(2):
        assert (first.search("za", 0, 5)[1], second.search("za", 0, 5)[1]) == (1, 2)


def test_words_of_queries_count_towards_the_bound_of_what_is_kept(tmp_path: Path) -> None:
    made(tmp_path, ["Zagreb"], [1])
    hits: Recent[Numbers] = Recent(40_000)
    index = TitleIndex(tmp_path, hits)
    queries = [" ".join(f"{word}x{number}" for word in range(60)) for number in range(20)]
    for query in queries:
        assert index.search(query, 0, 5)[1] == 0
    kept = [hits.get((str(tmp_path), *query_words(query))) is not None for query in queries]
    assert kept == sorted(kept) and 5 < sum(kept) < 15


def test_as_many_words_of_a_title_are_needed_as_begin_alike(tmp_path: Path) -> None:
    index = made(tmp_path, ["x"], [1])
    asked = ["a", "a\U0010ffffb", "ab", "abc", "b", "ač"]
    needed = sorted(word.needed for word in index._parse(asked))
    assert needed == sorted(sum(other.startswith(word) for other in asked) for word in asked)


def test_an_index_without_articles_has_no_hits(tmp_path: Path) -> None:
    index = made(tmp_path, [], [])
    assert index.suggest("a", 5).num_rows == 0
    assert index.search("a b", 0, 5)[1] == 0


def test_an_index_that_is_not_there_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        TitleIndex(tmp_path)
