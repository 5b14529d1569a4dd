"""All settings: type, default and help text in one place. Order: flag > environment > ``readerflow.toml`` > default.

Unknown keys of the file and unknown ``READERFLOW_`` variables are refused, since a misspelt setting that is silently
ignored is the worst kind.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from .cluster_settings import ClusterSettings
from .errors import ReaderFlowError

PREFIX = "READERFLOW_"
FILE = Path("readerflow.toml")


class BadSettings(ReaderFlowError):
    """A setting is unknown or has a value of the wrong kind."""


class Settings(ClusterSettings):
    """What can be set. Each field is also the variable ``READERFLOW_<NAME>`` and a key of ``readerflow.toml``."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    profile: Literal["embedded", "cluster"] = Field(
        "embedded",
        description="Engines behind the ports: `embedded` needs nothing but Python packages; `cluster` takes Kafka, "
        "HDFS, Spark and Cassandra.",
    )
    home: Path = Field(Path(".readerflow"), description="Folder of all data.")
    data: Path | None = Field(None, description="Folder with dumps that `demo` may use (it looks below it too).")
    log_format: Literal["plain", "json"] = Field("plain", description="Messages for people, or one JSON object a line.")

    max_rejects: float = Field(0.01, ge=0, le=1, description="Share of rejected lines above which `preprocess` stops.")
    min_clicks: int = Field(10, ge=1, description="Pairs with fewer clicks are rejected, as their publisher does.")
    dump_url: str = Field(
        "https://dumps.wikimedia.org/other/clickstream", description="Where `fetch` finds monthly dumps."
    )
    http_timeout: float = Field(30.0, gt=0, description="Seconds without an answer after which `fetch` tries again.")

    partitions: int = Field(
        8, ge=1, le=256, description="Partitions of a new event log; a log keeps the number it has."
    )
    segment_rows: int = Field(2_000_000, ge=1, description="Entries after which the archiver ends a file.")
    segment_bytes: int = Field(
        512 << 20, ge=1, description="Bytes of entries, as they lie in memory, after which the archiver ends a file."
    )
    segment_seconds: float = Field(60.0, gt=0, description="Seconds after which a following archiver ends a file.")
    poll_seconds: float = Field(0.5, gt=0, description="Pause of a following archiver or stream that has caught up.")
    batch_entries: int = Field(
        500_000, ge=1, description="Log entries that one micro-batch of the stream holds at most."
    )

    damping: float = Field(0.85, gt=0, lt=1, description="Damping factor of the ranks.")
    rank_tolerance: float = Field(
        1e-10, gt=0, description="L1 distance of two rank vectors at which ranks have converged."
    )
    ranking_rows: int = Field(100_000, ge=1, description="Rows that each ranking keeps.")
    kept_generations: int = Field(2, ge=1, description="Generations of a month that are kept, with the current one.")
    memory_limit: str = Field("6GB", description="Memory that the batch engine may use before it spills to disk.")
    threads: int = Field(0, ge=0, description="Threads of the batch engine; 0 means one a core.")

    trend_threshold: float = Field(6.0, gt=0, description="Score from which an article counts as trending.")
    trend_min_clicks: int = Field(20, ge=1, description="Clicks that a trending article has in its window at least.")

    host: str = Field("127.0.0.1", description="Address that the site listens on.")
    port: int = Field(8000, ge=0, le=65535, description="Port of the site; 0 takes a free one.")
    web_workers: int = Field(2, ge=1, description="Processes of the site; one a core serves most.")
    web_threads: int = Field(400, ge=2, description="Threads of a process; each open live stream holds one.")
    live_clients: int = Field(300, ge=0, description="Live streams that a process serves; more get 503.")

    testing: bool = Field(False, description="Allows crash points; for the project's own tests.")
    crash_at: str | None = Field(None, description="`<point>[:kill|raise|hang]`: dies there; only with `testing`.")

    @model_validator(mode="after")
    def _threads_are_left_for_pages(self) -> Settings:
        if self.web_threads <= self.live_clients:
            raise ValueError(f"web_threads ({self.web_threads}) must be above live_clients ({self.live_clients})")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=FILE)


def load(**flags: Any) -> Settings:
    """Read the settings; flags that are None count as not given.

    :raises BadSettings: naming the setting and what is wrong with it.
    """
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    unknown = sorted(name for name in os.environ if name.upper().startswith(PREFIX) and name.upper() not in known)
    if unknown:
        raise BadSettings(f"unknown variable {', '.join(unknown)}; docs/reference/settings.md lists all settings")
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSettings(f"{FILE} is not valid TOML: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "web_threads"
        raise BadSettings(f"setting '{where}': {first['msg']}; docs/reference/settings.md lists all settings") from None
