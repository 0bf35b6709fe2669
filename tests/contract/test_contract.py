"""pynetdicom's N_SET and both implementations side by side: every difference is deliberate.

What a difference is called here is what it is called in docs/differences.md, in bold.
"""

import copy
import gc
import inspect
import logging
import pickle
import pydoc
import re
import threading
import weakref
from abc import ABC
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import Generic, TypeVar
from unittest import mock

import pytest
from implementations import IMPLEMENTATIONS, loaded
from outcome import CONSTANTS, FIELDS, PROPERTIES, attempt, recording, shape, state, unlike
from paths import DOCS
from pydicom.uid import UID
from pynetdicom import dimse_primitives
from values import NONCONFORMANT_UIDS, OUT_OF_RANGE, VALUES, WRONG_UIDS, full

STOCK = dimse_primitives.N_SET
PAGE = DOCS / "differences.md"

twins = pytest.mark.parametrize("twin", IMPLEMENTATIONS)


def n_set(twin):
    with loaded(twin) as nset:
        return nset.N_SET


# -- The differences ------------------------------------------------------------------------------

DIFFERENCES = {
    "Status": "a TypeError deep inside the encoder would come too late",
    "Requested SOP Class UID": "a message should name the element that is wrong",
    "OffendingElement": "PS3.7 Annex C wants it in a response",
    "repr": "for a log line",
    "type": "a class of our own is what makes it fast",
    "Names of its own": "what a program gains",
    "vars": "the C extension keeps its fields elsewhere",
    "Private names": "how a class does its work is its own affair",
    "Where a log record comes from": "another file logs it",
    "Overridden private properties": "one look-up less for each read and write",
    "Copies of subclasses": "pickles that either twin can read",
    "Compiled properties": "a property object would cost what the compiled code saves",
    "Compiled base class": "CPython joins no two layouts",
}

# The cases below that must differ because of it: these and no others.
CASES = {
    "Status": {f"Status = {key}" for key in OUT_OF_RANGE},
    "Requested SOP Class UID": {
        f"{name} = {key}"
        for name in ("RequestedSOPClassUID", "_RequestedSOPClassUID")
        for key in (*NONCONFORMANT_UIDS, *WRONG_UIDS)
    },
    "OffendingElement": {
        "the optional keywords",
        "what init sets by name",
        "hasattr of every name pynetdicom knows",
    },
    "repr": {"repr and str"},
    "type": {"the class itself", "a mock of an instance"},
    "Names of its own": {"public names"},
    "vars": {"vars of an instance"},
    "Private names": {"private names of the class"},
    "Where a log record comes from": {"the file of a log record"},
    "Overridden private properties": {"a subclass overrides a private property"},
    "Copies of subclasses": {"a copied subclass with slots", "a copied subclass with new"},
}
COMPILED_CASES = {
    "Compiled properties": {
        "attributes of the class",
        "a subclass overrides the setter alone",
        "signature of init",
        "an autospec takes arguments",
        "keyword arguments",
    },
    "Compiled base class": {"a second base with a layout of its own"},
}


def meant(twin):
    """Every case that is meant to differ on this implementation."""
    cases = CASES | COMPILED_CASES if twin == "compiled" else CASES
    return set().union(*cases.values())


def check(twin, differing, cases):
    """Fail unless exactly the cases that are meant to differ do."""
    lines = [f"{case}{line}" for case in differing.keys() - cases for line in differing[case]]
    lines += [f"{case}: does not differ any more" for case in cases - differing.keys()]
    if lines:
        text = "\n".join([f"{twin}: {len(lines)} differences not meant", *sorted(lines)[:20]])
        pytest.fail(text, pytrace=False)


# -- Each property with each value ----------------------------------------------------------------


def put(cls, name, key):
    """Set, look at everything, delete, look again: in a new primitive and in a full one."""
    value = VALUES[key]
    told = []
    with recording() as outcome:
        for primitive in (cls(), full(cls)):
            told.append(outcome(setattr, primitive, name, value))
            told.append(outcome(lambda p=primitive: getattr(p, name) is value))
            told.append(outcome(state, primitive))
            told.append(outcome(delattr, primitive, name))
            told.append(outcome(delattr, primitive, name))
            told.append(outcome(hasattr, primitive, name))
            told.append(outcome(state, primitive))
    return told


