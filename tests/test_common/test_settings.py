"""Settings: where they come from and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from readerflow.common.settings import BadSettings, Settings, load


def test_a_flag_beats_the_environment_which_beats_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("readerflow.toml").write_text("partitions = 2\nport = 2\nthreads = 2\n")
    monkeypatch.setenv("READERFLOW_PORT", "3")
    monkeypatch.setenv("READERFLOW_THREADS", "3")
    settings = load(threads=4, host=None)
    assert (settings.partitions, settings.port, settings.threads, settings.host) == (2, 3, 4, "127.0.0.1")


@pytest.mark.parametrize(
    ("toml", "variable", "names"),
    [
        ("homme = 'x'", None, "homme"),
        ("port = 'many'", None, "port"),
        ("port = ", None, "readerflow.toml"),
        ("", "READERFLOW_HOMME", "READERFLOW_HOMME"),
    ],
)
def test_what_is_unknown_or_wrong_is_refused_by_name(
    toml: str, variable: str | None, names: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("readerflow.toml").write_text(toml)
    if variable:
        monkeypatch.setenv(variable, "x")
    with pytest.raises(BadSettings, match=names):
        load()


def test_every_setting_has_a_help_text() -> None:
    assert all(field.description for field in Settings.model_fields.values())
