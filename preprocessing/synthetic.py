"""Synthetic months of any size, shaped like published ones and declared synthetic by their file's name.

Sizes interpolate between two real months by the logarithm of their rows: hrwiki 2025-03 (192 thousand) and enwiki in
2025 (34 million). Row shares of the types and classes, quantiles of counts with Pareto tails, degrees and titles follow
their published statistics; the main page leads. The dialect is the current one, quoted.
"""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from readerflow.common.errors import BadInput
from readerflow.common.months import Month
from readerflow.common.progress import Progress, silent
from readerflow.common.records import CLASSES, MAX_PAIR_CLICKS

from .names import SYNTHETIC, identify, is_synthetic
from .synthetic_titles import titles

Ints = npt.NDArray[np.int64]
_TYPES = ("link", "external", "other")
_SMALL_ROWS, _LARGE_ROWS = 191_934, 34_000_000
_CHUNK_ROWS = 500_000
_THRESHOLD = 10


class _Counts(NamedTuple):
    """Quantiles of counts from 0 to 0.99, and the exponent of the Pareto tail from there."""

    at: tuple[float, ...]
    values: tuple[float, ...]
    alpha: float


_AT = (0.0, 0.05, 0.25, 0.5, 0.75, 0.85, 0.9, 0.95, 0.99)
_EXTERNAL = _Counts(_AT, (10, 10, 15, 27, 70, 131, 196, 371, 1157), 2.67)
_LINK = _Counts(_AT, (10, 10, 12, 17, 27, 38, 49, 74, 176), 2.91)
_OTHER = _Counts(_AT, (10, 10, 11, 14, 21, 28, 33, 48, 100), 2.92)
#: What counts above the threshold are multiplied by, class by class (search, empty, internal, external, other).
_CLASS_FACTORS = (1.5, 0.38, 0.15, 0.17, 0.85)


class _Shape(NamedTuple):
    """What depends on the size. Shares are of rows; factors multiply counts above the threshold."""

    articles: int
    external_rows: int
    link_rows: int
    other_rows: int
    class_rows: tuple[int, ...]
    sources: int
    targets: int
    external_factor: float
    link_factor: float
    other_factor: float
    main_page_share: float  # of all external clicks


def generate(path: Path, wiki: str, month: Month, rows: int, seed: int, progress: Progress = silent) -> None:
    """Write a synthetic dump of exactly ``rows`` pairs, sorted by count; gzip unless the name ends in ``.tsv``.

    The same wiki, month, rows and seed give the same content. Needs about 3 GiB for 34 million rows.

    :raises BadInput: when the file's name does not declare it synthetic, or names another month.
    """
    _check_name(path, wiki, month)
    random = np.random.default_rng([seed, zlib.crc32(wiki.encode()), month.year, month.number])
    shape = _shape(rows)
    referrers, articles, types, counts = _pairs(shape, random)
    # Classes come before the articles among the names that a referrer can have.
    names = pa.concat_arrays([pa.array(CLASSES), _quoted(titles(shape.articles))])
    part = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    with part.open("wb") as file:
        chunks = _texts(names, referrers, articles + len(CLASSES), types, counts)
        done = 0
        for written in _compressed(chunks) if path.suffix == ".gz" else chunks:
            file.write(written)
            done = min(done + _CHUNK_ROWS, rows)
            progress(done, rows)
    os.replace(part, path)


def _check_name(path: Path, wiki: str, month: Month) -> None:
    if not is_synthetic(path):
        raise BadInput(
            f"{path.name} does not declare itself synthetic;"
            f" name it like clickstream-{wiki}-{month}{SYNTHETIC}.tsv.gz so that nobody takes it for real data"
        )
    try:
        named = identify(path)
    except BadInput:
        return
    if named != (wiki, month):
        raise BadInput(f"{path.name} would hold {wiki} {month}; give it that name, or another --wiki and --month")


