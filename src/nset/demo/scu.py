"""The modality, in a process of its own: ``python -m nset.demo.scu PORT``.

Prints one JSON object for each response. It is plain pynetdicom: nset is not installed, except for
`keep_responses`.
"""

import json
import sys
from datetime import datetime, timedelta

from pydicom import Dataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, generate_uid
from pynetdicom import AE

from nset.demo import MPPS, keep_responses


def in_progress(start: datetime) -> Dataset:
    """Return the Attribute List of the N-CREATE (PS3.4 Table F.7.2-1): a chest X-ray has begun."""
    scheduled = Dataset()
    scheduled.StudyInstanceUID = generate_uid()
    scheduled.AccessionNumber = "A2024-0815"
    scheduled.RequestedProcedureID = "RP1"
    scheduled.RequestedProcedureDescription = "Chest PA and lateral"
    scheduled.ScheduledProcedureStepID = "SPS1"
    scheduled.ScheduledProcedureStepDescription = "Chest two views"
    scheduled.ReferencedStudySequence = []
    scheduled.ScheduledProtocolCodeSequence = []

    step = Dataset()
    step.SpecificCharacterSet = "ISO_IR 192"
    step.ScheduledStepAttributesSequence = [scheduled]
    step.PatientName = "Müller^Anna"
    step.PatientID = "P-4711"
    step.PatientBirthDate = "19710402"
    step.PatientSex = "F"
    step.ReferencedPatientSequence = []
    step.PerformedProcedureStepID = "PPS1"
    step.PerformedStationAETitle = "XRAY_2"
    step.PerformedStationName = "Room 2"
    step.PerformedLocation = "Radiology"
    step.PerformedProcedureStepStartDate = start.strftime("%Y%m%d")
    step.PerformedProcedureStepStartTime = start.strftime("%H%M%S")
    step.PerformedProcedureStepStatus = "IN PROGRESS"
    step.PerformedProcedureStepDescription = "Chest two views"
    step.PerformedProcedureTypeDescription = ""
    step.ProcedureCodeSequence = []
    step.PerformedProcedureStepEndDate = ""
    step.PerformedProcedureStepEndTime = ""
    step.Modality = "DX"
    step.StudyID = "S1"
    step.PerformedProtocolCodeSequence = []
    step.PerformedSeriesSequence = []
    return step


def completed(end: datetime) -> Dataset:
    """Return the Modification List of the N-SET that completes the step, with two images."""
    images = []
    for _ in range(2):
        image = Dataset()
        image.ReferencedSOPClassUID = DigitalXRayImageStorageForPresentation
        image.ReferencedSOPInstanceUID = generate_uid()
        images.append(image)

    series = Dataset()
    series.PerformingPhysicianName = "Roentgen^Wilhelm"
    series.ProtocolName = "CHEST"
    series.OperatorsName = "Curie^Marie"
    series.SeriesInstanceUID = generate_uid()
    series.SeriesDescription = "Chest PA, lateral"
    series.RetrieveAETitle = "ARCHIVE"
    series.ReferencedImageSequence = images
    series.ReferencedNonImageCompositeSOPInstanceSequence = []

    step = Dataset()
    step.PerformedProcedureStepStatus = "COMPLETED"
    step.PerformedProcedureStepEndDate = end.strftime("%Y%m%d")
    step.PerformedProcedureStepEndTime = end.strftime("%H%M%S")
    step.PerformedSeriesSequence = [series]
    return step


def discontinued() -> Dataset:
    """Return a Modification List that a server refuses for a completed step."""
    step = Dataset()
    step.PerformedProcedureStepStatus = "DISCONTINUED"
    return step


def report(port: int) -> None:
    """Report a step from its start to its end, then try to change it again."""
    end = datetime.now()
    uid = generate_uid()
    ae = AE("XRAY_2")
    ae.add_requested_context(MPPS)
    association = ae.associate("127.0.0.1", port)
    if not association.is_established:
        sys.exit(f"no association with 127.0.0.1:{port}")
    start = end - timedelta(minutes=6)
    answer, _ = association.send_n_create(in_progress(start), MPPS, uid, msg_id=1)
    _show(answer)
    answer, _ = association.send_n_set(completed(end), MPPS, uid, msg_id=2)
    _show(answer)
    answer, _ = association.send_n_set(discontinued(), MPPS, uid, msg_id=3)
    _show(answer)
    association.release()


def _show(status: Dataset) -> None:
    if "Status" not in status:
        sys.exit("the server did not answer")
    print(json.dumps({element.keyword: element.value for element in status}), flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2 or not sys.argv[1].isdecimal():
        sys.exit("usage: python -m nset.demo.scu PORT")
    keep_responses()
    report(int(sys.argv[1]))
