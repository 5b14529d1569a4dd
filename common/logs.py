"""Log lines of a process: standard error, for people or as JSON."""

from __future__ import annotations

import json
import logging
import secrets
import sys
import time
from typing import Any


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, run, message."""

    def __init__(self, run: str) -> None:
        super().__init__()
        self.run = run

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "run": self.run,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


#: Clients of servers tell each request and try again by themselves; what fails in the end, our own errors say.
CHATTY = ("kafka", "hdfs", "cassandra", "py4j", "urllib3")


def configure_logging(log_format: str) -> None:
    """Send log lines to standard error, for people or as JSON, each with an id of this run."""
    run = secrets.token_hex(4)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonLines(run) if log_format == "json" else logging.Formatter(f"%(asctime)s {run} %(levelname)s %(message)s")
    )
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for library in CHATTY:
        logging.getLogger(library).setLevel(logging.CRITICAL)
