"""Every coded concept that the product writes or reads, as constants and tables.

Standard codes carry the meaning of DICOM PS3.16 2024; a test holds them against pydicom's dictionary. The private
scheme ``99EGFRDLS`` never changes the meaning of a released code: a new meaning is a new code. Values have at most
16 characters (SH) and meanings at most 64 (LO), both ASCII.
"""

from __future__ import annotations

from pydicom.sr.coding import Code

from egfr_dls.refusals import RefusalCode
from egfr_dls.study import Pathway, RoiSource

PRIVATE_SCHEME = "99EGFRDLS"


def _private(value: str, meaning: str) -> Code:
    return Code(value, PRIVATE_SCHEME, meaning)


# -- standard: document structure (PS3.16 TID 1500, 1501, 1411, 1600)
IMAGING_MEASUREMENT_REPORT = Code("126000", "DCM", "Imaging Measurement Report")
IMAGE_LIBRARY = Code("111028", "DCM", "Image Library")
IMAGE_LIBRARY_GROUP = Code("126200", "DCM", "Image Library Group")
QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")  # TID 1500 row 12
SOURCE = Code("260753009", "SCT", "Source")
DEVICE = Code("121007", "DCM", "Device")
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
MORPHOLOGICAL_OPERATIONS = Code("123104", "DCM", "Morphological Operations")
PROCESSING_EQUIPMENT = Code("109102", "DCM", "Processing Equipment")
SOURCE_IMAGE_FOR_PROCESSING = Code("121322", "DCM", "Source image for image processing operation")
CLASS_ACTIVATION = Code("130403", "DCM", "Gradient-weighted class activation")
PERSON = Code("121006", "DCM", "Person")
REJECTED_FOR_QUALITY = Code("113001", "DCM", "Rejected for Quality Reasons")
REJECTED_FOR_SAFETY = Code("113037", "DCM", "Rejected for Patient Safety Reasons")

# -- standard: what was found, where, how
MORPHOLOGICALLY_ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")
NEOPLASM = Code("108369006", "SCT", "Neoplasm")
LUNG = Code("39607008", "SCT", "Lung")
FDG_PET_CT = Code("443271005", "SCT", "PET/CT FDG imaging of whole body")
MEAN = Code("373098007", "SCT", "Mean")
STANDARD_DEVIATION = Code("386136009", "SCT", "Standard Deviation")
MAXIMUM = Code("56851009", "SCT", "Maximum")
SUVBW = Code("126401", "DCM", "SUVbw")
SUVBW_METHOD = Code("126410", "DCM", "SUV body weight calculation method")
METABOLIC_VOLUME = Code("126032", "DCM", "Metabolic Volume")
TOTAL_LESION_GLYCOLYSIS = Code("126033", "DCM", "Total Lesion Glycolysis")

# -- standard: units (UCUM)
NO_UNITS = Code("1", "UCUM", "no units")
CUBIC_CENTIMETRE = Code("cm3", "UCUM", "cubic centimeter")
SUV_UNIT = Code("g/ml{SUVbw}", "UCUM", "Standardized Uptake Value body weight")
GRAM = Code("g", "UCUM", "g")
MILLIMETRE = Code("mm", "UCUM", "mm")
PIXELS = Code("{pixels}", "UCUM", "Pixels")
DIRECTION_COSINE = Code("{-1:1}", "UCUM", "{-1:1}")

# -- standard: image library descriptors (TID 1602, 1604)
MODALITY = Code("121139", "DCM", "Modality")
FRAME_OF_REFERENCE = Code("112227", "DCM", "Frame of Reference UID")
MODALITIES: dict[str, Code] = {
    "CT": Code("CT", "DCM", "Computed Tomography"),
    "PT": Code("PT", "DCM", "Positron emission tomography"),
    "MR": Code("MR", "DCM", "Magnetic Resonance"),
}

