"""Log lines for people and programs: one line each in logfmt, on standard error, times in UTC."""

import json
import logging
import re
import sys
from datetime import UTC, datetime

PLAIN = re.compile(r"[!#-<>-\[\]-~]+")  # needs no quotes: printable, no space, no quote, no =, no backslash


class Logfmt(logging.Formatter):
    """``time=… level=info logger=glbpy.controller msg="revision 3 by api"``; tracebacks follow, indented."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "msg": record.getMessage(),
        }
        line = " ".join(f"{key}={quoted(value)}" for key, value in fields.items())
        if record.exc_info:
            line += "\n  " + self.formatException(record.exc_info).replace("\n", "\n  ")
        return line


def quoted(value: str) -> str:
    """Return the value, in quotes where needed; line ends and controls are escaped, so a line stays one."""
    return value if PLAIN.fullmatch(value) else json.dumps(value, ensure_ascii=False)


def to_stderr(level: int = logging.INFO) -> None:
    """Send every logger's lines to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Logfmt())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for chatty in ("asyncio", "httpx", "httpcore", "uvicorn"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
