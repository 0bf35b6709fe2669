"""PduReader: PDUs that are malformed, fragments out of order, and data sets that are too long."""

import struct

import pytest
from associations import MPPS
from cores import LIMITS, OTHER_LENGTH, PDU_LENGTH, TWINS, twins
from n_set_requests import request_of
from pdu_streams import C_FIND, DATA, NEXT, NEXT_READ, read, read_by_all, taken
from pynetdicom import build_context
from raw_peer import COMMAND, LAST, P_DATA_TF, p_data, pdu

PDVS = p_data((1, COMMAND | LAST, request_of()), (1, LAST, b"data"))[6:]


def longer(by):
    """The PDVs, of which the last one says that it is longer by so many bytes than it is."""
    at = len(PDVS) - 10
    (length,) = struct.unpack_from(">I", PDVS, at)
    return PDVS[:at] + struct.pack(">I", length + by) + PDVS[at + 4 :]


MALFORMED = {
    "a length of 0 before them": bytes(4) + PDVS,
    "a length of 0 behind them": PDVS + bytes(4),
    "a length of 1 before them": b"\0\0\0\1\1" + PDVS,
    "a length of 1 behind them": PDVS + b"\0\0\0\1\1",
    "the last runs past the end by 1": longer(1),
    "the last runs past the end by 2": longer(2),
    "the last runs past the end by 4": longer(4),
    "the last ends 1 before the end": longer(-1),
    "the last ends 4 before the end": longer(-4),
    "a header is cut": PDVS + b"\0\0\0\2\1",
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_pdu_is_left_whole(body):
    assert read_by_all([pdu(P_DATA_TF, body) + NEXT]) == [pdu(P_DATA_TF, body), NEXT_READ]


def test_the_shortest_pdv_is_one():
    """Of a length of 2: context ID and control header."""
    pdvs = (1, COMMAND | LAST, request_of()), (1, 0, b""), (1, 0, b"data"), (1, LAST, b"")
    assert read_by_all([p_data(*pdvs)]) == [taken(7, b"data")]


@twins
class TestPdus:
    def error(self, twin, sent, limits=LIMITS, decodes_requests=True):
        reader = twin.module.PduReader(*limits, twin.events)
        reader.decodes_requests = decodes_requests
        reader.feed(sent)
        with pytest.raises(twin.nset._pdu.PduError) as caught:
            reader.next()
        # Nothing can be read any more.
        reader.feed(NEXT)
        with pytest.raises(twin.nset._pdu.PduError) as again:
            reader.next()
        assert str(again.value) == str(caught.value)
        return str(caught.value), caught.value.diagnostic

    @pytest.mark.parametrize("kind", [0x00, 0x08, 0x09, 0x80, 0xFF])
    @pytest.mark.parametrize("decodes_requests", [False, True])
    def test_unknown_type(self, twin, kind, decodes_requests):
        sent = bytes((kind, 0, 0, 0, 0, 0))
        assert self.error(twin, sent, decodes_requests=decodes_requests) == (
            f"unknown PDU type 0x{kind:02X}",
            1,
        )

    @pytest.mark.parametrize(
        ("kind", "limit"), [(kind, 30 if kind != P_DATA_TF else 100) for kind in range(1, 8)]
    )
    def test_length(self, twin, kind, limit):
        limits = (100, 30, 1000)
        fits = pdu(kind, bytes(limit))
        assert read(twin, [fits], limits) == [fits]
        for length in (limit + 1, 0xFFFFFFFF):
            # The header is enough.
            sent = struct.pack(">BxI", kind, length)
            name = "pdu_length" if kind == P_DATA_TF else "negotiation_length"
            text = (
                f"a PDU of type 0x{kind:02X} of {length} bytes, {limit} are allowed "
                f"(Limits({name}=...))"
            )
            assert self.error(twin, sent, limits) == (text, 6)

    def test_what_is_before_it_is_read(self, twin):
        sent = NEXT + pdu(0x05, bytes(4)) + bytes((9, 0, 0, 0, 0, 0))
        *items, error = read(twin, [sent])
        assert items == [NEXT_READ, pdu(0x05, bytes(4))]
        assert error[:2] == ("PduError", "unknown PDU type 0x09")


COMMAND_AGAIN = "a fragment of a command set among those of a data set"


class TestDataSets:
    def fault(self, item, text, message_id=None):
        name, said, _, attributes = item
        assert (name, said) == ("CommandSetError", text)
        assert attributes["message_id"] == message_id
        return attributes

    @pytest.mark.parametrize(
        "pdv",
        [
            (1, COMMAND | LAST, request_of(9)),
            (1, COMMAND, request_of(9)),
            (3, COMMAND | LAST, C_FIND),
        ],
        ids=["whole", "cut", "of another context"],
    )
    def test_command_among_them(self, pdv):
        sent = p_data((1, COMMAND | LAST, request_of()), (1, 0, DATA)), p_data(pdv), NEXT
        error, *items = read_by_all([b"".join(sent)])
        self.fault(error, COMMAND_AGAIN)
        assert items == [NEXT_READ]

    @twins
    def test_change_to_a_context_of_the_same_transfer_syntax(self, twin, caplog):
        one, other = build_context(MPPS), build_context(MPPS)
        for syntax, is_taken in (("1.2.840.10008.1.2", True), ("1.2.840.10008.1.2.1", False)):
            reader = twin.module.PduReader(*LIMITS, twin.events)
            one.transfer_syntax, other.transfer_syntax = ["1.2.840.10008.1.2"], [syntax]
            reader.contexts = {1: one, 3: other}
            reader.decodes_requests = True
            reader.feed(
                p_data((1, COMMAND | LAST, request_of()), (3, 0, b"ab"), (3, 0, b"cd"))
                + p_data((1, 0, b"ef"), (3, LAST, b"gh"))
            )
            if is_taken:
                taken = reader.next()
                assert (taken._context_id, taken._stream.getvalue()) == (1, b"abcdefgh")
                assert len(caplog.records) == 1
                # The next message begins anew.
                reader.feed(p_data((3, COMMAND | LAST, request_of()), (1, LAST, b"ab")))
                assert reader.next()._context_id == 3
                assert len(caplog.records) == 2
            else:
                with pytest.raises(twin.nset.CommandSetError, match="context 3 within a message"):
                    reader.next()

    def test_change_of_context(self):
        sent = p_data((1, COMMAND | LAST, request_of())), p_data((3, LAST, DATA)), NEXT
        error, *items = read_by_all([b"".join(sent)])
        self.fault(error, "presentation context 3 within a message of context 1")
        assert items == [NEXT_READ]

    @pytest.mark.parametrize("limit", [0, 1, 17, 18])
    def test_limit_is_no_byte_less(self, limit):
        limits = (PDU_LENGTH, OTHER_LENGTH, limit)
        for data_set in (bytes(limit), b""):
            for fragments in ([data_set], [data_set[:1], data_set[1:]], [b"", data_set, b""]):
                last = len(fragments) - 1
                pdvs = [(1, LAST * (at == last), one) for at, one in enumerate(fragments)]
                sent = p_data((1, COMMAND | LAST, request_of()), *pdvs)
                assert read_by_all([sent], limits) == [taken(7, data_set)]

    @pytest.mark.parametrize(
        "fragments",
        [[19], [18, 1], [1, 1, 17], [19, 0], [10, 10, 10, 10], [0, 19, 0], [18, 1, 1000, 1]],
        ids=str,
    )
    @pytest.mark.parametrize("packing", ["one PDU", "a PDU each"])
    def test_limit(self, fragments, packing):
        """One error that can be answered; the rest of the data set is skipped."""
        last = len(fragments) - 1
        pdvs = [(1, COMMAND | LAST, request_of(5))]
        pdvs += [(1, LAST * (at == last), bytes(size)) for at, size in enumerate(fragments)]
        sent = p_data(*pdvs) if packing == "one PDU" else b"".join(map(p_data, pdvs))
        following = p_data((1, COMMAND | LAST, request_of(8)), (1, LAST, DATA[:18]))
        limits = (PDU_LENGTH, OTHER_LENGTH, 18)
        error, *items = read_by_all([sent + following], limits)
        attributes = self.fault(error, "a data set of more than 18 bytes", 5)
        assert attributes["status"] == 0x0213
        assert items == [taken(8, DATA[:18])]

    @pytest.mark.parametrize(
        ("pdv", "read_as"),
        [
            ((3, 0, b"x"), p_data((3, 0, b"x"))),
            ((3, LAST, b"x"), p_data((3, LAST, b"x"))),
            ((1, COMMAND | LAST, C_FIND), p_data((1, COMMAND | LAST, C_FIND))),
            ((1, COMMAND, C_FIND), p_data((1, COMMAND, C_FIND))),
        ],
        ids=["data of another context", "its last", "a command", "the beginning of one"],
    )
    def test_nothing_else_is_passed_over(self, pdv, read_as):
        sent = p_data((1, COMMAND | LAST, request_of(5)), (1, 0, bytes(19)), (1, 0, b"more"), pdv)
        error, *items = read_by_all([sent], (PDU_LENGTH, OTHER_LENGTH, 18))
        self.fault(error, "a data set of more than 18 bytes", 5)
        assert items == [read_as]

    def test_is_passed_over_when_not_fast_any_more(self):
        for twin in TWINS.values():
            reader = twin.module.PduReader(PDU_LENGTH, OTHER_LENGTH, 18, twin.events)
            reader.decodes_requests = True
            reader.feed(p_data((1, COMMAND | LAST, request_of(5)), (1, 0, bytes(19))))
            with pytest.raises(twin.nset.CommandSetError):
                reader.next()
            reader.decodes_requests = False
            reader.feed(p_data((1, 0, b"more")) + p_data((1, LAST, b"")) + NEXT)
            assert reader.next() == NEXT
            assert reader.next() is None

    def test_malformed_pdu_among_them_is_left_to_others(self):
        bad = pdu(P_DATA_TF, b"\0\0\0\1\1")
        sent = p_data((1, COMMAND | LAST, request_of()), (1, 0, DATA)), bad, p_data((1, LAST, b""))
        assert read_by_all([b"".join(sent)]) == [bad, taken(data_set=DATA)]
