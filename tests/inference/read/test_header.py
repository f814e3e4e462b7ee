"""Header values become typed once: malformed ones are None, never an exception or a warning."""

from __future__ import annotations

from datetime import date, datetime, time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, Sequence
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from egfr_dls.errors import StudyRefusedError
from egfr_dls.refusals import RefusalCode
from inference.read import header


def with_bytes(keyword: str, vr: str, value: bytes) -> Dataset:
    """Return a dataset that holds these bytes as if read from a file."""
    ds = Dataset()
    ds._dict[header.tag_of(keyword)] = RawDataElement(header.tag_of(keyword), vr, len(value), value, 0, False, True)
    return ds


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("10", time(10)),
        ("1030", time(10, 30)),
        ("103059", time(10, 30, 59)),
        ("103059.5", time(10, 30, 59, 500000)),
        ("103059.000001", time(10, 30, 59, 1)),
        ("10:30:59", time(10, 30, 59)),
        ("103060", time(10, 30, 59)),
        ("1", None),
        ("250000", None),
        ("noon", None),
        ("", None),
    ],
)
def test_times(value: str, expected: time | None) -> None:
    assert header.as_time(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("20250102", date(2025, 1, 2)),
        ("2025.01.02", date(2025, 1, 2)),
        ("20250230", None),
        ("00010101", None),
        ("", None),
    ],
)
def test_dates(value: str, expected: date | None) -> None:
    assert header.as_date(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("20201217084500.00", "2020-12-17T08:45:00"),
        ("20201217084500.25+0100", "2020-12-17T08:45:00.250000"),
        ("202012170845-0500", "2020-12-17T08:45:00"),
        ("2020121708", "2020-12-17T08:00:00"),
        ("20201217", None),
        ("tomorrow", None),
    ],
)
def test_moments_are_read_as_written_without_their_zone(value: str, expected: str | None) -> None:
    assert header.as_moment(value) == (None if expected is None else datetime.fromisoformat(expected))


@given(st.datetimes(min_value=datetime(1800, 1, 1), max_value=datetime(9999, 1, 1)))  # noqa: DTZ001  # as written
def test_every_moment_survives_being_written(moment: datetime) -> None:
    assert header.as_moment(moment.strftime("%Y%m%d%H%M%S.%f").rjust(21, "0")) == moment


@given(st.text(max_size=30))
def test_no_text_breaks_a_parser(value: str) -> None:
    header.as_time(value), header.as_date(value), header.as_moment(value), header.as_number(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(b"70.5 ", 70.5), (b" 1e3", 1000.0), (b"-.5", -0.5), (b"70,5", None), (b"nan", None), (b"1e999", None), (b"1_0", None),
     (b"", None), (b"12\\13", 12.0), (b"1.00000000000000000000000", 1.0)],
)  # fmt: skip
def test_numbers(value: bytes, expected: float | None) -> None:
    assert header.number(with_bytes("PatientWeight", "DS", value), "PatientWeight") == expected


def test_trailing_blanks_and_zeros_are_padding() -> None:
    assert header.texts(with_bytes("ImageType", "CS", b"ORIGINAL \\PRIMARY\0"), "ImageType") == ("ORIGINAL", "PRIMARY")


def test_a_value_too_long_for_its_vr_is_read_all_the_same() -> None:
    assert header.text(with_bytes("StudyID", "SH", b"IBSI_1_STS_002_PET"), "StudyID") == "IBSI_1_STS_002_PET"


def test_binary_numbers_are_read_and_broken_ones_are_missing() -> None:
    assert header.integer(with_bytes("Rows", "US", b"\x00\x02"), "Rows") == 512
    assert header.integer(with_bytes("Rows", "US", b"\x00"), "Rows") is None


def test_numbers_come_in_full_or_not_at_all() -> None:
    assert header.numbers(with_bytes("PixelSpacing", "DS", b"1\\2"), "PixelSpacing", 2) == (1.0, 2.0)
    assert header.numbers(with_bytes("PixelSpacing", "DS", b"1"), "PixelSpacing", 2) is None
    assert header.numbers(with_bytes("PixelSpacing", "DS", b"1\\x"), "PixelSpacing", 2) is None


def test_elements_are_named_with_their_tag() -> None:
    assert header.where("PatientWeight") == "PatientWeight (0010,1030)"


def test_a_sequence_that_cannot_be_decoded_is_refused_without_the_error_text(monkeypatch: pytest.MonkeyPatch) -> None:
    ds = Dataset()
    ds.SOPInstanceUID = "1.2.3"
    ds.ReferencedSeriesSequence = Sequence([])

    def deep(self: Dataset, key: object) -> None:
        raise RecursionError("SECRET^NAME")

    monkeypatch.setattr(Dataset, "__getitem__", deep)
    with pytest.raises(StudyRefusedError) as refused:
        header.items(ds, "ReferencedSeriesSequence")
    assert refused.value.code is RefusalCode.PIXELS_UNREADABLE
    assert "ReferencedSeriesSequence (0008,1115) of instance 1.2.3" in refused.value.message
    assert "RecursionError" in refused.value.message
    assert "SECRET" not in refused.value.message


def test_private_text_of_implicit_vr_is_read() -> None:
    ds = Dataset()
    ds.add_new(Tag(0x00090010), "LO", "GEMS_PETD_01")
    tag = Tag(0x0009100D)
    ds._dict[tag] = RawDataElement(tag, None, 17, b"20250102110000.00", 0, True, True)
    assert header.private_text(ds, 0x0009100D, "GEMS_PETD_01", "GE").value == "20250102110000.00"
