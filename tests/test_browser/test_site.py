"""The site in a real browser that reaches nothing but the site."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from readerflow.webapp import format, urls
from tests.page_site import HUB, ODD_TITLES, OTHER_WIKI, PLAIN, QUIET, SENDER, LiveSite
from tests.serving_store import MONTH, WIKI, Click

from .conftest import Visit

pytestmark = pytest.mark.browser

LONG = "x" * 255
ARTICLE = urls.article_url(WIKI, MONTH, PLAIN)
PAGES = {
    "home": "/",
    "article": ARTICLE,
    "hub": urls.article_url(WIKI, MONTH, HUB),
    "quiet": urls.article_url(WIKI, MONTH, QUIET),
    "sender": urls.article_url(WIKI, MONTH, SENDER),
    "long title": urls.article_url(WIKI, MONTH, LONG),
    "right to left": urls.article_url(WIKI, MONTH, "المملكة_العربية_السعودية"),
    "Japanese": urls.article_url(WIKI, MONTH, "日本国憲法第9条"),
    "sources": urls.neighbours_url(WIKI, MONTH, "sources", HUB),
    "destinations": urls.neighbours_url(WIKI, MONTH, "destinations", PLAIN),
    "ranking": urls.ranking_url(WIKI, MONTH, "in"),
    "reader rank": urls.ranking_url(WIKI, MONTH, "reader_rank"),
    "trending": urls.trending_url(WIKI),
    "nothing live": urls.trending_url(OTHER_WIKI),
    "path": urls.path_url(WIKI, MONTH, PLAIN, "Članak_7"),
    "path of odd titles": urls.path_url(WIKI, MONTH, LONG, "\u202eevil", "clicks"),
    "no path": urls.path_url(WIKI, MONTH, HUB, SENDER),
    "path from nowhere": urls.path_url(WIKI, MONTH, "Zagrxeb", HUB),
    "path form": urls.path_url(WIKI, MONTH),
    "months": "/months",
    "status": "/status",
    "search": "/search?q=clanak",
    "nothing found": "/search?q=qqq",
    "explore": urls.explore_url(WIKI, MONTH, [HUB, PLAIN, "Nepročitano_pismo"], "fb"),
    "trail of odd titles": urls.explore_url(
        WIKI, MONTH, [PLAIN, LONG, HUB, "المملكة_العربية_السعودية"], "fbf", limit=100
    ),
    "many articles": urls.articles_url(WIKI, MONTH, [PLAIN, "Nobody", LONG, "المملكة_العربية_السعودية"]),
    "not found": urls.article_url(WIKI, MONTH, "Petar_Zrinjski"),
    "no page": "/nowhere",
}
#: One page of each template, and those whose parts differ.
AUDITED = (
    "home", "article", "sender", "right to left", "destinations", "ranking", "trending", "nothing live", "status",
    "search", "nothing found", "not found", "path", "no path", "path from nowhere", "path form", "explore",
    "trail of odd titles", "many articles", "months",
)  # fmt: skip
Visits = Callable[..., Visit]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_page_breaks_its_policy_asks_elsewhere_or_errs(visit: Visits, theme: str) -> None:
    visited = visit(color_scheme=theme)
    for name, address in PAGES.items():
        page = visited.open(address)
        page.wait_for_timeout(50)  # modules have run; charts draw on the next frame
        assert visited.violations() == [], name
    assert visited.foreign == []
    assert [error for error in visited.errors if "404" not in error] == []


@pytest.mark.parametrize("width", [1280, 320])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_no_violation(visit: Visits, theme: str, width: int) -> None:
    visited = visit(width=width, color_scheme=theme, bypass_csp=True)  # axe is injected; the policy would refuse it
    found = {name: audit(visited.open(PAGES[name])) for name in AUDITED}
    assert {name: violations for name, violations in found.items() if violations} == {}


def audit(page: Page) -> list[tuple[str, str, str]]:
    """What axe finds: rule, element, how to mend it."""
    violations = Axe().run(page).response["violations"]
    return [(one["id"], node["html"], node["failureSummary"]) for one in violations for node in one["nodes"]]


def test_a_trail_is_walked_by_keyboard_alone(visit: Visits) -> None:
    page = visit().open(urls.explore_url(WIKI, MONTH, [PLAIN]))

    def here() -> str:
        return str(page.evaluate("document.activeElement.textContent"))

    destinations = page.locator('[data-side="destinations"] [data-step]').all_inner_texts()
    sources = page.locator('[data-side="sources"] [data-step]').all_inner_texts()
    page.locator('[data-side="destinations"] [data-step]').first.focus()
    for key, expected in (
        ("ArrowDown", destinations[1]),
        ("ArrowUp", destinations[0]),
        ("ArrowUp", destinations[0]),
        ("ArrowLeft", sources[0]),
        ("ArrowLeft", sources[0]),  # there is no step to go back yet
        ("ArrowDown", sources[1]),
        ("ArrowRight", destinations[1]),
        ("ArrowLeft", sources[1]),
    ):
        page.keyboard.press(key)
        assert here() == expected, key
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{urls.explore_url(WIKI, MONTH, [PLAIN, sources[1].replace(' ', '_')], 'b')}")
    assert page.locator("h1").inner_text() == sources[1]
    page.wait_for_selector("[data-step]:focus")
    page.keyboard.press("Backspace")
    page.wait_for_url(f"**{urls.explore_url(WIKI, MONTH, [PLAIN])}")
    page.locator("#find").focus()
    page.keyboard.type("ab")
    page.keyboard.press("Backspace")
    page.keyboard.press("ArrowLeft")
    assert page.locator("#find").input_value() == "a"


def test_keys_leave_a_trail_alone_while_no_step_has_the_focus(visit: Visits) -> None:
    page = visit().open(urls.explore_url(WIKI, MONTH, [HUB, PLAIN]))
    address = page.url
    for key in ("ArrowLeft", "Backspace", "ArrowRight"):
        page.keyboard.press(key)
    _scroll(page, "ArrowDown", lambda top: top > 0)
    assert page.url == address
    assert page.evaluate("document.activeElement === document.body")
    page.locator("[data-back]").focus()
    page.keyboard.press("Backspace")
    _scroll(page, "ArrowUp", lambda top: top == 0)
    assert page.url == address


def _scroll(page: Page, key: str, there: Callable[[float], bool]) -> None:
    """Press a key until the page is there; one that is still gliding takes no notice of it."""
    deadline = time.monotonic() + 10
    while not there(page.evaluate("scrollY")):  # the page's own policy forbids wait_for_function
        assert time.monotonic() < deadline
        page.keyboard.press(key)
        time.sleep(0.1)


def test_a_trail_and_a_list_work_without_javascript(visit: Visits) -> None:
    page = visit(java_script_enabled=False).open(urls.explore_url(WIKI, MONTH, [PLAIN]))
    page.locator('[data-side="destinations"] [data-step]').first.click()
    assert page.locator(".trail li").count() == 2
    assert page.locator("svg.hood path").first.is_visible()
    page.locator("[data-back]").click()
    assert page.locator(".trail li").count() == 1
    page.goto(page.url.split(f"/{WIKI}/")[0] + urls.articles_url(WIKI, MONTH))
    page.locator("#titles").fill("Zagreb\nNobody")
    page.locator("button >> text=Show numbers").click()
    assert page.locator("h2").inner_text() == "2 articles, 1 of them not known"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_no_violation_in_what_opens_and_what_warns(visit: Visits, made_up_base: str, theme: str) -> None:
    visited = visit(color_scheme=theme, bypass_csp=True)
    page = visited.open("/")
    page.locator("#q").type("petar")
    page.wait_for_selector('[role="option"]')
    page.keyboard.press("ArrowDown")
    assert audit(page) == []
    page = visited.open(PAGES["trending"])
    page.locator("summary").click()
    assert audit(page) == []
    page = visit(color_scheme=theme, bypass_csp=True, base=made_up_base).open(PAGES["quiet"])
    assert page.locator(".banner").inner_text().startswith("This month is made up")
    assert audit(page) == []


TOO_WIDE = """() => [...document.querySelectorAll("main *")].filter((one) => one.getBoundingClientRect().right > 320)
  .map((one) => one.outerHTML.slice(0, 200))"""


def test_nothing_scrolls_sideways_at_320_pixels(visit: Visits) -> None:
    visited = visit(width=320)
    for name, address in PAGES.items():
        page = visited.open(address)
        assert page.evaluate("document.documentElement.scrollWidth") <= 320, (name, page.evaluate(TOO_WIDE))


def test_search_works_by_keyboard_alone(visit: Visits) -> None:
    page = visit().open(ARTICLE)
    for _ in range(3):  # skip link, mark, search field
        page.keyboard.press("Tab")
    page.keyboard.type("petar")
    field = page.locator("#find")
    page.wait_for_selector('#find[aria-expanded="true"]')
    assert field.get_attribute("role") == "combobox"
    assert not field.get_attribute("aria-activedescendant")
    page.keyboard.press("ArrowDown")
    chosen = page.locator('[role="option"][aria-selected="true"]')
    assert field.get_attribute("aria-activedescendant") == chosen.get_attribute("id")
    assert chosen.locator("span").first.inner_text() == "Petar IV. Zrinski"
    page.keyboard.press("Escape")
    assert field.get_attribute("aria-expanded") == "false" and field.input_value() == "petar"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{ARTICLE}")
    assert page.locator("h1").inner_text() == "Petar IV. Zrinski"


def test_a_path_is_asked_for_by_keyboard_from_the_page_of_an_article(visit: Visits) -> None:
    page = visit().open(ARTICLE)
    page.locator("#way-to").focus()
    page.keyboard.type("CLANAK 7")
    page.wait_for_selector('#way-to-titles option[value="Članak 79"]', state="attached")
    page.keyboard.press("Control+A")
    page.keyboard.type("Članak 7")
    page.keyboard.press("Enter")
    page.wait_for_url("**/path?**")
    assert page.locator(".steps .place").all_inner_texts() == ["Petar IV. Zrinski", "Zagreb", "Članak 7"]
    page.locator(".ab .swap").focus()
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('#from').value === 'Članak 7'")
    assert page.locator(".steps .place").first.inner_text() == "Članak 7"


def test_suggestions_fold_case_and_accents_and_never_become_markup(visit: Visits) -> None:
    visited = visit()
    page = visited.open("/")
    page.locator("#q").type("CLANAK 14")
    page.wait_for_selector('[role="option"] mark >> text="14"')
    assert page.locator('[role="option"]').first.locator("mark").all_inner_texts() == ["Članak", "14"]
    page.locator("#q").fill("<script>")
    page.wait_for_selector('[role="option"] >> text=<script>alert(1)</script>')
    page.locator('[role="option"]').first.click()
    page.wait_for_load_state()
    assert page.locator("h1").inner_text() == "<script>alert(1)</script>"
    assert visited.violations() == []


def test_enter_without_a_choice_searches(visit: Visits) -> None:
    page = visit().open("/")
    page.locator("#q").type("članak")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search?**")
    assert page.locator("tbody tr").count() == 50


def test_every_odd_title_is_reached_by_its_link(visit: Visits) -> None:
    """The browser resolves the links, so what it folds or escapes is seen."""
    page = visit().open(urls.neighbours_url(WIKI, MONTH, "destinations", PLAIN))
    found = page.evaluate(
        """async () => {
          const found = {};
          for (const link of document.querySelectorAll("tbody a")) {
            const response = await fetch(link.href);
            const page = new DOMParser().parseFromString(await response.text(), "text/html");
            found[link.textContent] = [response.status, page.querySelector("h1").textContent];
          }
          return found;
        }"""
    )
    for title in ODD_TITLES:
        shown = format.shown(title)
        assert found[shown] == [200, shown]


CHART_INK = """() => {
  const canvas = document.querySelector("#flow-chart canvas");
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const colours = new Set();
  for (let at = 0; at < data.length; at += 4) if (data[at + 3]) colours.add(data.slice(at, at + 3).join());
  return colours.size;
}"""


def test_the_flow_chart_is_drawn_and_its_nodes_are_links(visit: Visits) -> None:
    page = visit().open(ARTICLE)
    page.wait_for_selector("#flow-chart canvas")
    page.wait_for_function(f"({CHART_INK})() > 50")
    assert page.locator("[data-flow-total='flow-chart-in']").inner_text() == "4,356 clicks"
    page.locator("text=Between articles").click()
    assert page.locator("[data-flow-total='flow-chart-in']").inner_text() == "1,132 clicks"
    page.locator("#flow-chart").scroll_into_view_if_needed()
    at = page.evaluate(
        """() => {
          const chart = echarts.getInstanceByDom(document.getElementById("flow-chart"));
          const data = chart.getModel().getSeriesByIndex(0).getData();
          for (let index = 0; index < data.count(); index += 1)
            if (data.getRawDataItem(index).title === "Zagreb") {
              const item = data.getRawDataItem(index);
              const { x, dx, dy } = data.getItemLayout(index);
              const box = document.getElementById("flow-chart").getBoundingClientRect();
              const series = data.hostModel.layoutInfo;
              return [box.x + series.x + x + dx / 2, box.y + series.y + item.localY * series.height + dy / 2];
            }
        }"""
    )
    page.mouse.move(*at)
    page.wait_for_selector(".tip:not([hidden])")
    assert page.locator(".tip b").inner_text() == "Zagreb"
    page.mouse.click(*at)
    page.wait_for_url(f"**{urls.article_url(WIKI, MONTH, HUB)}")


def test_the_theme_switch_changes_page_and_chart_and_is_remembered(visit: Visits) -> None:
    page = visit(color_scheme="light").open(ARTICLE)
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    page.wait_for_function(f"({CHART_INK})() > 50")
    before = page.evaluate("document.querySelector('#flow-chart canvas').toDataURL()")
    page.locator(".theme").click()
    assert page.evaluate(paper) != light
    page.wait_for_function("(old) => document.querySelector('#flow-chart canvas').toDataURL() !== old", arg=before)
    page.reload()
    assert page.evaluate(paper) != light
    assert page.locator(".theme").get_attribute("aria-label") == "Theme: dark. Change"


def test_trends_follow_the_stream_and_can_be_paused(visit: Visits, live_site: LiveSite) -> None:
    page = visit().open(urls.trending_url(WIKI))
    first = page.locator("#trends tbody tr").first.locator("td.num").first
    page.wait_for_selector("[data-live-word]:has-text('Live')")
    shown = int(first.inner_text().replace(",", ""))
    before = page.locator("#trends").inner_text()
    live_site.commit([Click(743, "other-search", PLAIN, "external", 3)], scale=2)
    page.wait_for_function("(old) => document.querySelector('#trends').innerText !== old", arg=before)
    assert int(first.inner_text().replace(",", "")) == 2 * 95 != shown

    page.locator("[data-live-pause]").click()
    assert page.locator("[data-live-word]").inner_text() == "Paused"
    live_site.commit([Click(743, "other-search", PLAIN, "external", 3)], scale=3)
    page.wait_for_timeout(600)  # several polls of the feed
    assert int(first.inner_text()) == 2 * 95
    page.locator("[data-live-pause]").click()
    page.wait_for_function("() => document.querySelector('#trends tbody td.num').textContent === '285'")


def test_a_lost_stream_is_told(visit: Visits) -> None:
    visited = visit()
    visited.page.route("**/live", lambda route: route.abort())
    page = visited.open(urls.trending_url(WIKI))
    page.wait_for_selector("[data-live-lost]:not([hidden])")
    assert "Connection lost" in page.locator("[data-live-lost]").inner_text()


def test_everything_but_charts_and_live_updates_works_without_javascript(visit: Visits) -> None:
    page = visit(java_script_enabled=False).open("/")
    page.locator("#q").type("petar")
    page.locator("form.find button").click()
    page.wait_for_url("**/search?**")
    page.locator("text=Petar IV. Zrinski").click()
    page.wait_for_url(f"**{ARTICLE}")
    assert page.locator(".nojs").is_visible()
    assert not page.locator("#flow-chart").is_visible()
    assert not page.locator(".theme").is_visible()
    page.locator("#to .pager a").click()
    assert page.locator("tfoot").inner_text().startswith("All clicks out")
    page.locator("#scope").select_option(f"{OTHER_WIKI}/{MONTH}")
    page.locator("form.scope button").click()
    page.goto(page.url.split(f"/{OTHER_WIKI}/")[0] + urls.trending_url(WIKI))
    assert page.locator("text=Reload the page for newer numbers").is_visible()


def test_a_reader_walks_from_search_to_article_to_neighbour_by_keyboard(visit: Visits) -> None:
    page = visit().open("/")
    page.locator("#q").focus()
    page.keyboard.type("Petar IV. Zrinski")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{ARTICLE}")
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('#from tbody') !== null"):
            break
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    target = page.evaluate("document.activeElement.href")
    page.keyboard.press("Enter")
    page.wait_for_url(target)
    assert page.locator("h1").inner_text() == "Zagreb"


def test_the_first_load_of_an_article_is_at_most_500_kb(visit: Visits) -> None:
    visited = visit()
    sizes: dict[str, int] = {}
    visited.page.on(
        "requestfinished",
        lambda request: sizes.__setitem__(request.url, request.sizes()["responseBodySize"]),
    )
    page = visited.open(ARTICLE)
    page.wait_for_selector("#flow-chart canvas")
    total = sum(sizes.values())
    print({url.rpartition("/")[2][:40]: size for url, size in sizes.items()}, total)
    assert any("echarts" in url for url in sizes)
    assert 300_000 < total <= 500_000


def test_reduced_motion_is_honoured(visit: Visits) -> None:
    page = visit(reduced_motion="reduce").open("/")
    assert page.evaluate("getComputedStyle(document.querySelector('.btn')).transitionDuration") == "0s"


def test_a_number_tells_of_what_it_is_made_and_from_when(visit: Visits) -> None:
    visited = visit()
    page = visited.open(ARTICLE)
    figure = page.locator(".figures [data-batch]").first
    tip = page.locator(".origin")
    assert tip.is_hidden()
    figure.hover()
    said = tip.inner_text()
    batch, live = (figure.get_attribute(f"data-{part}") for part in ("batch", "live"))
    generation = page.locator("#fresh ul").get_attribute("data-generation")
    assert f"{batch} from the batch views up to 31 March, 00:00 UTC, generation {generation}" in said
    assert f"{live} live from then to 1 April, 00:00 UTC" in said
    page.keyboard.press("Escape")
    assert tip.is_hidden()
    page.locator("td[data-batch]").first.click()
    assert "from the batch views" in tip.inner_text()
    assert visited.violations() == []
