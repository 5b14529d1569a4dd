"""The SQL of the batch views, one file each, in the dialect that DuckDB and Spark share."""

from importlib.resources import files


def sql(name: str) -> str:
    """The query in ``<name>.sql``; ``:name`` stands for a parameter."""
    return files(__package__).joinpath(f"{name}.sql").read_text(encoding="utf-8")
