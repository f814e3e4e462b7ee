"""Fixtures that every package's tests may ask for."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from tests.listener.certificates import HERE, SERVER, Authority, Issued

REPOSITORY = Path(__file__).resolve().parent.parent
# marker -> the programs its tests run; without them the test is skipped by name.
PROGRAMS: dict[str, tuple[str, ...]] = {
    "orthanc": ("Orthanc", "ip", "unshare", "nsenter"),
    "dcmtk": ("storescu", "echoscu", "storescp", "dsrdump", "dsr2html"),
    "dicom3tools": ("dciodvfy", "dcentvfy"),
    "pixelmed": ("java", "DicomSRValidator"),
}


def pytest_configure() -> None:
    """Keep the caller's own settings of the product out of the tests."""
    for name in [n for n in os.environ if n.startswith("EGFR_DLS_")]:
        del os.environ[name]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test, by name, whose programs are not installed."""
    for marker, programs in PROGRAMS.items():
        missing = [p for p in programs if shutil.which(p) is None]
        if item.get_closest_marker(marker) and missing:
            pytest.skip(f"{marker}: not installed: {', '.join(missing)} (as root, `make test` installs them)")


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """Undo what a command that runs inside a test sets up for its process: where logs and warnings go."""
    configured, shown, handlers = structlog.get_config(), warnings.showwarning, logging.root.handlers[:]
    yield
    structlog.configure(**configured)
    warnings.showwarning = shown
    logging.root.handlers[:] = handlers


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of reference data, which is never part of the repository."""
    folder = Path(os.environ.get("SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"shared/data not found: {folder}; see its README")
    return folder


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority for certificates, of this module alone."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def pacs_certificate(authority: Authority) -> Issued:
    """What a PACS on this machine serves with."""
    return authority.issue("pacs", SERVER, alternatives=HERE)


@pytest.fixture(scope="module")
def ours(authority: Authority) -> Issued:
    """What we call with."""
    return authority.issue("egfr-dls")


@pytest.fixture
def dropped_here() -> Iterator[None]:
    """Let what was dropped be noticed in the test that dropped it, not in a later one."""
    yield
    gc.collect()
