"""What holds of the whole tree: who may import whom, and what no file may say."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from egfr_dls.installation import TOP_LEVEL_PACKAGES

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = [path for package in TOP_LEVEL_PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
# What belongs to the machine where something was written, not to the product: home and work folders, and package indexes.
MACHINE = re.compile(r"(?<![\w.])/(?:work|root|home/\w+)/|/tmp/\w+", re.ASCII)  # a pattern, not a folder
REGISTRY = re.compile(r"pypi\.org|pythonhosted\.org|--(?:extra-)?index-url|trusted-host", re.ASCII)
MAY_BE_EMPTY = "__init__.py"


def tracked() -> Iterator[Path]:
    """Yield every text file of the repository."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("git: not installed, or this is no checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in listed.decode().split("\0")[:-1]:
        path = ROOT / name
        if path.is_file() and path != Path(__file__) and b"\0" not in (data := path.read_bytes())[:4096] and data:
            yield path


def relative(path: Path) -> str:
    """Return a path as messages name it."""
    return str(path.relative_to(ROOT))


def test_import_contracts_hold() -> None:
    """docs/architecture.md: the kernel imports no stage, stages never import one another."""
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_every_package_is_under_the_contracts_and_in_the_wheel() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert tuple(project["tool"]["importlinter"]["root_packages"]) == TOP_LEVEL_PACKAGES
    assert tuple(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) == TOP_LEVEL_PACKAGES
    assert {path.parent.name for path in ROOT.glob("*/py.typed")} == set(TOP_LEVEL_PACKAGES)


@pytest.mark.parametrize("path", PRODUCT, ids=relative)
def test_module_says_what_it_is_and_prints_nothing(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree) or (path.name == MAY_BE_EMPTY and not tree.body), "no docstring"
    printed = [n.lineno for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "print"]
    assert printed == []


@pytest.mark.parametrize("path", PRODUCT, ids=relative)
def test_every_ignore_carries_its_reason(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    bare = [
        n for n, line in enumerate(lines, 1) if re.search(r"# (noqa: [A-Z0-9, ]+|type: ignore\[[\w, -]+\])\s*$", line)
    ]
    assert bare == [], "an ignore without a reason"


def test_nothing_names_this_machine_or_a_package_index() -> None:
    found = [
        f"{relative(path)}:{number}: {line.strip()[:80]}"
        for path in tracked()
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if MACHINE.search(line) or REGISTRY.search(line)
    ]
    assert found == []


def test_locks_hold_hashes_and_no_address() -> None:
    for lock in sorted(ROOT.glob("requirements*.lock")):
        text = lock.read_text(encoding="utf-8")
        requirements = re.findall(r"^[\w.\[\]-]+==", text, re.MULTILINE)
        assert len(requirements) > 10, lock.name
        assert "://" not in text, lock.name
        unhashed = [block for block in re.split(r"\n(?=[\w])", text) if "==" in block and "--hash=sha256:" not in block]
        assert unhashed == [], lock.name


def test_tests_have_no_packages_of_their_own() -> None:
    """With ``--import-mode=importlib`` two test modules may have one name; an ``__init__.py`` would undo that."""
    assert [relative(path) for path in (ROOT / "tests").rglob("__init__.py")] == []


def test_the_listener_does_without_pydicom_and_pynetdicom() -> None:
    """They would be a third of the memory of a process that never decodes a data set."""
    program = (
        "import sys, egfr_dls.service_commands, listener.stage; "
        "print(*sorted({'pydicom', 'pynetdicom', 'numpy', 'highdicom'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
