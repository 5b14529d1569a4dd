"""The word index of a generation's articles: flat files that readers map into memory.

Articles are numbered by clicks in, the most clicked first (ties by title bytes), so numbers in ascending order are hits
in the order of their traffic. The words of their titles (:mod:`.title_words`) are numbered in byte order, so those that
begin with a query's word are a range. Both directions lie there: the articles of each word, and the words of each
article, with which the hits of one word are tested for the others. A range may hold a million articles: beside every
BLOCK of them stand the HEAD smallest numbers, which is where the first hits of a wide range come from.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from sys import getsizeof

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import coo_array

from .recent import Recent
from .serving_views import HITS
from .title_files import Titles, place_of, write_titles
from .title_words import query_words, words_of

BLOCK, HEAD = 4_096, 64
#: Titles whose words are cut out at a time.
CHUNK = 131_072
#: What a process keeps of the hits of its latest queries, of all generations together.
HITS_BYTES = 32 << 20
#: So many numbers are made distinct by sorting, more by marking all articles that are among them.
SORTED_NUMBERS = 100_000
#: So many articles of one word are tested for the others at a time, until there are enough.
TESTED_NUMBERS = 16_384

Numbers = npt.NDArray[np.int32]
#: Raises when a reader's time is over.
Check = Callable[[], None]
VOCABULARY = "vocabulary"
_ARRAYS = ("clicks", "article_offsets", "articles", "word_offsets", "words", "heads")
NO_NUMBERS: Numbers = np.zeros(0, np.int32)
_ENCODED = pa.dictionary(pa.int32(), pa.large_string())


def write_index(folder: Path, titles: pa.Array, in_clicks: pa.Array) -> None:
    """Write the index of articles.

    :param titles: text in byte order, each once.
    :param in_clicks: int64, shape (titles,).
    """
    folder.mkdir(parents=True, exist_ok=True)
    clicks = in_clicks.to_numpy()
    order = np.argsort(-clicks, kind="stable")
    titles = titles.cast(pa.large_string()).take(pa.array(order))
    words, matrix = _inverted(titles)
    of_article = matrix.T.tocsr()
    arrays = clicks[order], matrix.indptr, matrix.indices, of_article.indptr, of_article.indices, _heads(matrix.indices)
    for name, array in zip(_ARRAYS, arrays, strict=True):
        np.save(folder / f"{name}.npy", array)
    write_titles(folder, titles)
    write_titles(folder, words, VOCABULARY)


def _inverted(titles: pa.Array) -> tuple[pa.Array, coo_array]:
    """The words in byte order, and a matrix (CSR, int32) that is true where a word (row) is in a title (column)."""
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        parts = list(pool.map(partial(_chunk_words, titles), range(0, len(titles), CHUNK)))
    encoded = pa.chunked_array([words for words, _ in parts], _ENCODED).unify_dictionaries()
    found = encoded.chunk(0).dictionary if encoded.num_chunks else pa.array([], pa.large_string())
    order = pc.array_sort_indices(found).to_numpy()
    place = np.empty(len(order), np.int32)
    place[order] = np.arange(len(order))
    rows = np.concatenate([place[:0], *(place[chunk.indices.to_numpy()] for chunk in encoded.chunks)])
    columns = np.concatenate([place[:0], *(numbers for _, numbers in parts)])
    # A title that has a word twice counts once.
    marks = np.ones(len(rows), np.bool_)
    return found.take(pa.array(order)), coo_array((marks, (rows, columns)), (len(order), len(titles))).tocsr()


def _chunk_words(titles: pa.Array, start: int) -> tuple[pa.Array, Numbers]:
    words, places = words_of(titles.slice(start, CHUNK))
    return words.dictionary_encode(), (places + start).astype(np.int32)


def _heads(articles: Numbers) -> Numbers:
    """The HEAD smallest numbers of each full block, ascending: shape (blocks, HEAD)."""
    blocks = articles[: len(articles) // BLOCK * BLOCK].reshape(-1, BLOCK)
    return np.sort(np.partition(blocks, HEAD, axis=1)[:, :HEAD], axis=1)


@dataclass(frozen=True)
class _Word:
    """A query's word: the range of the vocabulary that begins with it, and the range of those words' articles."""

    words: tuple[int, int]
    articles: slice
    needed: int  # so many words of a title must begin with it

    @property
    def width(self) -> int:
        return int(self.articles.stop - self.articles.start)


class TitleIndex:
    """Reads what :func:`write_index` wrote. Threads may share it.

    An article is a hit of a query when each of the query's words begins another word of its title. A query without
    words has no hits.
    """

    def __init__(self, folder: Path, hits: Recent[Numbers] | None = None) -> None:
        """Open the index in a folder, whose name tells it from others.

        :param hits: keeps those of whole searches, by (folder, words); indexes may share it. None: one of its own.
        :raises FileNotFoundError: when it is not there.
        """
        # Plain arrays over the maps: each slice of a memmap costs as much as a look-up.
        arrays = (np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r")) for name in _ARRAYS)
        self._clicks, self._article_offsets, self._articles, self._word_offsets, self._words, self._heads = arrays
        self._titles, self._vocabulary = Titles(folder), Titles(folder, VOCABULARY)
        self._folder = str(folder)
        self._hits = Recent[Numbers](HITS_BYTES) if hits is None else hits

    def suggest(self, query: str, limit: int, check: Check = lambda: None) -> pa.Table:
        """The first hits of a query: HITS.

        :param check: called before each TESTED_NUMBERS articles are tested; what it raises ends the search.
        """
        words = query_words(query)
        return self._rows(self._first(self._parse(words), limit, check) if words else NO_NUMBERS)

    def search(self, query: str, after: int, limit: int, check: Check = lambda: None) -> tuple[pa.Table, int]:
        """Hits of a query with a position > after (HITS), and how many there are in all.

        :param check: as in :meth:`suggest`.
        """
        hits = self._all(query_words(query), check)
        start = int(np.searchsorted(hits, after))
        return self._rows(hits[start : start + limit]), len(hits)

    def _rows(self, numbers: Numbers) -> pa.Table:
        columns = [pa.array(numbers + 1), self._titles.of(pa.array(numbers)), pa.array(self._clicks[numbers])]
        return pa.table(columns, HITS.names).cast(HITS)

    def _parse(self, words: list[str]) -> list[_Word]:
        """A query's words, the one with fewest articles first.

        Words that begin alike need as many words of a title. By Hall's theorem that is enough for each to have one of
        its own, since two ranges have nothing in common unless one holds the other.
        """
        found, texts = [], sorted(word.encode() for word in words)
        for text in texts:
            # No UTF-8 text holds the byte ff, so it ends what begins with the word.
            beyond = text + b"\xff"
            first, end = (place_of(self._vocabulary.array, one) for one in (text, beyond))
            articles = slice(int(self._article_offsets[first]), int(self._article_offsets[end]))
            found.append(_Word((first, end), articles, bisect_left(texts, beyond) - bisect_left(texts, text)))
        return sorted(found, key=lambda word: word.width)

    def _first(self, asked: list[_Word], limit: int, check: Check) -> Numbers:
        """The first hits, from the heads of blocks where these tell."""
        articles = asked[0].articles
        first, last = -(-articles.start // BLOCK), articles.stop // BLOCK
        if last - first < 2:
            return self._having(asked, _distinct(self._articles[articles]))[:limit]
        heads = self._heads[first:last]
        edges = self._articles[articles.start : first * BLOCK], self._articles[last * BLOCK : articles.stop]
        found = _distinct(np.concatenate([heads.ravel(), *edges]))
        # What is not above the smallest end of a head is in the heads or at the edges.
        hits = self._having(asked, found[: np.searchsorted(found, heads[:, -1].min(), side="right")])
        return hits[:limit] if len(hits) >= limit else self._first_of_all(asked, limit, check)

    def _first_of_all(self, asked: list[_Word], limit: int, check: Check) -> Numbers:
        """The first hits among all articles of the first word, of which as many are tested as it takes."""
        hits = NO_NUMBERS
        for some in self._pieces(asked, check):
            hits = np.concatenate([hits, some])
            if len(hits) >= limit:
                break
        return hits[:limit]

    def _all(self, words: list[str], check: Check) -> Numbers:
        """All hits, ascending."""
        key = (self._folder, *words)
        known = self._hits.get(key)
        if known is None:
            asked = self._parse(words)
            hits = np.concatenate([NO_NUMBERS, *self._pieces(asked, check)]) if asked else NO_NUMBERS
            known = self._hits.put(key, hits, hits.nbytes + getsizeof(key) + sum(map(getsizeof, key)))
        return known

    def _pieces(self, asked: list[_Word], check: Check) -> Iterator[Numbers]:
        """All hits, ascending, by pieces."""
        articles = self._of(asked[0])
        for start in range(0, len(articles), TESTED_NUMBERS):
            check()
            yield self._having(asked, articles[start : start + TESTED_NUMBERS])

    def _of(self, word: _Word) -> Numbers:
        """The articles of a word, ascending."""
        articles = self._articles[word.articles]
        if len(articles) <= SORTED_NUMBERS:
            return _distinct(articles)
        marks = np.zeros(len(self._titles), np.bool_)
        marks[articles] = True
        return np.flatnonzero(marks).astype(np.int32)

    def _having(self, asked: list[_Word], articles: Numbers) -> Numbers:
        """Those of some articles of the first word that have as many words as are needed of each."""
        for place, word in enumerate(asked):
            if (place or word.needed > 1) and len(articles):
                articles = articles[self._count(word, articles) >= word.needed]
        return articles

    def _count(self, word: _Word, articles: Numbers) -> npt.NDArray[np.int64]:
        """How many words of each article's title begin with a word; each has one at least."""
        starts, ends = self._word_offsets[articles], self._word_offsets[articles + 1]
        lengths = ends - starts
        begins = np.cumsum(lengths) - lengths
        words = self._words[np.repeat(starts - begins, lengths) + np.arange(int(lengths.sum()))]
        first, end = word.words
        return np.add.reduceat(((words >= first) & (words < end)).astype(np.int64), begins)


def _distinct(numbers: Numbers) -> Numbers:
    """Numbers in ascending order, each once."""
    ranked = np.sort(numbers)
    return ranked[np.concatenate([np.ones(1, np.bool_), ranked[1:] != ranked[:-1]])] if len(ranked) else ranked
