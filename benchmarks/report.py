"""The results of a benchmark run as a page of Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .contestants import ALL_LEAVE_OUT

Results = dict[str, Any]

#: The parts of a run that make all views, and the headings of their tables.
BATCH_PARTS = {"views": "Batch views", "spark": "Batch views on Spark"}


def markdown(results: Results, smaller: Results | None = None) -> str:
    """The page.

    :param smaller: results of a smaller size by the same code, for the scaling section.
    """
    parts = [
        f"# Benchmark: {results['size']} rows",
        "",
        *(f"- {name}: {text}" for name, text in results["machine"].items()),
    ]
    parts += [
        "",
        "Seconds are wall time, start of the process included; CPU seconds are of all cores and say what the work",
    ]
    parts += ["costs when other programs run beside it. Memory is the peak of resident memory, children included."]
    for part, title in BATCH_PARTS.items():
        if part in results:
            parts += _views(title, results[part])
    if "ranks" in results:
        parts += _ranks(results)
    if "rates" in results:
        parts += _rates("Rates", results["rates_of"], results["rates"])
    if "cluster" in results:
        parts += _rates("Rates of the cluster profile", results["rates_of"], results["cluster"])
    if "months" in results:
        parts += _months(results["months"])
    if smaller:
        parts += _scaling(smaller, results)
    return "\n".join(parts) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """A Markdown table; every column but the first is aligned to the right."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    return lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]


def _views(title: str, results: Results) -> list[str]:
    totals = ", ".join(f"{count:,} {name}" for name, count in results["totals"].items())
    ours = results["runs"][0]
    rows = []
    for run in results["runs"]:
        if run["note"]:
            rows.append([_name(run), run["note"], *[""] * 7])
            continue
        same = "; ".join(run["differences"]) or "yes"
        rows.append(
            [
                _name(run),
                f"{run['seconds']:.1f}",
                f"{run['cpu_seconds']:.1f}",
                f"{run['peak_mib']:,.0f}",
                f"{run['disk_mib']:,.0f}",
                _ratio(ours["seconds"], run["seconds"]),
                _ratio(ours["cpu_seconds"], run["cpu_seconds"]),
                _ratio(ours["peak_mib"], run["peak_mib"]),
                same if run["name"] in results["compared"] else "",
            ]
        )
    head = ("contestant", "s", "CPU s", "MiB", "MiB on disk", "ReaderFlow / it: s", "CPU s", "MiB", "same rows")
    steps = [
        [run["name"], ", ".join(f"{name} {seconds:.1f}" for name, seconds in run["steps"].items())]
        for run in results["runs"]
        if run["steps"]
    ]
    dump = f"All views and ranks of a generated month: {totals}."
    return [
        "",
        f"## {title}",
        "",
        dump,
        "",
        *table(head, rows),
        "",
        ALL_LEAVE_OUT,
        "",
        *table(("steps", "s"), steps),
    ]


def _name(run: Results) -> str:
    about = "; ".join(text for text in (run["versions"], run["does_not"]) if text)
    return f"{run['name']} ({about})" if about else str(run["name"])


def _ranks(results: Results) -> list[str]:
    graph = results["graph"]
    ours = results["ranks"][0]
    rows = []
    for run in results["ranks"]:
        if run["note"]:
            rows.append([run["library"], run["note"], *[""] * 6])
            continue
        apart = max((distance for distance in run["apart"].values()), default=0.0)
        # One that lacks a rank has done less work: its times are no measure of ours.
        whole = not run["missing"]
        rows.append(
            [
                run["library"] + ("" if whole else f" (no {', '.join(run['missing'])})"),
                f"{run['seconds']:.2f}",
                f"{run['cpu_seconds']:.2f}",
                f"{run['peak_mib']:,.0f}",
                _ratio(ours["seconds"], run["seconds"]) if whole else "",
                _ratio(ours["cpu_seconds"], run["cpu_seconds"]) if whole else "",
                _ratio(ours["peak_mib"], run["peak_mib"]),
                f"{apart:.1e}",
            ]
        )
    head = ("library", "s", "CPU s", "MiB", "ReaderFlow / it: s", "CPU s", "MiB", "largest difference")
    size = f"{graph['nodes']:,} articles and {graph['edges']:,} links"
    about = (
        f"The three ranks of a graph of {size}, to an L1 distance of 1e-10. Building the library's graph from "
        "arrays is included, reading them is not."
    )
    return ["", "## Ranks", "", about, "", *table(head, rows)]


def _rates(title: str, month: str, rates: Sequence[Results]) -> list[str]:
    rows = [
        [
            rate["stage"],
            f"{rate['amount'] / rate['seconds']:,.0f} {rate['unit']}",
            f"{rate['amount'] / rate['cpu_seconds']:,.0f}",
            f"{rate['amount']:,}",
            f"{rate['seconds']:.1f}",
            f"{rate['peak_mib']:,.0f}",
        ]
        for rate in rates
    ]
    head = ("stage", "a second", "a CPU second", "in all", "s", "MiB")
    return [
        "",
        f"## {title}",
        "",
        f"Of {month}, grain hour; each stage is a command of its own.",
        "",
        *table(head, rows),
    ]


def _months(months: Results) -> list[str]:
    head = ("batch of one month", "s", "CPU s")
    rows = [
        ["alone in the archive", f"{months['alone_seconds']:.2f}", f"{months['alone_cpu_seconds']:.2f}"],
        [
            f"with {months['others']} other months",
            f"{months['among_seconds']:.2f}",
            f"{months['among_cpu_seconds']:.2f}",
        ],
        [
            "ratio",
            _ratio(months["among_seconds"], months["alone_seconds"]),
            _ratio(months["among_cpu_seconds"], months["alone_cpu_seconds"]),
        ],
    ]
    about = f"Months of {months['rows']:,} rows each; the best of three runs."
    return ["", "## Other months in the archive", "", about, "", *table(head, rows)]


def _scaling(smaller: Results, results: Results) -> list[str]:
    rows = []
    for part in BATCH_PARTS:
        before = {run["name"]: run for run in smaller.get(part, {}).get("runs", []) if not run["note"]}
        for run in results.get(part, {}).get("runs", []):
            if (one := before.get(run["name"])) is None or run["note"]:
                continue
            ratios = (_ratio(run[name], one[name]) for name in ("seconds", "cpu_seconds", "peak_mib"))
            rows.append([run["name"], f"{one['seconds']:.1f}", f"{run['seconds']:.1f}", *ratios])
    if not rows:
        return []
    head = ("contestant", f"{smaller['size']}: s", f"{results['size']}: s", "ratio: s", "CPU s", "MiB")
    times = results["rows"] / smaller["rows"]
    about = f"From {smaller['size']} to {results['size']} rows ({times:.1f} times):"
    return ["", "## Size", "", about, "", *table(head, rows)]


def _ratio(ours: float, theirs: float) -> str:
    return f"{ours / theirs:.2f}" if theirs else ""
