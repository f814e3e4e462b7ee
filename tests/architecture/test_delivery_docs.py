"""What can go wrong with a delivery stands in the operator's table, and every example of a configuration is one."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from egfr_dls import client_tls, settings
from reporting.web_status import HTTP_RULES
from tests.architecture.test_docs import PAGES, ROOT, rows

OPERATE = (ROOT / "docs" / "how-to" / "operate.md").read_text(encoding="utf-8")
# The modules in which a reason is named; what else they write in capitals is no reason.
MODULES = (
    *(f"reporting/{name}.py" for name in (
        "association", "delivery", "delivery_status", "dimse", "proof_rules", "prove", "register", "send", "stow",
        "transport", "web_exchange", "web_status",
    )),
    "egfr_dls/client_tls.py", "egfr_dls/delivery.py",
)  # fmt: skip
# Methods, a query level, words of TLS alerts; of the event commitment_not_asked.
NO_REASON = {"GET", "POST", "IMAGE", "ALERT", "CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED", "NOT_NOW"}
OF_TRAINING = "train-a-network.md"  # its files configure a training run, not the service
TOML = [
    pytest.param(block, id=f"{path.name}-{number}")
    for path in PAGES
    if path.name != OF_TRAINING
    for number, block in enumerate(re.findall(r"^```toml\n(.*?)^```", path.read_text("utf-8"), re.M | re.S), 1)
]


def reasons() -> set[str]:
    """Return every reason that the code names."""
    text = "\n".join((ROOT / module).read_text(encoding="utf-8") for module in MODULES)
    return set(re.findall(r'"([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*)"', text)) - NO_REASON


def documented() -> set[str]:
    """Return every reason that the operator's table explains."""
    return set(rows(OPERATE.split("\n## Deliveries\n")[1].split("\n## ")[0]))


def test_every_reason_of_the_code_has_its_row() -> None:
    assert sorted(reasons() - documented()) == []


def test_no_row_is_of_a_reason_that_the_code_does_not_know() -> None:
    families = {"HTTP_5xx", "HTTP_xxx"}
    assert sorted(documented() - reasons() - families - {"reason"}) == []


def test_reasons_are_found() -> None:
    assert {client_tls.NOT_TRUSTED, "NOT_THERE", "NO_ANSWER", "TLS_FILE_UNREADABLE", "HTTP_413"} <= reasons()
    assert {rule.reason for rule in HTTP_RULES.values() if rule.reason} <= reasons()


@pytest.mark.parametrize("block", TOML)
def test_every_example_is_a_configuration(block: str, tmp_path: Path) -> None:
    written = tomllib.loads(block)
    file = tmp_path / "egfr-dls.toml"
    file.write_text(
        block if "storage" in written else f'{block}\n[storage]\nroot = "/srv/egfr-dls"\n', encoding="utf-8"
    )
    settings.load(file)
