"""Dataclasses of facts (footers, manifests, progress) as JSON text, both ways, checked by their types."""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter

T = TypeVar("T")


@cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def to_json(facts: object) -> str:
    """Write a dataclass as JSON; times are naive UTC in ISO 8601."""
    return _adapter(facts.__class__).dump_json(facts).decode()


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
