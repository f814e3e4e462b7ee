"""Choose the PET and the CT that are scored, and say why every other series is not. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from egfr_dls.errors import StudyRefusedError
from egfr_dls.findings import SeriesFinding
from egfr_dls.refusals import RefusalCode, Remark

DICOM_ROOT = "1.2.840.10008."  # of every UID that the standard defines (PS3.5 9)
PET = "1.2.840.10008.5.1.4.1.1.128"
CT = "1.2.840.10008.5.1.4.1.1.2"
# PS3.6 annex A. Multi-frame PET is refused by the SUV rules' own code.
UNSUPPORTED_CLASSES: dict[str, tuple[str, RefusalCode]] = {
    "1.2.840.10008.5.1.4.1.1.130": ("Enhanced PET Image Storage", RefusalCode.SUV_SOP_CLASS),
    "1.2.840.10008.5.1.4.1.1.128.1": ("Legacy Converted Enhanced PET Image Storage", RefusalCode.SUV_SOP_CLASS),
    "1.2.840.10008.5.1.4.1.1.2.1": ("Enhanced CT Image Storage", RefusalCode.SOP_CLASS_UNSUPPORTED),
    "1.2.840.10008.5.1.4.1.1.2.2": ("Legacy Converted Enhanced CT Image Storage", RefusalCode.SOP_CLASS_UNSUPPORTED),
}
ROI_CLASSES = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.66.4",  # Segmentation
        "1.2.840.10008.5.1.4.1.1.66.7",  # Label Map Segmentation
        "1.2.840.10008.5.1.4.1.1.481.3",  # RT Structure Set
    }
)
NAC_UNITS = frozenset({"PROPCNTS", "PROPCPS", "CPS"})
NAC_WORDS = ("nac", "non-attenuation", "non attenuation", "no ac", "uncorrected")
NOT_SELECTED = "NOT_SELECTED"  # the code of a series that is sound and simply plays no role


@dataclass(frozen=True, kw_only=True)
class SeriesFacts:
    """What a series is judged by; made by ``inference.read.series``.

    ``frame_of_reference_uids``: (0020,0052), several for an RTSTRUCT. ``attenuation_correction``:
    AttenuationCorrectionMethod (0054,1101). ``quality_control``: QualityControlImage (0028,0300) is YES.
    ``z_range_mm``: lowest and highest slice, LPS z.
    """

    series_instance_uid: str
    modality: str
    sop_class_uids: frozenset[str]
    frame_of_reference_uids: frozenset[str] = frozenset()
    n_instances: int = 1
    image_type: tuple[str, ...] = ()
    series_type: tuple[str, ...] = ()
    description: str = ""
    units: str = ""
    corrected_image: frozenset[str] = frozenset()
    attenuation_correction: str = ""
    quality_control: bool = False
    z_range_mm: tuple[float, float] | None = None
    referenced_series_uids: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Selection:
    """The series that are scored, the stored ROIs that refer to them, and the finding of every series."""

    pet: SeriesFacts
    ct: SeriesFacts
    rois: tuple[SeriesFacts, ...]
    findings: tuple[SeriesFinding, ...]


@dataclass(frozen=True)
class _Judgement:
    pet: SeriesFacts | None
    ct: SeriesFacts | None
    rois: tuple[SeriesFacts, ...]
    reasons: dict[str, Remark]
    refusal: StudyRefusedError | None  # the first role that cannot be filled


def judge_series(series: Sequence[SeriesFacts]) -> tuple[SeriesFinding, ...]:
    """Return the role of every series, or the reason why it has none; never refuses."""
    return _findings(series, _judge(series))


def select_pet_ct(series: Sequence[SeriesFacts]) -> Selection:
    """Choose the pair that is scored.

    Raises
    ------
    StudyRefusedError
        ``SERIES_MISSING``, ``SERIES_AMBIGUOUS`` (lists the UIDs), or the code of the only series there is for a role:
        ``PET_NOT_ATTENUATION_CORRECTED``, ``SUV_SOP_CLASS``, ``SOP_CLASS_UNSUPPORTED``, ``EXCLUDED_PHANTOM``
    """
    judged = _judge(series)
    if judged.pet is None or judged.ct is None:
        _refuse_unknown_classes(series)
        raise judged.refusal or ValueError("a role that is not filled has a refusal")
    return Selection(judged.pet, judged.ct, judged.rois, _findings(series, judged))


def select_pet(series: Sequence[SeriesFacts], *, allow_phantoms: bool = False) -> SeriesFacts:
    """Choose the PET alone (site acceptance: ``allow_phantoms`` keeps quality control images).

    Raises
    ------
    StudyRefusedError
        as ``select_pet_ct``
    """
    return _only(_pets(series, allow_phantoms=allow_phantoms))


def pet_reasons(series: Sequence[SeriesFacts], *, allow_phantoms: bool = False) -> dict[str, Remark]:
    """Return the reason of each PT series that the PET rules refuse, by SeriesInstanceUID."""
    return _pets(series, allow_phantoms=allow_phantoms).reasons


def _findings(series: Sequence[SeriesFacts], judged: _Judgement) -> tuple[SeriesFinding, ...]:
    roles = {s.series_instance_uid: "roi" for s in judged.rois}
    roles |= {s.series_instance_uid: role for role, s in (("pet", judged.pet), ("ct", judged.ct)) if s is not None}
    return tuple(
        SeriesFinding(
            s.series_instance_uid,
            s.modality,
            roles.get(s.series_instance_uid),
            None if s.series_instance_uid in roles else judged.reasons[s.series_instance_uid],
        )
        for s in series
    )


def _judge(series: Sequence[SeriesFacts]) -> _Judgement:
    reasons: dict[str, Remark] = {}
    pet, refusal = _choose(_pets(series), reasons)
    ct, no_ct = _choose(_cts(series, pet), reasons)
    rois = tuple(s for s in series if s.sop_class_uids & ROI_CLASSES and _refers_to(s, pet, ct))
    for s in series:
        reasons.setdefault(s.series_instance_uid, _no_role(s))
    return _Judgement(pet, ct, rois, reasons, refusal or no_ct)


def _choose(candidates: _Candidates, reasons: dict[str, Remark]) -> tuple[SeriesFacts | None, StudyRefusedError | None]:
    reasons |= candidates.reasons
    try:
        return _only(candidates), None
    except StudyRefusedError as error:
        reasons |= {s.series_instance_uid: error.remark for s in candidates.left}
        return None, error


def _refers_to(roi: SeriesFacts, *images: SeriesFacts | None) -> bool:
    return any(
        s is not None
        and (
            s.series_instance_uid in roi.referenced_series_uids
            or bool(s.frame_of_reference_uids & roi.frame_of_reference_uids)
        )
        for s in images
    )


def _no_role(s: SeriesFacts) -> Remark:
    if s.sop_class_uids & ROI_CLASSES:
        return Remark(
            RefusalCode.ROI_REFERENCE_MISSING,
            "it refers neither to the PET and CT that are scored nor to their frame of reference",
        )
    return Remark(NOT_SELECTED, "not an image series that is scored")


# --- rules: the first that gives a reason refuses the series ----------------------------------------------------------

_Rule = Callable[[SeriesFacts], Remark | None]
_MODALITY = {"PET": "PT", "CT": "CT"}


_Rank = Callable[[SeriesFacts], tuple[float, ...]]


@dataclass(frozen=True)
class _Candidates:
    """The best series for a role (several only where nothing tells them apart), and why the others are not it."""

    role: str
    left: tuple[SeriesFacts, ...]
    reasons: dict[str, Remark]


def _pets(series: Sequence[SeriesFacts], *, allow_phantoms: bool = False) -> _Candidates:
    return _candidates(series, "PET", _pet_rules(series, allow_phantoms=allow_phantoms), _pet_rank)


def _cts(series: Sequence[SeriesFacts], pet: SeriesFacts | None) -> _Candidates:
    """Return the best CT: on the PET's frame of reference, else one that registration can serve."""
    here = _candidates(series, "CT", _ct_rules(pet), lambda s: _ct_rank(s, pet))
    if here.left or pet is None:
        return here
    return _candidates(series, "CT", (*_STACK_RULES, _not_beside(pet)), lambda s: _ct_rank(s, None))


