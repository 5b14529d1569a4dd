"""Traffic of a month from the master dataset: where readers come from and go, by article, and the first articles.

    spark-submit batch_processing/traffic.py ARCHIVE_URL [--wiki WIKI] [--month YYYY-MM] [--until HOUR]

Prints the first articles by clicks in, out and by class of entry. ``--output URL`` writes the views articles (ranks are
empty), sources, destinations, rankings and classes below a folder, each sorted by its key. Where the package is not
installed, add ``--py-files readerflow.zip`` (common/spark_session.py makes it).
"""

from __future__ import annotations

import sys


def main(given: list[str] | None = None) -> int:
    """Run the job with the settings of the environment."""
    from readerflow.batch_processing.batch import ARTICLE_VIEWS, NO_RANKS, TRAFFIC_VIEWS
    from readerflow.batch_processing.spark_jobs import arguments, month_tables, print_rows, say
    from readerflow.batch_processing.views import sql
    from readerflow.common.errors import ReaderFlowError
    from readerflow.common.settings import load

    options = arguments(__doc__).parse_args(given)
    try:
        with month_tables(load(), options) as month:
            month.engine.put("ranks", NO_RANKS.empty_table())
            month.engine.define("articles", sql("articles"), month.values)
            classes = month.read(sql("classes"))
            clicks, pairs = (sum(classes[name].to_pylist()) for name in ("clicks", "pairs"))
            say(f"{month.name}: {pairs:,} pairs, {clicks:,} clicks")
            if options.output:
                for view in (*TRAFFIC_VIEWS, *ARTICLE_VIEWS):
                    month.engine.save(view, month.values, f"{options.output.rstrip('/')}/{view.view}")
                    say(str(view.view))
            rows = month.titled(month.read(sql("rankings"), ranking_rows=options.top))
            print_rows(rows.set_column(3, "clicks", rows["value"].cast("int64")))
    except ReaderFlowError as error:
        say(f"error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
