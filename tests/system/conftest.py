"""The parts of which the tests of the running service are put together."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.inference.packages import network, write_package
from tests.system.orthanc import NetworkNamespace, Orthanc, network_namespace, running_orthanc
from tests.system.pacs import ScriptedPacs, running_pacs
from tests.system.service import Service, running_service, service_sections


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both networks in their smallest form, as research models, so that nothing holds their results back."""
    folder = tmp_path_factory.mktemp("models")
    write_package(folder / "egfr", network(1), name="tiny-egfr", status="research")
    write_package(folder / "pdl1", network(2, planes=True), name="tiny-pdl1", task="pdl1", status="research")
    return folder


@pytest.fixture(scope="module")
def pacs() -> Iterator[ScriptedPacs]:
    """A PACS for a module's tests; a test that scripts its answers puts the plain ones back."""
    with running_pacs() as running:
        yield running


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, tiny_models: Path, pacs: ScriptedPacs) -> Iterator[Service]:
    """A service for a module's tests, each with studies of its own; it must drain in order at the end."""
    folder = tmp_path_factory.mktemp("service")
    with running_service(folder, service_sections(folder, tiny_models, pacs.port)) as running:
        yield running


@pytest.fixture
def namespace() -> Iterator[NetworkNamespace]:
    """A network of its own for one test."""
    if os.geteuid() != 0:
        pytest.skip("orthanc: needs root, to make a network namespace")
    with network_namespace() as made:
        yield made


@pytest.fixture
def orthanc(tmp_path: Path, namespace: NetworkNamespace) -> Iterator[Orthanc]:
    """An Orthanc that sends nothing by itself, and lets every node that it knows query and retrieve."""
    with running_orthanc(tmp_path / "orthanc", namespace) as running:
        yield running
