"""Decodes captured bytes for ``python -m nset dump``: their content and their violations.

The bytes are a command set (PS3.7 Section 6.3.1), PDVs or PDUs (PS3.8 Section 9.3), complete or
truncated, or a packet capture or a text that contains them. The input is not trusted: the time and
the memory that it takes are limited.
"""

from nset.dump import _limits
from nset.dump._capture import Capture, Stream, Undecodable
from nset.dump._forms import COMMAND_SET, FRAGMENT, PDUS, PDVS, form_of
from nset.dump._limits import MAX_ENTRIES, MAX_INPUT
from nset.dump._load import capture_of, load
from nset.dump._read import Association, Budget, Reader
from nset.dump._result import (
    DataSetElement,
    Dump,
    DumpedElement,
    DumpedMessage,
    Fault,
    OtherPDU,
)

__all__ = ["COMMAND_SET", "FRAGMENT", "MAX_ENTRIES", "MAX_INPUT", "PDUS", "PDVS"]
__all__ += ["Capture", "DataSetElement", "Dump", "DumpedElement", "DumpedMessage", "Fault"]
__all__ += ["OtherPDU", "Stream", "Undecodable", "dump", "load"]


def dump(data: bytes | Capture) -> Dump:
    """Decode a command set, PDVs or PDUs, or what `load` has returned.

    Parameters
    ----------
    data : bytes or Capture
        The input, complete or truncated. Bytes may be those of a pcap or pcapng file.

    Returns
    -------
    Dump
        The content, and the violations.

    Raises
    ------
    Undecodable
        If it is none of these.
    """
    capture = data if isinstance(data, Capture) else capture_of(data)
    budget = Budget()
    streams: list[Dump] = []
    reasons: list[Undecodable] = []
    left_out = 0
    for conversation in capture.conversations:
        if budget.is_spent:
            left_out += len(conversation)
            continue
        association = Association() if len(conversation) > 1 else None
        readers = []
        for stream in conversation:
            try:
                form = stream.form or form_of(stream.data)
            except Undecodable as exc:
                reasons.append(exc)
                unknown = Dump("unknown", len(stream.data), name=stream.name)
                unknown.notes.append(str(exc))
                streams.append(unknown)
                continue
            reader = Reader(stream, form, association, budget)
            reader.read()
            readers.append(reader)
            streams.append(reader.result)
        for reader in readers:
            reader.read_data_sets()
    if len(reasons) == len(streams):
        raise reasons[0]
    if len(streams) == 1 and not streams[0].name:
        streams[0].source = capture.source
        streams[0].notes = capture.notes + streams[0].notes
        return streams[0]
    whole = Dump(capture.source, capture.size, notes=capture.notes, streams=streams)
    whole.source = capture.source
    if left_out:
        whole.notes.append(
            f"more than {_limits.MAX_ENTRIES} entries, {left_out} streams are left out"
        )
    return whole