def _candidates(series: Sequence[SeriesFacts], role: str, rules: Sequence[_Rule], rank: _Rank) -> _Candidates:
    able, reasons = [], {}
    for s in series:
        if s.modality == _MODALITY[role]:
            reason = next((found for rule in rules if (found := rule(s))), None)
            if reason is None:
                able.append(s)
            else:
                reasons[s.series_instance_uid] = reason
    highest = max((rank(s) for s in able), default=())
    best = tuple(s for s in able if rank(s) == highest)
    reasons |= {s.series_instance_uid: Remark(NOT_SELECTED, _OUTRANKED[role]) for s in able if s not in best}
    return _Candidates(role, best, reasons)


_OUTRANKED = {
    "PET": "its SeriesDescription (0008,103E) says that it is not attenuation corrected; another PET series serves",
    "CT": "another CT series is not derived, covers more of the PET or has more slices",
}


def _pet_rank(s: SeriesFacts) -> tuple[float, ...]:
    return (float(not any(word in s.description.casefold() for word in NAC_WORDS)),)


def _ct_rank(s: SeriesFacts, pet: SeriesFacts | None) -> tuple[float, ...]:
    return (float("DERIVED" not in s.image_type), round(_covered(s, pet), 1), float(s.n_instances))


def _covered(s: SeriesFacts, pet: SeriesFacts | None) -> float:
    """Return the share of the PET's slice range that the series covers; 0 where a position is unknown."""
    if pet is None or s.z_range_mm is None or pet.z_range_mm is None:
        return 0.0
    low, high = max(s.z_range_mm[0], pet.z_range_mm[0]), min(s.z_range_mm[1], pet.z_range_mm[1])
    return max(high - low, 0.0) / max(pet.z_range_mm[1] - pet.z_range_mm[0], 1.0)


