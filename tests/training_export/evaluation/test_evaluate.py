"""The whole document: its keys, what has no entry, what is null and why."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu, norm

from egfr_dls.errors import UsageError
from tests.training_export.evaluation_tables import IDENTIFIER, Truth, identifier, simulated, write_rows, write_tables
from training_export.evaluation.evaluate import Request, evaluate

KEYS = {  # design of the document; keys are only added
    "settings": "cut_off aggregation days_per_month product_version input_sha256",
    "integrity": "patients slices unmatched slices_per_patient_median slices_per_patient_min_max scores_exactly_at_cut_off",
    "binary": """n positives auc auc_ci95_delong accuracy sensitivity specificity ppv npv tp tn fp fn accuracy_ci95_wilson
        sensitivity_ci95_wilson specificity_ci95_wilson ppv_ci95_wilson npv_ci95_wilson score_positive score_negative
        p_ranksum""",
    "slice_level": "n auc accuracy",
    "aggregation": "mean median max min",
    "survival": """n_high n_low events_high events_low km_median_high km_median_low plain_quartiles_high plain_quartiles_low
        logrank_chi2 logrank_p observed_over_expected cox""",
    "proportions": "dcb hyperprogression hyperprogression_event progression pfs_12m",
}


def document(
    tmp_path: Path, patients: dict[str, list[Any]], scores: list[list[float]], **options: Any
) -> dict[str, Any]:
    """Evaluate columns of patients and the slice scores of each."""
    tables = write_tables(tmp_path, patients, {"egfr": scores})
    return evaluate(Request(tables.slices, tables.patients, **options)).document


def leaves(value: Any) -> Iterator[Any]:
    """Yield everything that stands in a document."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from leaves(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from leaves(inner)
    else:
        yield value


def reason(found: dict[str, Any], figure: str) -> str:
    """Return why a figure is null."""
    (entry,) = [entry["reason"] for entry in found["not_estimable"] if entry["figure"] == figure]
    return str(entry)


