"""With nset in pynetdicom other services are as ever."""

import logging
from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import Any

import pynetdicom.tests
import pytest
from associations import (
    INSTANCE,
    MPPS,
    UPS,
    associated,
    completed,
)
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import evt, sop_class
from pynetdicom.association import Association
from seen import Seen

CT = sop_class.CTImageStorage
FIND = sop_class.PatientRootQueryRetrieveInformationModelFind

SOP_CLASSES = (MPPS, UPS, CT, FIND, sop_class.Verification)


def patient() -> Dataset:
    dataset = Dataset()
    dataset.QueryRetrieveLevel = "PATIENT"
    dataset.PatientID = "42"
    return dataset


def image() -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = CT
    dataset.SOPInstanceUID = INSTANCE
    dataset.file_meta = pynetdicom.dsutils.create_file_meta(
        sop_class_uid=CT, sop_instance_uid=INSTANCE, transfer_syntax=ImplicitVRLittleEndian
    )
    return dataset


def find(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
    yield 0xFF00, patient()
    yield 0xFF00, patient()
    yield 0x0000, None


SERVICES: dict[str, tuple[Any, Any, Any, Callable[[Association], object]]] = {
    "C-ECHO": (
        sop_class.Verification,
        evt.EVT_C_ECHO,
        lambda event: 0x0000,
        lambda scu: scu.send_c_echo(msg_id=0x0120),
    ),
    "C-STORE": (CT, evt.EVT_C_STORE, lambda event: 0x0000, lambda scu: scu.send_c_store(image())),
    "C-FIND": (FIND, evt.EVT_C_FIND, find, lambda scu: list(scu.send_c_find(patient(), FIND))),
    "N-CREATE": (
        MPPS,
        evt.EVT_N_CREATE,
        lambda event: (0x0000, event.attribute_list),
        lambda scu: scu.send_n_create(completed(), MPPS, INSTANCE),
    ),
    "N-GET": (
        UPS,
        evt.EVT_N_GET,
        lambda event: (0x0000, completed()),
        lambda scu: scu.send_n_get([0x00400252], UPS, INSTANCE, msg_id=0x8120),
    ),
    "N-ACTION": (
        UPS,
        evt.EVT_N_ACTION,
        lambda event: (0x0000, event.action_information),
        lambda scu: scu.send_n_action(completed(), 1, UPS, INSTANCE),
    ),
}


@pytest.mark.parametrize(("syntax", "event", "handler", "send"), SERVICES.values(), ids=SERVICES)
def test_other_services(server, both, caplog, syntax, event, handler, send):
    caplog.set_level(logging.DEBUG, "pynetdicom")

    def run():
        with associated(server, syntax, {event: handler}) as (scu, scp):
            seen = Seen(scu=scu, scp=scp)
            send(scu)  # as above
            caplog.clear()
            result = send(scu)
            log = sorted((record.name, record.getMessage()) for record in caplog.records)
            # The SCP of a C-FIND goes on sending while the SCU receives.
            return result, sorted(seen.messages, key=itemgetter(0)), seen.wire, log

    ours, stock = both(run)
    assert ours == stock
