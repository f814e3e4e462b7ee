"""The page images as Secondary Capture (PS3.3 A.8.5, A.8.1): what every archive can show.

One Multi-frame True Color object; where a destination does not take that class, one object a page.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydicom import Dataset
from pydicom.uid import MultiFrameTrueColorSecondaryCaptureImageStorage, SecondaryCaptureImageStorage

from egfr_dls import PRODUCT_NAME, codes
from reporting.context import ReportContext
from reporting.header import code_item, stamp
from reporting.page_content import Page
from reporting.page_drawing import HEIGHT, WIDTH, draw
from reporting.page_set import pages
from reporting.refusal_sr import considered_images
from reporting.seg import BODY_PART

KIND, SINGLE_KIND = "pages", "single_page"
PAGE_NUMBER_VECTOR = 0x00182001
NUMBERS_A_REVISION = 1000  # Instance Numbers (0020,0013) of single pages


def page_images(context: ReportContext) -> Dataset:
    """Return the object: summary first, then one frame for each key slice."""
    ds = _capture(context, MultiFrameTrueColorSecondaryCaptureImageStorage)
    _multi_frame(ds, pages(context))
    return stamp(ds, context, KIND)


def single_pages(context: ReportContext, drawn: Dataset) -> Iterator[Dataset]:
    """Yield each page of ``page_images`` as an object of its own, the summary first."""
    for number, frame in enumerate(frames(drawn), start=1):
        ds = _capture(context, SecondaryCaptureImageStorage)
        _image_pixel(ds)
        ds.PixelData = frame.tobytes()
        stamp(ds, context, SINGLE_KIND, key=(str(number),))
        ds.InstanceNumber = NUMBERS_A_REVISION * (context.revision.number - 1) + number
        yield ds


def frames(ds: Dataset) -> NDArray[np.uint8]:
    """Return the pages of an object, as built or as read, as uint8 ``[page, row, column, 3]``."""
    held = ds["PixelData"].value
    data = held.getbuffer() if isinstance(held, io.BytesIO) else held
    shape = (int(ds.NumberOfFrames), int(ds.Rows), int(ds.Columns), int(ds.SamplesPerPixel))
    return np.frombuffer(data, dtype=np.uint8, count=int(np.prod(shape))).reshape(shape)


def pages_png(ds: Dataset) -> tuple[bytes, ...]:
    """Return the pages of an object as PNG files."""
    return tuple(_png(frame) for frame in frames(ds))


def _png(frame: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    made_by = PngInfo()
    made_by.add_text("Software", PRODUCT_NAME)
    Image.fromarray(frame).save(buffer, format="png", pnginfo=made_by)
    return buffer.getvalue()


def _capture(context: ReportContext, sop_class_uid: str) -> Dataset:
    """Return what both classes have in common: General Image and SC Equipment modules (PS3.3 C.7.6.1, C.8.6.1)."""
    ds = Dataset()
    ds.SOPClassUID = sop_class_uid
    ds.ImageType = ["DERIVED", "SECONDARY"]
    ds.ConversionType = "WSD"
    ds.BodyPartExamined = BODY_PART
    ds.PatientOrientation = ""
    ds.BurnedInAnnotation, ds.RecognizableVisualFeatures, ds.LossyImageCompression = "YES", "NO", "00"
    sources = (
        [context.image(uid) for uid in context.findings.images_read] if context.scored else considered_images(context)
    )
    ds.SourceImageSequence = [_source(image) for image in sources]
    ds.DerivationDescription = "Summary and key slices of EGFR-DLS"
    if any(lesion.cam_positive is not None for lesion in context.evidence.lesions):
        ds.DerivationCodeSequence = [code_item(codes.CLASS_ACTIVATION)]
    return ds


def _image_pixel(ds: Dataset) -> None:
    """Write the Image Pixel module without its pixels (PS3.3 C.7.6.3)."""
    ds.Rows, ds.Columns, ds.SamplesPerPixel = HEIGHT, WIDTH, 3
    ds.PhotometricInterpretation, ds.PlanarConfiguration = "RGB", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0


def _multi_frame(ds: Dataset, shown: Sequence[Page]) -> None:
    """Write Image Pixel, Multi-frame and Multi-frame Vector modules (PS3.3 C.7.6.3, C.7.6.6, C.8.6.2).

    Pixel Data is a buffer, which pydicom copies into the file without a further copy in memory: a page is 2.4 MB.
    """
    _image_pixel(ds)
    ds.NumberOfFrames = len(shown)
    if len(shown) > 1:  # type 1C: only where there are several frames
        ds.FrameIncrementPointer = PAGE_NUMBER_VECTOR
        ds.PageNumberVector = list(range(1, len(shown) + 1))
    drawn = io.BytesIO()
    for page in shown:
        drawn.write(draw(page).tobytes())
    drawn.seek(0)
    ds.add_new("PixelData", "OB", drawn)


def _source(image: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    item.PurposeOfReferenceCodeSequence = [code_item(codes.SOURCE_IMAGE_FOR_PROCESSING)]
    return item
