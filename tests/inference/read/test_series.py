"""Grouping is deterministic, and the facts of a series are its header's."""

from __future__ import annotations

import random

from inference.read.series import group_series, series_facts
from inference.select import SeriesFacts
from tests import builders


def facts_of(datasets: list) -> dict[str, SeriesFacts]:  # type: ignore[type-arg]
    return {s.series_instance_uid: series_facts(s) for s in group_series(datasets)}


def test_grouping_does_not_depend_on_the_order_of_arrival() -> None:
    datasets = builders.petct_study()
    shuffled = random.Random(1).sample(datasets, len(datasets))
    ours, theirs = group_series(datasets), group_series(shuffled)
    assert [s.series_instance_uid for s in ours] == [builders.PET_SERIES_UID, builders.CT_SERIES_UID]
    for a, b in zip(ours, theirs, strict=True):
        assert a.series_instance_uid == b.series_instance_uid
        assert [d.SOPInstanceUID for d in a.datasets] == [d.SOPInstanceUID for d in b.datasets]
        assert [d.InstanceNumber for d in a.datasets] == sorted(d.InstanceNumber for d in b.datasets)


def test_the_same_instance_twice_is_one() -> None:
    (series,) = group_series(builders.pet_slices() + builders.pet_slices())
    assert len(series.datasets) == 8


def test_facts_of_a_pet() -> None:
    facts = facts_of(builders.pet_slices())[builders.PET_SERIES_UID]
    assert facts.n_instances == 8
    assert facts.z_range_mm == (0.0, 28.0)
    assert facts.corrected_image == {"ATTN", "DECY", "SCAT"}
    assert facts.frame_of_reference_uids == {builders.FRAME_OF_REFERENCE_UID}
    assert not facts.quality_control


def test_facts_of_an_rtstruct_are_its_references() -> None:
    ct = builders.ct_slices()
    rtstruct = builders.rtstruct(ct, {"tumour": [[0.0, 0.0, 4.0, 8.0, 0.0, 4.0, 8.0, 8.0, 4.0]]})
    facts = next(f for f in facts_of([*ct, rtstruct]).values() if f.modality == "RTSTRUCT")
    assert facts.referenced_series_uids == {builders.CT_SERIES_UID}
    assert builders.FRAME_OF_REFERENCE_UID in facts.frame_of_reference_uids


def test_a_series_of_regions_refers_to_what_any_of_its_objects_refers_to() -> None:
    ct = builders.ct_slices()
    ours, foreign = (builders.rtstruct(ct, {"tumour": []}) for _ in range(2))
    foreign.SOPInstanceUID, foreign.InstanceNumber, ours.InstanceNumber = "1.2.3", 1, 2
    foreign.ReferencedFrameOfReferenceSequence = []
    foreign.pop("FrameOfReferenceUID", None)
    facts = next(f for f in facts_of([*ct, foreign, ours]).values() if f.modality == "RTSTRUCT")
    assert facts.referenced_series_uids == {builders.CT_SERIES_UID}
    assert builders.FRAME_OF_REFERENCE_UID in facts.frame_of_reference_uids


def test_one_slice_without_position_leaves_the_range_unknown() -> None:
    datasets = builders.pet_slices(ImagePositionPatient=lambda i: None if i == 3 else [0, 0, i])
    assert facts_of(datasets)[builders.PET_SERIES_UID].z_range_mm is None
