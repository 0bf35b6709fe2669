"""Table F.7.2-1 of PS3.4 as text, a step that has all of it, and what to leave out of that.

The types that bind an SCU in an N-CREATE, an N-SET, and in the final state; "-" is not allowed. Of
type 1C* are those whose condition a whole step meets.
"""

from typing import Any, NamedTuple

from pydicom import Dataset
from pydicom.datadict import dictionary_VR, tag_for_keyword

TEXT = """
SpecificCharacterSet                           1C  1C
ScheduledStepAttributesSequence                1   -
>StudyInstanceUID                              1   -
>ReferencedStudySequence                       2   -
>>ReferencedSOPClassUID                        1   -
>>ReferencedSOPInstanceUID                     1   -
>AccessionNumber                               2   -
>IssuerOfAccessionNumberSequence               3   -
>>LocalNamespaceEntityID                       1C  -
>>UniversalEntityID                            1C  -
>>UniversalEntityIDType                        1C* -
>PlacerOrderNumberImagingServiceRequest        3   -
>OrderPlacerIdentifierSequence                 3   -
>>LocalNamespaceEntityID                       1C  -
>>UniversalEntityID                            1C  -
>>UniversalEntityIDType                        1C* -
>FillerOrderNumberImagingServiceRequest        3   -
>OrderFillerIdentifierSequence                 3   -
>>LocalNamespaceEntityID                       1C  -
>>UniversalEntityID                            1C  -
>>UniversalEntityIDType                        1C* -
>RequestedProcedureID                          2   -
>RequestedProcedureCodeSequence                3   -
>>Include F.7.2-1a
>RequestedProcedureDescription                 2   -
>ScheduledProcedureStepID                      2   -
>ScheduledProcedureStepDescription             2   -
>ScheduledProtocolCodeSequence                 2   -
>>Include F.7.2-1a
PatientName                                    2   -
PatientID                                      2   -
IssuerOfPatientID                              3   -
IssuerOfPatientIDQualifiersSequence            3   -
>UniversalEntityID                             3   -
>UniversalEntityIDType                         1C* -
OtherPatientIDsSequence                        3   -
>PatientID                                     3   -
>IssuerOfPatientID                             3   -
>IssuerOfPatientIDQualifiersSequence           3   -
>TypeOfPatientID                               3   -
PatientBirthDate                               2   -
PatientSex                                     2   -
ReferencedPatientSequence                      2   -
>ReferencedSOPClassUID                         1   -
>ReferencedSOPInstanceUID                      1   -
AdmissionID                                    3   -
IssuerOfAdmissionIDSequence                    3   -
>LocalNamespaceEntityID                        1C  -
>UniversalEntityID                             1C  -
>UniversalEntityIDType                         1C* -
ServiceEpisodeID                               3   -
IssuerOfServiceEpisodeIDSequence               3   -
>LocalNamespaceEntityID                        1C  -
>UniversalEntityID                             1C  -
>UniversalEntityIDType                         1C* -
ServiceEpisodeDescription                      3   -
PerformedProcedureStepID                       1   -
PerformedStationAETitle                        1   -
PerformedStationName                           2   -
PerformedLocation                              2   -
PerformedProcedureStepStartDate                1   -
PerformedProcedureStepStartTime                1   -
PerformedProcedureStepStatus                   1   3/1
PerformedProcedureStepDescription              2   3/2
PerformedProcedureTypeDescription              2   3/2
ProcedureCodeSequence                          2   3/2
>Include F.7.2-1e
ReasonForPerformedProcedureCodeSequence        3   3
>Include F.7.2-1c
PerformedProcedureStepEndDate                  2   3/1  1
PerformedProcedureStepEndTime                  2   3/1  1
CommentsOnThePerformedProcedureStep            3   3
PerformedProcedureStepDiscontinuationReasonCodeSequence  3  3
>Include F.7.2-1c
Modality                                       1   -
StudyID                                        2   -
PerformedProtocolCodeSequence                  2   3/2
>Include F.7.2-1e
PerformedSeriesSequence                        2   3/1  1
>PerformingPhysicianName                       2   2
>ProtocolName                                  1   1
>OperatorsName                                 2   2
>SeriesInstanceUID                             1   1
>SeriesDescription                             2   2
>RetrieveAETitle                               2   2
>ArchiveRequested                              3   3
>ReferencedImageSequence                       2   2
>>ReferencedSOPClassUID                        1   1
>>ReferencedSOPInstanceUID                     1   1
>>ContainerIdentifier                          3   3
>>SpecimenDescriptionSequence                  3   3
>>>SpecimenIdentifier                          1   1
>>>SpecimenUID                                 1   1
>ReferencedNonImageCompositeSOPInstanceSequence 2  2
>>ReferencedSOPClassUID                        1   1
>>ReferencedSOPInstanceUID                     1   1
"""

