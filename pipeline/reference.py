"""Pages of the reference that are written from the code: ``python -m readerflow.pipeline.reference FOLDER``.

A test holds the pages to the code.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any, get_args

from readerflow.common.settings import PREFIX, Settings, load
from readerflow.storage import open_storage
from readerflow.webapp.app import create_app

SETTINGS_HEAD = """# Settings

Written from `common/settings.py` by `python -m readerflow.pipeline.reference docs/reference`.

A setting comes from a flag, else from its environment variable, else from `readerflow.toml` in the working folder, else
from its default. Unknown keys and unknown `READERFLOW_` variables are refused.

| key | variable | default | meaning |
|---|---|---|---|
"""

API_HEAD = """# API

Written from the routes by `python -m readerflow.pipeline.reference docs/reference`. `/openapi.json` has all of it, with
the shapes of the answers.

- `wiki` is a name like `hrwiki`; `month` is `YYYY-MM` or `latest`, the wiki's greatest month with batch views.
- A title is the last part of the path and may hold slashes; `?title=` takes any title, also `.` and `..`.
- Every answer carries `generation`, `horizon`, `live_until` and `complete`; every number that live rows add to is
  `{"clicks": 912, "batch": 900, "live": 12}`.
- Lists take `limit` (1 to 1000) and `next`, the token of the page before; 410 when what it rests on is gone. The header
  `Total-Count` tells how many rows a list or a download has; `HEAD` gives it without the rows.
- Each word of a search begins another word of a title; case, accents and the order of words do not count.
- Parameters are given once, but for `title` of `articles` and `trail` of `explore`. `POST` only asks, for lists that an
  address has no room for; its body may have 128 KiB.
- Answers about several months carry all of that for each of them; [compare months](../how-to/compare-months.md) tells
  of these and of WikiNav's routes.
- An error is `application/problem+json` (RFC 9457). Answers have an `ETag`; unknown parameters are refused.

| route | what | parameters |
|---|---|---|
"""


def settings_page() -> str:
    """All settings as Markdown."""
    lines = []
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None else f"`{field.default}`"
        choices = get_args(field.annotation) if "Literal" in str(field.annotation) else ()
        among = f" One of {', '.join(f'`{choice}`' for choice in choices)}." if choices else ""
        lines.append(f"| `{name}` | `{PREFIX}{name.upper()}` | {default} | {field.description}{among} |")
    return SETTINGS_HEAD + "\n".join(lines) + "\n"


def api_page(openapi: dict[str, Any]) -> str:
    """All routes of an OpenAPI document as Markdown."""
    lines = []
    for path, methods in openapi["paths"].items():
        for method, operation in methods.items():
            given = [f"`{one['name']}`" for one in operation.get("parameters", []) if one["in"] == "query"]
            lines.append(f"| `{method.upper()} {path}` | {operation['summary']} | {', '.join(given)} |")
    return API_HEAD + "\n".join(lines) + "\n"


def pages() -> dict[str, str]:
    """The generated pages by file name."""
    with tempfile.TemporaryDirectory() as home, open_storage(load(home=Path(home))) as storage:
        openapi = create_app(storage.serving_views).test_client().get("/openapi.json").json
    return {"settings.md": settings_page(), "api.md": api_page(openapi or {})}


if __name__ == "__main__":
    for name, text in pages().items():
        Path(sys.argv[1], name).write_text(text, encoding="utf-8")