def _shape(rows: int) -> _Shape:
    size = math.log(max(rows, 1) / _SMALL_ROWS) / math.log(_LARGE_ROWS / _SMALL_ROWS)
    inside = min(max(size, 0.0), 1.0)

    def between(small: float, large: float) -> float:
        return small + (large - small) * inside

    link_rows, other_rows = int(rows * between(0.2657, 0.61)), int(rows * between(0.0125, 0.03))
    external_rows = rows - link_rows - other_rows
    shares = [between(*ends) for ends in ((0.531, 0.38), (0.34, 0.31), (0.122, 0.19), (0.0057, 0.07), (0.0016, 0.05))]
    class_rows = [int(external_rows * share / sum(shares)) for share in shares]
    class_rows[0] += external_rows - sum(class_rows)
    ends = 2 * math.isqrt(link_rows + other_rows) + 2
    articles = max(int(84_400 * math.exp(size * math.log(5_600_000 / 84_400))), max(class_rows), ends)
    return _Shape(
        articles,
        external_rows,
        link_rows,
        other_rows,
        tuple(class_rows),
        sources=min(max(int(articles * between(0.2, 0.5)), ends), articles),
        targets=min(max(int(articles * between(0.36, 0.8)), ends), articles),
        external_factor=between(1, 3.5),
        link_factor=between(1, 5.4),
        other_factor=between(1, 3.3),
        main_page_share=between(0.0124, 0.03),
    )


def _pairs(shape: _Shape, random: np.random.Generator) -> tuple[Ints, Ints, npt.NDArray[np.int8], Ints]:
    """(referrer, article, type, count) of all rows by falling count; referrers below len(CLASSES) are classes."""
    parts = [*_external(shape, random), *_internal(shape, random)]
    counts = np.concatenate([part[3] for part in parts])
    order = np.argsort(-counts, kind="stable")
    types = np.concatenate([np.full(len(part[3]), part[2], np.int8) for part in parts])[order]
    counts = counts[order]
    referrers = np.concatenate([part[0] for part in parts])[order]
    articles = np.concatenate([part[1] for part in parts])[order]
    return referrers, articles, types, counts


def _external(shape: _Shape, random: np.random.Generator) -> Iterator[tuple[Ints, Ints, int, Ints]]:
    """Rows from each class, by falling count. An article's number is its rank of popularity, roughly."""
    popularity = np.log(np.arange(1, shape.articles + 1, dtype=np.float32))
    total = 0
    for number, (rows, factor) in enumerate(zip(shape.class_rows, _CLASS_FACTORS, strict=True)):
        score = popularity + random.normal(0, 0.7, shape.articles).astype(np.float32)
        score[0] = -10  # the main page leads
        chosen = np.argsort(score, kind="stable")[:rows]
        counts = _counts(_EXTERNAL, rows, factor * shape.external_factor)
        total += int(counts.sum())
        if CLASSES[number] == "other-empty" and rows:
            counts[0] = max(int(total * shape.main_page_share), counts[0])
        yield np.full(rows, number, np.int64), chosen, _TYPES.index("external"), counts


def _internal(shape: _Shape, random: np.random.Generator) -> Iterator[tuple[Ints, Ints, int, Ints]]:
    """Rows from articles: links and other, no pair twice, no article to itself."""
    edges = _edges(shape, random)
    ends = (edges[: shape.link_rows], edges[shape.link_rows :])
    kinds = (("link", _LINK, shape.link_factor), ("other", _OTHER, shape.other_factor))
    for some, (name, law, factor) in zip(ends, kinds, strict=True):
        sources = some // shape.articles
        # Popular articles send more readers on.
        score = 0.5 * np.log(sources + 1.0) + random.normal(0, 1, len(some))
        some = some[np.argsort(score.astype(np.float32), kind="stable")]
        yield (
            some // shape.articles + len(CLASSES),
            some % shape.articles,
            _TYPES.index(name),
            _counts(law, len(some), factor),
        )