@pytest.mark.parametrize("name", [*FIELDS, "Extra"])
def test_each_value(name):
    theirs = {key: put(STOCK, name, key) for key in VALUES}
    for twin in IMPLEMENTATIONS:
        differing = {}
        for key in VALUES:
            ours = put(n_set(twin), name, key)
            if ours != theirs[key]:
                differing[f"{name} = {key}"] = list(unlike(ours, theirs[key]))
        check(twin, differing, {case for case in meant(twin) if case.startswith(f"{name} = ")})


# -- Everything else ------------------------------------------------------------------------------

STORIES = {}


def story(function):
    """Call the function with each N_SET; it must return the same."""
    STORIES[function.__name__.strip("_").replace("_", " ")] = function
    return function


@story
def arguments(N_SET):
    class S(N_SET):
        pass

    made = [attempt(N_SET, 1), attempt(N_SET, 1, 2), attempt(S, 1), attempt(S)]
    return [*made, attempt(N_SET().__init__, 1)]


@story
def keyword_arguments(N_SET):
    return [attempt(partial(N_SET, MessageID=1)), attempt(partial(N_SET, 1, MessageID=1))]


@story
def a_new_primitive(N_SET):
    return N_SET()


@story
def a_full_primitive(N_SET):
    return full(N_SET)


@story
def init_again(N_SET):
    primitive = full(N_SET)
    primitive.extra = 1
    primitive.__init__()
    return primitive, primitive.extra


@story
def without_init(N_SET):
    return N_SET.__new__(N_SET)


@story
def the_required_keywords(N_SET):
    return N_SET.REQUEST_KEYWORDS, N_SET().RESPONSE_KEYWORDS


@story
def the_optional_keywords(N_SET):
    return N_SET.STATUS_OPTIONAL_KEYWORDS


@story
def public_names(N_SET):
    return {name: None for name in dir(N_SET()) if not name.startswith("_")}


@story
def private_names_of_the_class(N_SET):
    return {name: None for name in dir(N_SET) if re.match("_[a-z]", name)}


@story
def vars_of_an_instance(N_SET):
    return sorted(vars(full(N_SET)))


@story
def the_file_of_a_log_record(N_SET):
    seen = []
    with mock.patch.object(logging.getLogger("pynetdicom.utils"), "handle", seen.append):
        attempt(setattr, N_SET(), "AffectedSOPClassUID", "1" * 65)
    return [record.filename for record in seen]


@story
def hasattr_of_every_name_pynetdicom_knows(N_SET):
    primitives = [c() for c in vars(dimse_primitives).values() if hasattr(c, "REQUEST_KEYWORDS")]
    names = {name for p in primitives for name in dir(p) if not name.startswith("_")}
    names |= {"CommandGroupLength", "CommandField", "CommandDataSetType", "command_set", "encode"}
    return {name: hasattr(N_SET(), name) for name in sorted(names)}


@story
def attributes_of_the_class(N_SET):
    names = [*PROPERTIES, "ErrorComment", "ErrorID", "AttributeIdentifierList", "_context_id"]
    return [type(getattr(N_SET, name, "absent")) for name in names]


@story
def extra_attributes(N_SET):
    primitive = N_SET()
    primitive.extra = primitive.__doc__ = primitive.ÉXTRA = "mine"
    told = [primitive.extra, primitive.__doc__, primitive.ÉXTRA]
    del primitive.extra
    return [
        *told,
        attempt(getattr, primitive, "extra"),
        attempt(delattr, primitive, "extra"),
        attempt(setattr, primitive, 1, 2),
    ]


@story
def a_uid_is_read_as_one_object(N_SET):
    primitive = full(N_SET)
    given = UID("1.2.3")
    primitive.AffectedSOPClassUID = given
    uid = primitive.AffectedSOPClassUID
    return [
        uid is primitive.AffectedSOPClassUID,
        uid is given,
        type(primitive.AffectedSOPInstanceUID),
        primitive.RequestedSOPClassUID.is_valid,
        primitive._RequestedSOPInstanceUID is primitive.RequestedSOPInstanceUID,
    ]


@story
def the_list_has_two_names(N_SET):
    primitive, stream = N_SET(), BytesIO(b"data")
    primitive.AttributeList = stream
    told = [primitive.ModificationList is stream, primitive._dataset_variant is stream]
    primitive.ModificationList = None
    return [*told, primitive.AttributeList]


