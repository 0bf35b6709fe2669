"""A server that takes N-SET over TLS from clients with a certificate, and a modality that has one.

BCP 195, as PS3.15 Section B.12 asks for: TLS 1.2 or later, both sides with certificates.
"""

import ssl

from pynetdicom import AE, evt
from pynetdicom.sop_class import ModalityPerformedProcedureStep as MPPS

import nset.scp
from nset import status


def handle_set(event):
    print(f"{event.assoc.requestor.ae_title} reports {event.request.RequestedSOPInstanceUID}")
    return status.SUCCESS, None


def context(purpose, own, key, authority):
    """Our certificate and its key, and the authority of the others', as PEM files."""
    made = ssl.SSLContext(purpose)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.load_cert_chain(own, key)
    made.load_verify_locations(authority)
    made.verify_mode = ssl.CERT_REQUIRED
    return made


def server(own, key, authority, address=("", 2762), block=True):
    ae = AE("MPPS")
    ae.require_calling_aet = ["CT_4"]
    ae.add_supported_context(MPPS)
    secure = context(ssl.PROTOCOL_TLS_SERVER, own, key, authority)
    handlers = [(evt.EVT_N_SET, handle_set)]
    return nset.scp.start_server(ae, address, block, secure, evt_handlers=handlers)


def report(own, key, authority, host, port, uid, changes):
    """What the modality does, with pynetdicom."""
    ae = AE("CT_4")
    ae.add_requested_context(MPPS)
    secure = context(ssl.PROTOCOL_TLS_CLIENT, own, key, authority)
    assoc = ae.associate(host, port, tls_args=(secure, host))
    if not assoc.is_established:
        raise ConnectionError("no association")
    answer, _ = assoc.send_n_set(changes, MPPS, uid)
    assoc.release()
    return answer


if __name__ == "__main__":
    server("server.pem", "server.key", "clients.pem")
