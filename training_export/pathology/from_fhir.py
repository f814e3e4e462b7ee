"""Pathology results as FHIR R4 Observations, in a Bundle, a list, or one resource a line (ndjson).

Codes alone count, by the tables below; text is never read. An Observation that the tables do not cover is counted by the
reason for which it was passed over.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from egfr_dls.errors import UsageError
from inference.read.header import as_date
from training_export.pathology.from_csv import OPTION
from training_export.pathology.results import PDL1_POSITIVE_PERCENT, Reading, Subject, TissueResult, TissueTest
from training_export.pathology.rows import read_text

Code = tuple[str, str]  # system, code

LOINC, SNOMED = "http://loinc.org", "http://snomed.info/sct"
INTERPRETATION = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"
HGVS = "http://varnomen.hgvs.org"
NCIT = "http://ncicb.nci.nih.gov/xml/owl/EVS/Thesaurus.owl"

# The result of an EGFR test: "EGFR gene mutations found" (21666-3, "mutations tested for", is no result)
EGFR_RESULT: frozenset[Code] = frozenset({(LOINC, "21665-5")})
# A variant of any gene (HL7 Genomics Reporting; mCODE GenomicVariant), whose component names the gene
VARIANT: Code = (LOINC, "69548-6")
GENE_STUDIED: Code = (LOINC, "48018-6")
EGFR_GENE = "HGNC:3236"
# Components that name one variant: absent, it says nothing of the others
NAMED_VARIANT: frozenset[Code] = frozenset(
    {(LOINC, "48004-6"), (LOINC, "48005-3"), (LOINC, "81290-9"), (LOINC, "81252-9")}
)
# PD-L1 positive cells of 100 viable tumour cells; tumour proportion score. The "presence" codes by clone (83052-1,
# 83057-0 ...) are left out: their thresholds are others than 1 %.
TUMOUR_PROPORTION: frozenset[Code] = frozenset({(LOINC, "83053-9"), (NCIT, "C184941")})

PRESENCE: dict[Code, bool] = {
    (LOINC, "LA9633-4"): True,  # Present
    (LOINC, "LA9634-2"): False,  # Absent
    (LOINC, "LA6576-8"): True,  # Positive
    (LOINC, "LA6577-6"): False,  # Negative
    (SNOMED, "10828004"): True,  # Positive
    (SNOMED, "260385009"): False,  # Negative
    (SNOMED, "52101004"): True,  # Present
    (SNOMED, "2667000"): False,  # Absent
    (SNOMED, "260373001"): True,  # Detected
    (SNOMED, "260415000"): False,  # Not detected
    (INTERPRETATION, "POS"): True,
    (INTERPRETATION, "NEG"): False,
    (INTERPRETATION, "DET"): True,
    (INTERPRETATION, "ND"): False,
}
FINAL = frozenset({"final", "amended", "corrected"})  # of Observation.status
PERCENT = frozenset({"%", ""})  # UCUM


@dataclass(frozen=True)
class _Bundle:
    """The resources of a file: Observations with their place, Patients and Specimens by reference."""

    observations: tuple[tuple[str, Mapping[str, Any]], ...]
    others: Mapping[str, Mapping[str, Any]]


def read_fhir(path: Path) -> Reading:
    """Return the results of a file of FHIR resources.

    Raises
    ------
    UsageError
        no JSON, or no FHIR resource in it
    """
    bundle = _bundle(path)
    results, passed = [], Counter[str]()
    for place, observation in bundle.observations:
        found = _result(place, observation, bundle)
        if isinstance(found, str):
            passed[found] += 1
        else:
            results.append(found)
    return Reading(tuple(results), dict(sorted(passed.items())))


def _result(place: str, observation: Mapping[str, Any], bundle: _Bundle) -> TissueResult | str:
    """Return the result of an Observation, or why there is none."""
    test = _test(observation)
    if test is None:
        return "another test"
    if observation.get("status") not in FINAL:
        return "not final"
    positive = _mutant(observation) if test is TissueTest.EGFR else _expressed(observation)
    if positive is None:
        return "value not in the tables"
    patient_id = _patient_id(observation, bundle)
    if not patient_id:
        return "patient not identified"
    return TissueResult(Subject(patient_id), test, positive, _taken_on(observation, bundle), place)


def _test(observation: Mapping[str, Any]) -> TissueTest | None:
    codes = _codes(observation.get("code"))
    if codes & EGFR_RESULT or (VARIANT in codes and _of_egfr(observation)):
        return TissueTest.EGFR
    components = {code for part in _list(observation, "component") for code in _codes(part.get("code"))}
    return TissueTest.PDL1 if (codes | components) & TUMOUR_PROPORTION else None


def _of_egfr(observation: Mapping[str, Any]) -> bool:
    return any(
        GENE_STUDIED in _codes(part.get("code"))
        and any(c == EGFR_GENE for _, c in _codes(part.get("valueCodeableConcept")))
        for part in _list(observation, "component")
    )


def _mutant(observation: Mapping[str, Any]) -> bool | None:
    """Return whether EGFR is mutant: by a coded presence, or by a coded variant that was found."""
    codes = _codes(observation.get("valueCodeableConcept"))
    said = {PRESENCE[code] for code in codes if code in PRESENCE}
    if said == {False} and any(_codes(p.get("code")) & NAMED_VARIANT for p in _list(observation, "component")):
        return None
    if said:
        return said.pop() if len(said) == 1 else None
    return True if any(system == HGVS and code for system, code in codes) else None


def _expressed(observation: Mapping[str, Any]) -> bool | None:
    """Return whether the tumour proportion score is at least 1 %, of the Observation or of its component."""
    for part in (observation, *_list(observation, "component")):
        if _codes(part.get("code")) & TUMOUR_PROPORTION:
            quantity = part.get("valueQuantity")
            if isinstance(quantity, dict) and str(quantity.get("code", quantity.get("unit", ""))) in PERCENT:
                return _at_least_one_percent(quantity)
    return None


def _at_least_one_percent(quantity: Mapping[str, Any]) -> bool | None:
    value, comparator = quantity.get("value"), quantity.get("comparator", "")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:
        return None
    if comparator == "<":
        return False if value <= PDL1_POSITIVE_PERCENT else None
    if comparator in (">", ">="):
        return True if value >= PDL1_POSITIVE_PERCENT else None
    return value >= PDL1_POSITIVE_PERCENT if comparator == "" else None


def _patient_id(observation: Mapping[str, Any], bundle: _Bundle) -> str:
    """Return the PatientID: the identifier of the subject, there or on the Patient that it refers to."""
    subject = observation.get("subject")
    if not isinstance(subject, dict):
        return ""
    patient = bundle.others.get(str(subject.get("reference", "")), {})
    identifiers = [subject.get("identifier"), *_list(patient, "identifier")]
    values = [str(i["value"]).strip() for i in identifiers if isinstance(i, dict) and i.get("value")]
    return values[0] if len(set(values)) == 1 else ""


def _taken_on(observation: Mapping[str, Any], bundle: _Bundle) -> date | None:
    """Return the day: of the specimen's collection, else of the Observation."""
    reference = observation.get("specimen")
    specimen = bundle.others.get(str(reference.get("reference", "")), {}) if isinstance(reference, dict) else {}
    collection = specimen.get("collection")
    sources = (
        (collection if isinstance(collection, dict) else {}, ("collectedDateTime", "collectedPeriod")),
        (observation, ("effectiveDateTime", "effectivePeriod", "effectiveInstant")),
    )
    for source, keys in sources:
        for key in keys:
            value = source.get(key)
            written = value.get("start") if isinstance(value, dict) else value
            day = as_date(str(written or "")[:10].replace("-", ""))
            if day is not None:
                return day
    return None


