"""``next`` tokens: where a list goes on. Opaque text to clients; base64url of JSON, checked when it comes back."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any, cast

from readerflow.storage.serving_views import PageKey

from .merge import Count, Neighbour, count, total
from .problems import BadRequest

MAX_TOKEN_CHARS = 2_000


def _encode(fields: list[Any]) -> str:
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def _decode(token: str, *shapes: tuple[type | tuple[type, ...], ...]) -> list[Any]:
    try:
        if len(token) > MAX_TOKEN_CHARS:
            raise ValueError("too long")
        fields = json.loads(base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True))
        json.dumps(fields, ensure_ascii=False).encode()  # lone surrogates are no text
    except (binascii.Error, ValueError, RecursionError):
        raise _bad() from None
    shape = next((shape for shape in shapes if isinstance(fields, list) and len(fields) == len(shape)), None)
    if shape is None:
        raise _bad()
    for value, kind in zip(fields, shape, strict=True):
        if not isinstance(value, kind) or isinstance(value, bool):
            raise _bad()
        if isinstance(value, int) and not 0 <= value < 2**63:
            raise _bad()
    return cast(list[Any], fields)


def _bad() -> BadRequest:
    return BadRequest("'next' is not a token that this site gave; begin again without it")


_NAME = (str, type(None))
_NEIGHBOUR = (_NAME, _NAME, int, int, int, int, str, str)
_RANKING = (_NAME, int)
_CHANGES = (str, str, int)


def generation_of(token: str) -> str | None:
    """The generation that a token's list rests on.

    :raises BadRequest: when this site did not write it.
    """
    return cast("str | None", _decode(token, _NEIGHBOUR, _RANKING)[0])


@dataclass(frozen=True)
class NeighbourPage:
    """Where a page of neighbours begins, and what the pages before it have shown."""

    generation: str | None
    incarnation: str | None
    rows: int
    shown: Count
    after: PageKey | None

    @classmethod
    def first(cls, generation: str | None, incarnation: str | None) -> NeighbourPage:
        return cls(generation, incarnation, 0, count(0, 0), None)

    @classmethod
    def parse(cls, token: str) -> NeighbourPage:
        """Read a token.

        :raises BadRequest: when this site did not write it.
        """
        generation, incarnation, rows, batch, live, clicks, title, link_type = _decode(token, _NEIGHBOUR)
        return cls(generation, incarnation, rows, count(batch, live), PageKey(clicks, title, link_type))

    def following(self, shown: list[Neighbour], here: Count) -> NeighbourPage:
        """The page after this one, which showed the neighbours ``shown`` with ``here`` clicks."""
        clicks = total((self.shown, here))
        return NeighbourPage(self.generation, self.incarnation, self.rows + len(shown), clicks, shown[-1].key)

    def token(self) -> str:
        if self.after is None:
            raise ValueError("the first page has no token")
        key = self.after
        return _encode(
            [
                self.generation,
                self.incarnation,
                self.rows,
                self.shown["batch"],
                self.shown["live"],
                key.clicks,
                key.title,
                key.link_type,
            ]
        )


@dataclass(frozen=True)
class RankingPage:
    """Where a page of a ranking begins: after a position."""

    generation: str | None
    position: int

    @classmethod
    def parse(cls, token: str) -> RankingPage:
        """Read a token.

        :raises BadRequest: when this site did not write it.
        """
        generation, position = _decode(token, _RANKING)
        return cls(generation, position)

    def token(self) -> str:
        return _encode([self.generation, self.position])


@dataclass(frozen=True)
class ComparisonPage:
    """Where a page of what changed from one generation (``against``) to another begins: after a position."""

    generation: str
    against: str
    position: int

    @classmethod
    def parse(cls, token: str) -> ComparisonPage:
        """Read a token.

        :raises BadRequest: when this site did not write it.
        """
        generation, against, position = _decode(token, _CHANGES)
        return cls(generation, against, position)

    def token(self) -> str:
        return _encode([self.generation, self.against, self.position])