# -- private: names of measurements and evaluations
EGFR_DLS = _private("EGFRDLS", "EGFR deep learning score")
PDL1_DLS = _private("PDL1DLS", "PD-L1 deep learning score")
EGFR_DLS_SLICE = _private("EGFRDLS-SLICE", "EGFR deep learning score of one slice")
EGFR_DLS_SD = _private("EGFRDLS-SD", "Standard deviation of the EGFR-DLS slice scores")
NUMBER_OF_SLICES = _private("NSLICES", "Number of slices scored")
EGFR_PREDICTION = _private("EGFR-PRED", "Predicted EGFR status (imaging)")
PATHWAY = _private("PATHWAY", "Suggested treatment pathway (research)")
PATHWAY_RATIONALE = _private("PATHWAY-WHY", "Rationale of the suggestion")
LIMITATIONS = _private("LIMITATIONS", "Limitations")
INTENDED_USE = _private("INTENDED-USE", "Intended use")
SCORING = _private("SCORING", "Scoring status")
NOT_SCORED_BECAUSE = _private("NOT-SCORED-WHY", "Not scored because")
NOT_SCORED_TEXT = _private("NOT-SCORED-TEXT", "What was found and what is needed")
ROI_SOURCE = _private("ROI-SOURCE", "Source of the region of interest")

# -- private: values
PREDICTED_MUTANT = _private("EGFR-PRED-MUT", "EGFR mutant predicted")
PREDICTED_WILD_TYPE = _private("EGFR-PRED-WT", "EGFR wild type predicted")
PREDICTED_INDETERMINATE = _private("EGFR-PRED-IND", "Indeterminate")
RESEARCH_USE_ONLY = _private("RUO", "Research use only, not for diagnosis")
DEMONSTRATION = _private("DEMO", "Demonstration network, says nothing about the patient")
SCORED = _private("SCORED", "Scored")
SCORED_IN_PART = _private("SCORED-PART", "Scored in part")
NOT_SCORED = _private("NOT-SCORED", "Not scored")

PATHWAYS: dict[Pathway, Code] = {
    Pathway.TKI: _private("PATHWAY-TKI", "EGFR TKI pathway"),
    Pathway.ICI: _private("PATHWAY-ICI", "Immune checkpoint inhibitor pathway"),
    Pathway.NEITHER_FAVOURED: _private("PATHWAY-NEITHER", "Neither TKI nor ICI favoured"),
    Pathway.INDETERMINATE_PDL1_NEEDED: _private("PATHWAY-INDET", "Indeterminate, PD-L1 test needed"),
    Pathway.NO_SUGGESTION: _private("PATHWAY-NONE", "No pathway suggested"),
}
ROI_SOURCES: dict[RoiSource, Code] = {
    RoiSource.STORED_SEG: _private("ROI-STORED-SEG", "Stored segmentation"),
    RoiSource.STORED_RTSTRUCT: _private("ROI-STORED-RT", "Stored RT structure set"),
    RoiSource.PROPOSED: _private("ROI-PROPOSED", "Proposed automatically, not confirmed"),
}
ROI_PROPOSED_CONFIRMED = _private("ROI-PROP-CONF", "Proposed automatically, confirmed by a person")

# -- private: why a study was not scored, and the refusal codes that each stands for
NS_INCOMPLETE = _private("NS-INCOMPLETE", "Study not completely received")
NS_SERIES = _private("NS-SERIES", "Required series missing")
NS_PET_CLASS = _private("NS-PET-CLASS", "PET object class not supported")
NS_AMBIGUOUS = _private("NS-AMBIGUOUS", "More than one series or region fits the same role")
NS_GEOMETRY = _private("NS-GEOMETRY", "Image geometry does not fit together")
NS_PIXELS = _private("NS-PIXELS", "Pixel data missing or not decodable")
NS_NO_ROI = _private("NS-NO-ROI", "No region of interest stored or found")
NS_ROI_SMALL = _private("NS-ROI-SMALL", "Region of interest too small")
NS_ROI_FIELD = _private("NS-ROI-FIELD", "Region of interest outside the range of the model")
NS_PET_UNITS = _private("NS-PET-UNITS", "PET units not usable for SUV")
NS_PET_CORRECTIONS = _private("NS-PET-CORR", "PET corrections missing or unknown")
NS_PET_WEIGHT = _private("NS-PET-WEIGHT", "Patient weight missing or implausible")
NS_PET_DOSE = _private("NS-PET-DOSE", "Injected activity missing or implausible")
NS_PET_TIME = _private("NS-PET-TIME", "Injection or uptake time missing or implausible")
NS_PET_TRACER = _private("NS-PET-TRACER", "Tracer not supported")
NS_PET_MIXED = _private("NS-PET-MIXED", "PET headers differ within the series")
NS_EXCLUDED = _private("NS-EXCLUDED", "Patient or study outside the population of the model")
NS_OTHER = _private("NS-OTHER", "Other reason, see text")

