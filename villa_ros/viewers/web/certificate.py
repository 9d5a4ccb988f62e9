"""A certificate that the console signs itself, so that browsers on other machines give it the microphone.

Browsers warn of it once; the fingerprint that is printed is what to compare with what the browser shows.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from villa_ros.viewers.web.access import is_address

if TYPE_CHECKING:
    from cryptography import x509

_DAYS = 365
_LEFT_DAYS = 14  # a certificate that ends sooner is made anew


class CertificateError(RuntimeError):
    """No certificate can be made or read."""


@dataclass(frozen=True)
class Certificate:
    """Where certificate and key lie, and the SHA-256 of the certificate as browsers show it."""

    cert: Path
    key: Path
    fingerprint: str


def own_folder() -> Path:
    """Where a self-signed certificate is kept, so that a browser has to be told only once."""
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "villa_ros" / "console"


def self_signed(folder: Path, host: str, names: Iterable[str] = ()) -> Certificate:
    """The certificate in `folder`, made anew where there is none, it ends soon, or it lacks one of the names.

    It is for localhost, this machine's name and addresses, `host` and `names`.

    Raises:
        CertificateError: cryptography is not installed, or the folder cannot be written.
    """
    try:
        from cryptography import x509
    except ImportError as error:
        raise CertificateError(
            f"a self-signed certificate needs {error.name}; pip install 'villa-ros[console]', "
            "or make one with openssl (docs/console.md) and give --tls-cert and --tls-key"
        ) from error
    cert, key = folder / "cert.pem", folder / "key.pem"
    wanted = _names(host, names)
    try:
        if cert.is_file() and key.is_file():
            try:
                known = x509.load_pem_x509_certificate(cert.read_bytes())
            except ValueError:
                known = None  # damaged: made anew
            if known is not None and _serves(known, wanted):
                return Certificate(cert, key, _fingerprint(known))
        folder.mkdir(parents=True, exist_ok=True)
        made, secret = _made(wanted)
        descriptor = os.open(key, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), 0o600)  # also where the file was there already
            file.write(secret)
        cert.write_bytes(_pem(made))
    except OSError as error:
        raise CertificateError(f"cannot write the certificate in {folder} ({error}); give another folder") from error
    return Certificate(cert, key, _fingerprint(made))


def _names(host: str, names: Iterable[str]) -> list[str]:
    machine = socket.gethostname()
    found = ["localhost", "127.0.0.1", "::1", machine, f"{machine}.local", *_addresses(machine), *names]
    if host not in ("", "0.0.0.0", "::"):
        found.append(host)
    return list(dict.fromkeys(found))


def _addresses(machine: str) -> list[str]:
    """This machine's addresses, as far as its name and its way out tell."""
    found = []
    with suppress(OSError):  # a machine that does not know its own name
        found += [str(info[4][0]) for info in socket.getaddrinfo(machine, None)]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way_out, suppress(OSError):  # no network
        way_out.connect(("192.0.2.1", 9))  # nothing is sent: a datagram socket only picks its own address
        found.append(str(way_out.getsockname()[0]))
    return [address for address in found if "%" not in address]


def _serves(known: x509.Certificate, wanted: Iterable[str]) -> bool:
    from cryptography import x509

    if known.not_valid_after_utc < datetime.now(timezone.utc) + timedelta(days=_LEFT_DAYS):
        return False
    try:
        held = known.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    return all(name in list(held) for name in _general_names(wanted))


def _general_names(names: Iterable[str]) -> list[x509.GeneralName]:
    from cryptography import x509

    return [x509.IPAddress(ipaddress.ip_address(name)) if is_address(name) else x509.DNSName(name) for name in names]


def _made(names: Iterable[str]) -> tuple[x509.Certificate, bytes]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    secret = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "villa console")])
    now = datetime.now(timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(secret.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # clocks of robots and phones differ
        .not_valid_after(now + timedelta(days=_DAYS))
        .add_extension(x509.SubjectAlternativeName(_general_names(names)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(secret, hashes.SHA256())
    )
    coded = secret.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made, coded


def _pem(made: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return made.public_bytes(serialization.Encoding.PEM)


def _fingerprint(made: x509.Certificate) -> str:
    from cryptography.hazmat.primitives import hashes

    return made.fingerprint(hashes.SHA256()).hex(":").upper()
