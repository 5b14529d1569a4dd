"""Files in HDFS: what the verbs promise, and what a lost reply, a dead server or a refusal means."""

from __future__ import annotations

import os
import pickle
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from hdfs import HdfsError

from readerflow.common.settings import Settings
from readerflow.storage.archive import ArchiveRefused, ArchiveUnavailable
from readerflow.storage.hdfs_client import translated
from readerflow.storage.hdfs_files import READ_BYTES, HdfsFiles


@pytest.fixture
def files(cluster: Settings) -> Iterator[HdfsFiles]:
    own = cluster.model_copy(update={"hdfs_root": f"{cluster.hdfs_root}/files_{os.urandom(4).hex()}"})
    with HdfsFiles(own) as opened:
        yield opened
        opened.remove("")


class Lossy:
    """A client whose next replies get lost, after the request has done its work or before."""

    def __init__(self, client: Any, verb: str, *, lost: int = 1, done: bool = True) -> None:
        self._client, self._verb, self._lost, self._done = client, verb, lost, done

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)
        if name != self._verb or not self._lost:
            return call

        def lose(*args: Any, **options: Any) -> None:
            self._lost -= 1
            if self._done:
                call(*args, **options)
            raise requests.ConnectionError("the reply was lost")

        return lose


def lose(files: HdfsFiles, verb: str, **how: Any) -> None:
    files._client = Lossy(files._connected(), verb, **how)