@story
def validity_by_what_is_set(N_SET):
    told = []
    for keywords in (N_SET.REQUEST_KEYWORDS, N_SET.RESPONSE_KEYWORDS):
        for absent in (None, *keywords):
            primitive = full(N_SET)
            if absent is not None:
                setattr(primitive, absent, None)
            told.append((absent, primitive.is_valid_request, primitive.is_valid_response))
    return told


@story
def repr_and_str(N_SET):
    return re.sub(" at 0x[0-9a-f]+", "", repr(full(N_SET)) + str(N_SET()))


@story
def the_class_itself(N_SET):
    # Where isinstance() says yes, issubclass() says no.
    return [isinstance(N_SET(), STOCK), issubclass(N_SET, STOCK)]


@story
def names_of_the_class(N_SET):
    primitive = N_SET()
    return [N_SET.__name__, N_SET.__qualname__, primitive.msg_type, primitive.__class__.__name__]


@story
def isinstance_and_class(N_SET):
    class S(N_SET):
        pass

    primitive = N_SET()
    return [
        isinstance(primitive, N_SET),
        isinstance(primitive, STOCK),
        isinstance(primitive, dimse_primitives.DIMSEPrimitive),
        isinstance(primitive, dimse_primitives.N_CREATE),
        primitive.__class__ is STOCK,
        S().__class__ is S,
        isinstance(S(), N_SET),
    ]


@story
def assignment_to_class(N_SET):
    class S(N_SET):
        pass

    primitive = full(N_SET)
    primitive.__class__ = primitive.__class__
    primitive.__class__ = S
    told = [type(primitive) is S, primitive.msg_type, primitive]
    primitive.__class__ = N_SET
    return [*told, primitive, attempt(setattr, primitive, "__class__", 1)]


@story
def identity(N_SET):
    class S(N_SET):
        def __eq__(self, other):
            return type(self) is type(other)

        def __hash__(self):
            return 1

    one, other = full(N_SET), full(N_SET)
    return [
        one == one,
        one == other,
        one != other,
        one.__eq__(other) is NotImplemented,
        hash(one) == object.__hash__(one),
        len({one, other, one}),
        len({S(), S()}),
        bool(one),
        attempt(lambda: one < other),
        attempt(lambda: f"{one:5}"),
        attempt(len, one),
        attempt(iter, one),
        attempt(one),
    ]


@story
def weak_references(N_SET):
    primitive, gone = N_SET(), []
    reference = weakref.ref(primitive, gone.append)
    proxy = weakref.proxy(primitive)
    proxy.MessageID = 1
    kept = weakref.WeakKeyDictionary({primitive: 1})
    told = [reference() is primitive, proxy.MessageID, len(kept)]
    del primitive
    gc.collect()
    return [*told, reference(), gone == [reference], len(kept)]


@story
def cycles_are_collected(N_SET):
    told = []
    for name in ("extra", "ErrorComment", "_context_id", "MessageID"):
        primitive = N_SET()
        holder = type("Holder", (int,), {})(7)
        holder.primitive = primitive
        setattr(primitive, name, holder)
        reference = weakref.ref(primitive)
        del primitive, holder
        gc.collect()
        told.append(reference())
    return told


# Copies and pickles


def with_extras(cls):
    primitive = full(cls)
    primitive.ModificationList = BytesIO(b"data")
    primitive.ModificationList.seek(2)
    primitive.itself = primitive
    primitive.stream = primitive.ModificationList
    del primitive.ErrorID
    return primitive


def compared(twin, original):
    return [
        type(twin) is type(original),
        twin is original,
        twin,
        twin.ModificationList is original.ModificationList,
        twin.stream is twin.ModificationList,
        twin.itself is twin,
        twin.itself is original,
        twin.AffectedSOPClassUID is original.AffectedSOPClassUID,
        hasattr(twin, "ErrorID"),
    ]


@story
def copies(N_SET):
    primitive = with_extras(N_SET)
    told = [
        compared(copy.copy(primitive), primitive),
        compared(copy.deepcopy(primitive), primitive),
    ]
    return [*told, copy.copy(N_SET()), copy.deepcopy(N_SET()), copy.copy(N_SET.__new__(N_SET))]


@story
def a_copy_lives_its_own_life(N_SET):
    primitive = full(N_SET)
    twin = copy.copy(primitive)
    twin.MessageID = 7
    twin.RequestedSOPClassUID = None
    primitive.ErrorComment = "another"
    return primitive, twin


