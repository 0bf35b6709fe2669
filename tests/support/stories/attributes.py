"""Arguments, attributes, fields, validity and identity of a primitive."""

import gc
import logging
import re
import weakref
from functools import partial
from io import BytesIO
from unittest import mock

from differences import STOCK
from outcome import PROPERTIES, attempt
from pydicom.uid import UID
from pynetdicom import dimse_primitives
from values import full

from stories.registry import story


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
