"""nset.scp with clients that are not pynetdicom: DCMTK's tools, and dcmjs-dimse on Node.js.

``make test-peers`` installs them by .ci/install-peers and runs these tests, which a plain pytest
leaves out: they fail where a peer is missing.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from acceptors import accepting, entity, port
from associations import INSTANCE, MPPS, PRINT, TIMEOUT
from certificates import make_certificate, server_context
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import evt, sop_class

MODULES = Path(os.environ.get("NSET_PEERS", Path.home() / ".cache" / "nset-peers")) / "node_modules"
N_SET_JS = Path(__file__).with_name("n_set.js")
# pynetdicom installs programs of its own by the names of DCMTK's.
OTHERS = os.pathsep.join(
    path for path in os.environ["PATH"].split(os.pathsep) if not path.startswith(sys.prefix)
)
IMAGE = sop_class.SecondaryCaptureImageStorage
WORKLIST = sop_class.ModalityWorklistInformationFind

KINDS = ("async", "inline", "plain")

pytestmark = pytest.mark.peers


def run(*command, directory=None, text=None):
    """Run a client to its end; give what it has written."""
    program = shutil.which(command[0], path=OTHERS)
    assert program, f"{command[0]} is missing: run .ci/install-peers"
    done = subprocess.run(
        [program, *map(str, command[1:])],
        cwd=directory,
        input=text,
        capture_output=True,
        text=True,
        timeout=3 * TIMEOUT,
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def of_kind(kind, function):
    """The handler as a plain function or as one to be awaited."""
    if kind != "async":
        return function

    async def handler(event):
        return function(event)

    return handler


def image(rows=128):
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = IMAGE
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{INSTANCE}.1"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"{INSTANCE}.2", f"{INSTANCE}.3"
    for keyword in ("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName"):
        setattr(dataset, keyword, "")
    for keyword in ("StudyID", "PatientBirthDate", "PatientSex"):
        setattr(dataset, keyword, "")
    dataset.PatientID, dataset.PatientName = "P1", "Real^Peer"
    dataset.Modality, dataset.ConversionType = "OT", "WSD"
    dataset.SeriesNumber = dataset.InstanceNumber = 1
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = rows, 128
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PixelData = bytes(range(128)) * rows
    return dataset


@pytest.fixture
def image_file(tmp_path):
    path = tmp_path / "image.dcm"
    image().save_as(path, enforce_file_format=True)
    return path


def counted(server):
    """What has become of the requests; once the server has heard of the end of all associations."""
    for assoc in server.active_associations:
        assoc.join(TIMEOUT)
    counts = server.counts
    return {
        name: getattr(counts, name)
        for name in ("associations", "released", "aborted", "requests", "responses")
    }


# -- DCMTK: verification, storage, query -----------------------------------------------------------


@pytest.mark.parametrize("kind", ["async", "plain"])
class TestDcmtk:
    def test_echoscu(self, nset, kind):
        handlers = [(evt.EVT_C_ECHO, of_kind(kind, lambda event: 0x0000))]
        with accepting(nset, handlers, entity(sop_class.Verification)) as server:
            text = run("echoscu", "-v", "--repeat", 3, "127.0.0.1", port(server))
            assert text.count("Received Echo Response (Success)") == 3
            assert counted(server) == {
                "associations": 1,
                "released": 1,
                "aborted": {},
                "requests": 3,
                "responses": {"Success": 3},
            }

    def test_echoscu_that_aborts(self, nset, kind):
        handlers = [(evt.EVT_C_ECHO, of_kind(kind, lambda event: 0x0000))]
        with accepting(nset, handlers, entity(sop_class.Verification)) as server:
            run("echoscu", "--abort", "127.0.0.1", port(server))
            assert counted(server)["aborted"] == {"peer": 1}

    def test_echoscu_over_tls(self, nset, kind, tmp_path):
        own, client = (make_certificate(tmp_path, name) for name in ("server", "client"))
        tls = ("+tls", client.key, client.certificate, "+cf", own.certificate)
        handlers = [(evt.EVT_C_ECHO, of_kind(kind, lambda event: 0x0000))]
        ae = entity(sop_class.Verification)
        options = {"ssl_context": server_context(own, client)}
        with accepting(nset, handlers, ae, **options) as server:
            text = run("echoscu", "-v", *tls, "127.0.0.1", port(server))
            assert "Received Echo Response (Success)" in text
            assert counted(server)["released"] == 1

    def test_storescu(self, nset, kind, image_file):
        stored = []

        def handle(event):
            stored.append(event.dataset)
            return 0x0000

        with accepting(nset, [(evt.EVT_C_STORE, of_kind(kind, handle))], entity(IMAGE)) as server:
            text = run("storescu", "-v", "127.0.0.1", port(server), image_file)
            assert "Received Store Response (Success)" in text
            assert stored == [dcmread(image_file)]
            assert counted(server)["released"] == 1

    def test_storescu_with_several_mebibytes(self, nset, kind, tmp_path):
        large = image(rows=0x8000)
        large.save_as(tmp_path / "large.dcm", enforce_file_format=True)
        stored = []

        def handle(event):
            stored.append(event.dataset.PixelData)
            return 0xB000

        with accepting(nset, [(evt.EVT_C_STORE, of_kind(kind, handle))], entity(IMAGE)) as server:
            run("storescu", "-v", "127.0.0.1", port(server), tmp_path / "large.dcm")
            assert stored == [large.PixelData]
            assert counted(server)["responses"] == {"Warning": 1}

    def test_findscu(self, nset, kind, tmp_path):
        asked = []

        def steps(event):
            asked.append(event.identifier.PatientName)
            for number in range(5):
                step = Dataset()
                step.PatientName = f"Step^{number}"
                yield 0xFF00, step

        async def async_steps(event):
            for status, step in steps(event):
                yield status, step

        handlers = [(evt.EVT_C_FIND, steps if kind == "plain" else async_steps)]
        with accepting(nset, handlers, entity(WORKLIST)) as server:
            run(
                *("findscu", "-W", "-k", "PatientName=Step*", "-X"),
                *("127.0.0.1", port(server)),
                directory=tmp_path,
            )
            found = [dcmread(path).PatientName for path in sorted(tmp_path.glob("rsp*.dcm"))]
            assert found == [f"Step^{number}" for number in range(5)]
            assert asked == ["Step*"]
            assert counted(server)["responses"] == {"Pending": 5, "Success": 1}


# -- DCMTK: print management, whose image boxes are filled by N-SET --------------------------------

PRINTER = """\
[[GENERAL]]
[PRINT]
Directory = .
[DATABASE]
Directory = .
[LUT]
Directory = .
[NETWORK]
aetitle = DCMPSTATE
[[COMMUNICATION]]
[PRINTER]
Aetitle = PRINTER
Description = nset
Hostname = 127.0.0.1
Port = {port}
Type = LOCALPRINTER
DisplayFormat = 1,1
FilmSizeID = 8INX10IN
MagnificationType = NONE
MaxPDU = 32768
SupportsPresentationLUT = true
Supports12Bit = false
"""


class Film:
    """An SCP for print jobs of one image."""

    def __init__(self):
        self.heard = []
        self.box = None

    def create(self, event):
        sop_class_uid = event.request.AffectedSOPClassUID
        self.heard.append(("N-CREATE", sop_class_uid))
        created = Dataset()
        created.update(event.attribute_list)
        created.AffectedSOPInstanceUID = f"{INSTANCE}.{len(self.heard)}"
        if sop_class_uid == sop_class.BasicFilmBox:
            box = Dataset()
            box.ReferencedSOPClassUID = sop_class.BasicGrayscaleImageBox
            box.ReferencedSOPInstanceUID = f"{INSTANCE}.100"
            created.ReferencedImageBoxSequence = [box]
        return 0x0000, created

    def set(self, event):
        self.heard.append(("N-SET", event.request.RequestedSOPClassUID))
        assert event.request.RequestedSOPInstanceUID == f"{INSTANCE}.100"
        self.box = event.modification_list
        return 0x0000, None

    def act(self, event):
        self.heard.append(("N-ACTION", event.request.RequestedSOPClassUID))
        return 0x0000, None

    def delete(self, event):
        self.heard.append(("N-DELETE", event.request.RequestedSOPClassUID))
        return 0x0000

    def tell(self, event):
        self.heard.append(("N-GET", event.request.RequestedSOPClassUID))
        printer = Dataset()
        printer.PrinterStatus = "NORMAL"
        return 0x0000, printer


@pytest.mark.parametrize("kind", KINDS)
def test_dcmprscu_prints(nset, kind, image_file, tmp_path):
    film = Film()
    handlers = [
        (evt.EVT_N_CREATE, of_kind(kind, film.create)),
        (evt.EVT_N_SET, of_kind(kind, film.set)),
        (evt.EVT_N_ACTION, of_kind(kind, film.act)),
        (evt.EVT_N_DELETE, of_kind(kind, film.delete)),
        (evt.EVT_N_GET, of_kind(kind, film.tell)),
    ]
    ae = entity(PRINT, sop_class.PresentationLUT)
    with accepting(nset, handlers, ae, inline=kind == "inline") as server:
        (tmp_path / "printer.cfg").write_text(PRINTER.format(port=port(server)))
        options = ("-c", "printer.cfg", "-p", "PRINTER")
        run("dcmpsprt", *options, "image.dcm", directory=tmp_path)
        (job,) = tmp_path.glob("SP_*.dcm")
        run("dcmprscu", *options, job.name, directory=tmp_path)
        assert [one for one in film.heard if one[1] != sop_class.PresentationLUT] == [
            ("N-GET", sop_class.Printer),
            ("N-CREATE", sop_class.BasicFilmSession),
            ("N-CREATE", sop_class.BasicFilmBox),
            ("N-SET", sop_class.BasicGrayscaleImageBox),
            ("N-ACTION", sop_class.BasicFilmBox),
            ("N-DELETE", sop_class.BasicFilmBox),
            ("N-DELETE", sop_class.BasicFilmSession),
        ]
        (printed,) = film.box.BasicGrayscaleImageSequence
        assert len(printed.PixelData) == printed.Rows * printed.Columns >= 128 * 128
        counts = counted(server)
        assert (counts["released"], counts["aborted"]) == (1, {})
        assert counts["responses"] == {"Success": len(film.heard)}


# -- dcmjs-dimse: modality performed procedure steps -----------------------------------------------


class Steps:
    """An SCP for performed procedure steps: what has been created may be set until it is done."""

    def __init__(self):
        self.steps = {}

    def create(self, event):
        uid = event.request.AffectedSOPInstanceUID
        if uid in self.steps:
            return 0x0111, None
        self.steps[uid] = event.attribute_list
        return 0x0000, event.attribute_list

    def set(self, event):
        step = self.steps.get(event.request.RequestedSOPInstanceUID)
        if step is None:
            return 0x0112, None
        if step.PerformedProcedureStepStatus != "IN PROGRESS":
            status = Dataset()
            status.Status, status.ErrorComment = 0x0110, "May no longer be updated"
            status.ErrorID = 0xA710
            return status, None
        step.update(event.modification_list)
        return 0x0000, event.modification_list


def with_dcmjs(nset, kind, *requests, certificate=None):
    """Let dcmjs-dimse send the requests in one association; give the answers and the steps."""
    assert (MODULES / "dcmjs-dimse").is_dir(), "dcmjs-dimse is missing: run .ci/install-peers"
    steps = Steps()
    handlers = [
        (evt.EVT_N_CREATE, of_kind(kind, steps.create)),
        (evt.EVT_N_SET, of_kind(kind, steps.set)),
    ]
    ae = entity(MPPS, sop_class.Verification)
    options, more = {}, ()
    if certificate is not None:
        options, more = {"ssl_context": server_context(certificate)}, (certificate.certificate,)
    with accepting(nset, handlers, ae, inline=kind == "inline", **options) as server:
        text = run("node", N_SET_JS, port(server), MODULES, *more, text=json.dumps(requests))
        counts = counted(server)
    (line,) = re.findall("^{.*}$", text, re.MULTILINE)
    got = json.loads(line)
    assert got["released"] is True
    assert (counts["associations"], counts["released"], counts["aborted"]) == (1, 1, {})
    assert counts["requests"] == sum(counts["responses"].values()) == len(requests)
    assert [one["index"] for one in got["responses"]] == list(range(len(requests)))
    return got["responses"], steps.steps


def asked(service, data_set=None, instance=INSTANCE):
    return {"service": service, "sop_class": MPPS, "instance": instance, "data_set": data_set}


BEGUN = {"PerformedProcedureStepStatus": "IN PROGRESS", "PerformedStationName": "ROOM 1"}
DONE = {
    "PerformedProcedureStepStatus": "COMPLETED",
    "PerformedProcedureStepEndDate": "20240229",
    "PerformedSeriesSequence": [{"SeriesInstanceUID": f"{INSTANCE}.2", "RetrieveAETitle": "PACS"}],
}


@pytest.mark.parametrize("kind", KINDS)
class TestDcmjs:
    def test_statuses(self, nset, kind):
        answers, steps = with_dcmjs(
            nset,
            kind,
            asked("N-SET", BEGUN),
            asked("N-CREATE", BEGUN),
            asked("N-CREATE", BEGUN),
            asked("N-SET", {"PerformedStationName": "ROOM 2"}),
            {"service": "C-ECHO"},
            asked("N-SET", DONE),
            asked("N-SET", DONE),
        )
        statuses = [one["status"] for one in answers]
        assert statuses == [0x0112, 0x0000, 0x0111, 0x0000, 0x0000, 0x0000, 0x0110]
        assert answers[-1]["comment"] == "May no longer be updated"
        assert answers[3]["data_set"]["PerformedStationName"] == "ROOM 2"
        (series,) = answers[5]["data_set"]["PerformedSeriesSequence"]
        assert series["RetrieveAETitle"] == "PACS"
        (step,) = steps.values()
        assert step.PerformedProcedureStepStatus == "COMPLETED"
        assert step.PerformedStationName == "ROOM 2"
        assert step.PerformedSeriesSequence[0].SeriesInstanceUID == f"{INSTANCE}.2"

    def test_many_steps(self, nset, kind):
        requests = []
        for number in range(4):
            instance = f"{INSTANCE}.{number}"
            requests.append(asked("N-CREATE", BEGUN, instance))
            requests.append(asked("N-SET", DONE, instance))
        answers, steps = with_dcmjs(nset, kind, *requests)
        assert [one["status"] for one in answers] == [0x0000] * 8
        assert {step.PerformedProcedureStepStatus for step in steps.values()} == {"COMPLETED"}
        assert len(steps) == 4

    def test_list_of_several_pdus(self, nset, kind):
        series = [
            {"SeriesInstanceUID": f"{INSTANCE}.{number}", "SeriesDescription": "x" * 60}
            for number in range(2000)
        ]
        answers, steps = with_dcmjs(
            nset,
            kind,
            asked("N-CREATE", BEGUN),
            asked("N-SET", {"PerformedSeriesSequence": series}),
            asked("N-SET", DONE),
        )
        assert [one["status"] for one in answers] == [0x0000] * 3
        # The Attribute List comes back in several PDUs, too.
        assert answers[1]["data_set"]["PerformedSeriesSequence"] == series
        assert len(steps[INSTANCE].PerformedSeriesSequence) == 1

    def test_over_tls(self, nset, kind, tmp_path):
        answers, steps = with_dcmjs(
            nset,
            kind,
            asked("N-CREATE", BEGUN),
            asked("N-SET", DONE),
            certificate=make_certificate(tmp_path, "server"),
        )
        assert [one["status"] for one in answers] == [0x0000] * 2
        assert steps[INSTANCE].PerformedProcedureStepStatus == "COMPLETED"
