"""The local certificate authority, this node's certificate, and signing of other nodes' requests.

It owns the files `ca.crt`, `ca.key`, `node.crt`, `node.key` and `node.pem` (certificate and key in one, as
HAProxy wants it) in one folder; who serves with them is not decided here. Another node keeps its key to
itself and sends a request.

Browsers give the microphone only to secure pages, and no public authority signs for a LAN address.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pipecatapp.errors import AdapterError
from pipecatapp.files import write_atomic

CA_DAYS = 3650
"""Life of the authority (days); a person trusts it once."""
NODE_DAYS = 397
"""Life of a node's certificate (days); Apple's and Chromium's bound for a leaf is 398."""
RENEW_DAYS = 90
"""A node's certificate is made anew this long before its end (days), by a run of the playbook."""
BACKDATE_H = 24
"""Certificates begin this long ago (hours): old desktops' clocks are off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """Where the files are. `changed` is True when one was made now."""

    ca: Path
    certificate: Path
    key: Path
    bundle: Path
    changed: bool


def ensure_certificates(folder: Path, names: Sequence[str]) -> Certificates:
    """Make what is missing or near its end, so that the node's certificate is good for all `names`.

    On a cluster's node the house's authority, whose key is not here, has signed it: that is left as it is.

    Args:
        folder: Made with mode 0750 if need be; keys get 0600.
        names: Host names and addresses.

    Raises:
        AdapterError: The folder cannot be written, or the files in it cannot be read.
    """
    result = Certificates(
        ca=folder / "ca.crt",
        certificate=folder / "node.crt",
        key=folder / "node.key",
        bundle=folder / "node.pem",
        changed=False,
    )
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o750)
        if _is_signed_elsewhere(result, folder / "ca.key"):
            return result
        made_ca = not (result.ca.is_file() and (folder / "ca.key").is_file())
        if made_ca:
            _make_ca(folder)
        if not made_ca and _is_good(result, names):
            return result
        _make_node(folder, names)
    except (OSError, ValueError) as exc:
        raise AdapterError(
            "local-ca", f"The certificates in {folder} cannot be made or read: {exc}",
            hint=f"Make {folder} writable, or move it away to begin with a new authority.",
        ) from exc  # fmt: skip
    return Certificates(
        ca=result.ca, certificate=result.certificate, key=result.key, bundle=result.bundle, changed=True
    )


def ensure_ca(folder: Path, adopt: Path | None = None) -> bool:
    """Make the authority in a folder when there is none; True when it was made now.

    Args:
        folder: Made with mode 0700 if need be.
        adopt: A folder whose authority is taken, when it has one, so that people need not trust another.

    Raises:
        AdapterError: The folder cannot be written, or the adopted files cannot be read.
    """
    if (folder / "ca.crt").is_file() and (folder / "ca.key").is_file():
        return False
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if adopt is not None and (adopt / "ca.crt").is_file() and (adopt / "ca.key").is_file():
            write_atomic(folder / "ca.key", (adopt / "ca.key").read_bytes(), 0o600)
            write_atomic(folder / "ca.crt", (adopt / "ca.crt").read_bytes(), 0o644)
        else:
            _make_ca(folder)
    except OSError as exc:
        raise AdapterError(
            "local-ca", f"The authority in {folder} cannot be made: {exc}", hint=f"Make {folder} writable."
        ) from exc  # fmt: skip
    return True


def sign_csr(
    folder: Path,
    request: bytes,
    names: Sequence[str],
    current: bytes = b"",
    *,
    renew_days: int = RENEW_DAYS,
    is_client: bool = False,
) -> bytes:
    """Return a certificate for a node's key, as a server: `current` while it is good, or a new one.

    Args:
        folder: Where the authority is.
        request: The node's request (PKCS #10, PEM). Only its key is used: who asks does not choose the names.
        names: Host names and addresses, all that the certificate is good for.
        current: The certificate that the node has (PEM), b"" for none.
        renew_days: A certificate with fewer days left is made anew.
        is_client: It shows itself to servers too, as the agents of Consul and Nomad do to each other.

    Raises:
        AdapterError: There is no authority, or the request is none.
    """
    try:
        csr = x509.load_pem_x509_csr(request)
        ca = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
        key = csr.public_key()
        if not csr.is_signature_valid or not isinstance(key, ec.EllipticCurvePublicKey):
            raise ValueError("the request is not signed by an EC key of its own")
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, *([ExtendedKeyUsageOID.CLIENT_AUTH] if is_client else [])]
        if current and _is_issued(current, ca, key, names, usages, renew_days):
            return current
        certificate = _sign(folder, key, names, usages)
    except (OSError, ValueError) as exc:
        raise AdapterError(
            "local-ca", f"The authority in {folder} cannot sign this request: {exc}",
            hint="Run playbook.yaml again; it makes what is missing.",
        ) from exc  # fmt: skip
    return certificate.public_bytes(serialization.Encoding.PEM)


def local_names() -> list[str]:
    """Return the names and addresses under which this machine is reached on its LAN."""
    host = socket.gethostname()
    names = [host, f"{host.split('.')[0]}.local", "localhost", "127.0.0.1", "::1"]
    return list(dict.fromkeys([*names, *_addresses()]))


def certificate_names(certificate: Path) -> tuple[str, ...]:
    """Return the names and addresses that a certificate (PEM) is good for; none where it cannot be read."""
    try:
        loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
        held = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return ()
    addresses = held.get_values_for_type(x509.IPAddress)
    return (*held.get_values_for_type(x509.DNSName), *(str(address) for address in addresses))


def _addresses() -> Iterable[str]:
    """Return the global addresses of all interfaces, as iproute2 tells them; none where it is absent."""
    try:
        output = subprocess.run(
            ["ip", "-o", "addr", "show", "scope", "global"],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    words = (line.split() for line in output.splitlines())
    return [parts[3].split("/")[0] for parts in words if len(parts) > 3 and parts[2] in ("inet", "inet6")]


def _make_ca(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Twin of {socket.gethostname()}"[:64])])
    builder = (
        _builder(name, name, key.public_key(), CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    certificate = builder.sign(key, hashes.SHA256())
    write_atomic(folder / "ca.key", _pem_of(key), 0o600)
    write_atomic(folder / "ca.crt", certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def _make_node(folder: Path, names: Sequence[str]) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _sign(folder, key.public_key(), names, [ExtendedKeyUsageOID.SERVER_AUTH])
    chain = certificate.public_bytes(serialization.Encoding.PEM)
    write_atomic(folder / "node.key", _pem_of(key), 0o600)
    write_atomic(folder / "node.crt", chain, 0o644)
    write_atomic(folder / "node.pem", chain + _pem_of(key), 0o600)


def _sign(
    folder: Path,
    key: ec.EllipticCurvePublicKey,
    names: Sequence[str],
    usages: Sequence[x509.ObjectIdentifier],
) -> x509.Certificate:
    ca_key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    if not isinstance(ca_key, ec.EllipticCurvePrivateKey):
        raise ValueError("ca.key is not an EC key")
    ca = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    return (
        _builder(subject, ca.subject, key, NODE_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )


def _is_issued(
    current: bytes,
    ca: x509.Certificate,
    key: ec.EllipticCurvePublicKey,
    names: Sequence[str],
    usages: Sequence[x509.ObjectIdentifier],
    renew_days: int,
) -> bool:
    """Whether a certificate is this authority's, for this key and exactly these names and uses, and lasts."""
    try:
        certificate = x509.load_pem_x509_certificate(current)
        certificate.verify_directly_issued_by(ca)
        held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uses = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    left = certificate.not_valid_after_utc - dt.datetime.now(dt.UTC)
    return (
        certificate.public_key() == key
        and set(held) == {_general_name(name) for name in names}
        and set(uses) == set(usages)
        and left > dt.timedelta(days=renew_days)
    )


def _is_signed_elsewhere(files: Certificates, ca_key: Path) -> bool:
    """Whether the authority is here without its key, and the node's certificate is its work."""
    if ca_key.exists() or not all(
        path.is_file() for path in (files.ca, files.certificate, files.key, files.bundle)
    ):
        return False
    certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    try:
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(files.ca.read_bytes()))
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _is_good(files: Certificates, names: Sequence[str]) -> bool:
    if not (files.certificate.is_file() and files.key.is_file() and files.bundle.is_file()):
        return False
    certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    ca = x509.load_pem_x509_certificate(files.ca.read_bytes())
    left = certificate.not_valid_after_utc - dt.datetime.now(dt.UTC)
    held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    has_names = {_general_name(name) for name in names} <= set(held)
    return left > dt.timedelta(days=RENEW_DAYS) and has_names and certificate.issuer == ca.subject


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    start = dt.datetime.now(dt.UTC) - dt.timedelta(hours=BACKDATE_H)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=days))
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name.split("%")[0]))
    except ValueError:
        return x509.DNSName(name)


def _pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
