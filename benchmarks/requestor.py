"""Sends an N-SET of 2 series x 5 images again and again, and prints what that takes.

Usage: python benchmarks/requestor.py (pynetdicom | installed) PORT
Prints the microseconds of this process's CPU for each ``send_n_set``, with all of its threads.
"""

import sys
import time

import lists
from load import INSTANCE
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE

from nset.demo import MPPS, keep_responses
from nset.pynetdicom import install

_WARM_UP = 20
_REQUESTS = 300


def main(kind: str, port: str) -> None:
    """Send them, one after the other."""
    if kind == "pynetdicom":
        keep_responses()
    else:
        install()
    ae = AE()
    ae.add_requested_context(MPPS, ImplicitVRLittleEndian)
    assoc = ae.associate("127.0.0.1", int(port))
    modifications = lists.modification_list(2, 5)

    def send(number: int) -> None:
        for _ in range(number):
            status, _ = assoc.send_n_set(modifications, MPPS, INSTANCE)
            if status.get("Status") != 0x0000:
                sys.exit(f"the server answered {status}")

    send(_WARM_UP)
    before = time.process_time()
    send(_REQUESTS)
    print((time.process_time() - before) / _REQUESTS * 1e6)
    assoc.release()


if __name__ == "__main__":
    main(*sys.argv[1:])
