"""The line before the app: few at a time, nobody waits for ever, and whether it lives can always be asked."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from flask import Flask, Response

from readerflow.webapp import exchange, turnstile
from readerflow.webapp.turnstile import Turnstile
from tests.api_replies import problem

PLACES = 2


class Crowd:
    """An app whose answers wait for a sign, and how many were at work at the same time."""

    def __init__(self, patience_seconds: float) -> None:
        self.app = Flask(__name__)
        exchange.install(self.app)
        turnstile.install(self.app)
        self.app.wsgi_app = Turnstile(  # type: ignore[method-assign]
            self.app.wsgi_app._app,
            PLACES,
            patience_seconds,  # type: ignore[attr-defined]
        )
        self.go_on = threading.Event()
        self.lock = threading.Lock()
        self.inside = self.most = 0
        self.app.add_url_rule("/slow", view_func=self.slow)
        self.app.add_url_rule("/healthz", view_func=lambda: "ok", endpoint="healthz")

    def slow(self) -> str:
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        self.go_on.wait(30)
        with self.lock:
            self.inside -= 1
        return "done"

    def ask(self, path: str) -> Response:
        return self.app.test_client().get(path, headers={"Accept": "application/json"})

    def wait_until_full(self) -> None:
        deadline = time.monotonic() + 30
        while self.inside < PLACES:
            assert time.monotonic() < deadline
            time.sleep(0.001)


def test_few_are_worked_on_at_a_time_and_all_are_answered() -> None:
    crowd = Crowd(patience_seconds=30)
    with ThreadPoolExecutor(9) as threads:
        answers = [threads.submit(crowd.ask, "/slow") for _ in range(9)]
        crowd.wait_until_full()
        assert crowd.ask("/healthz").status_code == 200
        crowd.go_on.set()
        assert [answer.result(30).status_code for answer in answers] == [200] * 9
    assert crowd.most == PLACES


def test_who_waits_for_too_long_is_told_to_come_back() -> None:
    crowd = Crowd(patience_seconds=0.01)
    with ThreadPoolExecutor(PLACES) as threads:
        answers = [threads.submit(crowd.ask, "/slow") for _ in range(PLACES)]
        crowd.wait_until_full()
        refused = crowd.ask("/slow")
        assert "try again" in problem(refused, 503)["detail"]
        assert int(refused.headers["Retry-After"]) > 0
        crowd.go_on.set()
        assert [answer.result(30).status_code for answer in answers] == [200] * PLACES
    assert crowd.ask("/slow").status_code == 200