@story
def pickles(N_SET):
    told = []
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        primitive = with_extras(N_SET)
        told.append(compared(pickle.loads(pickle.dumps(primitive, protocol)), primitive))
        told.append(pickle.loads(pickle.dumps(N_SET(), protocol)))
    for protocol in (0, 1):
        told.append(attempt(pickle.dumps, full(N_SET), protocol))
        told.append(pickle.loads(pickle.dumps(N_SET(), protocol)))
    return told


@story
def what_can_not_be_copied(N_SET):
    primitive = N_SET()
    primitive.ModificationList = BytesIO()
    primitive.ModificationList.close()
    told = [attempt(pickle.dumps, primitive), attempt(copy.deepcopy, primitive)]
    primitive.ModificationList = None
    primitive.extra = threading.Lock()
    return [*told, attempt(pickle.dumps, primitive), attempt(copy.deepcopy, primitive)]


class Sub:
    """Makes subclasses that pickle finds: `Sub.of(N_SET)` is the last one made."""

    @classmethod
    def of(cls, n_set, **namespace):
        namespace |= {"__module__": __name__, "__qualname__": "Sub.last"}
        cls.last = type("last", (n_set,), namespace)
        return cls.last


@story
def a_pickled_subclass(N_SET):
    def init(self, number):
        N_SET.__init__(self)
        self.MessageID = self.number = number

    primitive = Sub.of(N_SET, __init__=init, extra=1)(7)
    twins = [copy.copy(primitive), pickle.loads(pickle.dumps(primitive))]
    return [(type(twin) is type(primitive), twin, twin.number) for twin in twins]


@story
def a_copied_subclass_with_slots(N_SET):
    primitive = Sub.of(N_SET, __slots__=("slot",))()
    primitive.MessageID, primitive.slot, primitive.extra = 1, 2, 3
    twin = copy.copy(primitive)
    return [twin, twin.extra, attempt(lambda: twin.slot)]


@story
def a_copied_subclass_with_new(N_SET):
    def new(cls, number):
        return N_SET.__new__(cls)

    namespace = {"__new__": new, "__getnewargs__": lambda self: (7,), "__init__": lambda *_: None}
    return attempt(copy.copy, Sub.of(N_SET, **namespace)(7))


# Subclasses


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


# Patching


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


# Introspection


@story
def signature(N_SET):
    class Own(N_SET):
        def __init__(self, number: int = 7) -> None: ...

    class New(N_SET):
        def __new__(cls, text): ...

    class Meta(type):
        def __call__(cls, anything): ...

    class Called(N_SET, metaclass=Meta):
        pass

    class Stated(N_SET):
        __signature__ = inspect.Signature()

    class Plain(N_SET):
        pass

    class OfOwn(Own):
        pass

    classes = (N_SET, Plain, Own, OfOwn, New, Called, Stated)
    return [str(inspect.signature(c)) for c in classes] + [hasattr(N_SET(), "__signature__")]


@story
def signature_of_init(N_SET):
    return str(inspect.signature(N_SET.__init__))


@story
def help_can_be_had(N_SET):
    text = pydoc.render_doc(N_SET, renderer=pydoc.plaintext)
    return all(f"{name}" in text for name in PROPERTIES)


@story
def documented(N_SET):
    return [name for name in PROPERTIES if not inspect.getdoc(getattr(N_SET, name))]


@twins
@pytest.mark.parametrize("case", STORIES)
def test_each_story(twin, case):
    cls = n_set(twin)
    with loaded(twin):  # so that pickle finds the class of this implementation
        ours = shape(STORIES[case](cls))
    theirs = shape(STORIES[case](STOCK))
    differing = {case: list(unlike(ours, theirs))} if ours != theirs else {}
    check(twin, differing, {case} & meant(twin))


# -- What pynetdicom has no word on ---------------------------------------------------------------


@twins
def test_status_out_of_range(twin):
    for value in OUT_OF_RANGE.values():
        error = attempt(setattr, n_set(twin)(), "Status", value).error
        assert error == ("ValueError", "Status must be between 0 and 65535, inclusive")


@twins
def test_requested_sop_class_uid_by_its_name(twin):
    """Pynetdicom calls it Requested SOP Instance UID, in errors and in the log."""
    cls = n_set(twin)
    for key in (*NONCONFORMANT_UIDS, *WRONG_UIDS):
        ours = attempt(setattr, cls(), "RequestedSOPClassUID", VALUES[key])
        theirs = attempt(setattr, STOCK(), "RequestedSOPClassUID", VALUES[key])
        assert "Requested SOP Class UID" in str(ours)
        assert str(ours) == str(theirs).replace("SOP Instance UID", "SOP Class UID")


