"""The house's certificate authority.

It owns which certificates are made, kept and renewed; serving them is tested with the agent.
"""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pipecatapp.adapters.tls import local_ca
from pipecatapp.adapters.tls.local_ca import ensure_ca, ensure_certificates, sign_csr
from pipecatapp.errors import AdapterError

pytestmark = pytest.mark.unit

NAMES = ["twin1", "twin1.local", "192.168.1.20", "::1"]


def test_the_node_certificate_is_signed_by_the_ca_for_every_name(tmp_path: Path) -> None:
    made = ensure_certificates(tmp_path, NAMES)
    ca = x509.load_pem_x509_certificate(made.ca.read_bytes())
    node = x509.load_pem_x509_certificate(made.certificate.read_bytes())
    key = ca.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert node.signature_hash_algorithm is not None
    key.verify(node.signature, node.tbs_certificate_bytes, ec.ECDSA(node.signature_hash_algorithm))
    held = node.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert held.get_values_for_type(x509.DNSName) == ["twin1", "twin1.local"]
    assert [str(ip) for ip in held.get_values_for_type(x509.IPAddress)] == ["192.168.1.20", "::1"]


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    ensure_certificates(tmp_path, NAMES)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert not ensure_certificates(tmp_path, NAMES).changed
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_the_houses_authority_has_signed_is_left_alone(tmp_path: Path) -> None:
    ensure_certificates(tmp_path, NAMES)
    (tmp_path / "ca.key").unlink()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert not ensure_certificates(tmp_path, [*NAMES, "192.168.1.21"]).changed
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_an_authority_without_key_that_signed_nothing_here_is_made_anew(tmp_path: Path) -> None:
    ensure_certificates(tmp_path / "here", NAMES)
    ensure_certificates(tmp_path / "there", NAMES)
    (tmp_path / "here" / "ca.key").unlink()
    (tmp_path / "here" / "ca.crt").write_bytes((tmp_path / "there" / "ca.crt").read_bytes())
    assert ensure_certificates(tmp_path / "here", NAMES).changed


def test_a_new_name_makes_a_new_certificate_under_the_same_ca(tmp_path: Path) -> None:
    ca = ensure_certificates(tmp_path, NAMES).ca.read_bytes()
    made = ensure_certificates(tmp_path, [*NAMES, "192.168.1.21"])
    assert made.changed
    assert made.ca.read_bytes() == ca


def test_a_certificate_near_its_end_is_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_ca, "NODE_DAYS", local_ca.RENEW_DAYS)
    ensure_certificates(tmp_path, NAMES)
    monkeypatch.undo()
    assert ensure_certificates(tmp_path, NAMES).changed


def test_keys_are_readable_by_the_owner_only(tmp_path: Path) -> None:
    ensure_certificates(tmp_path, NAMES)
    modes = {
        name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("ca.key", "node.key", "node.pem")
    }
    assert modes == {"ca.key": 0o600, "node.key": 0o600, "node.pem": 0o600}


def test_a_damaged_file_is_told_with_the_way_out(tmp_path: Path) -> None:
    ensure_certificates(tmp_path, NAMES)
    (tmp_path / "node.crt").write_text("not a certificate")
    with pytest.raises(AdapterError, match="cannot be made or read") as caught:
        ensure_certificates(tmp_path, NAMES)
    assert str(tmp_path) in caught.value.hint


def request_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "asks-for-much")])
    names = x509.SubjectAlternativeName([x509.DNSName("server.twin.consul")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    asked = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    return asked.public_bytes(serialization.Encoding.PEM)


def test_a_nodes_request_gets_the_signers_names_and_the_uses_asked_for(tmp_path: Path) -> None:
    assert ensure_ca(tmp_path)
    key = ec.generate_private_key(ec.SECP256R1())
    signed = x509.load_pem_x509_certificate(sign_csr(tmp_path, request_of(key), NAMES))
    held = signed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    usages = signed.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert held.get_values_for_type(x509.DNSName) == ["twin1", "twin1.local"]
    assert list(usages) == [x509.ExtendedKeyUsageOID.SERVER_AUTH]
    for_both = x509.load_pem_x509_certificate(sign_csr(tmp_path, request_of(key), NAMES, is_client=True))
    both = for_both.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(both) == {x509.ExtendedKeyUsageOID.SERVER_AUTH, x509.ExtendedKeyUsageOID.CLIENT_AUTH}
    signed.verify_directly_issued_by(x509.load_pem_x509_certificate((tmp_path / "ca.crt").read_bytes()))


def test_a_good_certificate_is_kept_and_one_with_too_many_names_or_another_key_is_not(tmp_path: Path) -> None:
    ensure_ca(tmp_path)
    key, other = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    first = sign_csr(tmp_path, request_of(key), NAMES)
    assert sign_csr(tmp_path, request_of(key), NAMES, first) == first
    assert sign_csr(tmp_path, request_of(key), NAMES[:-1], first) != first
    assert sign_csr(tmp_path, request_of(other), NAMES, first) != first
    assert sign_csr(tmp_path, request_of(key), NAMES, first, renew_days=local_ca.NODE_DAYS) != first
    assert sign_csr(tmp_path, request_of(key), NAMES, first, is_client=True) != first
    assert sign_csr(tmp_path, request_of(key), NAMES, b"no certificate") != first


def test_an_authority_that_people_trust_already_is_taken_over(tmp_path: Path) -> None:
    trusted = ensure_certificates(tmp_path / "tls", NAMES).ca.read_bytes()
    assert ensure_ca(tmp_path / "cluster", tmp_path / "tls")
    assert not ensure_ca(tmp_path / "cluster", tmp_path / "tls")
    assert (tmp_path / "cluster/ca.crt").read_bytes() == trusted
    assert stat.S_IMODE((tmp_path / "cluster/ca.key").stat().st_mode) == 0o600


def test_what_is_no_request_is_refused_in_words(tmp_path: Path) -> None:
    ensure_ca(tmp_path)
    with pytest.raises(AdapterError, match="cannot sign this request"):
        sign_csr(tmp_path, b"nonsense", NAMES)
