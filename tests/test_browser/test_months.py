"""Pages about months side by side in a real browser."""

from __future__ import annotations

import pytest

from readerflow.webapp import urls
from tests.serving_store import MONTH, WIKI

from .test_site import Visits, audit

pytestmark = pytest.mark.browser

PAGES = {
    "months": urls.months_url(),
    "movers": urls.movers_url(WIKI, MONTH),
    "rises": urls.movers_url(WIKI, MONTH, direction="rise", order="share"),
    "changed pairs": urls.changed_pairs_url(WIKI, MONTH),
    "changes": urls.changes_url(WIKI, MONTH, "Zagreb"),
    "sources by change": urls.changes_url(WIKI, MONTH, "Zagreb", side="sources"),
    "long title": urls.changes_url(WIKI, MONTH, "x" * 255),
    "article": urls.article_url(WIKI, MONTH, "Zagreb"),
}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_page_breaks_its_policy_errs_or_scrolls_sideways(visit: Visits, months_base: str, theme: str) -> None:
    visited = visit(base=months_base, width=320, color_scheme=theme)
    for name, address in PAGES.items():
        page = visited.open(address)
        page.wait_for_timeout(50)
        assert visited.violations() == [], name
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
    assert visited.foreign == []
    assert visited.errors == []


@pytest.mark.parametrize("width", [1280, 320])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_no_violation(visit: Visits, months_base: str, theme: str, width: int) -> None:
    visited = visit(base=months_base, width=width, color_scheme=theme, bypass_csp=True)
    found = {name: audit(visited.open(address)) for name, address in PAGES.items()}
    assert {name: violations for name, violations in found.items() if violations} == {}


def test_both_months_of_an_article_are_drawn_and_lead_on(visit: Visits, months_base: str) -> None:
    visited = visit(base=months_base)
    page = visited.open(PAGES["changes"])
    for name in ("now", "before"):
        page.wait_for_selector(f"#flow-{name} canvas")
        page.locator(f"#flow-{name}").scroll_into_view_if_needed()
    # The thick band of search engines lies in the lower half of the left side.
    box = page.locator("#flow-now canvas").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 4, box["y"] + box["height"] / 2)
    page.wait_for_selector(".tip:not([hidden])")
    assert "Search engines" in page.locator(".tip").inner_text()


def test_without_scripts_the_lines_are_there(visit: Visits, months_base: str) -> None:
    page = visit(base=months_base, java_script_enabled=False).open(PAGES["article"])
    assert page.locator("#months svg.lines g line").count() > 0
    assert page.locator("#months tbody tr").count() == 2
