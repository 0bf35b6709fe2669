"""`N_SET`, the N-SET request and response as Python programs see them."""

import sys
from inspect import Signature
from io import BytesIO
from typing import TYPE_CHECKING, Any

from nset import _rules
from nset._implementation import Primitive, adopt

if TYPE_CHECKING:  # it says what isinstance() says
    from pynetdicom.dimse_primitives import N_SET as _PynetdicomsClass
else:
    _PynetdicomsClass = object


class _SignatureOfInit:
    """`inspect.signature` can't look into a compiled `__init__`; a subclass's own it can."""

    def __get__(self, instance: object, owner: Any) -> Signature:
        ours = Primitive.__init__, Primitive.__new__, type.__call__
        if instance is None and (owner.__init__, owner.__new__, type(owner).__call__) == ours:
            return Signature(return_annotation=None)
        raise AttributeError("__signature__")


class N_SET(Primitive, _PynetdicomsClass):  # type: ignore[misc]
    """An N-SET request or response (PS3.7 Section 10.1.3).

    Takes the place of ``pynetdicom.dimse_primitives.N_SET``: the same attributes, the same checks
    at assignment, the same errors, warnings and log records. What differs is listed in the
    documentation under "Differences". Safe to share between threads.

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
        (0000,0003) and (0000,1001) of a request: what is to be changed. Set from str, bytes or UID
        of 1 to 64 characters (PS3.5 Section 9.1); an empty value is None. ValueError for one that
        `nset.config` refuses, TypeError for another type.
    AffectedSOPClassUID, AffectedSOPInstanceUID : pydicom.uid.UID or None
        (0000,0002) and (0000,1000) of a response: what was changed. Set as the Requested ones.
    ModificationList, AttributeList : io.BytesIO or None
        The encoded data set of a request or a response: one value under two names. TypeError for
        another type.
    Status : int or None
        Status (0000,0900) of a response, 0 to 65535; `nset.status` tells what it means.
        ValueError outside that, TypeError for another type.
    ErrorComment, ErrorID, AttributeIdentifierList, OffendingElement : Any
        (0000,0902), (0000,0903), (0000,1005) and (0000,0901): what a response may say beside its
        Status (PS3.7 Annex C). Taken as they are.
    is_valid_request, is_valid_response : bool
        Whether all of `REQUEST_KEYWORDS` or `RESPONSE_KEYWORDS` are set.
    msg_type : str
        ``"N-SET"``.
    """

    __signature__: Any = _SignatureOfInit()

    def __reduce__(self) -> tuple[Any, ...]:
        # By a function of this module, so that either twin can read what the other has pickled;
        # and not copyreg's, which compares the class with what `__class__` answers.
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
        # object's would list what is in the class that `__class__` answers with.
        return [*dir(type(self)), *vars(self)]

    def response(self, status: int = 0x0000) -> "N_SET":
        """Make the response to this request.

        Parameters
        ----------
        status : int
            The Status (0000,0900), 0 to 65535.

        Returns
        -------
        N_SET
            With the Message ID, the UIDs (the Requested ones, or where those are None the Affected
            ones; PS3.4 Section 5.4.2.3) and the presentation context carried over.

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
        # As they are: what this request holds has passed the checks once.
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

    # pynetdicom looks its messages up by `primitive.__class__` and asks `isinstance`. Both are
    # answered as by the class that it calls N_SET; `type()` tells the truth.
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


adopt(N_SET)

_pynetdicom_class: type | None = None


def pynetdicom_class() -> type | None:
    """Give pynetdicom's own ``N_SET``, also while nset is installed in its place.

    Returns
    -------
    type or None
        None where pynetdicom is not loaded.
    """
    global _pynetdicom_class
    module = sys.modules.get("pynetdicom.dimse_primitives")
    cls = getattr(module, "N_SET", None)
    if cls is not N_SET:
        _pynetdicom_class = cls
    return _pynetdicom_class


def _new(cls: type[N_SET]) -> N_SET:
    """Make the bare object that unpickling fills: `N_SET.__init__` is not run, as ever."""
    return cls.__new__(cls)


def _size(stream: BytesIO) -> str:
    try:
        # Not by getbuffer(): while there is one, a thread that writes gets a BufferError.
        return f"{len(stream.getvalue())} bytes"
    except ValueError:
        return "closed"
