"""Fixtures that all rooms share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

HRWIKI = "clickstream/clickstream-hrwiki-2025-03.tsv.gz"


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real data; tests that need it are skipped where READERFLOW_DATA does not name one."""
    folder = os.environ.get("READERFLOW_DATA")
    if not folder or not (Path(folder) / HRWIKI).exists():
        pytest.skip("set READERFLOW_DATA to a folder with the real dumps")
    return Path(folder)


@pytest.fixture(autouse=True)
def no_settings_of_the_developer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tests see default settings: no variables (READERFLOW_DATA stays), no readerflow.toml."""
    for name in [name for name in os.environ if name.startswith("READERFLOW_") and name != "READERFLOW_DATA"]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
