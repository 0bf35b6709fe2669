"""The lists that a modality sends for a performed procedure step (PS3.4 Table F.7.2-1)."""

from datetime import datetime

from pydicom import Dataset
from pynetdicom.dsutils import encode

from nset.demo.scu import in_progress

ROOT = "1.2.826.0.1.3680043.8.498.45787841905473114233"


def attribute_list() -> Dataset:
    """The Attribute List of an N-CREATE: 42 elements."""
    step = in_progress(datetime(2026, 11, 26, 10, 0))
    (scheduled,) = step.ScheduledStepAttributesSequence
    scheduled.ReferencedStudySequence = [_image(0, 0)]
    scheduled.ScheduledProtocolCodeSequence = [_code("P5-08001", "Head routine")]
    step.ProcedureCodeSequence = [_code("P5-08000", "CT of head")]
    step.PerformedProtocolCodeSequence = [_code("P5-08001", "Head routine")]
    return step


def modification_list(series: int, images: int) -> Dataset:
    """The Modification List of an N-SET that completes a step.

    20 elements, 8 more for each series and 2 for each image in it.
    """
    step = Dataset()
    step.SpecificCharacterSet = "ISO_IR 100"
    step.PerformedProcedureStepEndDate = "20261126"
    step.PerformedProcedureStepEndTime = "101530"
    step.PerformedProcedureStepStatus = "COMPLETED"
    step.PerformedProcedureStepDescription = "CT head without contrast"
    step.PerformedProcedureTypeDescription = "Head"
    step.ProcedureCodeSequence = [_code("P5-08000", "CT of head")]
    step.PerformedProtocolCodeSequence = [_code("P5-08001", "Head routine")]
    step.CommentsOnThePerformedProcedureStep = "Second reading requested"
    step.TotalTimeOfFluoroscopy = 0
    step.TotalNumberOfExposures = 4
    step.DistanceSourceToDetector = "1050.5"
    step.ImageAndFluoroscopyAreaDoseProduct = "1.25"
    step.PerformedSeriesSequence = [_series(number, images) for number in range(series)]
    return step


def encoded(data_set: Dataset) -> bytes:
    """The data set in Implicit VR Little Endian."""
    data = encode(data_set, is_implicit_vr=True, is_little_endian=True)
    assert data is not None
    return data


def _code(value: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue = value
    code.CodingSchemeDesignator = "SRT"
    code.CodeMeaning = meaning
    return code


def _series(number: int, images: int) -> Dataset:
    series = Dataset()
    series.RetrieveAETitle = "ARCHIVE"
    series.SeriesDescription = f"Head {number}, 5 mm"
    series.PerformingPhysicianName = "Curie^Marie"
    series.OperatorsName = "Bell^Jocelyn"
    series.ProtocolName = "Head routine"
    series.SeriesInstanceUID = f"{ROOT}.{number}"
    series.ReferencedImageSequence = [_image(number, image) for image in range(images)]
    series.ReferencedNonImageCompositeSOPInstanceSequence = []
    return series


def _image(series: int, number: int) -> Dataset:
    image = Dataset()
    image.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    image.ReferencedSOPInstanceUID = f"{ROOT}.{series}.{number}"
    return image
