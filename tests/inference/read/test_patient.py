"""Whose an object is: patients that share an ID are never taken for one another."""

from __future__ import annotations

from typing import Any

import pytest
from pydicom import Dataset

from inference.read.patient import Patient, patient_of

BORN, NAME = "19600101", "MUSTERMANN^ERIKA"


def patient(**attributes: Any) -> Patient:
    ds = Dataset()
    for keyword, value in {"PatientID": "4711", "PatientBirthDate": BORN, "PatientName": NAME, **attributes}.items():
        ds.add_new(keyword, "LO", value)  # takes what is no date, too
    return patient_of(ds)


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ({}, {}, True),
        ({}, {"PatientID": "4712"}, False),
        ({}, {"IssuerOfPatientID": "ELSEWHERE"}, False),
        ({}, {"PatientBirthDate": "19610101"}, False),
        ({}, {"PatientName": "MUSTER^ERIKA"}, True),  # married meanwhile
        ({}, {"PatientBirthDate": ""}, True),  # by the name
        ({}, {"PatientBirthDate": "", "PatientName": "MUSTER^ERIKA"}, False),
        ({}, {"PatientBirthDate": "", "PatientName": ""}, None),
        ({"PatientBirthDate": ""}, {"PatientName": ""}, None),
        ({"PatientBirthDate": "", "PatientName": ""}, {"PatientBirthDate": "", "PatientName": ""}, None),
        ({"PatientBirthDate": ""}, {"PatientBirthDate": "", "PatientName": "Mustermann^Erika^^"}, True),
        ({"PatientBirthDate": ""}, {"PatientBirthDate": "", "PatientName": "MUSTERMANN^ERIKA=\u4f8b"}, True),
        ({"PatientBirthDate": ""}, {"PatientBirthDate": "", "PatientName": "MUSTERMANN"}, False),
    ],
)
def test_one_id_is_one_patient_only_by_birth_date_or_name(
    one: dict[str, str], other: dict[str, str], is_same: bool | None
) -> None:
    assert patient(**one).is_same_as(patient(**other)) is is_same
    assert patient(**other).is_same_as(patient(**one)) is is_same


@pytest.mark.parametrize("born", ["", "19000101", "1960", "00000000", "unknown"])
@pytest.mark.parametrize("name", ["", "Anonymous", "ANON^REMOVED", "4711", "^^^^"])
def test_dummies_tell_nobody_apart(born: str, name: str) -> None:
    nobody = patient(PatientBirthDate=born, PatientName=name)
    assert nobody.mark == ""
    assert nobody.is_same_as(nobody) is None


def test_the_mark_is_the_birth_date_else_the_name() -> None:
    assert patient().mark == BORN
    assert patient(PatientBirthDate="").mark == "name mustermann^erika"
    assert patient(PatientBirthDate="", PatientName=BORN).mark != patient(PatientName="").mark
