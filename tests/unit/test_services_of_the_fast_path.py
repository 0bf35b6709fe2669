"""The table of services: it has what pynetdicom serves, and no more."""

import importlib
from io import BytesIO
from types import SimpleNamespace

import pytest
from pydicom.datadict import keyword_for_tag
from pynetdicom import dimse_primitives, evt, sop_class
from pynetdicom.dimse_messages import _COMMAND_SET_KEYWORDS, _DATASET_KEYWORDS
from pynetdicom.sop_class import SOPClass

ALL = {"CommandGroupLength", "CommandField", "MessageID", "CommandDataSetType"}
ANSWER = {"CommandGroupLength", "CommandField", "MessageIDBeingRespondedTo", "CommandDataSetType"}


@pytest.fixture
def module(nset):
    return importlib.import_module("nset.scp._services")


def test_the_elements_are_pynetdicoms(module):
    for service in module.SERVICES:
        elements = [keyword_for_tag(tag) for tag in (*service.required, *service.optional)]
        assert set(_COMMAND_SET_KEYWORDS[f"{service.name}-RQ"]) == {*ALL, *elements}
        name = service.name.replace("-", "_")
        assert _DATASET_KEYWORDS.get(f"{name}_RQ") == service.request_keyword
        assert _DATASET_KEYWORDS.get(f"{name}_RSP") == service.response_keyword
        assert (service.data_set != module.NEVER) == (service.request_keyword is not None)
        response = set(_COMMAND_SET_KEYWORDS[f"{service.name}-RSP"])
        type_id = {keyword_for_tag(service.type_id)} - {""}
        assert response >= {*ANSWER, "AffectedSOPClassUID", "Status", *type_id}
        assert ("AffectedSOPInstanceUID" in response) == (service.name != "C-ECHO")
        assert service.event is getattr(evt, f"EVT_{name}")


def test_what_a_request_must_have_is_pynetdicoms(module):
    for service in module.SERVICES:
        keywords = set(getattr(dimse_primitives, service.name.replace("-", "_")).REQUEST_KEYWORDS)
        required = {"MessageID", *(keyword_for_tag(tag) for tag in service.required)}
        assert keywords - {service.request_keyword} == required
        assert (service.request_keyword in keywords) == (service.data_set == module.ALWAYS)


def test_each_service_stands_at_its_number(module):
    assert [service.number for service in module.SERVICES] == list(range(7))
    assert len({service.command_field for service in module.SERVICES}) == 7


def test_an_operation_that_is_refused_is_in_no_table(nset, module):
    provider = importlib.import_module("nset.pynetdicom._provider")
    acceptor = SimpleNamespace(accepted_common_extended={}, _common_ext={})
    assoc = SimpleNamespace(acceptor=acceptor)
    standard = "1.2.840.10008."  # others have been registered
    uids = [
        uid
        for uid in vars(sop_class).values()
        if isinstance(uid, SOPClass) and uid.startswith(standard)
    ]
    assert len(uids) > 200
    for service in module.SERVICES[1:]:
        for uid in uids:
            request = service.primitive()
            for keyword in ("AffectedSOP", "RequestedSOP"):
                if hasattr(request, f"{keyword}ClassUID"):
                    setattr(request, f"{keyword}ClassUID", uid)
                    setattr(request, f"{keyword}InstanceUID", "1.2.3")
            request.MessageID = 7
            for keyword in ("ActionTypeID", "EventTypeID"):
                if hasattr(request, keyword):
                    setattr(request, keyword, 1)
            if service.data_set == module.ALWAYS:
                setattr(request, service.request_keyword, BytesIO())
            is_served = provider.refusal_of(assoc, request) is None
            assert (uid.encode() in module.KNOWN[service.number]) == is_served, (service.name, uid)
            assert (module.service_class(service, uid) is not None) == is_served
    assert list(module.KNOWN[0]) == [b"1.2.840.10008.1.1"]
