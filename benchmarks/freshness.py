"""How long an event takes from the log into the answers of a running site, while records keep coming.

    readerflow replay hrwiki 2025-03 --grain click --duration 600   # and 'stream --follow', 'serve', elsewhere
    python -m benchmarks.freshness http://127.0.0.1:8000 hrwiki 2025-03 --seconds 60

Asks the site again and again how far the log and its own rows reach. A log's end counts as seen when an answer's rows
reach it in every partition, so half of the time between two questions is counted too. Prints a JSON document.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from urllib.error import URLError
from urllib.request import urlopen

PAUSE = 0.05
Offsets = dict[int, int]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="of the site")
    parser.add_argument("wiki")
    parser.add_argument("month")
    parser.add_argument("--seconds", type=float, default=60, help="how long to look (60)")
    parser.add_argument("--after", type=float, default=30, help="seconds to wait before: the stream warms up (30)")
    options = parser.parse_args()
    time.sleep(options.after)
    address = f"{options.url.rstrip('/')}/api/v1/{options.wiki}/{options.month}/status"
    try:
        took, entries = look(address, options.seconds)
    except URLError as error:
        sys.exit(f"benchmark: {address} does not answer ({error}); is the month on its way there?")
    if not took:
        sys.exit("benchmark: nothing came into the log meanwhile")
    took.sort()
    shares = {f"p{share}": round(took[min(len(took) - 1, len(took) * share // 100)], 2) for share in (50, 95, 99)}
    print(json.dumps({"looks": len(took), "entries_per_second": round(entries / options.seconds), **shares}))


def look(address: str, seconds: float) -> tuple[list[float], int]:
    """Watch for so many seconds: (seconds that each log's end took to be seen, entries that came)."""
    began = time.monotonic()
    first, _ = reach(address)
    waiting: list[tuple[float, Offsets]] = []
    took: list[float] = []
    ends = first
    while time.monotonic() < began + seconds or waiting:
        at = time.monotonic()
        now, reached = reach(address)
        seen = time.monotonic()
        while waiting and all(reached[partition] >= end for partition, end in waiting[0][1].items()):
            took.append(seen - waiting.pop(0)[0])
        if now != ends and at < began + seconds:
            waiting.append((at, now))
            ends = now
        time.sleep(PAUSE)
    return took, sum(ends.values()) - sum(first.values())


def reach(address: str) -> tuple[Offsets, Offsets]:
    """Where the log ends and how far the answers reach, by partition."""
    with urlopen(address, timeout=30) as answer:  # noqa: S310, a site of ours
        partitions = json.load(answer)["stream"]["partitions"]
    return tuple({row["partition"]: row[key] for row in partitions} for key in ("end_offset", "offset"))  # type: ignore[return-value]


if __name__ == "__main__":
    main()
