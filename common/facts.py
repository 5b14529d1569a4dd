"""Dataclasses of facts (footers, manifests, progress) as JSON text, both ways, checked by their types."""

from __future__ import annotations

from collections.abc import Hashable
from functools import cache
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter

T = TypeVar("T")


@cache
def _cached_adapter(kind: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(cast(Any, kind))


def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    return _cached_adapter(cast(Hashable, kind))


def to_json(facts: object) -> str:
    """Write a dataclass as JSON; times are naive UTC in ISO 8601."""
    return _adapter(type(facts)).dump_json(facts).decode()


def from_json(kind: type[T], text: str | bytes) -> T:
    """Read what :func:`to_json` wrote.

    :raises pydantic.ValidationError: when the text does not hold a ``kind``.
    """
    value: T = _adapter(kind).validate_json(text)
    return value


def to_dict(facts: object) -> dict[str, Any]:
    """A dataclass as plain JSON values."""
    value: dict[str, Any] = _adapter(type(facts)).dump_python(facts, mode="json")
    return value
