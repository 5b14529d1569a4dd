"""The command ``readerflow``.

Imports stay inside the commands: ``--help`` must answer at once, and pyarrow and DuckDB take most of a second.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from readerflow.common.settings import Settings

GRAINS = ("click", "hour", "day", "month")
SERVERS = ("kafka", "hdfs", "namenode", "datanode", "cassandra", "spark", "spark-master", "spark-worker")
VIEWS = ("articles", "sources", "destinations", "rankings", "classes", "communities", "graph")

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document for a program.")


def _remember_profile(ctx: click.Context, _: click.Parameter, profile: str | None) -> None:
    if profile is not None:
        ctx.obj["profile"] = profile


class Cli(click.Group):
    """A group whose commands are listed in the order in which a month goes through them; each takes ``--profile``."""

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        choice = click.Choice(["embedded", "cluster"])
        text = "Engines behind all stages (READERFLOW_PROFILE; embedded)."
        option = click.Option(["--profile"], type=choice, help=text, expose_value=False, callback=_remember_profile)
        cmd.params.append(option)
        super().add_command(cmd, name)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=Cli, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="readerflow", message="%(package)s %(version)s")
@click.option("--home", type=click.Path(path_type=Path), help="Folder of all data (READERFLOW_HOME; .readerflow).")
@click.option("--log-format", type=click.Choice(["plain", "json"]), help="Log lines for people or for programs.")
@click.pass_context
def cli(ctx: click.Context, home: Path | None, log_format: str | None) -> None:
    """Show how readers move through Wikipedia.

    A month of clickstream goes dump -> pairs -> event log -> master dataset -> batch and realtime views -> site.
    'readerflow demo' takes a month through all of it; the other commands are its steps.
    Settings: flag > environment (READERFLOW_...) > readerflow.toml > default; see docs/reference/settings.md.
    """
    ctx.obj = {"home": home, "log_format": log_format}


def settings(ctx: click.Context, **flags: Any) -> Settings:
    """The settings of this call; also sets up logging, since every real command asks for them first."""
    from readerflow.common.logs import configure_logging
    from readerflow.common.settings import load

    loaded = load(**ctx.obj, **flags)
    configure_logging(loaded.log_format)
    return loaded


@cli.command()
@click.argument("dump", required=False, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--grain", type=click.Choice(GRAINS), default="hour", show_default=True, help="Slots of the replay.")
@click.option("--no-serve", is_flag=True, help="Stop after the numbers are proved; do not start the site.")
@click.option("--host", help="Address of the site (127.0.0.1).")
@click.option("--port", type=int, help="Port of the site (8000); 0 takes a free one.")
@click.pass_context
def demo(ctx: click.Context, dump: Path | None, grain: str, no_serve: bool, host: str | None, port: int | None) -> None:
    """Take a month from dump to page: all stages, proved, then served.

    Uses DUMP, else a dump in the folder READERFLOW_DATA, else one that is in HOME/dumps already, else a download of a
    small wiki's newest month, else a generated month; says which.
    """
    from .demo import run_demo

    run_demo(settings(ctx, host=host, port=port), dump=dump, grain=grain, serve=not no_serve)


@cli.command()
@click.argument("wiki")
@click.argument("month", default="latest")
@click.option("--to", "folder", type=click.Path(path_type=Path), help="Folder for the dump (HOME/dumps).")
@click.option(
    "--list", "only_list", is_flag=True, help="List the months that are published (of all wikis); fetch nothing."
)
@click.pass_context
def fetch(ctx: click.Context, wiki: str, month: str, folder: Path | None, only_list: bool) -> None:
    """Download the dump of WIKI for MONTH (YYYY-MM or latest); goes on where a broken download ended."""
    from .commands import fetch_month

    fetch_month(settings(ctx), wiki, month, folder, only_list=only_list)


@cli.command()
@click.argument("path", type=click.Path(path_type=Path), required=False)
@click.option("--wiki", default="synthwiki", show_default=True, help="Name of the wiki.")
@click.option("--month", default="2025-03", show_default=True, help="Month, YYYY-MM.")
@click.option("--rows", type=click.IntRange(1), default=200_000, show_default=True, help="Pairs to make.")
@click.option("--seed", type=int, default=1, show_default=True, help="Same seed, same month.")
@click.pass_context
def generate(ctx: click.Context, path: Path | None, wiki: str, month: str, rows: int, seed: int) -> None:
    """Make a synthetic month that looks like published ones: types, heavy tails, odd titles.

    PATH defaults to HOME/dumps/clickstream-WIKI-MONTH.synthetic.tsv.gz.
    """
    from .commands import generate_month

    generate_month(settings(ctx), path, wiki, month, rows, seed)


@cli.command()
@click.argument("dump", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--wiki", help="Name of the wiki, when the file's name does not tell.")
@click.option("--month", help="Month, YYYY-MM, when the file's name does not tell.")
@click.option("--max-rejects", metavar="SHARE", help="Share of rejected lines above which nothing is published (1%).")
@click.option("--min-clicks", type=int, help="Pairs with fewer clicks are rejected (10).")
@as_json
@click.pass_context
def preprocess(
    ctx: click.Context,
    dump: Path,
    wiki: str | None,
    month: str | None,
    max_rejects: str | None,
    min_clicks: int | None,
    as_json: bool,
) -> None:
    """Turn a DUMP of any dialect into clean pairs and a file of rejected lines."""
    from . import commands

    chosen = settings(ctx, max_rejects=commands.share(max_rejects), min_clicks=min_clicks)
    commands.preprocess(chosen, dump, wiki, month, as_json=as_json)


@cli.command()
@click.argument("wiki")
@click.argument("month")
@click.option(
    "--grain", type=click.Choice(GRAINS), default="hour", show_default=True, help="Slots that clicks fall in."
)
@click.option("--seed", type=int, default=1, show_default=True, help="Spreads the clicks; same seed, same records.")
@click.option("--from", "start", metavar="TIME", help="Replay from this UTC time, e.g. 2025-03-10T00:00Z.")
@click.option("--until", "end", metavar="TIME", help="Replay up to this UTC time.")
@click.option("--speed", default="max", show_default=True, help="Event time over wall time, or max.")
@click.option("--duration", type=float, metavar="SECONDS", help="Fit the replay into this wall time instead.")
@click.option(
    "--burst", "bursts", multiple=True, metavar="TITLE:FACTOR:YYYY-MM-DDTHH/HOURS",
    help="Move an article's clicks into some hours: a known trend to find. May be repeated.",
)  # fmt: skip
@click.option("--noise", is_flag=True, help="Seeded noise: days look real, totals stay.")
@click.option("--replace", is_flag=True, help="Make this replay the active one in place of another.")
@as_json
@click.pass_context
def replay(ctx: click.Context, /, **options: Any) -> None:
    """Replay the pairs of WIKI and MONTH as click records into the event log; goes on where it was stopped."""
    from . import commands

    commands.replay(settings(ctx), **options)


@cli.command()
@click.option("--follow", is_flag=True, help="Go on as the log grows, until stopped.")
@as_json
@click.pass_context
def archive(ctx: click.Context, follow: bool, as_json: bool) -> None:
    """Copy the event log into the master dataset."""
    from . import commands

    commands.archive(settings(ctx), follow=follow, as_json=as_json)


@cli.command()
@click.argument("wiki")
@click.argument("month")
@click.option("--until", metavar="TIME", help="Horizon, a full UTC hour; by default the latest that has passed.")
@click.option("--iterations", type=click.IntRange(1), help="Exactly so many rank iterations instead of convergence.")
@click.option("--roll-back", is_flag=True, help="Point to the generation before the current one; computes nothing.")
@as_json
@click.pass_context
def batch(
    ctx: click.Context,
    wiki: str,
    month: str,
    until: str | None,
    iterations: int | None,
    roll_back: bool,
    as_json: bool,
) -> None:
    """Compute the batch views of WIKI and MONTH from the master dataset and publish them as a generation."""
    from . import commands

    if roll_back:
        if until or iterations:
            raise click.UsageError("--roll-back takes neither --until nor --iterations")
        commands.roll_back(settings(ctx), wiki, month, as_json=as_json)
    else:
        commands.batch(settings(ctx), wiki, month, until=until, iterations=iterations, as_json=as_json)


@cli.command()
@click.option("--follow", is_flag=True, help="Go on as the log grows, until stopped.")
@click.option("--fresh", is_flag=True, help="Forget the checkpoint and build the realtime views anew.")
@as_json
@click.pass_context
def stream(ctx: click.Context, follow: bool, fresh: bool, as_json: bool) -> None:
    """Keep the realtime views and trends up with the event log."""
    from . import commands

    commands.stream(settings(ctx), follow=follow, fresh=fresh, as_json=as_json)


@cli.command()
@click.option("--host", help="Address to listen on (127.0.0.1).")
@click.option("--port", type=int, help="Port to listen on (8000); 0 takes a free one.")
@click.option("--workers", "web_workers", type=int, help="Processes (2).")
@click.pass_context
def serve(ctx: click.Context, host: str | None, port: int | None, web_workers: int | None) -> None:
    """Serve the site and the API."""
    from .serving import serve_site

    serve_site(settings(ctx, host=host, port=port, web_workers=web_workers))


@cli.command()
@click.argument("wiki")
@click.argument("month")
@as_json
@click.pass_context
def reconcile(ctx: click.Context, wiki: str, month: str, as_json: bool) -> None:
    """Compare all stages of WIKI and MONTH, by type and class; exit 1 on any difference or gap."""
    from .reconcile import reconcile_month

    sys.exit(reconcile_month(settings(ctx), wiki, month, as_json=as_json))


@cli.command()
@as_json
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> None:
    """Tell what is loaded, how far each stage is, and what to do next."""
    from .status import show_status

    show_status(settings(ctx), as_json=as_json)


@cli.command()
@click.argument("view", type=click.Choice(VIEWS))
@click.argument("wiki")
@click.argument("month")
@click.option("--format", "form", type=click.Choice(["csv", "jsonl", "parquet"]), default="csv", show_default=True)
@click.option("--spreadsheet", is_flag=True, help="Neutralise cells that a spreadsheet would run as formulas.")
@click.pass_context
def export(ctx: click.Context, view: str, wiki: str, month: str, form: Any, spreadsheet: bool) -> None:
    """Stream a batch VIEW of WIKI and MONTH to standard output."""
    from .export import export_view

    export_view(settings(ctx), view, wiki, month, form, spreadsheet=spreadsheet)


@cli.command()
@as_json
@click.pass_context
def rebuild(ctx: click.Context, as_json: bool) -> None:
    """Compute all batch views anew from the master dataset alone."""
    from . import commands

    commands.rebuild(settings(ctx), as_json=as_json)


some_servers = click.argument("names", metavar="[SERVER]...", nargs=-1, type=click.Choice(SERVERS))


@cli.command()
@some_servers
@as_json
@click.pass_context
def up(ctx: click.Context, names: tuple[str, ...], as_json: bool) -> None:
    """Start the local servers of the cluster profile that do not run (Linux); wait until all are ready.

    SERVER is kafka, hdfs (namenode, datanode), cassandra or spark (spark-master, spark-worker); all by default. The
    first time their jars are fetched with Maven. They go on running when the command has ended, until 'down'.
    """
    from .servers.commands import start_servers

    start_servers(settings(ctx), names, as_json=as_json)


@cli.command()
@some_servers
@as_json
@click.pass_context
def down(ctx: click.Context, names: tuple[str, ...], as_json: bool) -> None:
    """Stop the local servers; their data stays."""
    from .servers.commands import stop_servers

    stop_servers(settings(ctx), names, as_json=as_json)


@cli.command()
@some_servers
@click.option("--lines", type=click.IntRange(0), default=20, show_default=True, help="Last lines of each log.")
@click.option("--follow", is_flag=True, help="Go on as the logs grow, until stopped.")
@click.pass_context
def logs(ctx: click.Context, names: tuple[str, ...], lines: int, follow: bool) -> None:
    """Print what the local servers log."""
    from .servers.commands import show_logs

    show_logs(settings(ctx), names, lines=lines, follow=follow)


@cli.command()
@as_json
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Check what this machine has and say how to get what is missing."""
    from .doctor import check_machine

    sys.exit(check_machine(settings(ctx), as_json=as_json))


