"""A download arrives whole or not at all, whatever the server does."""

from __future__ import annotations

import gzip
import random
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from readerflow.common.errors import BadInput
from readerflow.common.months import Month
from readerflow.preprocessing.fetch import DOWNLOAD_TRIES, FetchFailed, available_months, fetch, latest

MARCH = Month(2025, 3)
NAME = "clickstream-hrwiki-2025-03.tsv.gz"
PATH = f"/2025-03/{NAME}"


def dump(seed: int = 1) -> bytes:
    """About 100 KB that do not compress."""
    return gzip.compress(random.Random(seed).randbytes(100_000), 1, mtime=0)  # noqa: S311, a repeatable test


class Site:
    """A site of dumps; each request of a dump takes the next of ``faults``, the rest are answered well."""

    def __init__(self) -> None:
        self.content = dump()
        self.etag: str | None = '"one"'
        self.modified = "Tue, 01 Apr 2025 00:00:00 GMT"
        self.ranges = True
        self.faults: list[Callable[[Handler], None] | None] = []
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.pages = {
            "/": '<a href="../">../</a><a href="2025-02/">2025-02/</a><a href="2025-03/">x</a><a href="readme">y</a>',
            "/2025-02/": '<a href="clickstream-hrwiki-2025-02.tsv.gz"><a href="clickstream-dewiki-2025-02.tsv.gz">',
            "/2025-03/": f'<a href="{NAME}">a</a>',
        }
        self.released = threading.Event()
        self.url = ""

    def dumps_asked(self) -> list[dict[str, str]]:
        return [headers for path, headers in self.asked if path == PATH]


