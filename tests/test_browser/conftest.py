"""A filled site on a port of its own, and a Chromium that reaches nothing else."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from werkzeug.serving import WSGIRequestHandler, make_server

from readerflow.storage.embedded_serving import EmbeddedServing
from readerflow.webapp.app import create_app
from readerflow.webapp.live import HUB
from tests.page_site import LiveSite
from tests.two_months import opened

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
#: What a page tells of violations of its content security policy.
WATCH_POLICY = """
  window.violations = [];
  addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) =>
    violations.push(`${violatedDirective} ${blockedURI}`));
"""


@dataclass
class Visit:
    """A page of the site and all that went wrong on it."""

    page: Page
    base: str
    foreign: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def open(self, address: str) -> Page:
        self.page.goto(self.base + address, wait_until="load")
        return self.page

    def violations(self) -> list[str]:
        found: list[str] = self.page.evaluate("window.violations")
        return found


@pytest.fixture(scope="session")
def live_site(tmp_path_factory: pytest.TempPathFactory) -> LiveSite:
    site = LiveSite(tmp_path_factory.mktemp("site"))
    site.fill()
    return site


@pytest.fixture(scope="session")
def base(live_site: LiveSite) -> Iterator[str]:
    """The address of the site."""
    home = live_site.store.home
    with EmbeddedServing(home / "serving.db", home / "views") as serving:
        app = create_app(
            serving,
            poll_seconds=0.05,
            trend_formula="score = (clicks − expected) ÷ √(expected + 25)",
            log_ends=lambda: {0: 10_000, 1: 10_020},
        )
        yield from serve(app)


@pytest.fixture(scope="session")
def made_up_base(live_site: LiveSite) -> Iterator[str]:
    """The address of the same site, told that its data is made up."""
    home = live_site.store.home
    with EmbeddedServing(home / "serving.db", home / "views") as serving:
        yield from serve(create_app(serving, generated=lambda wiki, month: True))


@pytest.fixture(scope="session")
def months_base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a site with two months of a wiki."""
    with opened(tmp_path_factory.mktemp("months")) as serving:
        yield from serve(create_app(serving))


class Quiet(WSGIRequestHandler):
    """Writes no line for each request."""

    def log(self, type: str, message: str, *args: Any) -> None:
        pass


def serve(app: Any) -> Iterator[str]:
    """Serve an app on a free port for as long as the iterator lives."""

    def closing_files(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        # This server forgets to close the answer when a browser hangs up on it.
        answer = app(environ, start_response)
        if not environ["PATH_INFO"].startswith("/static/"):
            return cast("Iterable[bytes]", answer)
        with closing(answer):
            return [b"".join(answer)]

    server = make_server("127.0.0.1", 0, closing_files, threaded=True, request_handler=Quiet)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    app.extensions[HUB].close()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("Chromium is missing; 'make browser' installs it")
        pytest.skip("install chromium ('make browser') or name it with CHROMIUM=/path")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Browser, base: str) -> Iterator[Callable[..., Visit]]:
    """Open a window on the site: ``visit(width=320, color_scheme="dark")``."""
    contexts: list[BrowserContext] = []

    def start(width: int = 1280, height: int = 900, base: str = base, **options: Any) -> Visit:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        context.set_default_timeout(10_000)
        context.add_init_script(WATCH_POLICY)
        visited = Visit(context.new_page(), base)

        def only_the_site(route: Any) -> None:
            if urlsplit(route.request.url).netloc == urlsplit(base).netloc or route.request.url.startswith("data:"):
                route.continue_()
            else:
                visited.foreign.append(route.request.url)
                route.abort()

        context.route("**/*", only_the_site)
        visited.page.on("console", lambda said: said.type == "error" and visited.errors.append(said.text))
        visited.page.on("pageerror", lambda error: visited.errors.append(str(error)))
        return visited

    yield start
    for context in contexts:
        context.close()
