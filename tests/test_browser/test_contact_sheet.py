"""Contact sheets of every page and state, in both themes, wide and narrow, made of the made-up site in a test run.

``UPDATE_SCREENSHOT=1 pytest tests/test_browser/test_contact_sheet.py`` writes docs/images/pages-light.jpg and
pages-dark.jpg; other runs make the sheets elsewhere and only look at them.
"""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Iterator
from contextlib import AbstractContextManager
from html import escape
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from readerflow.common.errors import Unavailable
from readerflow.storage.embedded_serving import EmbeddedServing
from readerflow.storage.serving_views import Reading
from readerflow.webapp.app import create_app
from tests.page_site import LiveSite

from .conftest import serve
from .test_months import PAGES as MONTHS_PAGES
from .test_site import PAGES, Visits

pytestmark = [pytest.mark.browser, pytest.mark.slow]

FOLDER = Path(__file__).parents[2] / "docs" / "images"
MAX_BYTES = 1_500_000
#: Window widths, and those of their pictures on the sheet.
WIDTHS = {1280: 360, 360: 104}
STYLE = """
body { margin: 16px; font: 13px system-ui; display: grid; grid-template-columns: repeat(3, auto); gap: 20px 16px }
body.dark { background: #000; color: #ccc } figure { margin: 0 } figcaption { padding-bottom: 4px }
img { vertical-align: top; border: 1px solid #8888; margin-right: 6px }
"""


@pytest.fixture(scope="module")
def incomplete_site(tmp_path_factory: pytest.TempPathFactory) -> LiveSite:
    """A site whose stream has not seen three hours."""
    site = LiveSite(tmp_path_factory.mktemp("incomplete"), missing_hours=3)
    site.fill()
    return site


@pytest.fixture(scope="module")
def incomplete_base(incomplete_site: LiveSite) -> Iterator[str]:
    with EmbeddedServing(incomplete_site.store.serving_db, incomplete_site.store.views_root) as serving:
        yield from serve(create_app(serving))


class Away(EmbeddedServing):
    """A store that does not answer."""

    def read(self, wiki: str, month: str) -> AbstractContextManager[Reading]:
        raise Unavailable("the view store does not answer")


@pytest.fixture(scope="module")
def away_base(incomplete_site: LiveSite) -> Iterator[str]:
    """The address of a site whose store has gone away."""
    with Away(incomplete_site.store.serving_db, incomplete_site.store.views_root) as serving:
        yield from serve(create_app(serving))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_and_state_is_on_the_contact_sheet(
    visit: Visits,
    browser: Browser,
    incomplete_base: str,
    months_base: str,
    away_base: str,
    theme: str,
    tmp_path: Path,
) -> None:
    places = {name: (None, address) for name, address in PAGES.items()}
    places |= {f"{name}, incomplete": (incomplete_base, PAGES[name]) for name in ("home", "article", "status")}
    places |= {f"two months: {name}": (months_base, address) for name, address in MONTHS_PAGES.items()}
    places["store away"] = away_base, PAGES["article"]
    figures = {name: "" for name in places}
    for width, shown in WIDTHS.items():
        for name, (base, address) in places.items():
            options = {"base": base} if base else {}
            page = visit(width=width, height=1000, color_scheme=theme, **options).open(address)
            page.wait_for_timeout(400)  # charts are drawn on the next frames
            picture = b64encode(page.screenshot(type="jpeg", quality=80)).decode()
            figures[name] += f'<img width="{shown}" src="data:image/jpeg;base64,{picture}">'
            page.context.close()
    sheet = browser.new_page(viewport={"width": 1560, "height": 900})
    body = "".join(f"<figure><figcaption>{escape(name)}</figcaption>{made}</figure>" for name, made in figures.items())
    sheet.set_content(f'<style>{STYLE}</style><body class="{theme}">{body}', wait_until="load")
    drawn = sheet.evaluate("[...document.images].filter(({ naturalWidth }) => naturalWidth > 0).length")
    folder = FOLDER if os.environ.get("UPDATE_SCREENSHOT") else tmp_path
    target = folder / f"pages-{theme}.jpg"
    sheet.screenshot(path=target, type="jpeg", quality=50, full_page=True)
    sheet.close()
    assert drawn == len(places) * len(WIDTHS)
    assert 100_000 < target.stat().st_size < MAX_BYTES
