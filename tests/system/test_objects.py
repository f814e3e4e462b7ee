"""What arrives at the PACS is valid, by judges of other people, for scores and for refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.pacs import ScriptedPacs
from tests.system.scanner import send_whole
from tests.system.service import running_service, service_sections
from tests.system.study_data import of_modality, small_study, study_uid
from tests.system.validators import dcentvfy_faults, dciodvfy_errors

pytestmark = [pytest.mark.system, pytest.mark.dicom3tools]


def test_no_validator_finds_an_error_in_any_object_of_a_score_or_a_refusal(
    tmp_path: Path, tiny_models: Path, pacs: ScriptedPacs
) -> None:
    """A score with pages, and the refusal of a study whose PET is not attenuation corrected."""
    scored, refused = small_study(1), small_study(2)
    for ds in of_modality(refused, "PT"):
        ds.CorrectedImage = ["DECY"]
    sections = service_sections(tmp_path, tiny_models, pacs.port, reporting={"pages": True})
    with running_service(tmp_path, sections) as service:
        send_whole(service.port, scored)
        send_whole(service.port, refused)
        states = {n: service.wait_until_all_is_sent(study_uid(n)) for n in (1, 2)}
    assert states[1]["findings"]["status"] == "scored"
    assert states[2]["findings"]["status"] == "refused"
    for number, kinds in ((1, ["report", "pages"]), (2, ["report", "pages"])):
        assert [d["kind"] for d in states[number]["deliveries"]] == kinds
        paths = [tmp_path / f"{number}-{i}.dcm" for i, _ in enumerate(pacs.of_study(study_uid(number)))]
        for path, request in zip(paths, pacs.of_study(study_uid(number)), strict=True):
            path.write_bytes(request.part10)
            assert dciodvfy_errors(path) == [], request.sop_class_uid
        assert len(paths) == len(kinds)
        assert dcentvfy_faults(paths) == []