class Changing:
    """Has a list only when it is asked for the first time."""

    def __init__(self):
        self.stream = BytesIO(b"data")
        self.asked = 0

    def __getitem__(self, index):
        self.asked += 1
        return self.stream if self.asked == 1 else "text"


@twins
def test_the_list_that_was_checked_is_the_one_that_is_kept(twin):
    primitive, value = n_set(twin)(), Changing()
    primitive._dataset_variant = value
    assert primitive.ModificationList is value.stream


@twins
def test_offending_element_is_as_the_others_are(twin):
    cls = n_set(twin)
    for value in VALUES.values():
        primitive = full(cls)
        primitive.OffendingElement = value
        assert primitive.OffendingElement is value
        assert copy.copy(primitive).OffendingElement is value
        del primitive.OffendingElement
        assert not hasattr(copy.copy(primitive), "OffendingElement")
        primitive.__init__()
        assert primitive.OffendingElement is None


@twins
def test_repr(twin):
    cls = n_set(twin)
    assert repr(cls()) == str(cls()) == "N_SET()"
    primitive = full(cls)
    primitive.OffendingElement = 0x00100010
    primitive.extra = "not shown"
    assert repr(primitive) == (
        "N_SET(MessageID=1, MessageIDBeingRespondedTo=2, AffectedSOPClassUID='1.2.3', "
        "AffectedSOPInstanceUID='1.2.4', RequestedSOPClassUID='1.2.5', "
        "RequestedSOPInstanceUID='1.2.6', Status=263, ModificationList=<4 bytes>, "
        "ErrorComment='comment', ErrorID=9, AttributeIdentifierList=[(0010,0010)], "
        "OffendingElement=1048592)"
    )
    primitive = type("Mine", (cls,), {})()
    primitive.ModificationList = BytesIO()
    primitive.ModificationList.close()
    del primitive.ErrorComment
    assert repr(primitive) == "Mine(ModificationList=<closed>)"


@twins
def test_type_tells_the_truth(twin):
    cls = n_set(twin)
    for primitive in (cls(), copy.copy(cls()), copy.deepcopy(cls())):
        assert type(primitive) is cls
        assert primitive.__class__ is STOCK
    assert cls.__mro__.count(STOCK) == 0


@twins
def test_dir_is_of_the_class_itself(twin):
    primitive = n_set(twin)()
    primitive.extra = 1
    assert {"response", "OffendingElement", "MessageID", "extra"} <= set(dir(primitive))


def test_docs_of_the_twins():
    docs = [
        {name: inspect.getdoc(getattr(n_set(twin), name)) for name in (*PROPERTIES, "response")}
        for twin in IMPLEMENTATIONS
    ]
    assert all(doc == docs[0] for doc in docs)
    assert all(docs[0].values())


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("writer", IMPLEMENTATIONS)
@pytest.mark.parametrize("reader", IMPLEMENTATIONS)
def test_either_twin_reads_what_the_other_has_pickled(writer, reader, protocol):
    written = [with_extras(n_set(writer)), n_set(writer)(), n_set(writer).__new__(n_set(writer))]
    with loaded(writer):
        pickled = pickle.dumps(written, protocol)
    with loaded(reader) as nset:
        read = pickle.loads(pickled)
    for one, other in zip(read, written, strict=True):
        assert type(one) is nset.N_SET
        assert shape(one) == shape(other)
        assert hasattr(one, "OffendingElement") == hasattr(other, "OffendingElement")
    assert read[0].itself is read[0]
    assert read[0].stream is read[0].ModificationList
    assert read[0].stream.tell() == 2


@twins
def test_a_pickle_of_pynetdicoms_class_is_read_while_nset_stands_in_its_place(twin):
    pickled = pickle.dumps(with_extras(STOCK))
    with loaded(twin) as nset, mock.patch.object(dimse_primitives, "N_SET", nset.N_SET):
        primitive = pickle.loads(pickled)
    assert type(primitive) is nset.N_SET
    assert list(unlike(shape(primitive), shape(with_extras(STOCK)))) == []
    assert primitive.itself is primitive


# response()


