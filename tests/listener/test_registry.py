"""The UIDs that are written down are those that the libraries know."""

from __future__ import annotations

from pydicom.uid import (
    AllTransferSyntaxes,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPIPHTJ2KReferenced,
    JPIPHTJ2KReferencedDeflate,
    SegmentationStorage,
    SMPTEST211020UncompressedInterlacedActiveVideo,
    SMPTEST211020UncompressedProgressiveActiveVideo,
    SMPTEST211030PCMDigitalAudio,
)
from pynetdicom.presentation import AllStoragePresentationContexts

from listener import registry

NOT_STORED = {
    JPIPHTJ2KReferenced,
    JPIPHTJ2KReferencedDeflate,
    SMPTEST211020UncompressedProgressiveActiveVideo,
    SMPTEST211020UncompressedInterlacedActiveVideo,
    SMPTEST211030PCMDigitalAudio,
}


def test_every_storage_class_of_pynetdicom() -> None:
    assert {str(context.abstract_syntax) for context in AllStoragePresentationContexts} == registry.STORAGE_SOP_CLASSES


def test_every_transfer_syntax_of_pydicom_in_which_an_instance_is_stored() -> None:
    assert {str(uid) for uid in set(AllTransferSyntaxes) - NOT_STORED} == registry.TRANSFER_SYNTAXES


def test_each_name_has_its_uid() -> None:
    assert ImplicitVRLittleEndian == registry.IMPLICIT_VR_LITTLE_ENDIAN
    assert ExplicitVRLittleEndian == registry.EXPLICIT_VR_LITTLE_ENDIAN
    assert DeflatedExplicitVRLittleEndian == registry.DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN
    assert ExplicitVRBigEndian == registry.EXPLICIT_VR_BIG_ENDIAN
    assert SegmentationStorage == registry.SEGMENTATION_STORAGE
