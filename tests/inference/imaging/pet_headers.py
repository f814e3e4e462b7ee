"""PET headers with one change: what the tests of SUVbw have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from pydicom import Dataset
from pydicom.tag import Tag

from inference.imaging.suv import Gates, RwvClaim, SuvScale, suv_scale
from inference.read.pet import pet_slices
from inference.read.series import SeriesImages, group_series

Change = Callable[[list[Dataset]], None]


def series_of(datasets: Iterable[Dataset]) -> SeriesImages:
    (series,) = group_series(datasets)
    return series


def scale_of(datasets: Iterable[Dataset], gates: Gates = Gates(), rwv: tuple[RwvClaim, ...] = ()) -> SuvScale:  # noqa: B008
    return suv_scale(pet_slices(series_of(datasets)), gates, rwv)


def codes(scale: SuvScale) -> set[str]:
    return {str(w.code) for w in scale.warnings}


def to_all(**values: Any) -> Change:
    """Set attributes on every slice; None deletes."""

    def change(datasets: list[Dataset]) -> None:
        for ds in datasets:
            _set(ds, values)

    return change


def to_dose(**values: Any) -> Change:
    """Set attributes in the Radiopharmaceutical Information Sequence of every slice; None deletes."""

    def change(datasets: list[Dataset]) -> None:
        for ds in datasets:
            _set(ds.RadiopharmaceuticalInformationSequence[0], values)

    return change


def _set(ds: Dataset, values: dict[str, Any]) -> None:
    for keyword, value in values.items():
        if value is None:
            del ds[keyword]
        else:
            setattr(ds, keyword, value)


def to_last(**values: Any) -> Change:
    return lambda datasets: _set(datasets[-1], values)


def both(*changes: Change) -> Change:
    def change(datasets: list[Dataset]) -> None:
        for each in changes:
            each(datasets)

    return change


def private(tag: int, vr: str, value: Any, creator: str | None, manufacturer: str = "TEST") -> Change:
    def change(datasets: list[Dataset]) -> None:
        for ds in datasets:
            ds.Manufacturer = manufacturer
            if creator is not None:
                ds.add_new(Tag(tag >> 16, 0x10), "LO", creator)
            ds.add_new(Tag(tag), vr, value)

    return change


def code(value: str, scheme: str) -> list[Dataset]:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, "code"
    return [item]