@twins
def test_response(twin):
    request = full(n_set(twin))
    before = state(request)
    request.Status = request.MessageIDBeingRespondedTo = None
    response = request.response()
    assert type(response) is n_set(twin)
    assert {name: value for name, value in state(response).items() if value} == {
        "MessageIDBeingRespondedTo": 1,
        "AffectedSOPClassUID": before["RequestedSOPClassUID"],
        "AffectedSOPInstanceUID": before["RequestedSOPInstanceUID"],
        "_AffectedSOPInstanceUID": before["RequestedSOPInstanceUID"],
        "is_valid_response": True,
        "msg_type": "N-SET",
        "_context_id": 3,
    }
    assert response.Status == 0x0000
    assert response.OffendingElement is None
    request.Status, request.MessageIDBeingRespondedTo = 0x0107, 2
    assert state(request) == before


@twins
def test_response_takes_the_affected_uids_where_there_are_no_requested_ones(twin):
    request = full(n_set(twin))
    request.RequestedSOPClassUID = None
    response = request.response(0x0118)
    assert (response.AffectedSOPClassUID, response.AffectedSOPInstanceUID) == ("1.2.3", "1.2.6")
    request.RequestedSOPInstanceUID = None
    response = request.response(status=0x0117)
    assert (response.AffectedSOPClassUID, response.AffectedSOPInstanceUID) == ("1.2.3", "1.2.4")
    assert response.Status == 0x0117
    request.AffectedSOPClassUID = request.AffectedSOPInstanceUID = None
    assert request.response().AffectedSOPInstanceUID is None


@twins
def test_response_does_not_check_again_what_the_request_has(twin):
    request = n_set(twin)()
    request.MessageID = Number = VALUES["IntEnum 7"]
    request._context_id = "any"
    with recording() as outcome:
        assert outcome(setattr, request, "RequestedSOPInstanceUID", "1.02").records
        told = outcome(request.response)
    assert told.error is None
    assert (told.warnings, told.records) == ((), ())
    response = request.response()
    assert response.MessageIDBeingRespondedTo is Number
    assert response.AffectedSOPInstanceUID is request.RequestedSOPInstanceUID
    assert response._context_id == "any"


@twins
def test_response_of_a_subclass(twin):
    class Mine(n_set(twin)):
        RequestedSOPClassUID = UID("1.2.9")

        def __init__(self, number):
            super().__init__()
            self.MessageID = number

    response = Mine(7).response()
    assert type(response) is n_set(twin)
    assert response.MessageIDBeingRespondedTo == 7
    assert response.AffectedSOPClassUID == "1.2.9"


@twins
@pytest.mark.parametrize(
    ("message_id", "status", "error"),
    [
        (None, 0, ("ValueError", r".*Message ID \(0000,0110\)")),
        (7, -1, ("ValueError", "Status must be between 0 and 65535, inclusive")),
        (7, 65536, ("ValueError", "Status must be between 0 and 65535, inclusive")),
        (7, "0", ("TypeError", "DIMSE primitive's 'Status' must be an int")),
        (7, b"0", ("TypeError", "DIMSE primitive's 'Status' must be an int")),
    ],
)
def test_response_that_can_not_be(twin, message_id, status, error):
    request = full(n_set(twin))
    request.MessageID = message_id
    told = attempt(request.response, status)
    assert told.error[0] == error[0]
    assert re.fullmatch(error[1], told.error[1])


# -- The page -------------------------------------------------------------------------------------

# On the page for completeness, and tested where the bytes and the codes are.
TESTED_ELSEWHERE = {
    "CommandDataSetType",
    "Errors of decoding",
    "Values that can't be sent",
    "Odd length",
    "Affected UIDs in a request",
    "A data set that is not announced",
    "Fragments in another presentation context",
    "Status categories",
    "Log records of decoding",
    "Error Comment",
    "Escapes in the log",
    "Shared UIDs",
    "singledispatch",
}


def test_the_page_lists_each_difference():
    entries = re.findall(r"^- \*\*(.+?)\.\*\*", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(entries) == len(set(entries))
    assert set(entries) == DIFFERENCES.keys() | TESTED_ELSEWHERE


def test_each_difference_has_a_case():
    assert DIFFERENCES.keys() == CASES.keys() | COMPILED_CASES.keys()
    known = {*STORIES, *(f"{name} = {key}" for name in FIELDS for key in VALUES)}
    assert meant("compiled") <= known