@cli.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--jars", is_flag=True, help="Remove the downloaded jars of the local servers, too.")
@click.pass_context
def purge(ctx: click.Context, yes: bool, jars: bool) -> None:
    """Remove all data under HOME: pairs, log, master dataset, views, local servers."""
    from .purge import purge_home

    purge_home(settings(ctx), ask=not yes, jars=jars)


def main() -> None:
    """Run the command line: known errors, and those of the machine, become one line and exit status 1."""
    from readerflow.common.errors import ReaderFlowError

    try:
        cli(prog_name="readerflow")
    except ReaderFlowError as error:
        click.echo(f"readerflow: {error}", err=True)
        sys.exit(1)
    except Exception as error:
        if not _of_the_machine(error):
            raise
        hint = "check the path, its rights, free space and memory, then try again"
        click.echo(f"readerflow: {error}; {hint}", err=True)
        sys.exit(1)


def _of_the_machine(error: Exception) -> bool:
    """Whether the disk, the memory or a damaged file is at fault, and not the program."""
    import sqlite3

    import duckdb

    # A file that is no database is told by the base class; its other subclasses tell of wrong statements.
    return (
        isinstance(error, OSError | sqlite3.OperationalError | duckdb.IOException | duckdb.OutOfMemoryException)
        or type(error) is sqlite3.DatabaseError
    )


if __name__ == "__main__":
    main()
