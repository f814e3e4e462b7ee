"""The images that a network learns from, each with its label and its patient; needs no PyTorch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from training_export.training.refusal import Reason, TrainingRefusedError

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]
CHUNK = 256  # images that are read at once, where all are looked at


@dataclass(frozen=True, eq=False)
class Slices:
    """Some rows of an array of images.

    Parameters
    ----------
    images
        float32 ``[rows, channels, height, width]``, as the network is served them; may lie in a file
    rows
        int64 ``[n]``: which of them
    label, patient
        int64 ``[n]``: 1 is mutant (positive); index into ``names``
    counted
        bool ``[n]``: what patient scores are made of
    names
        pseudonym of each patient
    """

    images: Float32
    rows: Int64
    label: Int64
    patient: Int64
    counted: NDArray[np.bool_]
    names: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.rows)

    def batch(self, chosen: NDArray[np.integer]) -> Float32:
        """Return images by their place, a copy."""
        return np.ascontiguousarray(self.images[self.rows[chosen]])

    def of(self, patients: Sequence[int]) -> Slices:
        """Return the images of these patients alone."""
        kept = np.isin(self.patient, np.asarray(patients, np.int64))
        return replace(
            self,
            rows=self.rows[kept],
            label=self.label[kept],
            patient=self.patient[kept],
            counted=self.counted[kept],
        )

    @property
    def patient_labels(self) -> Int64:
        """Label of each patient, in the order of ``names``."""
        labels = np.zeros(len(self.names), np.int64)
        labels[self.patient] = self.label
        return labels


def checked(slices: Slices, shape: tuple[int, int, int]) -> str:
    """Return the SHA-256 of what is learnt from, or say why nothing can be.

    Raises
    ------
    TrainingRefusedError
        names the array, the row or the patient, what was found and what was needed
    """
    _check_shapes(slices, shape)
    _check_labels(slices)
    return _check_pixels(slices)


def _check_shapes(slices: Slices, shape: tuple[int, int, int]) -> None:
    found = slices.images.shape
    if found[1:] != shape or slices.images.dtype != np.float32:
        raise TrainingRefusedError(
            Reason.SHAPE_WRONG, f"images are {slices.images.dtype} {list(found)}; needed: float32 [n, {_listed(shape)}]"
        )
    for name in ("label", "patient", "counted"):
        if getattr(slices, name).shape != (len(slices),):
            raise TrainingRefusedError(
                Reason.SHAPE_WRONG, f"{name} has {len(getattr(slices, name))} entries for {len(slices)} images"
            )
    if len(slices) == 0:
        raise TrainingRefusedError(Reason.DATA_UNREADABLE, "there is no image; needed: slices of labelled patients")


def _check_labels(slices: Slices) -> None:
    odd = sorted({int(v) for v in np.unique(slices.label)} - {0, 1})
    if odd:
        raise TrainingRefusedError(Reason.LABELS_CONTRADICT, f"label {odd[0]} found; needed: 0 or 1")
    wrong = np.flatnonzero(slices.patient_labels[slices.patient] != slices.label)
    if len(wrong):
        name = slices.names[int(slices.patient[wrong[0]])]
        raise TrainingRefusedError(
            Reason.LABELS_CONTRADICT, f"patient {name} has the label 0 and the label 1; needed: one label a patient"
        )
    uncounted = set(range(len(slices.names))) - set(slices.patient[slices.counted].tolist())
    if uncounted:
        raise TrainingRefusedError(
            Reason.DATA_UNREADABLE, f"patient {slices.names[min(uncounted)]} has no image that makes up a patient score"
        )


def _check_pixels(slices: Slices) -> str:
    """Look at every image once: finite, under one patient only; returns the digest of them all."""
    owner: dict[bytes, int] = {}
    whole = hashlib.sha256()
    for start in range(0, len(slices), CHUNK):
        places = np.arange(start, min(start + CHUNK, len(slices)))
        for place, image in zip(places.tolist(), slices.batch(places), strict=True):
            patient = int(slices.patient[place])
            if not np.isfinite(image).all():
                raise TrainingRefusedError(
                    Reason.NOT_FINITE,
                    f"image {place} (patient {slices.names[patient]}) holds NaN or infinity; needed: finite pixels",
                )
            digest = hashlib.sha256(image.tobytes()).digest()
            if owner.setdefault(digest, patient) != patient:
                raise TrainingRefusedError(
                    Reason.SLICE_TWICE,
                    f"patients {slices.names[owner[digest]]} and {slices.names[patient]} have an image in common; needed: "
                    "one name a patient, or he may train and be measured on",
                )
            whole.update(
                digest
                + bytes([int(slices.label[place]), int(slices.counted[place])])
                + slices.names[patient].encode()
                + b"\0"
            )
    return whole.hexdigest()


def _listed(shape: tuple[int, ...]) -> str:
    return ", ".join(map(str, shape))