def _refuse_unknown_classes(series: Sequence[SeriesFacts]) -> None:
    """Name the SOP classes of a study that holds no standard one."""
    classes = sorted({uid or "missing" for s in series for uid in s.sop_class_uids})
    if classes and not any(uid.startswith(DICOM_ROOT) for uid in classes):
        raise StudyRefusedError(
            RefusalCode.SOP_CLASS_UNSUPPORTED,
            f"SOPClassUID (0008,0016) is {', '.join(classes)}. "
            f"Needed: PET Image Storage ({PET}) and CT Image Storage ({CT}).",
        )


# Where a role stays empty, the study is refused with the first of these codes that a series of it has.
_TELLING = (
    RefusalCode.EXCLUDED_PHANTOM,
    RefusalCode.PET_NOT_ATTENUATION_CORRECTED,
    RefusalCode.SUV_SOP_CLASS,
    RefusalCode.SOP_CLASS_UNSUPPORTED,
)


def _only(candidates: _Candidates) -> SeriesFacts:
    if len(candidates.left) == 1:
        return candidates.left[0]
    role = candidates.role
    if candidates.left:
        uids = ", ".join(s.series_instance_uid for s in candidates.left)
        raise StudyRefusedError(
            RefusalCode.SERIES_AMBIGUOUS,
            f"{len(candidates.left)} {role} series could be scored: SeriesInstanceUID (0020,000E) {uids}. Needed: one.",
        )
    for code in _TELLING:
        for uid, reason in candidates.reasons.items():
            if reason.code == code:
                raise StudyRefusedError(code, f"series {uid}: {reason.message}")
    others = "; ".join(f"series {uid}: {reason.message}" for uid, reason in candidates.reasons.items())
    raise StudyRefusedError(
        RefusalCode.SERIES_MISSING,
        f"no {role} series can be scored{': ' + others if others else ''}. Needed: "
        f"one series with Modality (0008,0060) {_MODALITY[role]}"
        + (" on the PET's frame of reference." if role == "CT" else ", attenuation corrected."),
    )


def _phantom(s: SeriesFacts) -> Remark | None:
    if not s.quality_control:
        return None
    return Remark(RefusalCode.EXCLUDED_PHANTOM, "QualityControlImage (0028,0300) is YES: a phantom. Needed: a patient.")


