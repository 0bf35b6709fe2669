"""A program that uses the class alone, where pynetdicom's is asked for."""

from functools import singledispatch
from io import BytesIO

from pydicom.uid import UID
from pynetdicom.dimse_primitives import N_SET, DIMSEPrimitive

import nset
from nset import CommandSetError, status, wire


def message_id(request: N_SET) -> int | None:
    return request.MessageID


@singledispatch
def kind(message: DIMSEPrimitive) -> str:
    return message.msg_type


@kind.register
def _(message: N_SET) -> str:
    return "request" if message.is_valid_request else "response"


class Audited(nset.N_SET):
    """With a note of who has sent it."""

    sender: str = "unknown"


def make() -> nset.N_SET:
    request = nset.N_SET()
    request.MessageID = 7
    request.RequestedSOPClassUID = UID("1.2.840.10008.3.1.2.3.3")
    request.RequestedSOPInstanceUID = UID("1.2.3")
    request.ModificationList = BytesIO(b"data")
    return request


def answer(data: bytes) -> nset.N_SET | None:
    try:
        request = Audited.from_command_set(data, strict=True)
    except CommandSetError as error:
        print(f"0x{error.status:04X}", error.reason)
        return None
    print(request.sender)
    return request.response(status=0x0000)


def main() -> None:
    request = make()
    print(message_id(request), kind(request))
    response = answer(request.to_command_set())
    assert response is not None
    assert response.Status is not None
    uid: UID | None = response.AffectedSOPInstanceUID
    print(kind(response), uid, status.category(response.Status))
    command_set = response.to_command_set()
    again = wire.MessageAssembler().feed(1, b"\x03" + command_set)
    if isinstance(again, nset.N_SET):
        print(again.MessageIDBeingRespondedTo, wire.data_set_follows(command_set))
    print(len(wire.encode_pdus(response, 1, 16382)))


if __name__ == "__main__":
    main()
