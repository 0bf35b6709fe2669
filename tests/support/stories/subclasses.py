"""Subclasses of N_SET: what they override."""

import copy
import threading
from abc import ABC
from dataclasses import dataclass
from io import BytesIO
from typing import Generic, TypeVar

from outcome import attempt
from values import full

from stories.registry import story


@story
def a_subclass_overrides_keywords(N_SET):
    class S(N_SET):
        REQUEST_KEYWORDS = ("MessageID", "ErrorID")
        RESPONSE_KEYWORDS = ()

    class Missing(N_SET):
        REQUEST_KEYWORDS = ("MessageID", "Absent")

    primitive, missing = S(), Missing()
    told = [primitive.is_valid_request, primitive.is_valid_response, missing.is_valid_request]
    primitive.MessageID = primitive.ErrorID = missing.MessageID = 1
    return [*told, primitive.is_valid_request, attempt(lambda: missing.is_valid_request)]


@story
def keywords_of_one_instance(N_SET):
    primitive = N_SET()
    primitive.REQUEST_KEYWORDS = ["extra"]
    primitive.RESPONSE_KEYWORDS = iter(("Status",))
    primitive.extra = None
    told = [primitive.is_valid_request, primitive.is_valid_response]
    primitive.extra = 1
    told.append(primitive.is_valid_request)
    twin = copy.copy(primitive)
    told.append((twin.REQUEST_KEYWORDS, twin.is_valid_request))
    del primitive.REQUEST_KEYWORDS
    told.append(attempt(delattr, primitive, "REQUEST_KEYWORDS"))
    return [*told, primitive.is_valid_request, N_SET.REQUEST_KEYWORDS, twin.is_valid_request]


@story
def a_subclass_overrides_properties(N_SET):
    class S(N_SET):
        @property
        def MessageID(self):
            return 9

        @property
        def Status(self):
            return super().Status

        @Status.setter
        def Status(self, value):
            N_SET.Status.__set__(self, value and value + 1)

        @property
        def msg_type(self):
            return super().msg_type.lower()

    primitive = S()
    told = [attempt(setattr, primitive, "MessageID", 1), primitive.is_valid_request]
    primitive.RequestedSOPClassUID = primitive.RequestedSOPInstanceUID = "1.2.3"
    primitive.ModificationList = BytesIO()
    primitive.Status = 1
    primitive.MessageIDBeingRespondedTo = 1
    return [*told, primitive, copy.copy(primitive), attempt(setattr, primitive, "Status", "x")]


@story
def a_subclass_overrides_a_property_by_a_value(N_SET):
    class S(N_SET):
        MessageID = 5
        ErrorComment = "class"
        RequestedSOPClassUID = None

    primitive = S()
    told = [primitive, vars(S)["ErrorComment"]]
    primitive.MessageID = "anything"
    return [*told, primitive, primitive.is_valid_request]


@story
def a_subclass_overrides_as_pynetdicom_does(N_SET):
    class S(N_SET):
        @property
        def RequestedSOPClassUID(self):
            return self._RequestedSOPClassUID

        @RequestedSOPClassUID.setter
        def RequestedSOPClassUID(self, value):
            self._RequestedSOPClassUID = value

        @property
        def RequestedSOPInstanceUID(self):
            return self._RequestedSOPInstanceUID

        @RequestedSOPInstanceUID.setter
        def RequestedSOPInstanceUID(self, value):
            self._RequestedSOPInstanceUID = value

        @property
        def AffectedSOPInstanceUID(self):
            return self._AffectedSOPInstanceUID

        @AffectedSOPInstanceUID.setter
        def AffectedSOPInstanceUID(self, value):
            self._AffectedSOPInstanceUID = value

        @property
        def ModificationList(self):
            return self._dataset_variant

        @ModificationList.setter
        def ModificationList(self, value):
            self._dataset_variant = (value, "My List")

    primitive = full(S)
    return [
        primitive,
        primitive.is_valid_request,
        attempt(setattr, primitive, "ModificationList", 1),
    ]


@story
def a_subclass_overrides_a_private_property(N_SET):
    class S(N_SET):
        @property
        def _RequestedSOPInstanceUID(self):
            return "overridden"

    return S().RequestedSOPInstanceUID


@story
def a_subclass_overrides_the_setter_alone(N_SET):
    setter = getattr(N_SET.MessageID, "setter", None)
    return setter is not None and callable(N_SET.MessageID.fget)


@story
def what_init_sets_by_name(N_SET):
    class S(N_SET):
        def __setattr__(self, name, value):
            calls.append((name, value))
            super().__setattr__(name, value)

    calls = []
    S()
    return [call for call in calls if not call[0].startswith("_")]


@story
def init_uses_overridden_setters(N_SET):
    class S(N_SET):
        @property
        def ErrorComment(self):
            return self.comment

        @ErrorComment.setter
        def ErrorComment(self, value):
            self.comment = value or "none"

        def _put(self, value):
            self.given = value

        AttributeList = property(lambda self: self.given, _put)

    primitive = S()
    return [primitive, primitive.comment, primitive.given]


@story
def a_subclass_that_skips_init(N_SET):
    class S(N_SET):
        def __init__(self, number):
            self.MessageID = number

    return S(7), copy.copy(S(7)), attempt(S), attempt(getattr, S(7), "ErrorComment")


@story
def a_subclass_with_getattr(N_SET):
    class S(N_SET):
        REQUEST_KEYWORDS = ("MessageID", "Absent")

        def __getattr__(self, name):
            if name.startswith("__"):
                raise AttributeError(name)
            return name

    primitive = S()
    primitive.MessageID = 1
    del primitive.ErrorComment
    return [primitive.is_valid_request, primitive.Absent, primitive.ErrorComment, primitive.ErrorID]


@story
def a_subclass_with_getattribute(N_SET):
    class S(N_SET):
        def __getattribute__(self, name):
            seen.append(name)
            return super().__getattribute__(name)

    seen = []
    primitive = full(S)
    seen.clear()
    told = [primitive.is_valid_request, primitive.is_valid_response]
    return [*told, [name for name in seen if not name.startswith("_")]]


@story
def other_subclasses(N_SET):
    T = TypeVar("T")

    class Abstract(N_SET, ABC):
        pass

    class Of(N_SET, Generic[T]):
        pass

    @dataclass
    class Data(N_SET):
        number: int = 7

    class Mixin:
        def hello(self):
            return self.msg_type

    class N_SET_RQ(Mixin, N_SET):
        pass

    class Thread(N_SET, threading.Thread):
        def __init__(self):
            threading.Thread.__init__(self)
            N_SET.__init__(self)

    made = [Abstract(), Of[int](), Data(), N_SET_RQ(), Thread()]
    return [*made, N_SET_RQ().hello(), Data() == Data(), attempt(lambda: Data().ErrorID)]


@story
def a_second_base_with_a_layout_of_its_own(N_SET):
    return attempt(type, "S", (N_SET, dict), {})
