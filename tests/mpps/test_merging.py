"""An N-SET's list and its step, put together as they are encoded: as if both were decoded."""

import importlib
from random import Random

import pytest
from encoded_data_sets import (
    EXPLICIT,
    IMPLICIT,
    SEQUENCE_END,
    encoded_element,
    encoded_item,
    outcome,
    pydicom_decode,
    pydicom_encode,
    random_data_set,
    random_value,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mpps_peers import encoded
from mpps_table import ROWS, modifications, whole
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.uid import UID

pytestmark = pytest.mark.filterwarnings("ignore")

CHARACTER_SET, STATUS = 0x00080005, 0x00400252
TAGS = {row.tag: dictionary_VR(row.tag) for row in ROWS if len(row.path) == 1}
TAGS |= {tag_for_keyword(word): "US" for word in ("TotalNumberOfExposures", "EntranceDose")}
STATES = [b"COMPLETED ", b"COMPLETED", b"DISCONTINUED", b"IN PROGRESS ", b"STARTED ", b"", b"A\\B "]


@pytest.fixture
def mpps(nset):
    """Import a module of it."""
    return lambda name: importlib.import_module(f"nset.mpps.{name}")


def random_list(rng, syntax, character_set):
    """Some attributes of the table and others, with values that are odd at times."""
    implicit = syntax == IMPLICIT
    tags = rng.sample(sorted(TAGS), rng.choice((0, 1, 3, 10)))
    if rng.random() < 0.6:
        tags.append(STATUS)
    tags = sorted({*tags} - {CHARACTER_SET})
    data = b""
    if character_set is not None:
        data = encoded_element(CHARACTER_SET, "CS", character_set, implicit=implicit)
    for tag in tags:
        vr = TAGS[tag]
        undefined = vr == "SQ" and rng.random() < 0.4
        if tag == STATUS:
            value = rng.choice(STATES)
        elif vr == "SQ":
            items = [
                random_data_set(rng, implicit=implicit, depth=3)
                for _ in range(rng.choice((0, 1, 2)))
            ]
            value = b"".join(encoded_item(item, undefined=rng.random() < 0.4) for item in items)
            value += SEQUENCE_END if undefined else b""
        else:
            value = random_value(rng, vr)
        if rng.random() < 0.02:
            vr = "UN"
        data += encoded_element(tag, vr, value, implicit=implicit, undefined=undefined)
    return data


@given(
    seed=st.integers(0, 2**32),  # and not st.randoms(), which takes ten times as long
    syntax=st.sampled_from([IMPLICIT, EXPLICIT]),
    is_strict=st.booleans(),
)
@settings(
    max_examples=300,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_the_same_answer_and_the_same_bytes(mpps, seed, syntax, is_strict):
    rng = Random(seed)
    merging, check_set = mpps("merging"), mpps("rules").check_set
    of_step = rng.choice([None, b"ISO_IR 100", b"ISO_IR 192"])
    step = random_list(rng, syntax, of_step)
    listed = random_list(rng, syntax, rng.choice([None, of_step, of_step, b"ISO_IR 192", b""]))

    def answered(both):
        answer, now, texts = check_set(both, is_strict=is_strict)
        return answer, list(now), texts, both.encoded(now) if not answer.tags else None

    quick, _ = outcome(lambda: merging.merging(step, syntax, listed, syntax))
    if type(quick) is merging.Pieces:
        slow = merging.DataSets(step, syntax, listed, syntax)
        (ours, _), (theirs, _) = outcome(lambda: answered(quick)), outcome(lambda: answered(slow))
        assert ours == theirs  # but for warnings of what is not read now
        now = pydicom_decode(step, syntax)
        for tag, raw in pydicom_decode(listed, syntax)._dict.items():
            if tag != CHARACTER_SET:
                now._dict[tag] = raw
        taken = {tag: piece for tag, piece in quick.given.items() if tag != CHARACTER_SET}
        assert quick.encoded(quick.created | taken) == pydicom_encode(now, syntax)


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
def test_what_modalities_send_is_not_decoded(nset, mpps, syntax):
    """By the C extension."""
    step, listed = whole(), modifications(whole())
    listed.PerformedProcedureStepStatus = "COMPLETED"
    data = [encoded(one, UID(syntax)) for one in (step, listed)]
    both = mpps("merging").merging(data[0], syntax, data[1], syntax)
    answer, now, _ = mpps("rules").check_set(both, is_strict=False)
    assert answer.status == 0x0000
    assert ("decoded" in vars(both)) == (nset.IMPLEMENTATION == "python")
    step.update(listed)
    assert both.encoded(now) == encoded(step, UID(syntax))
