"""Reading files ahead: all of a folder, none of one that is too large, and never an error."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import NoReturn

import pytest

from readerflow.storage import file_warming
from readerflow.storage.file_warming import FileWarming


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a").write_bytes(b"a" * 10_000)
    (tmp_path / "sub" / "b").write_bytes(b"b" * 300)
    (tmp_path / "empty").touch()
    return tmp_path


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are opened."""
    names: list[str] = []
    real = Path.open

    def spy(path: Path, *args: object, **kwargs: object) -> object:
        names.append(path.name)
        return real(path, *args, **kwargs)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", spy)
    return names


def test_all_files_of_a_folder_are_read(folder: Path, opened: list[str]) -> None:
    FileWarming().read(folder)
    assert opened == ["a", "empty", "b"]


def test_folders_that_do_not_fit_together_are_left_alone(
    folder: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_warming, "_memory_bytes", lambda: 4 * 10_300)
    warming = FileWarming()
    warming.read(folder)
    warming.read(folder)
    assert opened == ["a", "empty", "b"]


def test_a_file_that_is_gone_is_no_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def gone(path: Path, *args: object, **kwargs: object) -> NoReturn:
        raise FileNotFoundError(f"{path} is gone")

    monkeypatch.setattr(Path, "open", gone)
    with caplog.at_level("INFO"):
        FileWarming().read(folder)
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert "is gone" in caplog.text


def test_whoever_closes_ends_what_is_read_beside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    began, go_on, seen = threading.Event(), threading.Event(), list[str]()
    real = Path.open

    def slow(path: Path, *args: object, **kwargs: object) -> object:
        seen.append(path.name)
        began.set()
        assert go_on.wait(30)
        return real(path, *args, **kwargs)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", slow)
    warming = FileWarming()
    warming.add(folder)
    warming.add(folder)
    assert began.wait(30)
    threading.Timer(0.1, go_on.set).start()
    warming.close()
    assert seen == ["a"]
