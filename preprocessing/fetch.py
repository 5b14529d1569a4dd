"""Downloads of monthly dumps: ``<url>/<YYYY-MM>/clickstream-<wiki>-<YYYY-MM>.tsv.gz``.

A download is written to a ``.part`` file with a note of which version of the dump it is (ETag or date), so that a
broken one goes on where it ended, if the server still has that version. It gets its name only when its size and the
CRCs of its gzip members are right.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import requests
from urllib3.exceptions import HTTPError

from readerflow.common.errors import ReaderFlowError
from readerflow.common.months import Month
from readerflow.common.progress import Progress, silent
from readerflow.common.titles import check_wiki
from readerflow.storage.lease import lease

from .names import dump_name
from .reader import BadDump, DumpReader

logger = logging.getLogger(__name__)

Sleep = Callable[[float], None]

#: Tries in a row that bring nothing new, for a dump and for a page that lists dumps.
DOWNLOAD_TRIES, LIST_TRIES = 5, 2
#: Whole downloads whose content turns out broken.
BROKEN_DOWNLOADS = 2
#: The longest pause that a server may ask for.
LONGEST_PAUSE_SECONDS = 120.0
#: Months that :func:`latest` looks into, since a month appears before all of its wikis do.
_RECENT_MONTHS = 6
#: What is lost at most when a connection breaks.
_PIECE_BYTES = 64 << 10
_BUSY = (408, 429, 500, 502, 503, 504)
_MONTH_LINK = re.compile(r'href="(?:[^"]*/)?(\d{4}-(?:0[1-9]|1[0-2]))/?"')
_DUMP_LINK = re.compile(r'href="(?:[^"]*/)?clickstream-([a-z][a-z0-9_]+)-\d{4}-\d{2}\.tsv\.gz"')


class FetchFailed(ReaderFlowError):
    """A dump or a list of dumps could not be had."""


class _TryAgain(Exception):
    """This try brought no complete answer; ``pause`` is what the server asked for, in seconds."""

    def __init__(self, why: str, pause: float | None = None) -> None:
        super().__init__(why)
        self.pause = pause


def available_months(*, url: str, timeout: float, sleep: Sleep = time.sleep) -> list[Month]:
    """List the months for which there are dumps, oldest first.

    :raises FetchFailed: when the site does not answer, or lists none.
    """
    months = sorted({Month.parse(text) for text in _MONTH_LINK.findall(_page(f"{_base(url)}/", timeout, sleep))})
    if not months:
        raise FetchFailed(f"{url} lists no months; is it the address of the dumps (setting dump_url)?")
    return months


def latest(wiki: str, *, url: str, timeout: float, sleep: Sleep = time.sleep) -> Month:
    """The newest month for which there is a dump of ``wiki``.

    :raises FetchFailed: when the site does not answer, or no recent month has that wiki.
    """
    check_wiki(wiki)
    months = available_months(url=url, timeout=timeout, sleep=sleep)
    for month in reversed(months[-_RECENT_MONTHS:]):
        if wiki in _wikis(month, url, timeout, sleep):
            return month
    raise FetchFailed(f"no month from {months[-_RECENT_MONTHS:][0]} to {months[-1]} has a dump of {wiki} at {url}")


def fetch(
    wiki: str,
    month: Month,
    folder: Path,
    *,
    url: str,
    timeout: float,
    progress: Progress = silent,
    sleep: Sleep = time.sleep,
) -> Path:
    """Download the dump of a month into ``folder``, unless it is there; goes on where a broken download ended.

    :param timeout: seconds without a byte after which the connection counts as broken.
    :param progress: of bytes.
    :raises FetchFailed: when there is no such dump, or it can't be had after some tries.
    """
    target = folder / dump_name(check_wiki(wiki), month)
    if target.exists():
        logger.info("%s is there already", target)
        return target
    with lease(target.with_name(f".{target.name}.lock"), f"download of {target.name}"):
        source = f"{_base(url)}/{month}/{target.name}"
        download = _Download(source, target.with_name(target.name + ".part"), timeout, sleep, progress)
        try:
            download.run()
            download.part.replace(target)
        except _Missing:
            raise FetchFailed(_what_there_is(wiki, month, url, timeout, sleep)) from None
        except OSError as error:
            raise FetchFailed(f"{target} can't be written: {error.strerror or error}") from None
        download.note.unlink(missing_ok=True)
    return target


class _Missing(Exception):
    """The server has no such file."""


@dataclass
class _Download:
    """One file on its way: ``part`` holds the bytes so far, ``note`` the version that they are of."""

    source: str
    part: Path
    timeout: float
    sleep: Sleep
    progress: Progress
    note: Path = field(init=False)

    def __post_init__(self) -> None:
        self.note = self.part.with_name(self.part.name + ".version")

    @property
    def size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def run(self) -> None:
        for _ in range(BROKEN_DOWNLOADS):
            self._download()
            try:
                DumpReader(self.part).read_checksum()
                return
            except BadDump as error:
                logger.warning("%s; starting again", error)
                broken = error
                self._forget()
        raise FetchFailed(f"{self.source} is broken on the server, downloaded {BROKEN_DOWNLOADS} times: {broken}")

    def _download(self) -> None:
        """Try until all bytes are there; tries that bring more than any before do not count."""
        fruitless, most = 0, self.size
        while True:
            try:
                return self._continue()
            except _TryAgain as reason:
                fruitless = 0 if self.size > most else fruitless + 1
                most = max(most, self.size)
                if fruitless == DOWNLOAD_TRIES:
                    raise FetchFailed(
                        f"{self.source} could not be downloaded ({reason}) after {DOWNLOAD_TRIES} tries;"
                        " run the same command later, it goes on where it ended"
                    ) from None
                _pause(reason, fruitless, self.source, self.sleep)

    def _continue(self) -> None:
        start, known = self.size, self._version()
        headers = {}
        if start and known:
            headers = {"Range": f"bytes={start}-", "If-Range": known}
        with _answer(self.source, headers, self.timeout) as response:
            if response.status_code == 416:  # nothing after what we have: it is complete, or of another version
                total = response.headers.get("Content-Range", "").rpartition("/")[2]
                if total == str(start):
                    return
                self._forget()
                raise _TryAgain("the server has less than was downloaded before")
            if response.status_code == 206 and not self._goes_on(response, start, known):
                self._forget()
                raise _TryAgain("the dump has changed on the server")
            self._receive(response, start if response.status_code == 206 else 0)

    def _receive(self, response: requests.Response, start: int) -> None:
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdigit() else None
        if start == 0:
            self.part.unlink(missing_ok=True)
            self.note.write_text(_version_of(response) or "")
        done = start
        with self.part.open("ab") as file:
            try:
                for piece in response.raw.stream(_PIECE_BYTES, decode_content=False):
                    file.write(piece)
                    done += len(piece)
                    self.progress(done, total)
            except (HTTPError, TimeoutError, ConnectionError) as error:
                raise _TryAgain(f"the connection broke: {type(error).__name__}") from None
        if total is not None and done != total:
            raise _TryAgain(f"{done} bytes came instead of {total}")

    def _goes_on(self, response: requests.Response, start: int, known: str) -> bool:
        """Whether a partial answer begins where the part ends and is of the same version."""
        begins = response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
        return begins and known in (response.headers.get("ETag", known), response.headers.get("Last-Modified"))

    def _version(self) -> str:
        return self.note.read_text() if self.note.exists() else ""

    def _forget(self) -> None:
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def _version_of(response: requests.Response) -> str | None:
    """What names a version exactly: an ETag that is not weak, else the date of the last change."""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified")


@contextmanager
def _answer(address: str, headers: dict[str, str], timeout: float) -> Iterator[requests.Response]:
    """An answer of status 200, 206 or 416."""
    headers = {"User-Agent": _user_agent(), "Accept-Encoding": "identity", **headers}
    try:
        response = requests.get(address, headers=headers, timeout=timeout, stream=True)
    except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
        raise _TryAgain(f"no connection: {type(error).__name__}") from None
    except requests.RequestException as error:
        raise FetchFailed(f"{address} can't be asked: {error}; look at the setting dump_url") from None
    with response:
        if response.status_code == 404:
            raise _Missing
        if response.status_code in _BUSY:
            pause = _retry_after(response)
            raise _TryAgain(f"status {response.status_code} {response.reason}", pause)
        if response.status_code not in (200, 206, 416):
            raise FetchFailed(
                f"{address} answers {response.status_code} {response.reason}; look at the setting dump_url"
            )
        yield response


def _page(address: str, timeout: float, sleep: Sleep) -> str:
    for tries in range(1, LIST_TRIES + 1):
        try:
            with _answer(address, {}, timeout) as response:
                return response.content.decode(errors="replace")
        except (_TryAgain, requests.RequestException) as error:
            reason = error if isinstance(error, _TryAgain) else _TryAgain(f"broken answer: {type(error).__name__}")
            if tries == LIST_TRIES:
                raise FetchFailed(f"{address} does not answer ({reason}); is this machine online?") from None
            _pause(reason, tries, address, sleep)
        except _Missing:
            raise FetchFailed(f"{address} does not exist; look at the setting dump_url") from None
    raise AssertionError("unreachable")


def _wikis(month: Month, url: str, timeout: float, sleep: Sleep) -> list[str]:
    return sorted(set(_DUMP_LINK.findall(_page(f"{_base(url)}/{month}/", timeout, sleep))))


def _what_there_is(wiki: str, month: Month, url: str, timeout: float, sleep: Sleep) -> str:
    """The text for a dump that does not exist."""
    missing = f"there is no dump of {wiki} {month} at {url}"
    try:
        months = available_months(url=url, timeout=timeout, sleep=sleep)
        if month in months:
            return f"{missing}; that month has {', '.join(_wikis(month, url, timeout, sleep)) or 'none'}"
    except FetchFailed:
        return missing
    return f"{missing}; there are {', '.join(map(str, months))}"


def _pause(reason: _TryAgain, tries: int, address: str, sleep: Sleep) -> None:
    """Wait as long as the server asked, else longer from try to try.

    :raises FetchFailed: when the server asks for more patience than is reasonable.
    """
    seconds = 2.0 ** max(tries - 1, 0) if reason.pause is None else reason.pause
    if seconds > LONGEST_PAUSE_SECONDS:
        raise FetchFailed(
            f"{address}: {reason}, and asks to wait {seconds:,.0f} s; run the same command then"
        ) from None
    logger.warning("%s: %s; trying again in %.0f s", address, reason, seconds)
    sleep(seconds)


def _retry_after(response: requests.Response) -> float | None:
    """Seconds that the server asks to wait: a number, or a date compared with the server's own clock."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        then, now = (parsedate_to_datetime(date) for date in (text, response.headers.get("Date", "")))
        return max((then - now).total_seconds(), 0.0)
    except (ValueError, TypeError):
        return None


def _base(url: str) -> str:
    return url.rstrip("/")


def _user_agent() -> str:
    try:
        number = version("readerflow")
    except PackageNotFoundError:
        number = "unknown"
    return f"ReaderFlow/{number} (monthly clickstream dumps) {requests.utils.default_user_agent()}"