class Handler(BaseHTTPRequestHandler):
    site: Site

    def do_GET(self) -> None:
        self.site.asked.append((self.path, dict(self.headers)))
        if self.path in self.site.pages:
            self.answer(200, self.site.pages[self.path].encode())
        elif self.path == PATH:
            fault = self.site.faults.pop(0) if self.site.faults else None
            if fault is None:
                self.send_dump()
            else:
                fault(self)
        else:
            self.answer(404, b"no")

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def send_dump(self, cut: int | None = None, announced: int | None = None, partial: bool | None = None) -> None:
        site = self.site
        content, start = site.content, 0
        wanted = self.headers.get("Range", "")
        current = self.headers.get("If-Range") in (site.etag, site.modified)
        if wanted and (site.ranges and current if partial is None else partial):
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.answer(416, b"", Content_Range=f"bytes */{len(content)}")
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        if site.etag:
            self.send_header("ETag", site.etag)
        self.send_header("Last-Modified", site.modified)
        self.send_header("Content-Length", str(len(content) - start if announced is None else announced))
        self.end_headers()
        self.wfile.write(content[start:] if cut is None else content[start : start + cut])

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the tests look at ``asked``."""


class QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: clients hang up on purpose."""


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    server = QuietServer(("127.0.0.1", 0), type("SiteHandler", (Handler,), {"site": site}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield site
    site.released.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def get(site: Site, tmp_path: Path, pauses: list[float]) -> Callable[[], Path]:
    return lambda: fetch("hrwiki", MARCH, tmp_path, url=site.url, timeout=0.5, sleep=pauses.append)


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def cut(size: int) -> Callable[[Handler], None]:
    return lambda handler: handler.send_dump(cut=size)


def stall(handler: Handler) -> None:
    handler.send_dump(cut=90_000)
    handler.wfile.flush()
    handler.site.released.wait(10)


def busy(status: int, **headers: str) -> Callable[[Handler], None]:
    return lambda handler: handler.answer(status, b"busy", **headers)


def test_a_dump_is_downloaded_once(site: Site, tmp_path: Path, get: Callable[[], Path]) -> None:
    calls: list[tuple[int, int | None]] = []
    path = fetch(
        "hrwiki", MARCH, tmp_path / "new", url=site.url + "/", timeout=5,
        progress=lambda done, total=None, note="": calls.append((done, total)),
    )  # fmt: skip
    assert path == tmp_path / "new" / NAME
    assert path.read_bytes() == site.content
    assert left(tmp_path / "new") == [NAME]
    assert calls[-1] == (len(site.content), len(site.content))
    (headers,) = site.dumps_asked()
    assert headers["User-Agent"].startswith("ReaderFlow/")
    assert headers["Accept-Encoding"] == "identity"
    assert fetch("hrwiki", MARCH, tmp_path / "new", url=site.url, timeout=5) == path
    assert len(site.dumps_asked()) == 1


def test_a_cut_download_goes_on_where_it_ended(site: Site, get: Callable[[], Path], pauses: list[float]) -> None:
    site.faults = [cut(30_000), cut(50_000)]
    assert get().read_bytes() == site.content
    asked = site.dumps_asked()
    assert [headers.get("Range") for headers in asked] == [None, "bytes=30000-", "bytes=80000-"]
    assert [headers.get("If-Range") for headers in asked] == [None, '"one"', '"one"']
    assert len(pauses) == 2


def test_a_download_goes_on_in_a_later_run(site: Site, tmp_path: Path, get: Callable[[], Path]) -> None:
    site.faults = [cut(40_000), *[busy(503)] * DOWNLOAD_TRIES]
    with pytest.raises(FetchFailed, match=r"status 503.*run the same command later"):
        get()
    assert left(tmp_path) == [f"{NAME}.part", f"{NAME}.part.version"]
    assert get().read_bytes() == site.content
    assert site.dumps_asked()[-1]["Range"] == "bytes=40000-"
    assert left(tmp_path) == [NAME]


def test_a_download_that_was_complete_but_not_renamed_is_taken(
    site: Site, tmp_path: Path, get: Callable[[], Path]
) -> None:
    (tmp_path / f"{NAME}.part").write_bytes(site.content)
    (tmp_path / f"{NAME}.part.version").write_text('"one"')
    assert get().read_bytes() == site.content
    assert len(site.dumps_asked()) == 1


def test_a_part_of_unknown_version_is_downloaded_again(site: Site, tmp_path: Path, get: Callable[[], Path]) -> None:
    (tmp_path / f"{NAME}.part").write_bytes(b"anything")
    assert get().read_bytes() == site.content
    assert "Range" not in site.dumps_asked()[0]


def test_without_etag_the_date_of_the_last_change_names_the_version(site: Site, get: Callable[[], Path]) -> None:
    site.etag = None
    site.faults = [cut(30_000)]
    assert get().read_bytes() == site.content
    assert site.dumps_asked()[1]["If-Range"] == site.modified


def test_a_weak_etag_does_not_name_a_version(site: Site, get: Callable[[], Path]) -> None:
    site.etag = 'W/"one"'
    site.faults = [cut(30_000)]
    assert get().read_bytes() == site.content
    assert site.dumps_asked()[1]["If-Range"] == site.modified


def test_a_server_that_ignores_ranges_is_read_from_the_start(site: Site, get: Callable[[], Path]) -> None:
    site.ranges = False
    site.faults = [cut(30_000), cut(60_000)]
    assert get().read_bytes() == site.content


def _changes(site: Site) -> Callable[[Handler], None]:
    def fault(handler: Handler) -> None:
        handler.send_dump(cut=30_000)
        site.content, site.etag, site.modified = dump(2), '"two"', "Wed, 02 Apr 2025 00:00:00 GMT"

    return fault


def test_a_dump_that_changes_between_parts_is_read_from_the_start(site: Site, get: Callable[[], Path]) -> None:
    site.faults = [_changes(site)]
    assert get().read_bytes() == dump(2)


def test_a_server_that_mixes_versions_is_found_out(site: Site, get: Callable[[], Path]) -> None:
    site.faults = [_changes(site), lambda handler: handler.send_dump(partial=True)]
    assert get().read_bytes() == dump(2)
    assert "Range" not in site.dumps_asked()[2]


def test_a_mix_that_no_header_tells_is_found_out_by_the_crc(site: Site, get: Callable[[], Path]) -> None:
    def fault(handler: Handler) -> None:
        handler.send_dump(cut=30_000)
        site.content = dump(2)

    site.faults = [fault]
    assert get().read_bytes() == dump(2)


def test_a_server_with_less_than_was_downloaded_is_read_from_the_start(site: Site, get: Callable[[], Path]) -> None:
    def fault(handler: Handler) -> None:
        handler.send_dump(cut=90_000)
        site.content = gzip.compress(b"A\tB\tlink\t10\n")

    site.faults = [fault]
    assert get().read_bytes() == site.content


def test_a_stalled_connection_is_given_up_and_gone_on_with(site: Site, get: Callable[[], Path]) -> None:
    site.faults = [stall]
    assert get().read_bytes() == site.content
    assert site.dumps_asked()[1]["Range"] == "bytes=65536-"


def test_a_length_that_is_too_great_is_noticed(site: Site, get: Callable[[], Path]) -> None:
    site.faults = [lambda handler: handler.send_dump(announced=len(site.content) + 1000)]
    assert get().read_bytes() == site.content


def test_a_length_that_is_too_small_is_noticed(site: Site, get: Callable[[], Path]) -> None:
    site.faults = [lambda handler: handler.send_dump(announced=len(site.content) - 1000)]
    assert get().read_bytes() == site.content


def test_a_dump_that_is_broken_on_the_server_is_an_error_and_leaves_nothing(
    site: Site, tmp_path: Path, get: Callable[[], Path]
) -> None:
    site.content = site.content[:-8] + bytes(8)
    with pytest.raises(FetchFailed, match="is broken on the server, downloaded 2 times"):
        get()
    assert left(tmp_path) == []
    assert len(site.dumps_asked()) == 2


def test_a_busy_server_gets_the_pause_that_it_asks_for(
    site: Site, get: Callable[[], Path], pauses: list[float]
) -> None:
    site.faults = [
        busy(429, Retry_After="7"),
        busy(503, Retry_After="Tue, 01 Apr 2025 00:00:30 GMT"),
        busy(503, Retry_After="soon"),
    ]
    assert get().read_bytes() == site.content
    assert pauses[0] == 7
    assert pauses[1] == 0  # that date is behind the server's clock
    assert pauses[2] == 4


def test_a_server_that_asks_for_too_much_patience_is_an_error(
    site: Site, get: Callable[[], Path], pauses: list[float]
) -> None:
    site.faults = [busy(429, Retry_After="86400")]
    with pytest.raises(FetchFailed, match="asks to wait 86,400 s"):
        get()
    assert pauses == []


def test_tries_are_bounded_and_wait_longer_each_time(site: Site, get: Callable[[], Path], pauses: list[float]) -> None:
    site.faults = [busy(503)] * 100
    with pytest.raises(FetchFailed, match=f"after {DOWNLOAD_TRIES} tries"):
        get()
    assert pauses == [1, 2, 4, 8]


def test_a_server_that_always_cuts_at_the_same_place_is_given_up(site: Site, get: Callable[[], Path]) -> None:
    site.ranges = False
    site.faults = [cut(30_000)] * 100
    with pytest.raises(FetchFailed, match="could not be downloaded"):
        get()
    assert len(site.dumps_asked()) == 1 + DOWNLOAD_TRIES


def test_other_answers_are_errors_at_once(site: Site, get: Callable[[], Path]) -> None:
    site.faults = [busy(403)]
    with pytest.raises(FetchFailed, match="answers 403 Forbidden"):
        get()
    assert len(site.dumps_asked()) == 1


def test_a_missing_month_names_the_months_there_are(site: Site, tmp_path: Path) -> None:
    with pytest.raises(FetchFailed, match=r"no dump of hrwiki 2031-01 .*; there are 2025-02, 2025-03$"):
        fetch("hrwiki", Month(2031, 1), tmp_path, url=site.url, timeout=5)


def test_a_missing_wiki_names_the_wikis_there_are(site: Site, tmp_path: Path) -> None:
    with pytest.raises(FetchFailed, match=r"no dump of xywiki 2025-02 .*; that month has dewiki, hrwiki$"):
        fetch("xywiki", Month(2025, 2), tmp_path, url=site.url, timeout=5)


def test_the_latest_month_is_the_newest_that_has_the_wiki(site: Site) -> None:
    assert available_months(url=site.url, timeout=5) == [Month(2025, 2), MARCH]
    assert latest("hrwiki", url=site.url, timeout=5) == MARCH
    assert latest("dewiki", url=site.url, timeout=5) == Month(2025, 2)
    with pytest.raises(FetchFailed, match="no month from 2025-02 to 2025-03 has a dump of xywiki"):
        latest("xywiki", url=site.url, timeout=5)


def test_a_page_without_months_is_an_error(site: Site) -> None:
    site.pages["/"] = "<h1>Welcome</h1>"
    with pytest.raises(FetchFailed, match="lists no months"):
        available_months(url=site.url, timeout=5)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "nonsense", "ftp://127.0.0.1"])
def test_no_site_is_one_clear_error(tmp_path: Path, url: str, pauses: list[float]) -> None:
    with pytest.raises(FetchFailed):
        fetch("hrwiki", MARCH, tmp_path, url=url, timeout=1, sleep=pauses.append)
    with pytest.raises(FetchFailed):
        latest("hrwiki", url=url, timeout=1, sleep=pauses.append)
    assert left(tmp_path) == []


def test_a_wiki_is_a_name_and_never_a_path(site: Site, tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        fetch("../../etc", MARCH, tmp_path, url=site.url, timeout=1)
    assert site.asked == []
