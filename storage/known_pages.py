"""The pages of a generation that a process has read, found again by any key between the first and the last of them."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Hashable
from operator import itemgetter

import pyarrow as pa

from .cassandra_pages import Key, last_key
from .recent import Recent

#: Of so many pages of a view a process remembers the places; then it begins anew, since most of them are not kept.
MAX_PLACES = 20_000
_FIRST = itemgetter(0)


class KnownPages:
    """Finds pages of one generation in what a process keeps of all. Threads may share it.

    :param kept: the pages, within a bound of bytes.
    """

    def __init__(self, generation: str, kept: Recent[pa.RecordBatch]) -> None:
        self._generation = generation
        self._kept = kept
        self._places: dict[str, list[tuple[Key, Key]]] = {}
        self._lock = threading.Lock()

    def find(self, view: str, key: Key) -> pa.RecordBatch | None:
        """The page that a key lies in; None when it is not known, or the key lies between two pages."""
        places = self._places.get(view, [])
        number = bisect_right(places, key, key=_FIRST) - 1
        if number < 0:
            return None
        first, last = places[number]
        return self._kept.get(self._name(view, first)) if key <= last else None

    def keep(self, view: str, first: Key, page: pa.RecordBatch) -> None:
        """Remember a page by its first key."""
        place = first, last_key(view, page)
        with self._lock:
            places = self._places.get(view, [])
            number = bisect_right(places, first, key=_FIRST)
            if not number or places[number - 1] != place:
                # Who searches meanwhile goes on in the list that it has.
                before = places if len(places) < MAX_PLACES else []
                number = min(number, len(before))
                self._places[view] = [*before[:number], place, *before[number:]]
        self._kept.put(self._name(view, first), page, page.nbytes)

    def _name(self, view: str, first: Key) -> Hashable:
        return self._generation, view, first
