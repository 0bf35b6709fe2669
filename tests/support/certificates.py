"""Self-signed certificates for associations over TLS, made by openssl."""

import ssl
import subprocess
from pathlib import Path
from typing import NamedTuple


class Certificate(NamedTuple):
    """A certificate, that of its own authority too, and its key, as PEM files."""

    certificate: str
    key: str


def make_certificate(directory: Path, name: str) -> Certificate:
    made = Certificate(str(directory / f"{name}.pem"), str(directory / f"{name}.key"))
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    subject = ("-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost")
    files = ("-keyout", made.key, "-out", made.certificate)
    subprocess.run(
        ["openssl", "req", "-x509", "-days", "2", *curve, *subject, *files],
        check=True,
        capture_output=True,
        timeout=60,
    )
    return made


def server_context(own: Certificate, clients: Certificate | None = None) -> ssl.SSLContext:
    """A server's context; with mutual TLS if it gets a certificate to trust."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own.certificate, own.key)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients.certificate)
    return context


def new_contexts(directory: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The context of a server with a new certificate, and that of a client that trusts it."""
    certificate = make_certificate(directory, "server")
    return server_context(certificate), client_context(certificate)


def client_context(server: Certificate, own: Certificate | None = None) -> ssl.SSLContext:
    """The context of a client that trusts this server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(server.certificate)
    if own is not None:
        context.load_cert_chain(own.certificate, own.key)
    return context
