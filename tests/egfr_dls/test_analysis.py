"""`egfr-dls analyze`: a folder in, objects and result.json out; each bad input is refused by name with a report of its own."""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import DataElement, Dataset, dcmread
from pydicom.uid import ComprehensiveSRStorage, EnhancedPETImageStorage

from egfr_dls import cli
from tests.builders import STUDY_UID, base_dataset, ct_slices, pet_slices, rtstruct, secondary_capture, to_part10
from tests.egfr_dls.test_findings import DOCUMENT_KEYS, LESION_KEYS, PATIENT_KEYS
from tests.inference.roi.volumes import set_raw
from tests.system.study_data import of_modality, small_study, study_uid

COMPREHENSIVE_3D_SR = "1.2.840.10008.5.1.4.1.1.88.34"
PRIVATE_CLASS = "1.2.3.999.1"
TAG = re.compile(r"\([0-9A-F]{4},[0-9A-F]{4}\)")


@dataclass
class Ended:
    """How a call of `analyze` ended."""

    code: int
    out: str
    err: str
    folder: Path

    @property
    def result(self) -> dict[str, Any]:
        """The document of result.json."""
        document: dict[str, Any] = json.loads((self.folder / "result.json").read_text(encoding="utf-8"))
        return document

    def objects(self) -> dict[str, bytes]:
        """The bytes of the objects by file name."""
        return {path.name: path.read_bytes() for path in sorted((self.folder / "objects").iterdir())}


Analyze = Callable[..., Ended]