# The macros of codes; of the values that a code may have, a whole step has the first.
MACROS = {
    "F.7.2-1a": (
        """
CodeValue                                      1C* -
CodingSchemeDesignator                         1C* -
CodingSchemeVersion                            1C  -
CodeMeaning                                    1   -
"""
    ),
    "F.7.2-1c": (
        """
CodeValue                                      1C* 3/1C
CodingSchemeDesignator                         1C* 1C*
CodingSchemeVersion                            1C  1C
CodeMeaning                                    1   1
"""
    ),
    "F.7.2-1e": (
        """
CodeValue                                      1C* 3/1C
CodingSchemeDesignator                         1C* 1C*
CodingSchemeVersion                            1C  1C
CodeMeaning                                    3   3
"""
    ),
}

VITAL = {
    "ScheduledStepAttributesSequence",
    "ScheduledStepAttributesSequence>StudyInstanceUID",
    *("PerformedProcedureStepStartDate", "PerformedProcedureStepStartTime"),
    *("PerformedProcedureStepStatus", "Modality"),
}
"""Without these no step is created, strict or not."""

VALUES: dict[str, Any] = {
    "SpecificCharacterSet": "ISO_IR 192",
    "PerformedProcedureStepStatus": "IN PROGRESS",
    "PatientName": "Muller^Anna",
    "UniversalEntityIDType": "UUID",
    "PatientSex": "F",
    "ArchiveRequested": "NO",
}
OF_VR: dict[str, Any] = {"UI": "1.2.3.4", "DA": "20261127", "TM": "101530"}


class Row(NamedTuple):
    """A row: the keywords from the outermost to the attribute's, and its types."""

    path: tuple[str, ...]
    create: str
    set: str
    final: str

    @property
    def tag(self) -> int:
        tag = tag_for_keyword(self.path[-1])
        assert tag is not None
        return tag

    @property
    def name(self) -> str:
        return ">".join(self.path)


def lines() -> list[str]:
    """The rows of the table, with those of the macros in it."""
    found = []
    for line in TEXT.strip().splitlines():
        depth, is_macro, name = line.partition("Include ")
        if not is_macro:
            found.append(line)
            continue
        simple = MACROS[name].strip().splitlines()
        may_set = "-" if name == "F.7.2-1a" else "3"
        found += [depth + row for row in simple]
        found.append(f"{depth}EquivalentCodeSequence 3 {may_set}")
        found += [f"{depth}>{row}" for row in simple]
    return found


def rows() -> list[Row]:
    found, path = [], []
    for line in lines():
        keyword, create, may_set, *final = line.split()
        depth = keyword.count(">")
        path[depth:] = [keyword.lstrip(">")]
        found.append(Row(tuple(path), create, may_set, *(final or [""])))
    return found


ROWS = rows()


def whole() -> Dataset:
    """A step with each attribute of the table: what a new N-CREATE has."""
    step = Dataset()
    for row in ROWS:
        keyword = row.path[-1]
        vr = dictionary_VR(keyword)
        value = [Dataset()] if vr == "SQ" else VALUES.get(keyword, OF_VR.get(vr, "1"))
        setattr(_holder(step, row.path), keyword, value)
    return step


def changed(step: Dataset, row: Row, is_empty: bool) -> Dataset:
    """The step without the attribute, or with it empty."""
    holder = _holder(step, row.path)
    if is_empty:
        setattr(holder, row.path[-1], [] if dictionary_VR(row.path[-1]) == "SQ" else "")
    else:
        delattr(holder, row.path[-1])
    return step


def modifications(step: Dataset) -> Dataset:
    """The attributes that an N-SET may have."""
    listed = Dataset()
    for row in ROWS:
        if len(row.path) == 1 and row.set != "-":
            listed[row.tag] = step[row.tag]
    return listed


def _holder(step: Dataset, path: tuple[str, ...]) -> Dataset:
    for keyword in path[:-1]:
        (step,) = step[keyword].value
    return step