def _class_is(wanted: str, name: str) -> _Rule:
    def rule(s: SeriesFacts) -> Remark | None:
        for uid in sorted(s.sop_class_uids - {wanted}):
            known, code = UNSUPPORTED_CLASSES.get(uid, (uid or "missing", RefusalCode.SOP_CLASS_UNSUPPORTED))
            return Remark(code, f"SOPClassUID (0008,0016) is {known}. Needed: {name} ({wanted}).")
        return None

    return rule


def _pet_rules(series: Sequence[SeriesFacts], *, allow_phantoms: bool = False) -> tuple[_Rule, ...]:
    others_have_method = {s.series_instance_uid for s in series if s.modality == "PT" and _has_attenuation_method(s)}
    rules = (_class_is(PET, "PET Image Storage"), _not_corrected(others_have_method), _projection)
    return rules if allow_phantoms else (_phantom, *rules)


def _has_attenuation_method(s: SeriesFacts) -> bool:
    return s.attenuation_correction.upper() not in ("", "NONE")


def _not_corrected(with_method: set[str]) -> _Rule:
    """NAC by Units, by CorrectedImage or beside a series that names its method. ATTN alone proves nothing: NAC lists it."""

    def rule(s: SeriesFacts) -> Remark | None:
        if s.units in NAC_UNITS:
            found = f"Units (0054,1001) is {s.units!r}. Needed: BQML, GML, CM2ML or CNTS"
        elif "ATTN" not in s.corrected_image:
            found = "ATTN is not among the values of CorrectedImage (0028,0051). Needed: ATTN"
        elif with_method and not _has_attenuation_method(s):
            found = (
                f"AttenuationCorrectionMethod (0054,1101) is {s.attenuation_correction or 'missing'}, "
                "and another PET series of the study has one. Needed: the attenuation corrected series"
            )
        else:
            return None
        return Remark(RefusalCode.PET_NOT_ATTENUATION_CORRECTED, f"{found}.")

    return rule


def _projection(s: SeriesFacts) -> Remark | None:
    if "REPROJECTION" not in s.series_type:
        return None
    return Remark(NOT_SELECTED, "SeriesType (0054,1000) is REPROJECTION: projections, not slices")


def _ct_rules(pet: SeriesFacts | None) -> tuple[_Rule, ...]:
    return _STACK_RULES if pet is None else (*_STACK_RULES, _same_frame(pet), _overlaps(pet))


def _localizer(s: SeriesFacts) -> Remark | None:
    if "LOCALIZER" not in s.image_type:
        return None
    return Remark(NOT_SELECTED, "ImageType (0008,0008) is LOCALIZER: a scout view, not a stack of slices")


def _secondary(s: SeriesFacts) -> Remark | None:
    if "SECONDARY" not in s.image_type[1:2]:
        return None
    return Remark(NOT_SELECTED, "ImageType (0008,0008) is SECONDARY: a reformatted or captured image, not the scan")


_STACK_RULES: tuple[_Rule, ...] = (_phantom, _localizer, _class_is(CT, "CT Image Storage"), _secondary)


def _same_frame(pet: SeriesFacts) -> _Rule:
    def rule(s: SeriesFacts) -> Remark | None:
        if s.frame_of_reference_uids & pet.frame_of_reference_uids:
            return None
        ours, theirs = (", ".join(sorted(x.frame_of_reference_uids)) or "missing" for x in (s, pet))
        return Remark(NOT_SELECTED, f"FrameOfReferenceUID (0020,0052) is {ours}; that of the PET is {theirs}")

    return rule


def _overlaps(pet: SeriesFacts) -> _Rule:
    def rule(s: SeriesFacts) -> Remark | None:
        if s.z_range_mm is None or pet.z_range_mm is None:
            return None  # the reader will name the missing position
        low, high = max(s.z_range_mm[0], pet.z_range_mm[0]), min(s.z_range_mm[1], pet.z_range_mm[1])
        if low <= high:
            return None
        return Remark(NOT_SELECTED, "ImagePositionPatient (0020,0032): it shares no slice position with the PET")

    return rule


def _not_beside(pet: SeriesFacts) -> _Rule:
    """Refuse a CT that shares the PET's frame of reference and lies elsewhere in it; one of another frame may lie anywhere."""
    same, overlaps = _same_frame(pet), _overlaps(pet)
    return lambda s: overlaps(s) if same(s) is None else None
