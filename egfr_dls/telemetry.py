"""Logs: events with fields from an allow-list, as JSON on standard error.

Nothing that names a patient can get through: unknown keys are dropped and named in ``dropped_keys``, and an exception is
logged as its class and stack frames, never by its text (texts of libraries carry header values; ours carry UIDs).
"""

from __future__ import annotations

import logging
import os
import secrets
import sys
import tempfile
import threading
import traceback
import warnings
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

from egfr_dls.errors import ConfigurationError
from egfr_dls.settings import Settings

KEY_BYTES = 32

# What a log line may hold. Study data is named by study_key only; AE titles and addresses belong to the audit trail.
ALLOWED_KEYS = frozenset(
    {
        "event", "level", "timestamp", "stage", "worker", "study_key", "association", "biomarker", "action", "state",
        "code", "kind", "reason", "status", "destination", "count", "attempts", "port", "seconds", "days", "revision",
        "pid", "exit_code", "error_class", "error_code", "frames", "model", "model_status", "runtime", "version",
        "peers", "source", "logger", "dropped_keys",
    }
)  # fmt: skip


def configure(settings: Settings, stage: str, worker: str) -> None:
    """Set up logging for a stage's process: our events and, from WARNING on, those of the libraries.

    What ends a thread is an event too: nothing of it reaches standard error as text.
    """
    _configure(settings.logging.level, settings.logging.format)
    structlog.contextvars.bind_contextvars(stage=stage, worker=worker, pid=os.getpid())
    threading.excepthook = _thread_died


def configure_command() -> None:
    """Set up logging for a command that a person waits for: warnings and errors, on standard error."""
    _configure("warning", "console")


def _configure(level_name: str, format_name: str) -> None:
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if format_name == "console"
        else structlog.processors.JSONRenderer(sort_keys=False)
    )
    level = logging.getLevelNamesMapping()[level_name.upper()]
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
        logger_factory=_to_standard_error,
        cache_logger_on_first_use=False,
    )
    warnings.showwarning = _library_warned
    logging.basicConfig(handlers=[_LibraryHandler(level=logging.WARNING)], level=logging.WARNING, force=True)


def _to_standard_error(*_arguments: Any) -> structlog.WriteLogger:
    """Return what writes a line by one call: stages share standard error, and under PYTHONUNBUFFERED two calls interleave."""
    return structlog.WriteLogger(sys.stderr)


def _library_warned(
    message: Warning | str,  # noqa: ARG001  # its text may hold header values, as a log record's may
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,  # noqa: ARG001  # the warnings module fixes this signature
    line: str | None = None,  # noqa: ARG001  # so does this
) -> None:
    get_logger().warning("library_warning", error_class=category.__name__, reason=f"{Path(filename).name}:{lineno}")


def _thread_died(found: threading.ExceptHookArgs) -> None:
    if found.exc_value is not None:
        get_logger().error("thread_died", **error_fields(found.exc_value))


def get_logger() -> FilteringBoundLogger:
    """Return the logger of events."""
    logger: FilteringBoundLogger = structlog.get_logger()
    return logger


def site_key(settings: Settings) -> bytes:
    """Return the key under which studies are named in logs; made at the first start, readable by its owner only.

    Raises
    ------
    ConfigurationError
        it cannot be made or read, or is no key
    """
    path = settings.logging.site_key_file or settings.storage.root / "site.key"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _make_key(path)
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except OSError as error:
        raise ConfigurationError(
            f"site key {path}: {error.strerror}; needed: a file that can be made and read"
        ) from error
    except ValueError as error:
        raise ConfigurationError(f"site key {path} is not hexadecimal text; needed: the key that was there") from error
    if len(key) < KEY_BYTES:
        raise ConfigurationError(f"site key {path} has {len(key)} bytes; needed: {KEY_BYTES} or more, in hexadecimal")
    return key


def error_fields(error: BaseException) -> dict[str, Any]:
    """Return what a log may say of an exception: its class, our code if it has one, and where it came from."""
    return {
        "error_class": type(error).__name__,
        "error_code": str(getattr(error, "code", "")) or None,
        "frames": _frames(error.__traceback__),
    }


def _make_key(path: Path) -> None:
    fd, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # mode 0600
    try:
        with os.fdopen(fd, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):  # the first of several processes wins, and nobody reads half a key
            Path(path).hardlink_to(draft)
    finally:
        Path(draft).unlink()


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