@pytest.mark.cluster
def test_what_is_put_is_listed_read_in_parts_and_got(files: HdfsFiles, tmp_path: Path) -> None:
    data = os.urandom(10_000_000)
    (tmp_path / "array").write_bytes(data)
    put = files.put_file(tmp_path / "array", "graphs/hrwiki/array")
    assert files.list("graphs/hrwiki") == [files.status("graphs/hrwiki/array")]
    assert [(found.name, found.is_folder) for found in files.list("graphs")] == [("hrwiki", True)]
    assert (put.size, put.is_folder) == (len(data), False)
    assert files.read("graphs/hrwiki/array", 5_000_000, 100) == data[5_000_000:5_000_100]
    opened = files.open("graphs/hrwiki/array", len(data))
    opened.seek(-10, os.SEEK_END)
    assert (opened.read(100), opened.tell(), opened.read()) == (data[-10:], len(data), b"")
    files.get_file("graphs/hrwiki/array", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == data


@pytest.mark.cluster
def test_a_file_larger_than_one_request_is_got_whole(
    files: HdfsFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("readerflow.storage.hdfs_files.READ_BYTES", 1000)
    assert READ_BYTES > 1000
    data = os.urandom(2500)
    files.write("a", [data])
    files.get_file("a", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == data


@pytest.mark.cluster
def test_what_is_not_there_is_told_apart(files: HdfsFiles, tmp_path: Path) -> None:
    assert files.status("a") is None
    assert list(files.list("a")) == []
    assert not files.remove("a")
    with pytest.raises(FileNotFoundError):
        files.read("a")
    with pytest.raises(FileNotFoundError):
        files.get_file("a", tmp_path / "a")
    files.write("a", [b"", b"one"])
    with pytest.raises(ArchiveUnavailable, match="changed while it was read"):
        files.read("a", 0, 10)
    files.write("a", [b"other"])
    assert files.read("a") == b"other"
    assert files.remove("a")
    assert files.status("a") is None


@pytest.mark.cluster
def test_odd_names_are_names(files: HdfsFiles) -> None:
    for name in ("a b%20c+d", "žšč", "x=1&op=DELETE", "#LATEST{0}"[:7] + "-"):
        files.write(f"odd/{name}", [name.encode()])
        assert files.read(f"odd/{name}") == name.encode()
    assert len(files.list("odd")) == 4


@pytest.mark.cluster
def test_a_rename_never_overwrites_and_never_moves_into_a_folder(files: HdfsFiles) -> None:
    for name in ("one", "two", "taken/deep/file"):
        files.write(name, [name.encode()])
    files.rename("one", "new/folder/one")
    assert files.read("new/folder/one") == b"one"
    with pytest.raises(FileExistsError):
        files.rename("two", "new/folder/one")
    assert (files.read("two"), files.read("new/folder/one")) == (b"two", b"one")
    with pytest.raises(ArchiveUnavailable, match="went before it could be renamed"):
        files.rename("gone", "new/gone")


@pytest.mark.cluster
def test_after_a_lost_reply_a_rename_knows_whether_it_was_done(files: HdfsFiles) -> None:
    for name in ("one", "two", "three"):
        files.write(name, [name.encode()])
    lose(files, "rename")
    files.rename("one", "final/one")
    assert files.read("final/one") == b"one"
    lose(files, "rename", done=False)
    with pytest.raises(FileExistsError):
        files.rename("two", "final/one")
    lose(files, "rename", done=False)
    with pytest.raises(ArchiveUnavailable, match="can't be reached"):
        files.rename("two", "final/two")
    assert files.read("two") == b"two"
    files.rename("two", "final/two")
    assert [found.name for found in files.list("final")] == ["one", "two"]


@pytest.mark.cluster
@pytest.mark.parametrize("verb", ["status", "list", "read", "makedirs", "delete"])
def test_what_may_be_done_twice_is_asked_again(files: HdfsFiles, verb: str) -> None:
    files.write("folder/one", [b"one"])
    lose(files, verb, lost=2, done=False)
    ask = {
        "status": lambda: files.status("folder/one"),
        "list": lambda: files.list("folder"),
        "read": lambda: files.read("folder/one") == b"one",
        "makedirs": lambda: files.make_folder("other") or files.status("other"),
        "delete": lambda: files.remove("folder"),
    }
    assert ask[verb]()


@pytest.mark.cluster
def test_a_write_whose_reply_is_lost_or_that_breaks_off_has_failed(files: HdfsFiles) -> None:
    def breaks() -> Iterator[bytes]:
        yield b"half"
        raise ValueError("the source broke")

    with pytest.raises(ValueError, match="the source broke"):
        files.write("half", breaks())
    lose(files, "write")
    with pytest.raises(ArchiveUnavailable):
        files.write("whole", [b"whole"])
    files.write("half", [b"both halves"])
    assert files.read("half") == b"both halves"


@pytest.mark.cluster
def test_files_can_be_sent_to_another_process(files: HdfsFiles) -> None:
    files.write("one", [b"one"])
    with pickle.loads(pickle.dumps(files)) as other:  # noqa: S301, our own
        assert other.read("one") == b"one"


# Without servers ------------------------------------------------------------------------------------------------------


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> Iterator[HdfsFiles]:
    """HDFS at a port where nobody listens, with a token that must not be told."""
    monkeypatch.setattr("readerflow.storage.hdfs_files.RETRY_SECONDS", (0.0, 0.0))
    with socket.socket() as held:  # bound, so that nobody else takes it; not listening
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        settings = Settings(hdfs_web=f"http://127.0.0.1:{port}", hdfs_token="SECRET-TOKEN")  # noqa: S106
        with HdfsFiles(settings) as files:
            yield files


def test_a_server_that_is_away_is_named_with_the_fix_and_without_the_token(nobody: HdfsFiles) -> None:
    for ask in (
        lambda: nobody.status("a"),
        lambda: nobody.list("a"),
        lambda: nobody.write("a", [b"a"]),
        lambda: nobody.rename("a", "b"),
        lambda: nobody.remove("a"),
    ):
        with pytest.raises(ArchiveUnavailable, match=r"127\.0\.0\.1:\d+ can't be reached .*readerflow up.*") as raised:
            ask()
        seen: BaseException | None = raised.value
        while seen is not None:
            assert "SECRET" not in str(seen)
            seen = seen.__cause__


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (HdfsError("Cannot create file. Name node is in safe mode.", exception="SafeModeException"),
         ArchiveUnavailable, "safe mode"),
        (HdfsError("Namenode is in startup mode", exception="RetriableException"), ArchiveUnavailable, "is starting"),
        (HdfsError("File /a could only be written to 0 of the 1 minReplication nodes.", exception="IOException"),
         ArchiveUnavailable, "start the DataNodes"),
        (HdfsError("Failed to find datanode, suggest to check cluster health.", exception="IOException"),
         ArchiveUnavailable, "start the DataNodes"),
        (HdfsError("Could not obtain block", exception="BlockMissingException"),
         ArchiveUnavailable, "start the DataNodes"),
        (HdfsError("Permission denied: user=x", exception="AccessControlException"), ArchiveRefused, "HDFS_USER"),
        (HdfsError("Authentication failure. Check your credentials."), ArchiveRefused, "HDFS_TOKEN"),
        (HdfsError("token is expired", exception="InvalidToken"), ArchiveRefused, "HDFS_TOKEN"),
        (HdfsError("The DiskSpace quota", exception="DSQuotaExceededException"), ArchiveRefused, "quota"),
        (HdfsError("odd", exception="IOException"), ArchiveUnavailable, "NameNode's log"),
        (HdfsError("File does not exist", exception="FileNotFoundException"), FileNotFoundError, "/a"),
        (requests.exceptions.SSLError("certificate verify failed"), ArchiveRefused, "HDFS_CA_FILE"),
        (requests.ReadTimeout("slow"), ArchiveUnavailable, "HDFS_TIMEOUT"),
        (requests.ConnectTimeout("slow"), ArchiveUnavailable, "HDFS_TIMEOUT"),
        (requests.ConnectionError("refused"), ArchiveUnavailable, "HDFS_WEB"),
        (requests.ConnectionError("refused", request=requests.Request("PUT", "http://data1:9864/a?delegation=S")),
         ArchiveUnavailable, "the DataNode at data1:9864, which"),
    ],
)  # fmt: skip
def test_each_failure_names_its_fix(error: Exception, kind: type[Exception], text: str) -> None:
    found = translated(error, Settings(), "/a")
    assert type(found) is kind
    assert text in str(found)
