"""The docs on the pages of the real month: the picture of the README, and the numbers of the tour.

``UPDATE_SCREENSHOT=1 pytest tests/test_browser/test_real_month_pages.py`` writes docs/images/article.png; other runs
make the picture elsewhere and only look at it.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser

from readerflow.common.months import Month
from readerflow.common.settings import Settings
from readerflow.kafka.plan import ReplayPlan
from readerflow.kafka.replay import Grain
from readerflow.pipeline import steps
from readerflow.storage import open_storage
from readerflow.webapp import urls
from readerflow.webapp.app import create_app
from tests.conftest import HRWIKI

from .conftest import serve

pytestmark = [pytest.mark.browser, pytest.mark.data, pytest.mark.slow]

DOCS = Path(__file__).parents[2] / "docs"
PICTURE = DOCS / "images" / "article.png"
SITE = "http://127.0.0.1:8000"
#: Of the tour: [what it says](where it is on the site).
SAID = re.compile(rf"\[([^\]]+)\]\({re.escape(SITE)}(/(?:[^()]|\([^()]*\))*)\)")
MAX_BYTES = 250_000
WIDTH, HEIGHT, SCALE = 1280, 1600, 0.75  # a README shows some 900 pixels
WIKI, MONTH = "hrwiki", "2025-03"


@pytest.fixture(scope="module")
def real_site(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The real month as ``readerflow demo`` loads it: batch up to its last day and the rest live."""
    settings = Settings(home=tmp_path_factory.mktemp("home"))
    with open_storage(settings) as storage:
        steps.preprocess(settings, storage, data / HRWIKI, None, None)
        steps.replay(storage, ReplayPlan(WIKI, Month.parse(MONTH), Grain("hour"), seed=1))
        steps.archive(settings, storage)
        steps.batch(settings, storage, WIKI, MONTH, datetime(2025, 3, 31))
        steps.stream(settings, storage)
    with open_storage(settings) as storage:
        yield from serve(create_app(storage.serving_views))


def test_the_picture_of_the_readme_shows_an_article_of_the_real_month(
    browser: Browser, real_site: str, tmp_path: Path
) -> None:
    target = PICTURE if os.environ.get("UPDATE_SCREENSHOT") else tmp_path / PICTURE.name
    target.parent.mkdir(parents=True, exist_ok=True)
    context = browser.new_context(
        viewport={"width": WIDTH, "height": HEIGHT}, device_scale_factor=SCALE, color_scheme="light"
    )
    page = context.new_page()
    page.goto(real_site + urls.article_url(WIKI, MONTH, "Petar_IV._Zrinski"))
    page.wait_for_selector("#flow-chart canvas")
    page.wait_for_timeout(300)  # the chart is drawn on the next frames
    assert page.locator(".figures .v").first.inner_text() == "5,077"
    page.screenshot(path=str(target))
    context.close()
    assert struct.unpack(">II", target.read_bytes()[16:24]) == (WIDTH * SCALE, HEIGHT * SCALE)
    assert target.stat().st_size < MAX_BYTES


def test_the_pages_say_what_the_tour_says(browser: Browser, real_site: str) -> None:
    said = SAID.findall((DOCS / "tour.md").read_text())
    assert len(said) > 25
    page = browser.new_context(java_script_enabled=False).new_page()
    texts: dict[str, str] = {}
    for words, address in said:
        if address not in texts:
            answer = page.goto(real_site + quote(address, safe="/?&=():"))
            assert answer is not None and answer.ok, address
            texts[address] = re.sub(r"\s+", " ", page.inner_text("body"))
        assert re.search(rf"(?<![\w,.]){re.escape(words)}(?![\w%])", texts[address], re.IGNORECASE), (words, address)
    page.context.close()
