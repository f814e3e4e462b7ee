"""What stays of a DICOM object, and how: the one table of the de-identification. Whatever it does not list goes.

PS3.15 2024b Annex E: Basic Application Level Confidentiality Profile with the options of ``METHODS``. The profile lets
anything be removed that an IOD can do without (E.1.1), so an attribute has to be listed to stay, at every level of every
sequence, instead of having to be listed to go. Attributes that Table E.1-1 lists stand here with the option, or the
action code, by which they stay; the tests hold this table against a transcription of Table E.1-1 by others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum


class Action(Enum):
    """What is done with an attribute that stays."""

    KEEP = "its value stays, unless it names the patient or is no value of its VR"
    EMPTY = "Z: no value"
    UID = "U: another UID, the same wherever this one stands"
    DATE = "C: the day is moved with all others of the patient"
    ITEMS = "the items stay, cleaned by the same table"
    PATIENT = "D: the patient's pseudonym"
    REGION = "D: 'tumour 1' for what was used as a tumour, else 'structure 1'"
    MEANING = "stays in the words of a published scheme, goes in those of a local one"
    AGE = "stays up to 89 years; 90 stands for all above"
    FIXED = "D: the text of ``FIXED_TEXTS``"


# PS3.16 CID 7050, for De-identification Method Code Sequence (0012,0064)
METHODS: tuple[tuple[str, str], ...] = (
    ("113100", "Basic Application Confidentiality Profile"),
    ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    ("113108", "Retain Patient Characteristics Option"),  # body weight, which SUV is made of, height, sex, age
    ("113109", "Retain Device Identity Option"),
    ("113111", "Retain Safe Private Option"),  # ``PRIVATE`` alone
)
METHOD = "PS3.15 2024b basic profile, by a list of what stays; see codes"  # LO: 64 characters
TEMPORAL = "MODIFIED"  # Longitudinal Temporal Information Modified (0028,0303)

FIXED_TEXTS = {
    "StructureSetLabel": "RTSTRUCT",  # (3006,0002), D
    "ContentLabel": "SEGMENTATION",  # (0070,0080), type 1 of SEG; free text of a reader
    "SegmentAlgorithmName": "not stated",  # (0062,0009), type 1C
}

# Coding schemes whose meanings are published, so that no text of a site hides there (PS3.16 chapter 8)
PUBLISHED_SCHEMES = frozenset(
    {"SCT", "SRT", "SNM3", "99SDM", "DCM", "UCUM", "LN", "FMA", "NCIt", "RADLEX", "MA", "UMLS"}
)
LOCAL_MEANING = "local code"
REMOVED = "REMOVED"  # in the place of a text that names somebody; a value of every text VR


@dataclass(frozen=True)
class PrivateElement:
    """A private element that stays: without it SUV is another, or none (docs/reference/suv.md)."""

    creator: str
    vendor: str  # as Manufacturer (0008,0070) names it, where the block names no creator
    tag: int  # in block 0x10
    vr: str
    why: str


PRIVATE = (
    PrivateElement("Philips PET Private Group", "Philips", 0x70531000, "DS", "SUV factor; PS3.15 Table E.3.10-1"),
    PrivateElement("Philips PET Private Group", "Philips", 0x70531009, "DS", "activity factor; PS3.15 Table E.3.10-1"),
    PrivateElement(
        "GEMS_PETD_01",
        "GE",
        0x0009100D,
        "DT",
        "scan date-time, the reference of decay; GE's conformance statements; moved",
    ),
)

_PATIENT = {
    Action.PATIENT: "PatientName PatientID",  # Z and Z/D
    Action.EMPTY: "PatientBirthDate",  # Z
    Action.KEEP: "PatientSex PatientSize PatientWeight",  # 113108
    Action.AGE: "PatientAge",  # 113108
}
_STUDY = {
    Action.UID: "StudyInstanceUID",
    Action.DATE: "StudyDate",  # 113107
    Action.KEEP: "StudyTime",  # 113107: days are moved, times of day are not
    Action.EMPTY: "ReferringPhysicianName StudyID AccessionNumber",  # Z
}
_SERIES = {
    Action.UID: "SeriesInstanceUID FrameOfReferenceUID",
    Action.DATE: "SeriesDate",
    Action.KEEP: "SeriesTime Modality SeriesNumber Laterality PatientPosition BodyPartExamined PositionReferenceIndicator",
}
_EQUIPMENT = {
    Action.KEEP: (
        "Manufacturer ManufacturerModelName SoftwareVersions "  # not in Table E.1-1
        "StationName DeviceSerialNumber DeviceUID ManufacturerDeviceClassUID UniqueDeviceIdentifier "  # 113109, to here
        "GantryID GeneratorID DetectorID PlateID CassetteID TimeOfLastCalibration TimeOfLastDetectorCalibration"
    ),
    Action.DATE: "DateOfLastCalibration DateOfLastDetectorCalibration",  # 113109 keeps them, 113107 moves them
}
_IMAGE = {
    Action.UID: "SOPInstanceUID",
    Action.DATE: "AcquisitionDate ContentDate InstanceCreationDate AcquisitionDateTime",
    Action.KEEP: (
        "SOPClassUID ImageType InstanceNumber AcquisitionNumber AcquisitionTime ContentTime InstanceCreationTime "
        "PatientOrientation ImagesInAcquisition QualityControlImage BurnedInAnnotation RecognizableVisualFeatures "
        "LossyImageCompression LossyImageCompressionRatio LossyImageCompressionMethod "
        "PixelSpacing ImageOrientationPatient ImagePositionPatient SliceThickness SpacingBetweenSlices SliceLocation "
        "SamplesPerPixel PhotometricInterpretation NumberOfFrames Rows Columns BitsAllocated BitsStored HighBit "
        "PixelRepresentation PixelAspectRatio PixelPaddingValue PixelPaddingRangeLimit "
        "RescaleIntercept RescaleSlope RescaleType WindowCenter WindowWidth PixelIntensityRelationship"
    ),
}
_CT = {
    Action.KEEP: (
        "KVP ScanOptions DataCollectionDiameter ReconstructionDiameter DistanceSourceToDetector DistanceSourceToPatient "
        "GantryDetectorTilt TableHeight RotationDirection ExposureTime XRayTubeCurrent Exposure FilterType GeneratorPower "
        "FocalSpots ConvolutionKernel RevolutionTime SingleCollimationWidth TotalCollimationWidth TableSpeed "
        "TableFeedPerRotation SpiralPitchFactor ExposureModulationType CTDIvol"
    ),
    Action.EMPTY: "ContrastBolusAgent",  # Z/D; type 2
}
_PET = {
    Action.KEEP: (
        "Units SUVType CountsSource SeriesType ReprojectionMethod NumberOfRRIntervals NumberOfTimeSlots NumberOfTimeSlices "
        "NumberOfSlices CorrectedImage RandomsCorrectionMethod AttenuationCorrectionMethod ScatterCorrectionMethod "
        "DecayCorrection ReconstructionMethod CollimatorType AxialAcceptance AxialMash TransverseMash DetectorElementSize "
        "CoincidenceWindowWidth EnergyWindowLowerLimit EnergyWindowUpperLimit FieldOfViewShape FieldOfViewDimensions "
        "TypeOfDetectorMotion "
        "FrameReferenceTime ActualFrameDuration DecayFactor DoseCalibrationFactor ScatterFractionFactor DeadTimeFactor "
        "ImageIndex SliceSensitivityFactor PrimaryPromptsCountsAccumulated "
        "RadionuclideTotalDose RadionuclideHalfLife RadionuclidePositronFraction RadiopharmaceuticalVolume "
        "RadiopharmaceuticalSpecificActivity Radiopharmaceutical RadiopharmaceuticalStartTime RadiopharmaceuticalStopTime"
    ),
    Action.DATE: "RadiopharmaceuticalStartDateTime RadiopharmaceuticalStopDateTime DecayCorrectionDateTime",
    Action.ITEMS: (
        "RadiopharmaceuticalInformationSequence RadionuclideCodeSequence RadiopharmaceuticalCodeSequence "
        "AdministrationRouteCodeSequence EnergyWindowRangeSequence PatientOrientationCodeSequence "
        "PatientOrientationModifierCodeSequence PatientGantryRelationshipCodeSequence"
    ),
}
_CODE = {
    Action.KEEP: "CodeValue LongCodeValue CodingSchemeDesignator CodingSchemeVersion",
    Action.MEANING: "CodeMeaning",
}
_REFERENCES = {
    Action.UID: "ReferencedSOPInstanceUID ReferencedFrameOfReferenceUID",
    Action.KEEP: "ReferencedSOPClassUID ReferencedFrameNumber ReferencedSegmentNumber SpatialLocationsPreserved",
    # Referenced images say what a region was drawn on (X/Z/U*: U)
    Action.ITEMS: (
        "ReferencedSeriesSequence ReferencedInstanceSequence SourceImageSequence DerivationImageSequence "
        "DerivationCodeSequence PurposeOfReferenceCodeSequence StudiesContainingOtherReferencedInstancesSequence"
    ),
}
_SEG = {
    Action.KEEP: (
        "SegmentationType SegmentationFractionalType MaximumFractionalValue SegmentsOverlap SegmentNumber "
        "SegmentAlgorithmType RecommendedDisplayGrayscaleValue RecommendedDisplayCIELabValue DimensionOrganizationType "
        "DimensionIndexPointer FunctionalGroupPointer DimensionIndexValues StackID InStackPositionNumber"
    ),
    Action.FIXED: "ContentLabel SegmentAlgorithmName",
    Action.EMPTY: "ContentDescription ContentCreatorName",  # type 2; Z/D
    Action.REGION: "SegmentLabel TrackingID",
    Action.UID: "TrackingUID DimensionOrganizationUID",
    Action.ITEMS: (
        "SegmentSequence SegmentedPropertyCategoryCodeSequence SegmentedPropertyTypeCodeSequence AnatomicRegionSequence "
        "SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence FrameContentSequence PlanePositionSequence "
        "PlaneOrientationSequence PixelMeasuresSequence SegmentIdentificationSequence DimensionOrganizationSequence "
        "DimensionIndexSequence"
    ),
}
_RTSTRUCT = {
    Action.FIXED: "StructureSetLabel",
    Action.DATE: "StructureSetDate ReviewDate",  # 113107
    Action.EMPTY: "ROIInterpreter ReviewerName OperatorsName",  # Z, X/Z, X/Z/D; type 2
    Action.REGION: "ROIName",  # Z
    Action.KEEP: (
        "StructureSetTime ReviewTime ApprovalStatus ROINumber ROIGenerationAlgorithm ROIVolume ROIDisplayColor "
        "ReferencedROINumber ContourGeometricType NumberOfContourPoints ContourData ContourNumber ContourSlabThickness "
        "ObservationNumber RTROIInterpretedType"
    ),
    Action.ITEMS: (
        "ReferencedFrameOfReferenceSequence RTReferencedStudySequence RTReferencedSeriesSequence ContourImageSequence "
        "StructureSetROISequence ROIContourSequence ContourSequence RTROIObservationsSequence "
        "RTROIIdentificationCodeSequence"
    ),
}


def _rules() -> Iterator[tuple[str, Action]]:
    for module in (_PATIENT, _STUDY, _SERIES, _EQUIPMENT, _IMAGE, _CT, _PET, _CODE, _REFERENCES, _SEG, _RTSTRUCT):
        for action, keywords in module.items():
            yield from ((keyword, action) for keyword in keywords.split())


RULES: dict[str, Action] = dict(_rules())  # keyword -> what is done with it

# Whose values are looked for in every text that stays, so that nothing names the patient there either (PS3.15 Table E.1-1)
IDENTIFYING = (
    "PatientName", "PatientID", "IssuerOfPatientID", "OtherPatientIDs", "OtherPatientNames", "PatientBirthName",
    "PatientMotherBirthName", "PatientBirthDate", "PatientAddress", "PatientTelephoneNumbers", "MedicalRecordLocator",
    "MilitaryRank", "AccessionNumber", "StudyID", "AdmissionID", "ReferringPhysicianName", "PhysiciansOfRecord",
    "PerformingPhysicianName", "NameOfPhysiciansReadingStudy", "OperatorsName", "RequestingPhysician", "ResponsiblePerson",
    "ContentCreatorName", "ReviewerName", "ROIInterpreter", "InstitutionName", "InstitutionAddress",
    "InstitutionalDepartmentName",
)  # fmt: skip
