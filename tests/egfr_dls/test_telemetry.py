"""Nothing that names a patient gets into the log: not by a field, an exception's text, a library's warning or a dead thread."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from egfr_dls import settings, telemetry
from egfr_dls.errors import ConfigurationError, StudyRefusedError
from egfr_dls.refusals import RefusalCode

NAME = "DOE^JOHN"
SCRIPT = f"""
import logging, sys, threading, warnings
from egfr_dls import settings, telemetry
loaded = settings.load(None, {{"storage": {{"root": "unused"}}, "logging": {{"format": sys.argv[1]}}}})
telemetry.configure(loaded, "inference", "inference-1")
log = telemetry.get_logger()
log.info("study_analysed", patient_name="{NAME}", study_key="0123", count=None)
def fail():
    raise ValueError("header of {NAME}")
try:
    fail()
except ValueError:
    log.exception("job_dead")
    logging.getLogger("pydicom").exception("%s", "{NAME}")
logging.getLogger("pydicom").warning("value of {NAME}")
logging.getLogger("pydicom").info("value of {NAME}")
warnings.warn("value of {NAME}")
thread = threading.Thread(target=fail)
thread.start()
thread.join()
"""


@pytest.fixture(scope="module")
def output() -> Callable[[str], tuple[str, str]]:
    """Run the script in a process of its own and return what it wrote."""

    def run(log_format: str) -> tuple[str, str]:
        done = subprocess.run([sys.executable, "-c", SCRIPT, log_format], capture_output=True, text=True, check=True)
        return done.stdout, done.stderr

    return run


def test_planted_name_never_reaches_the_log(output: Callable[[str], tuple[str, str]]) -> None:
    for log_format in ("json", "console"):
        stdout, stderr = output(log_format)
        assert stdout == ""
        assert stderr.count("library_warning") == 3
        assert NAME not in stderr


def test_every_line_is_an_event_with_what_may_be_said(output: Callable[[str], tuple[str, str]]) -> None:
    lines = [json.loads(line) for line in output("json")[1].splitlines()]
    by_event = {line["event"]: line for line in lines}
    analysed = by_event["study_analysed"]
    assert (analysed["study_key"], analysed["dropped_keys"]) == ("0123", ["patient_name"])
    assert "count" not in analysed  # unknown is left out
    dead = by_event["job_dead"]
    assert (dead["error_class"], dead["level"]) == ("ValueError", "error")
    assert dead["frames"][-1].endswith(" fail")
    assert by_event["thread_died"]["error_class"] == "ValueError"
    warned = [line for line in lines if line["event"] == "library_warning"]
    assert [w.get("logger") for w in warned] == ["pydicom", "pydicom", None]
    assert warned[-1]["error_class"] == "UserWarning"
    assert set().union(*lines) <= telemetry.ALLOWED_KEYS


def test_our_errors_are_named_by_their_code() -> None:
    fields = telemetry.error_fields(StudyRefusedError(RefusalCode.NO_ROI, f"of {NAME}"))
    assert (fields["error_class"], fields["error_code"]) == ("StudyRefusedError", "NO_ROI")
    assert NAME not in str(fields)


# the site key


def configured(root: Path) -> settings.Settings:
    return settings.load(None, {"storage": {"root": root}})


def test_site_key_is_made_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    root = tmp_path / "root"
    key = telemetry.site_key(configured(root))
    assert len(key) == 32
    assert telemetry.site_key(configured(root)) == key
    assert stat.S_IMODE((root / "site.key").stat().st_mode) == 0o600
    assert [p.name for p in root.iterdir()] == ["site.key"]


def key_of(root: Path) -> bytes:
    """Return the key as another process sees it."""
    return telemetry.site_key(configured(root))


def test_processes_that_start_at_once_agree_on_the_key(tmp_path: Path) -> None:
    with ProcessPoolExecutor(4) as pool:
        assert len(set(pool.map(key_of, [tmp_path] * 12))) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["site.key"]


@pytest.mark.parametrize("text", ["", "not hexadecimal", "abcd", "ä"])
def test_key_that_is_none_is_a_configuration_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "site.key").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match="site key"):
        telemetry.site_key(configured(tmp_path))


def test_key_that_cannot_be_made_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"Not a directory|File exists"):
        telemetry.site_key(configured(tmp_path / "file"))
