"""Who made an object and under which UIDs: every value that ends in the bytes is in the key.

``egfr_dls.uids`` derives the UIDs; this module says of what. The versions of the libraries that write the bytes are
part of the key: highdicom writes its own version into each object.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version

from egfr_dls import PRODUCT_NAME, PRODUCT_VERSION
from egfr_dls.findings import ModelUse, StudyFindings
from egfr_dls.uids import derived_uid, device_uid, series_uid

MODEL_NAME = "EGFR-DLS PET/CT"
LIBRARIES = tuple(f"{name} {version(name)}" for name in ("highdicom", "pydicom", "pillow", "matplotlib", "numpy"))
SERIAL_DIGITS = 16  # of a digest, as Device Serial Number (0018,1000)


@dataclass(frozen=True)
class Device:
    """The network (or, where none was used, the product) as DICOM equipment.

    ``serial`` is the head of the weights' digest; ``uid`` changes with the weights: a retrained network is a new device.
    """

    manufacturer: str
    model_name: str
    version: str
    serial: str
    uid: str


def device(findings: StudyFindings, model: ModelUse | None) -> Device:
    """Return the equipment that a network is; without a network, the product itself."""
    digest = "" if model is None else model.sha256
    return Device(
        manufacturer=PRODUCT_NAME,
        model_name=MODEL_NAME,
        version=findings.product_version,
        serial=digest[:SERIAL_DIGITS] or "none",
        uid=device_uid(digest, findings.product_version),
    )


def kind_series_uid(findings: StudyFindings, kind: str) -> str:
    """Return the series of all our objects of one kind in the study, for ever."""
    return series_uid(
        findings.study_instance_uid, findings.biomarker or "none", kind, demonstration=findings.demonstration
    )


def object_uid(
    findings: StudyFindings, kind: str, sop_class_uid: str, predecessor_uid: str | None, *further: str
) -> str:
    """Return the SOP Instance UID of one object.

    The predecessor is in the key, so going back to an earlier network is a new object and never an old UID.
    ``further`` is what else ends in the bytes.
    """
    return derived_uid(
        findings.study_instance_uid,
        findings.biomarker,
        findings.inputs_sha256,
        *_network_key(findings.model),
        *_network_key(findings.companion_model),
        findings.configuration_sha256,
        findings.product_version,
        PRODUCT_VERSION,
        *LIBRARIES,
        kind,
        sop_class_uid,
        predecessor_uid,
        *further,
    )


def _network_key(model: ModelUse | None) -> tuple[str | None, ...]:
    if model is None:
        return (None,)
    return (
        model.sha256, model.name, model.version, model.status, str(model.cut_off), model.runtime,
        model.preprocessing_sha256,
    )  # fmt: skip


def slices_tracking_uid(lesion_tracking_uid: str) -> str:
    """Return the Tracking UID of a lesion's slice scores."""
    return derived_uid(lesion_tracking_uid, "slices")


def patient_tracking_uid(study_instance_uid: str) -> str:
    """Return the Tracking UID of the patient-level score of a study."""
    return derived_uid(study_instance_uid, "patient-level")