def _bundle(path: Path) -> _Bundle:
    observations, others = [], {}
    for number, resource in enumerate(_resources(path), 1):
        kind, name = resource.get("resourceType"), resource.get("id")
        if kind == "Observation":
            observations.append((f"{path.name}, Observation {number}", resource))
        for reference in (f"{kind}/{name}", resource.get("_fullUrl")):
            if reference:
                others[str(reference)] = resource
    if not observations:
        raise UsageError(
            f"{OPTION} {path.name} holds no FHIR Observation; needed: a Bundle, a list, or one resource a line"
        )
    return _Bundle(tuple(observations), others)


def _resources(path: Path) -> Iterator[dict[str, Any]]:
    for document in _documents(path):
        for one in document if isinstance(document, list) else [document]:
            if isinstance(one, dict) and one.get("resourceType") == "Bundle":
                for entry in _list(one, "entry"):
                    if isinstance(entry.get("resource"), dict):
                        yield {**entry["resource"], "_fullUrl": entry.get("fullUrl")}
            elif isinstance(one, dict):
                yield one


def _documents(path: Path) -> Iterator[Any]:
    text = read_text(OPTION, path)
    try:
        yield json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        yield from _lines(path, text)


def _lines(path: Path, text: str) -> Iterator[Any]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            yield json.loads(line, parse_constant=_no_number)
        except (ValueError, RecursionError) as error:
            raise UsageError(
                f"{OPTION} {path.name}, line {number}: is no JSON; needed: FHIR R4 in JSON or ndjson"
            ) from error


def _no_number(_text: str) -> Any:
    raise ValueError("NaN or infinity")


def _codes(concept: Any) -> set[Code]:
    """Return the codings of a CodeableConcept."""
    return {
        (str(coding.get("system", "")), str(coding.get("code", "")))
        for coding in (_list(concept, "coding") if isinstance(concept, dict) else ())
    }


def _list(resource: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """Return the objects of a list; hostile files hold anything there."""
    found = resource.get(key)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
