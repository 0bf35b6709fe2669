"""Attributes of the class and of instances that a program replaces."""

from unittest import mock

from differences import STOCK
from outcome import CONSTANTS, attempt
from values import full

from stories.registry import story


@story
def patched_properties(N_SET):
    primitive, valid = full(N_SET), N_SET.is_valid_request
    told = [primitive.is_valid_request, primitive.is_valid_response]
    for name in (*N_SET.REQUEST_KEYWORDS, *N_SET.RESPONSE_KEYWORDS):
        original = getattr(N_SET, name)
        with mock.patch.object(N_SET, name, new_callable=mock.PropertyMock) as patch:
            patch.return_value = None
            told.append((primitive.is_valid_request, primitive.is_valid_response))
            patch.return_value = 5
            told.append((getattr(primitive, name), primitive.is_valid_request))
            setattr(primitive, name, 6)
            told.append([call.args for call in patch.mock_calls])
        told.append((getattr(N_SET, name) == original, primitive))
        told.append((primitive.is_valid_request, primitive.is_valid_response))
    return [*told, N_SET.is_valid_request == valid, N_SET()]


@story
def patched_keywords(N_SET):
    primitive, told = N_SET(), []
    for name in CONSTANTS[:2]:
        with mock.patch.object(N_SET, name, ("extra",)):
            primitive.extra = None
            told.append((primitive.is_valid_request, primitive.is_valid_response))
            primitive.extra = 1
            told.append((primitive.is_valid_request, primitive.is_valid_response))
            told.append((N_SET().REQUEST_KEYWORDS, N_SET().RESPONSE_KEYWORDS))
        told.append((primitive.is_valid_request, primitive.is_valid_response))
    return told


@story
def patched_setters_are_seen_by_init(N_SET):
    told = []
    for name in ("ModificationList", "AttributeList"):
        with mock.patch.object(N_SET, name, new_callable=mock.PropertyMock) as patch:
            N_SET()
            told.append([call.args for call in patch.mock_calls])
    return told


@story
def patched_validity_and_type(N_SET):
    told = []
    for name in ("is_valid_request", "is_valid_response", "msg_type"):
        with mock.patch.object(N_SET, name, new_callable=mock.PropertyMock, return_value="x"):
            told.append(getattr(N_SET(), name))
        told.append(getattr(N_SET(), name))
    with mock.patch.object(N_SET, "__init__", lambda self, _: setattr(self, "MessageID", 1)):
        told.append(N_SET(7))
    with mock.patch.object(N_SET, "__getattribute__", lambda self, name: name, create=True):
        told.append((N_SET().MessageID, N_SET().absent))
    return [*told, N_SET(), attempt(N_SET, 7)]


@story
def patched_instances(N_SET):
    primitive = full(N_SET)
    with mock.patch.object(primitive, "ErrorComment", "patched"):
        told = [primitive.ErrorComment]
    with mock.patch.object(primitive, "extra", 6, create=True):
        told.append(primitive.extra)
    with mock.patch.object(primitive, "REQUEST_KEYWORDS", ("absent",)):
        told.append(attempt(lambda: primitive.is_valid_request))
    return [*told, primitive, hasattr(primitive, "extra"), primitive.is_valid_request]


@story
def mocks_of_the_class(N_SET):
    auto, spec = mock.create_autospec(N_SET), mock.Mock(spec=N_SET())
    names = ("MessageID", "ErrorComment", "_context_id", "is_valid_request", "Absent")
    told = [
        (hasattr(auto(), name), hasattr(spec, name)) for name in names if name != "ErrorComment"
    ]
    return [*told, isinstance(auto(), N_SET), hasattr(spec, "ErrorComment")]


@story
def a_mock_of_an_instance(N_SET):
    return isinstance(mock.Mock(spec=N_SET()), STOCK)


@story
def an_autospec_takes_arguments(N_SET):
    return attempt(mock.create_autospec(N_SET), 1).error
