"""How pages write numbers, shares, times and names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from readerflow.webapp import format
from readerflow.webapp.merge import count, round_shares, total
from readerflow.webapp.tables import classes_table, neighbours_table

CLICKS = st.integers(0, 10**12)
COUNTS = st.builds(count, CLICKS, CLICKS)


def test_thousands_have_a_comma_and_nothing_is_a_dash() -> None:
    assert [format.number(value) for value in (0, 999, 15_420_134, None)] == ["0", "999", "15,420,134", "–"]
    assert format.signed(1072) == "+1,072"
    assert format.signed(-3) == "−3"


def test_shares_have_one_decimal_and_a_narrow_space() -> None:
    assert format.percent(58.1) == "58.1\u202f%"
    assert format.share(0.6532) == "65.3\u202f%"
    assert format.share(None) == "–"
    assert format.ppm(0.0005111) == "511.1\u202fppm"
    assert format.ppm(0.002558) == "2,558\u202fppm"


def test_times_and_expected_clicks_are_as_exact_as_they_are_large() -> None:
    assert [format.times(value) for value in (6.06, 123.4, None)] == ["6.1×", "123×", "–"]
    assert [format.expected(value) for value in (0.04, 9.87, 212.4)] == ["0.0", "9.9", "212"]


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (0.001, "Hardly any"),
        (0.35, "About a third"),
        (0.5, "About half"),
        (0.66, "About two thirds"),
        (1, "Nearly all"),
    ],
)
def test_a_fraction_is_said_in_words(part: float, words: str) -> None:
    assert format.fraction_words(part) == words


def test_words_follow_numbers() -> None:
    assert format.plural(1, "hour") == "1 hour"
    assert format.plural(1234, "article") == "1,234 articles"
    assert format.joined(["a", "b", "c"]) == "a, b and c"
    assert format.joined([]) == ""


def test_months_moments_and_wikis_have_names() -> None:
    assert format.month_name("2025-03") == "March 2025"
    assert format.moment("2025-03-31T18:00Z") == "31 March, 18:00 UTC"
    assert format.moment("2025-03-01T00:00:07Z", year=True) == "1 March 2025, 00:00:07 UTC"
    assert format.wiki_name("hrwiki") == "Croatian Wikipedia"
    assert format.wiki_name("xyzwiki") == "xyzwiki"
    assert format.known_language("hrwiki") == "hr"
    assert format.known_language("testwiki") is None


def test_a_position_is_never_among_the_top_zero_percent() -> None:
    assert format.top_share(1, 84_463) == "top 0.1\u202f%"
    assert format.top_share(553, 30_910) == "top 1.8\u202f%"


def test_what_is_missing_is_said_with_its_amount_and_reason() -> None:
    envelope = {"complete": True, "late": 0, "holes": [], "replaced": False, "horizon": "2025-03-31T00:00Z"}
    assert format.missing(envelope) is None
    hole = {"from": "2025-03-31T15:00Z", "until": "2025-03-31T18:00Z"}
    said = format.missing({**envelope, "complete": False, "holes": [hole], "late": 1})
    assert said is not None
    assert said["short"] == "Incomplete: 3 hours are missing"
    assert said["what"] == "3 hours are missing and 1 click came late"
    assert "31 March, 15:00 UTC to 31 March, 18:00 UTC" in said["why"]


@given(st.lists(CLICKS, max_size=30))
def test_shares_of_a_whole_add_to_exactly_100(parts: list[int]) -> None:
    whole = sum(parts)
    shares = round_shares(parts, whole)
    assert sum(round(10 * share) for share in shares) == (1000 if whole else 0)
    for part, share in zip(parts, shares, strict=True):
        assert not whole or abs(share - 100 * part / whole) < 0.1 + 1e-9


def _numbers(entries: list[dict[str, int]], in_link: dict[str, int], in_other: dict[str, int]) -> dict[str, object]:
    kinds = dict(zip(("search", "empty", "internal", "external", "other"), entries, strict=True))
    return {"entries": kinds, "in_link": in_link, "in_other": in_other, "in": total([*entries, in_link, in_other])}


@given(st.lists(COUNTS, min_size=5, max_size=5), COUNTS, COUNTS)
def test_the_kinds_of_an_article_add_to_its_clicks_in(entries: list[dict[str, int]], link: dict, other: dict) -> None:
    numbers = _numbers(entries, link, other)
    table = classes_table(numbers)
    assert total(row["clicks"] for row in table["rows"]) == numbers["in"] == table["clicks"]
    assert table["percent"] == (100.0 if table["clicks"]["clicks"] else 0.0)
    clicks = [row["clicks"]["clicks"] for row in table["rows"]]
    assert clicks == sorted(clicks, reverse=True)


@given(st.lists(COUNTS, max_size=20), COUNTS, st.integers(0, 50), COUNTS, st.integers(0, 50))
def test_a_page_of_neighbours_adds_to_the_total_with_what_is_before_and_after(
    items: list[dict[str, int]], before: dict[str, int], rows_before: int, rest: dict[str, int], rows_after: int
) -> None:
    whole = total([before, *items, rest])
    table = neighbours_table(
        {
            "side": "sources",
            "clicks": whole,
            "total": rows_before + len(items) + rows_after,
            "before": {"rows": rows_before, "clicks": before},
            "rest": {"rows": rows_after, "clicks": rest},
            "next": None,
            "items": [
                {
                    "position": place,
                    "title": f"T_{place}",
                    "display_title": f"T {place}",
                    "kind": "article",
                    "link_type": "link",
                    "clicks": clicks,
                }
                for place, clicks in enumerate(items, rows_before + 1)
            ],
        }
    )
    shown = [row for row in (table["before"], *table["rows"], table["rest"]) if row]
    assert total(row["clicks"] for row in shown) == whole
    assert table["percent"] == (100.0 if whole["clicks"] else 0.0)
    assert all(0 <= row["bar"] <= 100 for row in shown)
