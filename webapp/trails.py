"""A trail: articles that a visitor went through, forwards as readers click or back to where they came from.

In an address it is ``trail``, a title for each article, and ``steps``, a letter for each step: ``f`` forwards (the
default), ``b`` back. ``?trail=Zagreb&trail=Sava&trail=Sisak&steps=fb`` goes from Zagreb to Sava, and from there back to
Sisak, from where readers came to Sava.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from readerflow.common.titles import from_request

from . import urls
from .problems import BadRequest

#: A longer trail loses its first articles; so does one whose address would be too long.
MAX_TRAIL = 20
MAX_ADDRESS = 3_600
FORWARD, BACK = "f", "b"


@dataclass(frozen=True)
class Trail:
    """Stored titles, and the letter of the step to each but the first."""

    titles: tuple[str, ...]
    steps: str

    @classmethod
    def parse(cls, titles: Sequence[str], steps: str | None) -> Trail:
        """Read a trail as an address holds it.

        :raises BadRequest: when it is none.
        """
        if not titles or not all(titles):
            raise BadRequest("a trail begins with an article: give its title as 'trail'")
        if len(titles) > MAX_TRAIL:
            raise BadRequest(f"a trail of {len(titles)} articles; the longest has {MAX_TRAIL}")
        steps = FORWARD * (len(titles) - 1) if steps is None else steps
        if len(steps) != len(titles) - 1 or set(steps) - {FORWARD, BACK}:
            raise BadRequest(f"'steps' has a letter for each of the {len(titles) - 1} steps: f (forwards) or b (back)")
        return cls(tuple(map(from_request, titles)), steps)

    @property
    def current(self) -> str:
        return self.titles[-1]

    def up_to(self, number: int) -> Trail:
        """The trail's first articles."""
        return Trail(self.titles[:number], self.steps[: number - 1])

    def to(self, title: str, step: str) -> Trail:
        """The trail with one more step; without its first articles where it would become too long."""
        longer = Trail((*self.titles, title), self.steps + step)
        while len(longer.titles) > MAX_TRAIL or (len(longer.titles) > 1 and len(longer.url("", "")) > MAX_ADDRESS):
            longer = Trail(longer.titles[1:], longer.steps[1:])
        return longer

    def url(self, wiki: str, month: str, *more: str, **query: object) -> str:
        return urls.explore_url(wiki, month, self.titles, self.steps, *more, **query)
