"""Reading a generation's files ahead: all of them, unless they are too large, and never an error."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NoReturn

import pytest

from readerflow.storage import read_ahead
from readerflow.storage.read_ahead import ReadAhead


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a").write_bytes(b"a" * 10_000)
    (tmp_path / "sub" / "b").write_bytes(b"b" * 300)
    (tmp_path / "empty").touch()
    return tmp_path


def opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that a whole reading opens."""
    names: list[str] = []
    real = Path.open

    def spy(path: Path, *args: object, **kwargs: object) -> object:
        names.append(path.name)
        return real(path, *args, **kwargs)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", spy)
    ahead = ReadAhead(folder)
    deadline = time.monotonic() + 30
    while ahead._thread.is_alive():
        assert time.monotonic() < deadline
        time.sleep(0.001)
    ahead.close()
    return names


def test_all_files_are_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert opened(folder, monkeypatch) == ["a", "empty", "b"]


def test_a_folder_that_does_not_fit_is_left_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_ahead, "_memory_bytes", lambda: 4 * 10_300 - 4)
    assert opened(folder, monkeypatch) == []


def test_a_folder_that_is_gone_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a").touch()

    def gone(path: Path, *args: object, **kwargs: object) -> NoReturn:
        raise FileNotFoundError(f"{path} is gone")

    monkeypatch.setattr(Path, "open", gone)
    with caplog.at_level("INFO"):
        ahead = ReadAhead(tmp_path)
        ahead._thread.join(30)
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert "is gone" in caplog.text
