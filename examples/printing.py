"""A print server (PS3.4 Annex H): film sessions, film boxes with one image each, N-ACTION to print.

It "prints" an image as a file of raw pixels.
"""

from pathlib import Path

from pydicom import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, evt, sop_class

import nset.scp
from nset import StatusError, status

sessions, film_boxes, images = set(), {}, {}


def create(event):
    answer, uid = Dataset(), event.request.AffectedSOPInstanceUID
    if uid is None:
        uid = answer.AffectedSOPInstanceUID = generate_uid()
    elif not uid.is_valid:  # it may be a path, and it names a file here
        raise StatusError(status.INVALID_SOP_INSTANCE)
    if event.request.AffectedSOPClassUID == sop_class.BasicFilmSession:
        sessions.add(uid)
    elif event.attribute_list.ImageDisplayFormat != r"STANDARD\1,1":
        raise StatusError(status.INVALID_ATTRIBUTE_VALUE, "Only one image a film")
    else:
        image_box = Dataset()
        image_box.ReferencedSOPClassUID = sop_class.BasicGrayscaleImageBox
        image_box.ReferencedSOPInstanceUID = film_boxes[uid] = generate_uid()
        answer.ReferencedImageBoxSequence = [image_box]
    return status.SUCCESS, answer


def set_image(event):
    uid = event.request.RequestedSOPInstanceUID
    if uid not in film_boxes.values():
        raise StatusError(status.NO_SUCH_SOP_INSTANCE)
    (images[uid],) = event.modification_list.BasicGrayscaleImageSequence
    return status.SUCCESS, None


def print_film(event):
    uid = event.request.RequestedSOPInstanceUID
    image = images.get(film_boxes.get(uid))
    if image is None:
        return status.PRINT_FILM_BOX_IS_EMPTY_PAGE, None
    Path(f"{uid}-{image.Columns}x{image.Rows}.raw").write_bytes(image.PixelData)
    return status.SUCCESS, None


def delete(event):
    sessions.discard(event.request.RequestedSOPInstanceUID)
    images.pop(film_boxes.pop(event.request.RequestedSOPInstanceUID, None), None)
    return status.SUCCESS


def server(address=("", 11112), block=True):
    ae = AE("PRINTER")
    ae.add_supported_context(sop_class.BasicGrayscalePrintManagementMeta)
    handlers = [(evt.EVT_N_CREATE, create), (evt.EVT_N_SET, set_image)]
    handlers += [(evt.EVT_N_ACTION, print_film), (evt.EVT_N_DELETE, delete)]
    return nset.scp.start_server(ae, address, block, evt_handlers=handlers)


if __name__ == "__main__":
    server()
