"""Logs: events with fields from an allow-list, as JSON on standard error.

Nothing that names a patient can get through: unknown keys are dropped and named in ``dropped_keys``, and an exception is
logged as its class and stack frames, never by its text (texts of libraries carry header values; ours carry UIDs).
"""

from __future__ import annotations

import logging
import os
import secrets
import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

from egfr_dls.settings import Settings

# What a log line may hold. Study data is named by study_key only; AE titles and addresses belong to the audit trail.
ALLOWED_KEYS = frozenset(
    {
        "event", "level", "timestamp", "stage", "worker", "study_key", "association", "biomarker", "action", "state",
        "code", "kind", "reason", "status", "destination", "count", "attempts", "port", "seconds", "revision", "pid",
        "exit_code", "signal", "error_class", "error_code", "frames", "model", "model_status", "version", "peers",
        "free_bytes", "limit", "logger", "dropped_keys",
    }
)  # fmt: skip


def configure(settings: Settings, stage: str, worker: str) -> None:
    """Set up logging for this process: our events and, from WARNING on, those of the libraries."""
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if settings.logging.format == "console"
        else structlog.processors.JSONRenderer(sort_keys=False)
    )
    level = logging.getLevelNamesMapping()[settings.logging.level.upper()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _exception_as_class,
            _only_allowed,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.bind_contextvars(stage=stage, worker=worker, pid=os.getpid())
    logging.basicConfig(handlers=[_LibraryHandler(level=logging.WARNING)], level=logging.WARNING, force=True)


def get_logger() -> FilteringBoundLogger:
    """Return the logger of events."""
    logger: FilteringBoundLogger = structlog.get_logger()
    return logger


def site_key(settings: Settings) -> bytes:
    """Return the key under which studies are named in logs; made at the first start, readable by its owner only."""
    path = settings.logging.site_key_file or settings.storage.root / "site.key"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        _make_key(path)
    return bytes.fromhex(path.read_text(encoding="ascii").strip())


def error_fields(error: BaseException) -> dict[str, Any]:
    """Return what a log may say of an exception: its class, our code if it has one, and where it came from."""
    return {
        "error_class": type(error).__name__,
        "error_code": str(getattr(error, "code", "")) or None,
        "frames": _frames(error.__traceback__),
    }


def _make_key(path: Path) -> None:
    draft = path.with_name(f".{path.name}-{os.getpid()}")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w", encoding="ascii") as file:
        file.write(secrets.token_hex(32))
    try:
        os.link(draft, path)  # the first of several processes wins, and nobody reads half a key
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def _frames(trace: TracebackType | None) -> list[str]:
    return [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in traceback.extract_tb(trace)][-8:]


def _exception_as_class(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    found = event.pop("exc_info", None)
    error = sys.exc_info()[1] if found is True else found
    if isinstance(error, BaseException):
        event.update(error_fields(error))
    return event


def _only_allowed(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    dropped = sorted(set(event) - ALLOWED_KEYS)
    kept = {key: value for key, value in event.items() if key in ALLOWED_KEYS and value is not None}
    if dropped:
        kept["dropped_keys"] = dropped
    return kept


class _LibraryHandler(logging.Handler):
    """Says that a library warned, and which; its text may carry header values and is left out."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        fields = error_fields(error) if error else {}
        get_logger().warning("library_warning", logger=record.name, reason=f"{record.module}:{record.lineno}", **fields)
