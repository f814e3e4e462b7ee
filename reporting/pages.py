"""The page images as one Multi-frame True Color Secondary Capture (PS3.3 A.8.5): what every archive can show."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydicom import Dataset
from pydicom.uid import MultiFrameTrueColorSecondaryCaptureImageStorage

from egfr_dls import PRODUCT_NAME, codes
from reporting.context import ReportContext
from reporting.header import code_item, stamp
from reporting.page_content import Page, pages
from reporting.page_drawing import HEIGHT, WIDTH, draw
from reporting.refusal_sr import considered_images
from reporting.seg import BODY_PART

KIND = "pages"
PAGE_NUMBER_VECTOR = 0x00182001


def page_images(context: ReportContext) -> Dataset:
    """Return the object: summary first, then one frame for each key slice."""
    ds = Dataset()
    ds.SOPClassUID = MultiFrameTrueColorSecondaryCaptureImageStorage
    ds.ImageType = ["DERIVED", "SECONDARY"]
    ds.ConversionType = "WSD"
    ds.BodyPartExamined = BODY_PART
    ds.PatientOrientation = ""
    ds.BurnedInAnnotation, ds.RecognizableVisualFeatures, ds.LossyImageCompression = "YES", "NO", "00"
    _pixels(ds, pages(context))
    sources = (
        [context.image(uid) for uid in context.findings.images_read] if context.scored else considered_images(context)
    )
    ds.SourceImageSequence = [_source(image) for image in sources]
    ds.DerivationDescription = "Summary and key slices of EGFR-DLS"
    if any(lesion.cam_positive is not None for lesion in context.evidence.lesions):
        ds.DerivationCodeSequence = [code_item(codes.CLASS_ACTIVATION)]
    return stamp(ds, context, KIND)


def pages_png(ds: Dataset) -> tuple[bytes, ...]:
    """Return the pages of an object that was read as PNG files."""
    shape = (int(ds.NumberOfFrames), int(ds.Rows), int(ds.Columns), int(ds.SamplesPerPixel))
    frames = np.frombuffer(ds.PixelData, dtype=np.uint8, count=int(np.prod(shape))).reshape(shape)
    return tuple(_png(frame) for frame in frames)


def _png(frame: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    made_by = PngInfo()
    made_by.add_text("Software", PRODUCT_NAME)
    Image.fromarray(frame).save(buffer, format="png", pnginfo=made_by)
    return buffer.getvalue()


def _pixels(ds: Dataset, shown: Sequence[Page]) -> None:
    """Write Image Pixel, Multi-frame and Multi-frame Vector modules (PS3.3 C.7.6.3, C.7.6.6, C.8.6.2).

    Pixel Data is a buffer, which pydicom copies into the file without a further copy in memory: a page is 2.4 MB.
    """
    ds.NumberOfFrames, ds.Rows, ds.Columns, ds.SamplesPerPixel = len(shown), HEIGHT, WIDTH, 3
    ds.PhotometricInterpretation, ds.PlanarConfiguration = "RGB", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    if len(shown) > 1:  # type 1C: only where there are several frames
        ds.FrameIncrementPointer = PAGE_NUMBER_VECTOR
        ds.PageNumberVector = list(range(1, len(shown) + 1))
    frames = io.BytesIO()
    for page in shown:
        frames.write(draw(page).tobytes())
    frames.seek(0)
    ds.add_new("PixelData", "OB", frames)


def _source(image: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    item.PurposeOfReferenceCodeSequence = [code_item(codes.SOURCE_IMAGE_FOR_PROCESSING)]
    return item
