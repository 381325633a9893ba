"""Logs of a component: one event, one line, logfmt, on standard error.

INFO means that state changed; steady state is silent. Secrets must never be put into a record.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_PLAIN = re.compile(r"[\w./:@%+\-\[\]]+")


class LogfmtFormatter(logging.Formatter):
    """Formats a record as `time= level= component= event= key=value…`; the keys are those given by `extra`."""

    converter = staticmethod(time.gmtime)

    def __init__(self, component: str) -> None:
        super().__init__()
        self._component = component

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line; a traceback follows on lines of its own."""
        stamp = self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}Z"
        pairs = {
            "time": stamp,
            "level": record.levelname.lower(),
            "component": self._component,
            "event": record.getMessage(),
        }
        pairs |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
        line = " ".join(f"{key}={_quote(value)}" for key, value in pairs.items())
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def setup(component: str, level: int = logging.INFO) -> None:
    """Send this process's log records to standard error under the name `component`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LogfmtFormatter(component))
    logging.basicConfig(level=level, handlers=[handler], force=True)


def _quote(value: object) -> str:
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)
