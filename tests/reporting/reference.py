"""What was looked at and found good: pages, at half their size, and whole document trees.

``python -m tests.reporting.reference`` makes all of it anew. Look at every picture and every line that changed before it is
committed: these tests hold what a person saw.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset
from pydicom.uid import UID

from reporting.page_drawing import draw
from reporting.page_set import pages
from reporting.variants import Variant
from tests.reporting.report_cases import Case, demonstration, refused, scored, two_lesions

FOLDER, TREES = Path(__file__).parent / "reference_pages", Path(__file__).parent / "reference_trees"
COLOURS = 256  # of a stored picture: a few levels beside the drawn ones, a third of the bytes
REFERENCES: dict[str, tuple[Callable[[], Case], int]] = {  # the study, and which page of it
    "summary": (scored, 0),
    "slice": (scored, 2),
    "refusal": (refused, 0),
    "demonstration": (lambda: demonstration(two_lesions()), 0),
}

REPORTS: dict[str, Callable[[], Case]] = {
    "score": scored,
    "score-without-seg": lambda: scored().wanting(variants=(Variant(segmentation=False),)),
    "score-in-part": two_lesions,
    "refusal": refused,
}
RELATIONS = {
    "CONTAINS": "contains ", "HAS CONCEPT MOD": "concept mod ", "HAS OBS CONTEXT": "obs context ",
    "HAS ACQ CONTEXT": "acq context ", "HAS PROPERTIES": "properties ", "INFERRED FROM": "inferred from ",
}  # fmt: skip


def drawn(name: str) -> NDArray[np.uint8]:
    """Return a page as it is drawn now, uint8 ``[384, 512, 3]``."""
    case, page = REFERENCES[name]
    return np.asarray(Image.fromarray(draw(pages(case().context)[page])).reduce(2))


def stored(name: str) -> NDArray[np.uint8]:
    """Return the page as it was looked at."""
    return np.asarray(Image.open(FOLDER / f"{name}.png").convert("RGB"))


def tree(name: str) -> str:
    """Return a report's document tree as it is built now, a content item a line: relationship, type, name = value."""
    return "".join(f"{line}\n" for line in _lines(REPORTS[name]().build()["report"].dataset, 0))


def stored_tree(name: str) -> str:
    """Return the tree as it was read."""
    return (TREES / f"{name}.txt").read_text(encoding="utf-8")


def _lines(item: Dataset, depth: int) -> Iterator[str]:
    relation = RELATIONS.get(item.get("RelationshipType", ""), "")
    template = "".join(f"  [TID {t.TemplateIdentifier}]" for t in item.get("ContentTemplateSequence") or ())
    value = _value(item)
    said = f"{relation}{item.ValueType} {_code(item.ConceptNameCodeSequence[0])}{value and f' = {value}'}{template}"
    yield f"{'  ' * depth}{said}"
    for child in item.get("ContentSequence") or ():
        yield from _lines(child, depth + 1)


def _value(item: Dataset) -> str:
    match item.ValueType:
        case "CODE":
            return _code(item.ConceptCodeSequence[0])
        case "NUM":
            (measured,) = item.MeasuredValueSequence
            return f"{measured.NumericValue} {measured.MeasurementUnitsCodeSequence[0].CodeValue}"
        case "IMAGE":
            (reference,) = item.ReferencedSOPSequence
            segment = reference.get("ReferencedSegmentNumber")
            uid = f"{UID(reference.ReferencedSOPClassUID).name} {_uid(reference.ReferencedSOPInstanceUID)}"
            return uid if segment is None else f"{uid} segment {segment}"
        case "UIDREF":
            return _uid(item.UID)
        case _:
            return str(item.get("TextValue", ""))


def _code(code: Dataset) -> str:
    return f"({code.CodeValue}, {code.CodingSchemeDesignator}, {code.CodeMeaning})"


def _uid(uid: str) -> str:
    """Return a UID of the source; one that we derive depends on the versions of libraries."""
    return "ours" if uid.startswith("2.25.") else str(uid)


def main() -> None:
    """Draw and store every picture, and write every tree."""
    FOLDER.mkdir(exist_ok=True)
    TREES.mkdir(exist_ok=True)
    for name in REPORTS:
        (TREES / f"{name}.txt").write_text(tree(name), encoding="utf-8")
    for name in REFERENCES:
        picture = Image.fromarray(drawn(name)).quantize(COLOURS, dither=Image.Dither.NONE)
        picture.save(FOLDER / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
