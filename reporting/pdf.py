"""The pages as an Encapsulated PDF (PS3.3 A.45.1), for archives that render no structured report; it points at the report.

Pillow writes the PDF from the drawn pages: what is read there is what the page images show, pixel for pixel but for JPEG's
loss, and no second layout can say anything else. The price is that its text cannot be searched; the report's can.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset
from pydicom.uid import EncapsulatedPDFStorage

from egfr_dls import PRODUCT_NAME, codes
from reporting.context import ReportContext
from reporting.header import code_item, dicom_date, dicom_time, stamp
from reporting.wording import series_description

KIND = "pdf"
PIXELS_AN_INCH = 96.0  # a page is 10.7 by 8 inches: it fits on A4 and on Letter
JPEG = {"quality": 95, "subsampling": 0}  # letters keep their edges


def encapsulated_pdf(context: ReportContext, pages: NDArray[np.uint8], report: Dataset) -> Dataset:
    """Return the object.

    Parameters
    ----------
    pages
        uint8 ``[page, row, column, 3]``, summary first
    report
        the structured report, at which the PDF points and whose UID is in its key
    """
    ds = Dataset()
    ds.SOPClassUID = EncapsulatedPDFStorage
    ds.AcquisitionDateTime = dicom_date(context.content_datetime) + dicom_time(context.content_datetime)
    ds.ConversionType = "WSD"
    ds.BurnedInAnnotation, ds.RecognizableVisualFeatures = "YES", "NO"
    ds.DocumentTitle = series_description(KIND, demonstration=context.findings.demonstration)
    ds.ConceptNameCodeSequence = [code_item(codes.IMAGING_MEASUREMENT_REPORT)]
    ds.MIMETypeOfEncapsulatedDocument = "application/pdf"
    document = pdf_file([Image.fromarray(page) for page in pages], ds.DocumentTitle)
    ds.EncapsulatedDocumentLength = len(document)
    ds.EncapsulatedDocument = document + b"\x00" * (len(document) % 2)
    ds.SourceInstanceSequence = [_reference(report)]
    return stamp(ds, context, KIND, key=(report.SOPInstanceUID,))


def pdf_file(pages: Sequence[Image.Image], title: str) -> bytes:
    """Return a PDF with one image a page; no date of writing stands in it, so the same pages give the same bytes."""
    first, *further = pages
    buffer = io.BytesIO()
    first.save(
        buffer,
        format="PDF",
        save_all=True,
        append_images=further,
        resolution=PIXELS_AN_INCH,
        title=title,
        producer=PRODUCT_NAME,
        creationDate=None,
        modDate=None,
        **JPEG,
    )
    return buffer.getvalue()


def _reference(report: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = report.SOPClassUID, report.SOPInstanceUID
    return item
