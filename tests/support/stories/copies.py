"""Copies and pickles."""

import copy
import pickle
import threading
from io import BytesIO

from outcome import attempt
from values import full

from stories.registry import story


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
