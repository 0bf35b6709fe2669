"""nset.scp with pynetdicom as SCU: what is negotiated, as with pynetdicom's own server."""

import threading
from queue import Queue

import pytest
import services
from acceptors import accepting, ended, entity, port
from associations import MPPS, TIMEOUT, send_n_set
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context, evt
from pynetdicom.pdu_primitives import AsynchronousOperationsWindowNegotiation
from services import (
    CT,
    ECHO,
    KINDS,
    NEGOTIATIONS,
    ONCE,
    associated,
    everything,
    observed,
    stock_server,
    user_identity,
)

OF_NEGOTIATION = (evt.EVT_ASYNC_OPS, evt.EVT_SOP_COMMON, evt.EVT_SOP_EXTENDED, evt.EVT_USER_ID)


@ONCE
@pytest.mark.parametrize("name", NEGOTIATIONS)
def test_negotiation(nset, kind, name, destination, oracle):
    scenario = NEGOTIATIONS[name]
    with accepting(nset, None, everything()) as server:
        got = observed(server, destination, scenario, KINDS[kind])
        ended(server)
        (_, (_, is_rejected)), _ = got
        assert server.counts.rejected == is_rejected
    assert got == oracle(("negotiation", name), scenario)


@pytest.mark.parametrize(
    "restriction",
    [{"require_calling_aet": ["OTHER"]}, {"require_called_aet": True}, {"maximum_associations": 0}],
    ids=lambda restriction: next(iter(restriction)),
)
def test_rejections(nset, destination, restriction, remembered):
    def ask(assoc):
        primitive = assoc.acceptor.primitive
        return primitive.result, primitive.result_source, primitive.diagnostic

    def scenario(place):
        return services.Exchange({}, ask, (ECHO,))

    def restricted():
        ae = everything()
        for name, value in restriction.items():
            # The AE's own setter takes no limit of 0.
            setattr(ae, "_maximum_associations" if value == 0 else name, value)
        return ae

    with accepting(nset, None, restricted()) as server:
        got = observed(server, destination, scenario)
        ended(server)
        assert server.counts.rejected == 1
        assert server.counts.associations == 0

    def by_stock():
        with stock_server(ae=restricted()) as server:
            return observed(server, destination, scenario)

    assert got == remembered(str(restriction), by_stock)
    assert got[0][1] == (False, True)


def test_users_answer_is_for_whom_asked(nset):
    def handle(event):
        return event.primary_field == b"me", b"ticket"

    handlers = [(evt.EVT_USER_ID, handle)]
    item = user_identity(3, wants_answer=True)
    with associated(nset, handlers, ECHO, ext_neg=[item]) as (server, assoc, _):
        assert assoc.acceptor.user_identity.server_response == b"ticket"
        other = services.everything().associate(
            "127.0.0.1", port(server), [build_context(ECHO)], ext_neg=[user_identity(1, user=b"u")]
        )
        assert other.is_rejected


def shown(contexts):
    return [(cx.abstract_syntax, cx.transfer_syntax, cx.scu_role, cx.scp_role) for cx in contexts]


@ONCE
@pytest.mark.parametrize("event", [*OF_NEGOTIATION, evt.EVT_REQUESTED, evt.EVT_ACCEPTED], ids=str)
def test_supported_contexts_in_handlers(nset, kind, event, remembered):
    """A handler may change those of its association, and of that alone, as with pynetdicom."""

    def outcome(serve):
        seen = Queue()

        def handle(event):
            supported = event.assoc.acceptor.supported_contexts
            seen.put(shown(supported))
            if event.assoc.requestor.primitive.calling_ae_title == "RESTRICTED":
                (echo,) = (cx for cx in supported if cx.abstract_syntax == ECHO)
                echo.transfer_syntax = [ExplicitVRLittleEndian]
                supported[:] = [cx for cx in supported if cx.abstract_syntax != CT]
            return True, None

        def associate(server, title):
            ae = entity()
            ae.ae_title = title
            window = AsynchronousOperationsWindowNegotiation()
            window.maximum_number_operations_invoked = 2
            contexts = [build_context(uid, ImplicitVRLittleEndian) for uid in (ECHO, CT, MPPS)]
            assoc = ae.associate(
                "127.0.0.1", port(server), contexts, ext_neg=[user_identity(), window]
            )
            accepted = [cx.abstract_syntax for cx in assoc.accepted_contexts]
            assoc.release()
            return accepted, seen.get(timeout=TIMEOUT)

        handler = KINDS[kind](handle) if event in OF_NEGOTIATION else handle
        with serve([(event, handler)]) as server:
            return [associate(server, title) for title in ("ANY", "RESTRICTED", "ANY")]

    first, restricted, last = outcome(lambda handlers: accepting(nset, handlers, everything()))
    stock = remembered(str(event), lambda: outcome(stock_server))
    assert [first, restricted, last] == stock
    assert first == last == ([ECHO, CT, MPPS], shown(everything().supported_contexts))
    assert restricted[0] == ([ECHO, CT, MPPS] if event == evt.EVT_ACCEPTED else [MPPS])


@pytest.mark.parametrize("event", [evt.EVT_USER_ID, evt.EVT_REQUESTED, evt.EVT_CONN_OPEN], ids=str)
def test_slow_negotiation_holds_up_nobody_else(nset, event):
    started, go_on, slow = threading.Event(), threading.Event(), Queue()

    def handle(event):
        if not started.is_set():
            started.set()
            assert go_on.wait(TIMEOUT)
        return True, None

    ae = entity()
    options = {"ext_neg": [user_identity()]} if event == evt.EVT_USER_ID else {}
    handlers = [(evt.EVT_N_SET, lambda event: (0x0000, None)), (event, handle)]
    with accepting(nset, handlers, ae) as server:
        thread = threading.Thread(
            target=lambda: slow.put(ae.associate("127.0.0.1", port(server), **options))
        )
        thread.start()
        try:
            assert started.wait(TIMEOUT)
            for _ in range(3):
                quick = ae.associate("127.0.0.1", port(server), **options)
                assert send_n_set(quick) == 0x0000
                quick.release()
                assert slow.empty()
        finally:
            go_on.set()
        thread.join(TIMEOUT)
        assoc = slow.get(timeout=TIMEOUT)
        assert send_n_set(assoc) == 0x0000
        assoc.release()
