"""What N_SET does that pynetdicom's does not, and what both implementations share."""

import copy
import inspect
import pickle
from io import BytesIO
from unittest import mock

import pytest
from differences import STOCK, n_set, twins
from implementations import IMPLEMENTATIONS, loaded
from outcome import PROPERTIES, attempt, shape, unlike
from pynetdicom import dimse_primitives
from stories.copies import with_extras
from values import NONCONFORMANT_UIDS, OUT_OF_RANGE, VALUES, WRONG_UIDS, full


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
