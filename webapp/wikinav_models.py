"""Shapes of WikiNav's routes; see :mod:`.models`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .models import TITLE, Answer, Asked, Envelope
from .months_models import SideName


class LanguagePath(Asked):
    lang: str = Field(description="A language code, like hr; short for hrwiki.")
    title: str = TITLE
    side: SideName
    month: str = Field(description="YYYY-MM or `latest`.")


class WikiNavQuery(Asked):
    start: int = Field(1, ge=1, description="The first row, counted from 1.")
    limit: int = Field(20, ge=1, le=10_000)
    sort: Literal["desc", "asc"] = "desc"


class WikiNavItem(Answer):
    title: str
    views: int = Field(description="Clicks: batch + live.")
    batch: int
    live: int
    link_type: str


class WikiNavList(Envelope):
    start: int
    limit: int
    sort: str
    total_count: int
    title: str
    results: list[WikiNavItem]
    next: str = Field(description="The address of the next page; empty on the last.")


class WikiNavMeta(Answer):
    month: str
    languages: list[str]
