"""Ends of associations: handlers, and what peers send."""

from pydicom import Dataset
from pynetdicom import sop_class
from raw_peer import RELEASE_RP, RELEASE_RQ, pdu

ECHO = sop_class.Verification
FIND = sop_class.PatientRootQueryRetrieveInformationModelFind

RELEASE = pdu(RELEASE_RQ, bytes(4))
RELEASED = pdu(RELEASE_RP, bytes(4))


def succeed(event):
    return 0x0000, None


def exits(event):
    raise SystemExit(event.event.name)


def query():
    identifier = Dataset()
    identifier.PatientName = "*"
    identifier.QueryRetrieveLevel = "PATIENT"
    return identifier
