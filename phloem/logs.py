"""What a long-running verb says while it runs: a line for people, or one JSON object a line for machines.

Events go through `logging`, to loggers below "phloem", so that whoever embeds phloem gets them his own way.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Literal

Style = Literal["text", "json"]
STYLES: tuple[Style, ...] = ("text", "json")

_FIELDS, _QUIET = "phloem_fields", "phloem_quiet"
_log = logging.getLogger("phloem")


def note(event: str, text: str, *, level: int = logging.INFO, quiet: bool = False, **fields: object) -> None:
    """Say that something happened: its short name, the line for people, and what machines count by.

    What is `quiet` is for machines only.
    """
    _log.log(level, "%s", text, extra={"event": event, _FIELDS: fields, _QUIET: quiet})


def to_json() -> None:
    """Write what is said from now on to standard error as JSON, whoever says it."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC's own words are no JSON
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.captureWarnings(True)
    _take_over(logging.getLogger(), [handler])
    _log.setLevel(logging.INFO)
    flower = logging.getLogger("flwr")
    flower.handlers.clear()
    flower.propagate = True


def to_people(say: Callable[[str], None]) -> None:
    """Hand what is said from now on to `say`, a line at a time; but for what is quiet."""
    _take_over(_log, [_Spoken(say)])
    _log.setLevel(logging.INFO)
    _log.propagate = False


class JsonLines(logging.Formatter):
    """A record as one JSON object: time, level, event, text, and the event's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        found: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": getattr(record, "event", record.name),
            "text": record.getMessage(),
        }
        if record.exc_info:
            found["trace"] = self.formatException(record.exc_info)
        fields: dict[str, object] = getattr(record, _FIELDS, {})
        return json.dumps(found | {k: v for k, v in fields.items() if k not in found}, default=str)


class _Spoken(logging.Handler):
    """Lines for people, on a console that may have a progress bar."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__()
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        """Say the line."""
        if not getattr(record, _QUIET, False):
            self._say(record.getMessage())


def _take_over(logger: logging.Logger, handlers: Iterable[logging.Handler]) -> None:
    logger.handlers[:] = list(handlers)