@pytest.fixture
def analyze(
    tmp_path: Path, tiny_config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Analyze:
    """Write instances (or bytes) to a folder and analyse it; or analyse a given path. Pages, which take a second, are off."""
    monkeypatch.setenv("EGFR_DLS_REPORTING__PAGES", "false")

    def call(given: Sequence[Dataset | bytes] | Path, *options: str, out: str = "out") -> Ended:
        path = given if isinstance(given, Path) else write(tmp_path / "studies" / out.replace("/", "-"), given)
        with pytest.raises(SystemExit) as caught:
            cli.main(["analyze", str(path), "--out", str(tmp_path / out), "--config", str(tiny_config), *options])
        captured = capsys.readouterr()
        return Ended(int(caught.value.code or 0), captured.out, captured.err, tmp_path / out)

    return call


def write(folder: Path, instances: Sequence[Dataset | bytes]) -> Path:
    """Write one file an instance, under names that say nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    for n, one in enumerate(instances):
        (folder / f"{n:04d}").write_bytes(one if isinstance(one, bytes) else to_part10(one))
    return folder


def leaves(value: Any) -> list[Any]:
    """Return every plain value in a document."""
    if isinstance(value, dict):
        return [leaf for inner in value.values() for leaf in leaves(inner)]
    if isinstance(value, list):
        return [leaf for inner in value for leaf in leaves(inner)]
    return [value]


def texts(report: Dataset) -> list[str]:
    """Return every Text Value (0040,A160) of a structured report."""
    return [str(element.value) for element in report.iterall() if element.keyword == "TextValue"]


# scored


def test_study_with_a_stored_region_is_scored(analyze: Analyze, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EGFR_DLS_REPORTING__PAGES")
    ended = analyze(small_study(1))
    assert ended.code == 0
    result = ended.result
    assert result["schema"] == "egfr-dls-result/1"
    assert result.keys() == DOCUMENT_KEYS
    assert (result["status"], result["refusal"], result["study_instance_uid"]) == ("scored", None, study_uid(1))
    assert [s["role"] for s in result["series"]].count(None) == 0
    assert {s["modality"]: s["role"] for s in result["series"]} == {"PT": "pet", "CT": "ct", "SEG": "roi"}
    (lesion,) = result["lesions"]
    assert lesion.keys() == LESION_KEYS
    assert lesion["roi_source"] == "stored_seg"
    assert result["patient"].keys() == PATIENT_KEYS
    assert result["patient"]["n_slices"] == len(lesion["slices"]) > 0
    assert result["model"].keys() == result["companion_model"].keys() == {"name", "version", "sha256", "status"}
    listed = {o["kind"]: o for o in result["objects"]}
    assert listed.keys() == {"report", "pages"}  # the region came in: it is referred to, never copied
    for kind, entry in listed.items():
        ds = dcmread(ended.folder / entry["path"])
        assert (entry["path"], ds.SOPClassUID) == (f"objects/{kind}.dcm", entry["sop_class_uid"])
        assert (ds.SOPInstanceUID, ds.StudyInstanceUID) == (entry["sop_instance_uid"], study_uid(1))
    assert (ended.folder / "report.html").stat().st_size > 1000
    assert "EGFR-DLS" in ended.out


def test_scores_have_four_decimals_and_nothing_is_nan(analyze: Analyze) -> None:
    result = analyze(small_study(1)).result
    scores = [result["patient"][k] for k in ("egfr_dls", "pdl1_dls")]
    for lesion in result["lesions"]:
        scores += [lesion[k] for k in ("egfr_dls", "pdl1_dls")]
        scores += [s[k] for s in lesion["slices"] for k in ("egfr_dls", "pdl1_dls")]
    assert all(0 <= s <= 1 and s == round(s, 4) for s in scores)
    assert not [x for x in leaves(result) if x != x]
    lesion = result["lesions"][0]
    assert any(x != round(x, 4) for x in (lesion["volume_ml"], lesion["suv_mean"], lesion["tlg_g"]))  # unrounded


def test_json_is_the_document_and_nothing_else(analyze: Analyze) -> None:
    ended = analyze(small_study(1), "--json")
    assert json.loads(ended.out) == ended.result
    assert ended.err == ""


def test_second_run_gives_the_same_bytes(analyze: Analyze, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EGFR_DLS_REPORTING__PAGES")
    first, second = analyze(small_study(1), out="a"), analyze(list(reversed(small_study(1))), out="b")
    assert first.objects() == second.objects()
    a, b = first.result, second.result
    for document in (a, b):
        del document["analysed_at"], document["timings_seconds"]
    assert a == b
    assert first.code == second.code == 0


def test_second_run_into_the_same_folder_replaces_ours_and_touches_nothing_else(
    analyze: Analyze, tmp_path: Path
) -> None:
    analyze(small_study(1))
    (tmp_path / "out" / "notes.txt").write_text("mine")
    (tmp_path / "out" / "objects" / "roi.dcm").write_bytes(b"of an earlier run")
    ended = analyze(small_study(1))
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"
    assert sorted(ended.objects()) == ["report.dcm"]


def test_our_own_results_in_the_folder_are_no_input(analyze: Analyze) -> None:
    first = analyze(small_study(1), out="a")
    again = analyze([*small_study(1), *first.objects().values()], out="b")
    assert again.objects() == first.objects()


def test_at_is_the_time_in_the_objects(analyze: Analyze) -> None:
    ended = analyze(small_study(1), "--at", "2026-01-31T09:30:00")
    report = dcmread(ended.folder / "objects" / "report.dcm")
    assert (report.ContentDate, report.ContentTime.split(".")[0]) == ("20260131", "093000")
    default = dcmread(analyze(small_study(1), out="b").folder / "objects" / "report.dcm")
    assert (default.ContentDate, default.ContentTime.split(".")[0]) == ("20250102", "110000")  # the acquisition


def test_given_region_beats_the_one_in_the_folder(analyze: Analyze, tmp_path: Path) -> None:
    study = small_study(1)
    (seg,) = of_modality(study, "SEG")
    other = seg.copy()
    other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = f"{seg.SOPInstanceUID}.77"
    other.SegmentSequence[0].TrackingUID = "2.25.77"
    given = write(tmp_path / "roi", [other])
    assert analyze(study, "--roi", str(given / "0000")).result["lesions"][0]["tracking_uid"] == "2.25.77"
    without = [ds for ds in study if ds is not seg]
    assert analyze(without, "--roi", str(given), out="b").result["lesions"][0]["roi_source"] == "stored_seg"


def test_registration_is_made_on_request_and_said(analyze: Analyze, phantom: Path) -> None:
    """PET and CT share a frame of reference, and fit: it is measured, and nothing is moved."""
    plain, asked = analyze(phantom, out="plain"), analyze(phantom, "--register", out="asked")
    said = {out: [w["message"] for w in ended.result["warnings"] if w["code"] == "REGISTRATION_ESTIMATED"]
            for out, ended in (("plain", plain), ("asked", asked))}  # fmt: skip
    assert said["plain"] == []
    assert "registration was asked for" in said["asked"][0]
    assert asked.result["patient"]["egfr_dls"] == plain.result["patient"]["egfr_dls"]
    report = dcmread(asked.folder / "objects" / "report.dcm")
    assert [text for text in texts(report) if "Mattes mutual information" in text]


def test_missing_weight_is_no_obstacle_to_a_stored_region(analyze: Analyze) -> None:
    result = analyze(small_study(1, PatientWeight=None)).result
    assert result["status"] == "scored"
    assert "SUV_OMITTED" in {w["code"] for w in result["warnings"]}
    assert [result["lesions"][0][k] for k in ("suv_max", "suv_mean", "mtv_ml", "tlg_g")] == [None] * 4


def test_lesions_are_proposed_where_no_region_is_stored(analyze: Analyze, phantom: Path) -> None:
    ended = analyze(phantom)
    assert ended.code == 0
    assert {x["roi_source"] for x in ended.result["lesions"]} == {"proposed"}
    assert {w["code"] for w in ended.result["warnings"]} >= {"ROI_PROPOSED"}
    assert sorted(ended.objects()) == ["report.dcm", "roi.dcm"]


def test_service_of_the_environment_is_not_touched(
    analyze: Analyze, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "service"
    monkeypatch.setenv("EGFR_DLS_STORAGE__ROOT", str(root))
    monkeypatch.setenv("EGFR_DLS_LOGGING__SITE_KEY_FILE", str(root / "site.key"))
    monkeypatch.setenv("EGFR_DLS_LEDGER__URL", f"sqlite:///{root}/ledger.sqlite")
    assert analyze(small_study(1)).code == 0
    assert not root.exists()


# refused: exit 3, the reason in result.json and on the screen, and a report that says so


def truncated(modality: str) -> list[Dataset | bytes]:
    """Return a study of which one file lost its end."""
    study = small_study(1)
    last = max(n for n, ds in enumerate(study) if ds.Modality == modality)
    return [to_part10(ds)[:-200] if n == last else ds for n, ds in enumerate(study)]


def without_lungs() -> list[Dataset]:
    return ct_slices() + pet_slices()


def unknown(sop_class_uid: str, modality: str) -> list[Dataset]:
    return [base_dataset(sop_class_uid, modality, f"{STUDY_UID}.7", f"{STUDY_UID}.7.1")]


REFUSED: list[tuple[str, Callable[[], Sequence[Dataset | bytes]], str, str, str]] = [
    # what is wrong, the input, the code, what was found, what is needed
    ("no CT", lambda: of_modality(small_study(1), "PT"), "SERIES_MISSING", "no CT series", "Modality (0008,0060) CT"),
    ("no PET", lambda: of_modality(small_study(1), "CT"), "SERIES_MISSING", "no PET series", "Modality (0008,0060) PT"),
    ("no image", lambda: [secondary_capture()], "SERIES_MISSING", "no PET series", "Modality (0008,0060) PT"),
    ("no lung to look in", without_lungs, "NO_LUNG_FIELD", "80 ml", "300 ml"),
    ("no weight, no region", lambda: ct_slices() + pet_slices(PatientWeight=None), "SUV_NO_WEIGHT",
     "PatientWeight (0010,1030) is missing", "20 to 300 kg"),
    ("no attenuation correction", lambda: ct_slices() + pet_slices(CorrectedImage=["DECY"]),
     "PET_NOT_ATTENUATION_CORRECTED", "CorrectedImage (0028,0051)", "Needed: ATTN"),
    ("cut PET file", lambda: truncated("PT"), "PIXELS_UNREADABLE", "PixelData (7FE0,0010)", "a readable object"),
    ("cut CT file", lambda: truncated("CT"), "PIXELS_UNREADABLE", "PixelData (7FE0,0010)", "a readable object"),
    ("multi-frame PET", lambda: unknown(EnhancedPETImageStorage, "PT") + ct_slices(), "SUV_SOP_CLASS",
     "SOPClassUID (0008,0016) is Enhanced PET Image Storage", "PET Image Storage (1.2.840.10008.5.1.4.1.1.128)"),
    ("private class", lambda: unknown(PRIVATE_CLASS, "OT"), "SOP_CLASS_UNSUPPORTED",
     f"SOPClassUID (0008,0016) is {PRIVATE_CLASS}", "PET Image Storage"),
    ("private class, called PT", lambda: unknown(PRIVATE_CLASS, "PT"), "SOP_CLASS_UNSUPPORTED",
     f"SOPClassUID (0008,0016) is {PRIVATE_CLASS}", "PET Image Storage"),
    ("a slice is missing", lambda: [d for d in small_study(1) if not (d.Modality == "CT" and d.InstanceNumber == 4)],
     "GEOMETRY_MISMATCH", "ImagePositionPatient (0020,0032)", "equal distances"),
]  # fmt: skip
WITHOUT_TAG = {"NO_LUNG_FIELD"}  # which is about voxels


@pytest.mark.parametrize(("what", "study", "code", "found", "needed"), REFUSED, ids=[row[0] for row in REFUSED])
def test_study_that_cannot_be_scored_is_refused_by_name(
    analyze: Analyze, what: str, study: Callable[[], Sequence[Dataset | bytes]], code: str, found: str, needed: str
) -> None:
    ended = analyze(study())
    assert ended.code == 3, what
    result = ended.result
    assert (result["status"], result["refusal"]["code"]) == ("refused", code)
    assert result["refusal"].keys() == {"code", "message"}
    message = result["refusal"]["message"]
    assert found in message
    assert needed in message
    assert code in WITHOUT_TAG or TAG.search(message)
    assert code in ended.out
    assert result.keys() == DOCUMENT_KEYS
    assert (result["lesions"], result["patient"]["egfr_dls"], result["patient"]["pathway"]) == (
        [],
        None,
        "NO_SUGGESTION",
    )
    report = dcmread(ended.folder / "objects" / "report.dcm")
    assert report.SOPClassUID == COMPREHENSIVE_3D_SR != ComprehensiveSRStorage
    assert any(message[:40] in text for text in texts(report))
    assert (ended.folder / "report.html").exists()
    again = analyze(study(), "--json", out="again")
    assert (again.code, json.loads(again.out)["refusal"], again.err) == (3, result["refusal"], "")
    assert again.objects() == ended.objects()


def test_phantom_without_a_hot_lesion_has_nothing_to_propose(analyze: Analyze, phantom: Path, tmp_path: Path) -> None:
    study = [dcmread(path) for path in sorted(phantom.glob("*.dcm"))]
    for ds in study:
        if ds.Modality == "PT":  # no voxel reaches more than a fifth of what the hottest one had
            stored = np.minimum(ds.pixel_array, 500)
            ds.PixelData = stored.astype(ds.pixel_array.dtype).tobytes()
    ended = analyze(study)
    assert (ended.code, ended.result["refusal"]["code"]) == (3, "NO_ROI")


def test_refusal_report_is_left_out_where_the_site_wants_none(
    analyze: Analyze, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EGFR_DLS_REPORTING__REFUSALS", "false")
    ended = analyze(of_modality(small_study(1), "CT"))
    assert (ended.code, ended.result["objects"], ended.objects()) == (3, [], {})


# the wrong question: exit 2


def test_several_studies_are_listed_and_one_can_be_named(analyze: Analyze) -> None:
    both = small_study(1) + small_study(2)
    ended = analyze(both)
    assert ended.code == 2
    assert study_uid(1) in ended.err
    assert study_uid(2) in ended.err
    assert not (ended.folder / "result.json").exists()
    chosen = analyze(both, "--study", study_uid(2))
    assert (chosen.code, chosen.result["study_instance_uid"]) == (0, study_uid(2))
    absent = analyze(both, "--study", "1.2.3", "--json", out="b")
    assert (absent.code, json.loads(absent.out)["error"]["kind"]) == (2, "usage")


@pytest.mark.parametrize(
    "content", [[], [b"hello"], [b"\0" * 128 + b"DICM" + b"\xff" * 50]], ids=["empty", "text", "broken"]
)
def test_folder_without_dicom(analyze: Analyze, content: list[bytes]) -> None:
    ended = analyze(content, "--json")
    assert (ended.code, json.loads(ended.out)["error"]["exit"]) == (2, 2)
    assert "holds no readable DICOM file" in ended.out
    assert not ended.folder.exists()


def test_a_file_cut_in_its_header_refuses_the_study_rather_than_shorten_it(analyze: Analyze) -> None:
    whole = small_study(1)
    ended = analyze([*whole[:-1], to_part10(whole[-1])[:500]])
    assert ended.code == 3
    assert ended.result["refusal"]["code"] == "PIXELS_UNREADABLE"
    assert "1 DICOM files cannot be read" in ended.result["refusal"]["message"]


@pytest.mark.parametrize("keyword", ["SeriesInstanceUID", "SOPClassUID"])
def test_a_file_that_does_not_say_what_it_is_refuses_the_study(analyze: Analyze, keyword: str) -> None:
    study = small_study(1)
    delattr(study[0], keyword)
    ended = analyze(study)
    assert (ended.code, ended.result["refusal"]["code"]) == (3, "PIXELS_UNREADABLE")


def test_a_pipe_in_the_folder_is_not_waited_for(analyze: Analyze, tmp_path: Path) -> None:
    folder = write(tmp_path / "piped", small_study(1))
    os.mkfifo(folder / "pipe.dcm")
    assert analyze(folder).code == 0


def test_a_study_may_be_dated_later_than_the_clock(analyze: Analyze) -> None:
    assert analyze(small_study(1), "--at", "2150-01-01").code == 0


def test_a_given_region_that_is_none_is_a_wrong_command_line(analyze: Analyze, tmp_path: Path) -> None:
    study = small_study(1)
    ct = write(tmp_path / "ct", of_modality(study, "CT")[:1])
    ended = analyze(study, "--roi", str(ct / "0000"))
    assert ended.code == 2
    assert "needed: a SEG or RTSTRUCT" in ended.err


def test_a_given_region_that_does_not_fit_is_refused_and_nothing_else_is_scored(
    analyze: Analyze, tmp_path: Path
) -> None:
    other = write(tmp_path / "other", of_modality(small_study(2), "SEG"))
    ended = analyze(of_modality(small_study(1), "CT", "PT"), "--roi", str(other / "0000"))
    assert ended.code == 3
    assert ended.result["lesions"] == []


GTV = [-20.0, -20.0, 8.0, 20.0, -20.0, 8.0, 20.0, 20.0, 8.0, -20.0, 20.0, 8.0]


def with_contours(change: Callable[[Dataset], object]) -> list[Dataset | bytes]:
    """Return a valid study with an RTSTRUCT, and one thing changed in the latter."""
    ct = ct_slices()
    structures = rtstruct(ct, {"GTV": [GTV]})
    change(structures)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, of what breaks its VR
        return [*ct, *pet_slices(), to_part10(structures)]


def of_other_images(ds: Dataset) -> None:
    frame = ds.ReferencedFrameOfReferenceSequence[0]
    frame.FrameOfReferenceUID, frame.RTReferencedStudySequence = "1.2.4", []
    ds.StructureSetROISequence[0].ReferencedFrameOfReferenceUID = "1.2.4"
    ds.pop("FrameOfReferenceUID", None)


def name_is_a_sequence(ds: Dataset) -> None:
    for tag in (0x00100010, 0x00081070):
        ds[tag] = DataElement(tag, "SQ", [Dataset()])


@pytest.mark.parametrize(
    "change",
    [
        lambda _ds: None,
        name_is_a_sequence,
        lambda ds: set_raw(ds.StructureSetROISequence[0], "ROIName", "GTV " * 15_000),
        lambda ds: set_raw(ds.RTROIObservationsSequence[0], "ROIInterpreter", "A^" * 30_000, "PN"),
        lambda ds: set_raw(ds, "StructureSetDate", "yesterday", "DA"),
    ],
    ids=["valid", "names are sequences", "60,000 characters", "a long person", "no date"],
)
def test_what_a_region_says_of_itself_cannot_harm_the_report(
    analyze: Analyze, change: Callable[[Dataset], object]
) -> None:
    ended = analyze(with_contours(change))
    assert (ended.code, ended.result["lesions"][0]["roi_source"]) == (0, "stored_rtstruct")
    assert len(json.dumps(ended.result)) < 10_000
    assert ended.objects()


@pytest.mark.parametrize(
    ("change", "code", "found"),
    [
        (lambda ds: set_raw(ds.ROIContourSequence[0].ContourSequence[0], "ContourData", "0\\0\\8\\9\\0\\8\\9\\nan\\8", "DS"),
         "GEOMETRY_MISMATCH", "ContourData (3006,0050) holds a coordinate of nan mm"),
        (lambda ds: setattr(ds.ROIContourSequence[0].ContourSequence[0], "ContourGeometricType", "POINT"),
         "NO_ROI", "ContourGeometricType (3006,0042) is POINT"),
        (lambda ds: setattr(ds.ROIContourSequence[0], "ContourSequence", []), "NO_ROI", "has no closed contour"),
        (of_other_images,
         "ROI_REFERENCE_MISSING", "FrameOfReferenceUID (0020,0052) 1.2.4"),
        (lambda ds: (setattr(ds.StructureSetROISequence[0], "ROIName", "Segment_1"),
                     setattr(ds.RTROIObservationsSequence[0], "RTROIInterpretedType", "ORGAN")),
         "NO_LUNG_FIELD", "no stored ROI is marked as a tumour"),
    ],
    ids=["NaN", "a point", "nothing", "other images", "no tumour"],
)  # fmt: skip
def test_a_region_with_one_fault_is_refused_by_name(
    analyze: Analyze, change: Callable[[Dataset], object], code: str, found: str
) -> None:
    """Of a study in which nothing can be proposed: the fault that a person can mend is the refusal."""
    ended = analyze(with_contours(change))
    assert (ended.code, ended.result["refusal"]["code"]) == (3, code)
    assert found in ended.result["refusal"]["message"]
    assert any(code in text for text in texts(dcmread(ended.folder / "objects" / "report.dcm")))


def test_ct_of_another_patient_is_refused_without_naming_anybody(analyze: Analyze) -> None:
    study = small_study(1)
    for ds in of_modality(study, "CT"):
        ds.PatientID = "SOMEBODY-ELSE"
    ended = analyze(study)
    assert (ended.code, ended.result["refusal"]["code"]) == (3, "SERIES_AMBIGUOUS")
    assert "PatientID (0010,0020)" in ended.result["refusal"]["message"]
    assert "SOMEBODY-ELSE" not in json.dumps(ended.result)


def test_two_contents_under_one_uid_are_refused_and_two_copies_are_one(analyze: Analyze) -> None:
    """A copy in another folder, also with another file meta, is the same instance; another content is another."""
    study = small_study(1)
    copied = deepcopy(study[-1])
    copied.file_meta.ImplementationVersionName = "A_ROUTER"
    assert analyze([*study, copied]).code == 0
    changed = deepcopy(study[-1])
    changed.ContentDate = "20240101"
    ended = analyze([*study, changed], out="b")
    assert (ended.code, ended.result["refusal"]["code"]) == (3, "SERIES_AMBIGUOUS")
    assert "SOPInstanceUID (0008,0018)" in ended.result["refusal"]["message"]
    assert "0016, 0017" in ended.result["refusal"]["message"], "the files by name"


def test_other_files_are_skipped_and_counted(analyze: Analyze) -> None:
    ended = analyze([*small_study(1), b"notes", b"%PDF-1.7"])
    assert ended.code == 0
    assert re.search(r"files_skipped.*count=2", ended.err)


def test_output_that_cannot_be_made_is_a_wrong_command_line(analyze: Analyze, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = analyze(small_study(1), out="file/out")
    assert ended.code == 2
    assert "--out" in ended.err


def test_networks_that_are_not_there_are_a_wrong_configuration(
    analyze: Analyze, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EGFR_DLS_INFERENCE__MODELS", str(tmp_path / "absent"))
    ended = analyze(small_study(1), "--json")
    assert (ended.code, json.loads(ended.out)["error"]["kind"]) == (78, "configuration")


@pytest.mark.parametrize("moment", ["0001-01-01", "2026-01-31T09:30:00+14:00", "yesterday"])
def test_a_moment_that_cannot_stand_in_an_object_is_a_wrong_command_line(analyze: Analyze, moment: str) -> None:
    ended = analyze(small_study(1), "--at", moment)
    assert ended.code == 2
    assert "needed: ISO 8601" in ended.err