def at(found: Any, pointer: str) -> Any:
    """Return what stands at a JSON pointer."""
    for key in pointer.split("/")[1:]:
        found = found[key.replace("~1", "/").replace("~0", "~")]
    return found


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The document of a made-up cohort of two sites with everything in it."""
    tables = simulated(tmp_path_factory.mktemp("full"), Truth(n=240), cohorts=("north", "south/2"))
    raters = (tables.slices, tables.slices, tables.slices)
    request = Request(tables.slices, tables.patients, compare=tables.slices, raters=raters, strata="sex")
    return evaluate(request).document


def test_every_key_of_the_design_is_there(full: dict[str, Any]) -> None:
    assert full["schema"] == "egfr-dls-evaluate/1"
    assert set(KEYS["settings"].split()) <= set(full["settings"])
    for place in (full, full["pdl1"], full["strata"]["f"]):
        for family, keys in KEYS.items():
            if family != "settings" and family in place:
                for cohort in ("north", "south/2"):
                    assert set(keys.split()) <= set(place[family][cohort]), family
    assert {"binary", "slice_level", "aggregation", "survival"} <= set(full["pdl1"])
    entry = full["binary"]["north"]["score_positive"]
    assert set(entry) == {"n", "q1_median_q3_linear", "q1_median_q3_hazen"}
    assert set(full["survival"]["north"]["cox"]["efron"]) == {"hr", "ci95", "p"}
    assert {"all", "high", "low", "fisher_p"} == set(full["proportions"]["north"]["dcb"])
    assert {"k", "n", "pct"} <= set(full["proportions"]["north"]["dcb"]["high"])
    assert {"z", "p"} <= set(full["comparison"]["delong"])
    assert {"b", "c", "p"} <= set(full["comparison"]["mcnemar"])
    assert {"form", "value", "ci95"} <= set(full["agreement"]["icc"])
    assert set(full["pathway_cells"]) == {"all", "adenocarcinoma"}


def test_it_is_json_without_nan_and_without_identifiers(full: dict[str, Any]) -> None:
    text = json.dumps(full, allow_nan=False)
    assert IDENTIFIER not in text
    assert {type(leaf) for leaf in leaves(full)} <= {int, float, str, type(None)}  # no type of NumPy


def test_what_is_null_has_a_reason_where_it_stands(full: dict[str, Any]) -> None:
    """Each pointer leads to a null, or to an entry whose figures are."""
    assert full["not_estimable"], "three raters who agree in everything"
    for entry in full["not_estimable"]:
        found = at(full, entry["figure"])
        assert None in list(leaves(found)), entry
    assert "agree in every patient" in reason(full, "/agreement/icc")
    assert "variance of the difference is 0" in reason(full, "/comparison/delong")


def test_figures_by_hand(tmp_path: Path) -> None:
    """Four patients: scores 0.8, 0.3 (mutant), 0.5, 0.1 (wild type)."""
    found = document(
        tmp_path, {"label": [1, 1, 0, 0]}, [[0.7, 0.9], [0.3], [0.4, 0.6], [0.1]]
    )  # fmt: skip
    entry = found["binary"]["all"]
    assert (entry["n"], entry["positives"], entry["auc"]) == (4, 2, 0.75)
    assert (entry["tp"], entry["fn"], entry["fp"], entry["tn"]) == (1, 1, 1, 1)  # 0.5 is high
    assert entry["score_positive"]["q1_median_q3_linear"] == pytest.approx([0.425, 0.55, 0.675])
    assert entry["score_positive"]["q1_median_q3_hazen"] == pytest.approx([0.3, 0.55, 0.8])
    assert entry["p_ranksum"] == pytest.approx(mannwhitneyu([0.8, 0.3], [0.5, 0.1]).pvalue)
    assert found["slice_level"]["all"] == {"n": 6, "auc": pytest.approx(7 / 9), "accuracy": pytest.approx(4 / 6)}
    assert found["aggregation"]["all"]["min"] == {"auc": 0.5 + 0.25, "accuracy": 0.75}
    assert found["integrity"]["all"]["slices_per_patient_min_max"] == [1, 2]
    assert found["integrity"]["all"]["scores_exactly_at_cut_off"] == 1
    assert found["survival"] == found["proportions"] == found["pathway_cells"] == found["comparison"] == {}


def test_one_class_only(tmp_path: Path) -> None:
    found = document(tmp_path, {"label": [1] * 6}, [[s / 10] for s in range(2, 8)])
    entry = found["binary"]["all"]
    assert (entry["auc"], entry["auc_ci95_delong"], entry["specificity"], entry["p_ranksum"]) == (None,) * 4
    assert entry["sensitivity"] == pytest.approx(0.5)
    assert reason(found, "/binary/all/auc") == "one class only: 6 positive, 0 negative"
    assert found["thresholds"]["all"] is None
    assert found["calibration"]["all"]["slope"] is None


def test_five_patients(tmp_path: Path) -> None:
    """What can be said is said, with a warning; one mutant is too few for an interval."""
    found = document(tmp_path, {"label": [1, 0, 0, 0, 0]}, [[0.9], [0.2], [0.3], [0.95], [0.5]])
    entry = found["binary"]["all"]
    assert entry["auc"] == 0.75
    assert entry["auc_ci95_delong"] is None
    assert reason(found, "/binary/all/auc_ci95_delong") == "fewer than two patients in a class"
    assert "only 1 patients in the smaller class" in found["remarks"][0]["remark"]
    assert entry["sensitivity_ci95_wilson"][0] < 0.25


def test_constant_scores(tmp_path: Path) -> None:
    columns = {"label": [1, 0] * 5, "pfs_months": list(range(1, 11)), "progression": [1] * 10}
    found = document(tmp_path, columns, [[0.6]] * 10)
    assert found["binary"]["all"]["auc"] == 0.5
    assert reason(found, "/binary/all/auc_ci95_delong") == "all scores are the same"
    assert reason(found, "/survival/all/cox") == "one of the groups is empty"
    assert found["survival"]["all"]["cox"]["efron"] == {"hr": None, "ci95": None, "p": None}
    assert found["survival"]["all"]["km_median_high"] == 5
    assert found["calibration"]["all"]["ece"] == pytest.approx(0.1)


def test_no_events(tmp_path: Path) -> None:
    columns = {"pfs_months": [3, 5, 8, 13, 20, 30], "progression": [0] * 6}
    found = document(tmp_path, columns, [[0.2], [0.8]] * 3)
    assert found["binary"] == {}
    assert reason(found, "/survival/all/logrank_p") == "no event"
    assert reason(found, "/survival/all/km_median_low") == "the curve does not come down to one half"
    assert found["proportions"]["all"]["progression"]["all"] == {
        "k": 0, "n": 6, "pct": 0.0, "pct_ci95_wilson": [0.0, pytest.approx(39.03, abs=0.01)], "censored_before": None,
    }  # fmt: skip


def test_a_cohort_without_label_or_follow_up_has_no_entry(tmp_path: Path) -> None:
    columns = {
        "cohort": ["a", "a", "a", "b", "b"],
        "label": [1, 0, 0, "", ""],
        "pfs_months": ["", "", 4, 4, 9],
        "progression": ["", "", "", 1, 0],
    }
    found = document(tmp_path, columns, [[0.8], [0.1], [0.3], [0.7], [0.2]])
    assert list(found["binary"]) == ["a"]
    assert list(found["survival"]) == list(found["proportions"]) == ["b"]
    assert [found["integrity"][cohort]["follow_up_incomplete"] for cohort in ("a", "b")] == [1, 0]
    assert [found["integrity"][cohort]["patients_without_label"] for cohort in ("a", "b")] == [0, 2]


def test_slices_of_unknown_patients_are_counted_not_used(tmp_path: Path) -> None:
    tables = write_tables(tmp_path, {"label": [1, 0, 1]}, {"egfr": [[0.8], [0.3], []]})
    with tables.slices.open("a", encoding="utf-8") as file:
        file.write("stranger,1,0.5,0.5,egfr\nstranger,2,0.5,0.5,pdl1\n")
    found = evaluate(Request(tables.slices, tables.patients)).document
    entry = found["integrity"]["all"]
    assert (entry["unmatched"], entry["slices"], entry["patients"], entry["patients_without_score"]) == (2, 2, 2, 1)
    assert found["binary"]["all"]["n"] == 2


def test_nobody_in_common_is_an_error(tmp_path: Path) -> None:
    tables = write_tables(tmp_path, {"label": [1]}, {"egfr": [[]]})
    tables.slices.write_text("patient,score\nstranger,0.5\n", encoding="utf-8")
    with pytest.raises(UsageError, match="none of its patients stands in --patients"):
        evaluate(Request(tables.slices, tables.patients))


def test_days_a_month_are_said_and_used(tmp_path: Path) -> None:
    columns = {"pfs_days": [61, 90, 300], "progression": [1, 1, 0]}
    found = document(tmp_path, columns, [[0.8], [0.3], [0.4]], days_per_month=30.4375)
    assert found["settings"]["days_per_month"] == 30.4375
    assert found["survival"]["all"]["plain_quartiles_high"][1] == pytest.approx(61 / 30.4375)
    assert found["proportions"]["all"]["hyperprogression"]["high"]["k"] == 0


CELLS = {
    "cohort": ["a", "b/c", ""],
    "label": ["", "0", "1"],
    "pdl1_label": ["", "0", "1"],
    "histology": ["", "adenocarcinoma"],
    "treatment": ["", "TKI", "ICI"],
    "age": ["", "50", "61"],
    "suvmax": ["", "0", "7.5"],
    "pfs_months": ["", "0", "1", "1", "6", "12", "30"],
    "progression": ["", "0", "1"],
    "response": ["", "CR", "PD"],
}
ROW = st.fixed_dictionaries({column: st.sampled_from(cells) for column, cells in CELLS.items()})
SLICE_SCORES = st.lists(st.sampled_from([0.0, 0.2, 0.5, 0.5, 0.8, 1.0]), max_size=3)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(ROW, SLICE_SCORES, SLICE_SCORES), min_size=1, max_size=14))
def test_no_table_of_few_patients_ends_otherwise_than_with_a_document(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[dict[str, str], list[float], list[float]]]
) -> None:
    """Whatever is missing, tied or all alike: JSON without NaN, a reason for each null of a family, or a usage error."""
    columns = {column: [row[column] for row, _, _ in rows] for column in CELLS}
    tables = write_tables(
        tmp_path_factory.mktemp("few"), columns, {"egfr": [e for _, e, _ in rows], "pdl1": [p for _, _, p in rows]}
    )
    both = (tables.slices, tables.slices)
    try:
        found = evaluate(Request(tables.slices, tables.patients, tables.slices, both, strata="histology")).document
    except UsageError:
        return
    json.dumps(found, allow_nan=False)
    for entry in found["binary"].values():
        assert (entry["auc"] is None) == (entry["positives"] in (0, entry["n"]))
    for entry in found["not_estimable"]:
        assert None in list(leaves(at(found, entry["figure"])))


def test_strata_are_tested_against_the_others(full: dict[str, Any]) -> None:
    """Of two groups the test is the same seen from either side."""
    tests = full["strata_tests"]["north"]
    assert set(tests) == {"f", "m"}
    assert tests["f"]["z"] == pytest.approx(-tests["m"]["z"])
    assert tests["f"]["auc_first"] == full["strata"]["f"]["binary"]["north"]["auc"]


def test_another_model_is_compared_on_common_patients(tmp_path: Path) -> None:
    """A table of patient scores will do; the third patient is not in it."""
    tables = write_tables(tmp_path, {"label": [1, 0, 1, 0]}, {"egfr": [[0.8], [0.3], [0.1], [0.6]]})
    other = write_rows(
        tmp_path / "other.csv", ["patient", "score"], [(identifier(0), 0.4), (identifier(1), 0.1), (identifier(3), 0.2)]
    )
    found = evaluate(Request(tables.slices, tables.patients, compare=other)).document["comparison"]
    assert found["n"] == 3
    assert (found["mcnemar"]["b"], found["mcnemar"]["c"]) == (1, 1)
    assert (found["delong"]["auc_first"], found["delong"]["z"]) == (None, None)


def test_known_truth_is_inside_the_intervals(tmp_path: Path) -> None:
    """Hazards and classes as drawn; large enough that chance is small, and the interval narrow."""
    tables = simulated(tmp_path, Truth(n=3000, hazard_ratio=0.4, seed=7))
    found = evaluate(Request(tables.slices, tables.patients)).document
    ratio = found["survival"]["site"]["cox"]["efron"]
    assert ratio["ci95"][0] < 0.4 < ratio["ci95"][1]
    assert ratio["ci95"][1] - ratio["ci95"][0] < 0.1
    low, high = found["binary"]["site"]["auc_ci95_delong"]
    separation = 1.2 / np.hypot(1, 0.4 / np.sqrt(3))  # the slices' own scatter blurs the class a little

    assert low < norm.cdf(separation / np.sqrt(2)) < high
