"""`N_SET`, the N-SET request and response as Python programs see them."""

import sys
from inspect import Signature
from io import BytesIO
from typing import TYPE_CHECKING, Any

from nset import _rules
from nset._implementation import Primitive, register_class

if TYPE_CHECKING:  # as isinstance() answers
    from pynetdicom.dimse_primitives import N_SET as _PynetdicomsClass
else:
    _PynetdicomsClass = object


class _SignatureOfInit:
    """The signature for `inspect`, which cannot read one from a compiled `__init__`."""

    def __get__(self, instance: object, owner: Any) -> Signature:
        ours = Primitive.__init__, Primitive.__new__, type.__call__
        if instance is None and (owner.__init__, owner.__new__, type(owner).__call__) == ours:
            return Signature(return_annotation=None)
        raise AttributeError("__signature__")


class N_SET(Primitive, _PynetdicomsClass):  # type: ignore[misc]
    """An N-SET request or response (PS3.7 Section 10.1.3).

    A drop-in replacement for ``pynetdicom.dimse_primitives.N_SET``: the same attributes, the same
    checks at assignment, the same exceptions, warnings and log records. docs/differences.md lists
    what differs. Safe to share between threads.

    A *request* is complete with a Message ID, both Requested UIDs and a Modification List, a
    *response* with the Message ID it responds to and a Status.

    Attributes
    ----------
    MessageID : int or None
        Message ID (0000,0110) of a request, 0 to 65535. ValueError outside that, TypeError for
        another type.
    MessageIDBeingRespondedTo : int or None
        Message ID Being Responded To (0000,0120) of a response, as `MessageID`.
    RequestedSOPClassUID, RequestedSOPInstanceUID : pydicom.uid.UID or None
        (0000,0003) and (0000,1001) of a request: the instance to change. Set from str, bytes or UID
        of 1 to 64 characters (PS3.5 Section 9.1); an empty value is None. ValueError for a UID that
        `nset.config` refuses, TypeError for another type.
    AffectedSOPClassUID, AffectedSOPInstanceUID : pydicom.uid.UID or None
        (0000,0002) and (0000,1000) of a response: the changed instance. Set as the Requested ones.
    ModificationList, AttributeList : io.BytesIO or None
        The encoded data set of a request or a response: one value under two names. TypeError for
        another type.
    Status : int or None
        Status (0000,0900) of a response, 0 to 65535; see `nset.status` for its meaning.
        ValueError outside that, TypeError for another type.
    ErrorComment, ErrorID, AttributeIdentifierList, OffendingElement : Any
        (0000,0902), (0000,0903), (0000,1005) and (0000,0901): details that a response may have
        beside its Status (PS3.7 Annex C). Stored unchecked; checked when the response is encoded.
    is_valid_request, is_valid_response : bool
        Whether all of `REQUEST_KEYWORDS` or `RESPONSE_KEYWORDS` are set.
    msg_type : str
        ``"N-SET"``.
    """

    __signature__: Any = _SignatureOfInit()

    def __reduce__(self) -> tuple[Any, ...]:
        # A function of this module, so that either implementation can read the other's pickles;
        # not copyreg's, which compares the class with `__class__`.
        return _new, (type(self),), self.__getstate__()

    def __repr__(self) -> str:
        fields = []
        for keyword in _rules.REPR_KEYWORDS:
            value = getattr(self, keyword, None)
            if isinstance(value, BytesIO):
                fields.append(f"{keyword}=<{_size(value)}>")
            elif value is not None:
                fields.append(f"{keyword}={value!r}")
        return f"{type(self).__name__}({', '.join(fields)})"

    def __dir__(self) -> list[str]:
        # object.__dir__ would list the attributes of `__class__`.
        return [*dir(type(self)), *vars(self)]

    def response(self, status: int = 0x0000) -> "N_SET":
        """Return the response to this request.

        Parameters
        ----------
        status : int
            The Status (0000,0900), 0 to 65535.

        Returns
        -------
        N_SET
            With this request's Message ID, UIDs (the Requested ones, or if those are None the
            Affected ones; PS3.4 Section 5.4.2.3) and presentation context.

        Raises
        ------
        ValueError
            If the request has no Message ID, or `status` is out of range.
        TypeError
            If `status` is neither int nor None.
        """
        message_id = self.MessageID
        if message_id is None:
            raise _rules.no_message_id()
        response = N_SET()
        response.Status = status
        # Unchecked: the values of this request have passed the checks.
        response.__setstate__(
            {
                "MessageIDBeingRespondedTo": message_id,
                "AffectedSOPClassUID": self.RequestedSOPClassUID or self.AffectedSOPClassUID,
                "AffectedSOPInstanceUID": (
                    self.RequestedSOPInstanceUID or self.AffectedSOPInstanceUID
                ),
                "_context_id": self._context_id,
            }
        )
        return response

    # pynetdicom looks its messages up by `primitive.__class__`, and uses `isinstance`. For both, a
    # primitive is of the class that pynetdicom calls N_SET; `type()` returns nset's class.
    @property
    def __class__(self) -> type:
        cls = type(self)
        if cls is not N_SET:
            return cls
        return getattr(sys.modules.get("pynetdicom.dimse_primitives"), "N_SET", cls)

    @__class__.setter
    def __class__(self, cls: type) -> None:
        if cls is pynetdicom_class():
            cls = N_SET
        object.__dict__["__class__"].__set__(self, cls)


register_class(N_SET)

_pynetdicom_class: type | None = None


def pynetdicom_class() -> type | None:
    """Return pynetdicom's own ``N_SET``, even while nset is installed; None if it is not loaded."""
    global _pynetdicom_class
    module = sys.modules.get("pynetdicom.dimse_primitives")
    cls = getattr(module, "N_SET", None)
    if cls is not N_SET:
        _pynetdicom_class = cls
    return _pynetdicom_class


def _new(cls: type[N_SET]) -> N_SET:
    """Return an object for unpickling to fill; `N_SET.__init__` is not called, as usual."""
    return cls.__new__(cls)


def _size(stream: BytesIO) -> str:
    try:
        # Not getbuffer(): while a buffer exists, a thread that writes gets a BufferError.
        return f"{len(stream.getvalue())} bytes"
    except ValueError:
        return "closed"
