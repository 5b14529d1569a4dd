"""What a replay is asked for, and the ``source`` that names it in every record."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field

import numpy as np

from readerflow.common.months import Month
from readerflow.common.records import md5_number_lower
from readerflow.common.titles import check_wiki
from readerflow.storage.replays import ReplayFacts

from .noise import NOISE_PROFILES, Burst, burst_weights, noise_weights, plain_weights
from .replay import Grain, Numbers, Slots, cumulative

#: Changes with the law: a replay by another law is another source.
LAW = "readerflow replay 1"


@dataclass(frozen=True)
class ReplayPlan:
    """One replay of a month. Equal plans over equal pairs give the same records."""

    wiki: str
    month: Month
    grain: Grain = Grain.HOUR
    seed: int = 0
    bursts: tuple[Burst, ...] = field(default=())
    noise: bool = False

    def __post_init__(self) -> None:
        check_wiki(self.wiki)

    @classmethod
    def of(cls, facts: ReplayFacts) -> ReplayPlan:
        """The plan of a replay that was begun before."""
        bursts = tuple(Burst.parse(text) for text in facts.bursts)
        return cls(facts.wiki, Month.parse(facts.month), Grain(facts.grain), facts.seed, bursts, facts.noise)

    @property
    def slots(self) -> Slots:
        return Slots(self.month, self.grain)

    def source(self, partitions: int, checksum: str) -> str:
        """16 hex digits that stand for this plan over pairs of this checksum in a log of so many partitions."""
        profile = hashlib.sha256(plain_weights(self.month).astype("<i8").tobytes()).hexdigest()
        parts = [
            LAW, self.wiki, str(self.month), self.grain.value, self.seed, profile,
            sorted(map(str, self.bursts)), self.noise, partitions, checksum,
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    def profiles(self) -> Profiles:
        """The profiles of all articles.

        :raises BadInput: when a burst lies outside the month.
        """
        plain = plain_weights(self.month)
        usual = noise_weights(self.month, self.seed) if self.noise else plain[np.newaxis]
        # In the order that the source has them too: each burst rounds, so that the order shows where they overlap.
        bursts = sorted(self.bursts, key=str)
        titles = sorted({burst.title for burst in bursts})
        special = []
        for title in titles:
            base = usual[usual_profile(title, self.seed) if self.noise else 0]
            special.append(burst_weights(base, self.month, [burst for burst in bursts if burst.title == title]))
        weights = np.concatenate([usual, np.array(special)]) if special else usual
        return Profiles(cumulative(weights), {title: len(usual) + place for place, title in enumerate(titles)})


@dataclass(frozen=True)
class Profiles:
    """W of each profile at the borders of hours, and the articles that have one of their own."""

    weights: Numbers  # shape (profiles, hours + 1)
    own: dict[str, int]


def usual_profile(article: str, seed: int) -> int:
    """The noise profile that an article picks."""
    return md5_number_lower(f"noise\t{seed}\t{article}") % NOISE_PROFILES


#: The same as :func:`usual_profile` in DuckDB SQL, and the remainder r of each pair.
USUAL_PROFILE_SQL = f"cast(md5_number(concat_ws(chr(9), 'noise', $seed, article)) >> 64 as ubigint) % {NOISE_PROFILES}"
REMAINDER_SQL = "cast(md5_number(concat_ws(chr(9), $seed, referrer, article, link_type)) >> 64 as ubigint) & 4294967295"