def _edges(shape: _Shape, random: np.random.Generator) -> Ints:
    """Distinct edges as source * articles + target, a quarter of them with their reverse; in no order."""
    wanted = shape.link_rows + shape.other_rows
    # Targets are popular as well, but not in the order of the sources.
    rank = np.log(np.arange(1, shape.articles + 1, dtype=np.float32))
    targets = np.argsort(rank + random.normal(0, 2, shape.articles).astype(np.float32), kind="stable")
    edges = np.empty(0, np.int64)
    while len(edges) < wanted:
        more = int((wanted - len(edges)) * 1.02) + 16
        start = _ranks(random, more, shape.sources, exponent=0.667, offset=14)
        end = targets[_ranks(random, more, shape.targets, exponent=0.5, offset=5)]
        back = random.random(more) < 0.14
        start, end = np.concatenate([start, end[back]]), np.concatenate([end, start[back]])
        made = (start * shape.articles + end)[start != end]
        edges = np.unique(np.concatenate([edges, made]))
    random.shuffle(edges)
    return edges[:wanted]


def _ranks(random: np.random.Generator, size: int, count: int, *, exponent: float, offset: float) -> Ints:
    """Ranks 0 to count - 1 with weights (rank + offset) ** -exponent."""
    power = 1 - exponent
    low, high = offset**power, (count + offset) ** power
    ranks = (low + random.random(size) * (high - low)) ** (1 / power) - offset
    whole: Ints = ranks.astype(np.int64)
    return whole.clip(0, count - 1)


def _counts(law: _Counts, rows: int, factor: float) -> Ints:
    """``rows`` counts that follow a law exactly, the greatest first."""
    above = (np.arange(rows) + 0.5) / max(rows, 1)
    body = np.exp(np.interp(1 - above, law.at, np.log(law.values)))
    tail = law.values[-1] * (np.minimum(above, 0.01) / 0.01) ** (-1 / (law.alpha - 1))
    counts = np.where(above < 0.01, tail, body)
    clicks: Ints = _THRESHOLD + ((counts - _THRESHOLD) * factor).astype(np.int64)
    return clicks.clip(max=MAX_PAIR_CLICKS)


def _quoted(names: pa.StringArray) -> pa.StringArray:
    """Fields as the current dialect writes them."""
    escaped = pc.replace_substring(pc.replace_substring(names, "\\", "\\\\"), '"', '\\"')
    return pc.if_else(pc.match_substring(names, '"'), pc.binary_join_element_wise('"', escaped, '"', ""), names)


def _texts(
    names: pa.StringArray, referrers: Ints, articles: Ints, types: npt.NDArray[np.int8], counts: Ints
) -> Iterator[bytes]:
    """The lines of the dump, some at a time."""
    type_names = pa.array(_TYPES)
    borders = [*range(0, len(counts), _CHUNK_ROWS), len(counts)]
    for start, end in pairwise(borders):
        some = slice(start, end)
        columns = [
            names.take(pa.array(referrers[some])),
            names.take(pa.array(articles[some])),
            type_names.take(pa.array(types[some])),
            pa.array(counts[some]).cast(pa.string()),
        ]
        lines = pc.binary_join_element_wise(pc.binary_join_element_wise(*columns, "\t"), "", "\n")
        yield lines.buffers()[2].to_pybytes()


def _compressed(texts: Iterable[bytes]) -> Iterator[bytes]:
    """Each text as a gzip member of its own, so that all cores work."""
    cores = os.cpu_count() or 1
    with ThreadPoolExecutor(cores) as pool:
        pending: list[Future[bytes]] = []
        for text in texts:
            pending.append(pool.submit(zlib.compress, text, 1, zlib.MAX_WBITS | 16))
            if len(pending) > cores:
                yield pending.pop(0).result()
        for future in pending:
            yield future.result()
