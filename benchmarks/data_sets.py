"""Measures `nset.dataset` against pydicom on the lists of performed procedure steps.

Usage: python benchmarks/data_sets.py [--rounds N]
"""

import argparse
from collections.abc import Callable
from io import BytesIO
from statistics import median
from time import perf_counter

import compare
from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from nset import dataset

SYNTAXES = {"implicit": ImplicitVRLittleEndian, "explicit": ExplicitVRLittleEndian}
SIZES = {"2 x 5": (2, 5), "3 x 50": (3, 50)}
TARGETS = {"2 x 5": (14, 45), "3 x 50": (14, 100)}  # decode and read all; encode


def modification_list(series: int, images: int) -> Dataset:
    """Make the Modification List of an N-SET that completes a step."""
    root = "1.2.826.0.1.3680043.8.498.457878419054731142331"
    step = Dataset()
    step.PerformedProcedureStepEndDate = "20261126"
    step.PerformedProcedureStepEndTime = "101530"
    step.PerformedProcedureStepStatus = "COMPLETED"
    step.PerformedProcedureStepDescription = "CT head without contrast"
    step.PerformedProcedureTypeDescription = "Head"
    step.CommentsOnThePerformedProcedureStep = "Second reading requested"
    step.RadiationMode = ""
    step.ExposureTime = "120"
    step.EntranceDoseInmGy = "1.25"
    step.TotalNumberOfExposures = 4
    step.PerformedSeriesSequence = [_series(root, number, images) for number in range(series)]
    return step


def _series(root: str, number: int, images: int) -> Dataset:
    series = Dataset()
    series.RetrieveAETitle = "ARCHIVE"
    series.SeriesDescription = f"Head {number}, 5 mm"
    series.Modality = "CT"
    series.PerformingPhysicianName = "Curie^Marie"
    series.OperatorsName = "Bell^Jocelyn"
    series.ProtocolName = "Head routine"
    series.SeriesInstanceUID = f"{root}.{number}"
    series.ReferencedImageSequence = [_image(root, number, image) for image in range(images)]
    series.ReferencedNonImageCompositeSOPInstanceSequence = []
    return series


def _image(root: str, series: int, number: int) -> Dataset:
    image = Dataset()
    image.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    image.ReferencedSOPInstanceUID = f"{root}.{series}.{number}"
    return image


def read_all(data_set: Dataset) -> int:
    """Look at the value of each element, and count them."""
    count = 0
    for element in data_set:
        count += 1
        value = element.value
        if element.VR == "SQ":
            for item in value:
                count += read_all(item)
    return count


def pydicom_decode(data: bytes, syntax: str) -> Dataset:
    """Decode as pydicom does."""
    return read_dataset(BytesIO(data), syntax == ImplicitVRLittleEndian, True)


def pydicom_encode(data_set: Dataset, syntax: str) -> bytes:
    """Encode as pydicom does."""
    buffer = DicomBytesIO()
    buffer.is_little_endian = True
    buffer.is_implicit_VR = syntax == ImplicitVRLittleEndian
    write_dataset(buffer, data_set)
    return buffer.getvalue()
