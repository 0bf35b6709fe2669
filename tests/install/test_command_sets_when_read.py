"""A message's command set is decoded when it is first read."""

import copy
import pickle
import sys
import threading
from collections.abc import Callable

import pytest
from associations import (
    INSTANCE,
    MPPS,
    TIMEOUT,
    associated,
    completed,
)
from pydicom.dataset import Dataset
from pynetdicom import evt
from seen import elements, is_read, received


def test_nobody_reads_it_who_does_not_ask(server, integration):
    """Not by the standard handlers either, whose lines would not be logged."""
    messages = []

    def keep(event):
        messages.append((event.message, is_read(event.message)))

    handlers = {
        evt.EVT_N_SET: lambda event: (0x0000, completed()),
        evt.EVT_DIMSE_RECV: keep,
        evt.EVT_DIMSE_SENT: keep,
    }
    integration.install()
    with associated(server, MPPS, handlers) as (scu, _):
        scu.bind(evt.EVT_DIMSE_RECV, keep)
        scu.bind(evt.EVT_DIMSE_SENT, keep)
        assert scu.send_n_set(completed(), MPPS, INSTANCE)[0].Status == 0x0000
    assert [read for _, read in messages] == [False] * 4
    for message, _ in messages:
        assert not is_read(message)
        assert message.command_set.CommandField in (0x0120, 0x8120)
        assert is_read(message)


FIRST_LOOKS: dict[str, Callable[[Dataset], object]] = {
    "attribute": lambda ds: ds.MessageID,
    "no such attribute": lambda ds: getattr(ds, "Status", None),
    "item": lambda ds: ds[0x0000, 0x0110].value,
    "get": lambda ds: ds.get("MessageID"),
    "in": lambda ds: "MessageID" in ds,
    "length": len,
    "elements": elements,
    "keys": lambda ds: list(ds.keys()),
    "dir": lambda ds: ds.dir(),
    "text": str,
    "repr": repr,
    "equal to": lambda ds: ds == Dataset(),
    "another is equal": lambda ds: Dataset() == ds,
    "a copy": lambda ds: elements(copy.copy(ds)),
    "a deep copy": lambda ds: elements(copy.deepcopy(ds)),
    "pickled": lambda ds: elements(pickle.loads(pickle.dumps(ds))),
    "a Dataset of it": lambda ds: elements(Dataset(ds)),
    "updated from": lambda ds: Dataset().update(ds),
    "JSON": lambda ds: ds.to_json(),
    "encoding": lambda ds: ds.original_encoding,
    "class": lambda ds: ds.__class__,
    "attributes": lambda ds: sorted(vars(ds)),
    "set": lambda ds: (setattr(ds, "MessageID", 9), elements(ds)),
    "set an item": lambda ds: (ds.add_new(0x00000110, "US", 9), elements(ds)),
    "set what is no element": lambda ds: (setattr(ds, "mine", 9), ds.mine, elements(ds)),
    "deleted": lambda ds: (delattr(ds, "MessageID"), elements(ds)),
    "deleted item": lambda ds: (ds.__delitem__(0x00000110), elements(ds)),
    "pop": lambda ds: (ds.pop(0x00000110).value, elements(ds)),
    "clear": lambda ds: (ds.clear(), elements(ds)),
    "walk": lambda ds: ds.walk(lambda dataset, element: None),
}


@pytest.mark.parametrize("look", FIRST_LOOKS.values(), ids=FIRST_LOOKS)
def test_whatever_is_first_done_with_it(both, look):
    ours, stock = both(lambda: look(received().command_set))
    assert ours == stock


def test_it_is_a_dataset_all_along(integration):
    integration.install()
    message = received()
    command_set = message.command_set
    assert isinstance(command_set, Dataset)
    assert not is_read(message)
    assert command_set.__class__ is Dataset
    assert type(command_set) is Dataset
    assert message.command_set is command_set


def test_many_threads_at_once(integration):
    """Each sets an element of its own, and is not the first: nothing is lost."""
    integration.install()
    threads = range(4)
    start = threading.Barrier(len(threads))
    messages = [received() for _ in range(50)]
    expected = elements(received().command_set)
    expected += [(0x00000F00 + number, "US", number) for number in threads]
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for message in messages:
                start.wait(TIMEOUT)
                message.command_set.add_new(0x00000F00 + number, "US", number)
        except BaseException as error:
            failures.append(error)
            start.abort()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        workers = [threading.Thread(target=work, args=(number,)) for number in threads]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(TIMEOUT)
    finally:
        sys.setswitchinterval(interval)
    assert failures == []
    for message in messages:
        assert sorted(elements(message.command_set)) == sorted(expected)
        assert is_read(message)
