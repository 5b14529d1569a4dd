"""The picture of the README, made of the real month in a run of the tests.

``UPDATE_SCREENSHOT=1 pytest tests/test_browser/test_screenshot.py`` writes docs/images/article.png; other runs make the
picture elsewhere and only look at it.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

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

PICTURE = Path(__file__).parents[2] / "docs" / "images" / "article.png"
MAX_BYTES = 250_000
WIDTH, HEIGHT, SCALE = 1280, 1600, 0.75  # a README shows some 900 pixels
WIKI, MONTH = "hrwiki", "2025-03"


@pytest.fixture
def real_site(data: Path, tmp_path: Path) -> Iterator[str]:
    """The real month, batch up to its last day and the rest live; grain day, which is quick and has the same totals."""
    settings = Settings(home=tmp_path / "home")
    with open_storage(settings) as storage:
        steps.preprocess(settings, storage, data / HRWIKI, None, None)
        steps.replay(storage, ReplayPlan(WIKI, Month.parse(MONTH), Grain("day"), seed=1))
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
