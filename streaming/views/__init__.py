"""The SQL of the realtime views, one file each, in the dialect that DuckDB and Spark share."""

from importlib.resources import files


def sql(name: str) -> str:
    """The query in ``<name>.sql``; it names the tables that it reads."""
    return files(__package__).joinpath(f"{name}.sql").read_text(encoding="utf-8")