NOT_SCORED_CODES: dict[RefusalCode, Code] = {
    RefusalCode.STUDY_INCOMPLETE: NS_INCOMPLETE,
    RefusalCode.SERIES_MISSING: NS_SERIES,
    RefusalCode.SOP_CLASS_UNSUPPORTED: NS_SERIES,
    RefusalCode.SUV_SOP_CLASS: NS_PET_CLASS,
    RefusalCode.SERIES_AMBIGUOUS: NS_AMBIGUOUS,
    RefusalCode.ROI_AMBIGUOUS: NS_AMBIGUOUS,
    RefusalCode.GEOMETRY_MISMATCH: NS_GEOMETRY,
    RefusalCode.REGISTRATION_IMPLAUSIBLE: NS_GEOMETRY,
    RefusalCode.PIXELS_UNREADABLE: NS_PIXELS,
    RefusalCode.ROI_TOO_LATE: NS_PIXELS,
    RefusalCode.INSTANCE_UID_CONFLICT: NS_OTHER,
    RefusalCode.NO_ROI: NS_NO_ROI,
    RefusalCode.NO_LUNG_FIELD: NS_NO_ROI,
    RefusalCode.ROI_REFERENCE_MISSING: NS_NO_ROI,
    RefusalCode.ROI_TOO_SMALL: NS_ROI_SMALL,
    RefusalCode.FOV_NO_TUMOUR: NS_ROI_FIELD,
    RefusalCode.FOV_TRUNCATED: NS_ROI_FIELD,
    RefusalCode.FOV_LARGE: NS_ROI_FIELD,
    RefusalCode.FOV_MARGIN: NS_ROI_FIELD,
    RefusalCode.HYPERIMAGE_FLAT_CHANNEL: NS_ROI_FIELD,
    RefusalCode.ROI_WITHOUT_UPTAKE: NS_ROI_FIELD,
    RefusalCode.FEW_SLICES: NS_ROI_SMALL,
    RefusalCode.SUV_UNITS_NOT_BW: NS_PET_UNITS,
    RefusalCode.SUV_UNITS_UNSUPPORTED: NS_PET_UNITS,
    RefusalCode.SUV_COUNTS_WITHOUT_FACTOR: NS_PET_UNITS,
    RefusalCode.SUV_INTERCEPT: NS_PET_UNITS,
    RefusalCode.SUV_NOT_ATTENUATION_CORRECTED: NS_PET_CORRECTIONS,
    RefusalCode.SUV_NOT_DECAY_CORRECTED: NS_PET_CORRECTIONS,
    RefusalCode.SUV_DECAY_UNKNOWN: NS_PET_CORRECTIONS,
    RefusalCode.PET_NOT_ATTENUATION_CORRECTED: NS_PET_CORRECTIONS,
    RefusalCode.SUV_NO_WEIGHT: NS_PET_WEIGHT,
    RefusalCode.SUV_WEIGHT_IMPLAUSIBLE: NS_PET_WEIGHT,
    RefusalCode.SUV_NO_DOSE: NS_PET_DOSE,
    RefusalCode.SUV_DOSE_IMPLAUSIBLE: NS_PET_DOSE,
    RefusalCode.SUV_NO_INJECTION_TIME: NS_PET_TIME,
    RefusalCode.SUV_UPTAKE_TIME: NS_PET_TIME,
    RefusalCode.SUV_NOT_F18: NS_PET_TRACER,
    RefusalCode.SUV_NO_HALF_LIFE: NS_PET_TRACER,
    RefusalCode.NOT_FDG: NS_PET_TRACER,
    RefusalCode.SUV_MIXED_SERIES: NS_PET_MIXED,
    RefusalCode.EXCLUDED_PHANTOM: NS_EXCLUDED,
}


def not_scored_code(refusal_code: str) -> Code:
    """Return the report's code for a refusal code; one that is newer than the table is filed as NS-OTHER."""
    try:
        return NOT_SCORED_CODES[RefusalCode(refusal_code)]
    except (ValueError, KeyError):
        return NS_OTHER
