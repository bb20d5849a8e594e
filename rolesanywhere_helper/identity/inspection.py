"""Looking at certificates for somebody who asks what is wrong: names, dates, and the way to a trust anchor.

The rules for a way are those of the user guide, "trust model": every CA on it is valid now, CA:TRUE, has keyCertSign
and keeps its path length, and every signature is SHA-256 or stronger.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from rolesanywhere_helper.errors import UntrustedCertificateError
from rolesanywhere_helper.frozen import dataclass
from rolesanywhere_helper.identity import certificates as facts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_WEAK_HASHES = frozenset({"md5", "sha1", "sha224"})
_LONGEST_NAME = 200
_Kind = TypeVar("_Kind", bound=x509.ExtensionType)


@dataclass(frozen=True, slots=True)
class Described:
    """A certificate in words; moments are seconds since the epoch, ``issuer_organization`` may be empty.

    ``common_name`` is that of the subject; empty if there is none, or more than one.
    """

    subject: str
    issuer: str
    issuer_organization: str
    serial: int
    not_before: int
    not_after: int
    common_name: str = ""


def describe(der: bytes) -> Described:
    """Put a certificate into words.

    Raises:
        UnreadableCertificateError: it is broken.

    """
    return _described(facts.require_certificates(der, "the certificate")[0])


def check_way(leaf_der: bytes, chain_der: Sequence[bytes], anchors: bytes, shown: str, now: float) -> Described:
    """Climb from a leaf through its chain to one of the certificates of a trust anchor, and return that one.

    ``anchors`` is the content of a file that is called ``shown``; ``now`` is in seconds since the epoch.

    Raises:
        UntrustedCertificateError: no way leads there; the text says where it ends, the hint what is missing.
        UnreadableCertificateError: the file holds no certificate.

    """
    roots = facts.require_certificates(anchors, shown)
    way = [facts.require_certificates(der, "the chain")[0] for der in (leaf_der, *chain_der)]
    on_the_way: list[UntrustedCertificateError] = []
    of_roots: list[UntrustedCertificateError] = []
    for height, certificate in enumerate(way):
        if height:
            on_the_way += _faults_of_ca(certificate, height - 1, now)
        for root in (each for each in roots if each.subject == certificate.issuer):
            found = [*on_the_way, *_faults_of_root(root, certificate, height, now)]
            if not found:
                return _described(root)
            of_roots += found
    faults = [*on_the_way, *of_roots]
    raise faults[0] if faults else _ends_early(way[-1], roots, shown)


def faults_of_chain(chain_der: Sequence[bytes], now: float) -> tuple[UntrustedCertificateError, ...]:
    """Return what is wrong with the CAs between a leaf and its trust anchor, the lowest first.

    Raises:
        UnreadableCertificateError: one of them is broken.

    """
    chain = [facts.require_certificates(der, "the chain")[0] for der in chain_der]
    return tuple(fault for below, ca in enumerate(chain) for fault in _faults_of_ca(ca, below, now))


# The rules


def _faults_of_root(
    root: x509.Certificate, child: x509.Certificate, below: int, now: float
) -> Iterator[UntrustedCertificateError]:
    if not _has_signed(root, child):
        yield UntrustedCertificateError(
            f"the trust anchor's CA {facts.subject(root)} has the issuer's name, but not the key that signed "
            f"{facts.subject(child)}",
            "a CA that was renewed with another key needs a trust anchor with its new certificate; two CAs of one name "
            "are told apart by their keys",
        )
    yield from _faults_of_ca(root, below, now)


def _faults_of_ca(ca: x509.Certificate, below: int, now: float) -> Iterator[UntrustedCertificateError]:
    """``below`` counts the CAs between it and the leaf."""
    name = facts.subject(ca)
    if not facts.is_valid_at(ca, now):
        yield UntrustedCertificateError(
            f"the CA {name} is valid only from {facts.utc(ca.not_valid_before_utc)} to "
            f"{facts.utc(ca.not_valid_after_utc)}",
            "renew the CA's certificate, and replace it in the trust anchor or in the file of intermediates",
        )
    constraints, usage = _extension(ca, x509.BasicConstraints), _extension(ca, x509.KeyUsage)
    if constraints is None or not constraints.ca or usage is None or not usage.key_cert_sign:
        yield UntrustedCertificateError(
            f"{name} may not issue certificates",
            "it needs basicConstraints CA:TRUE and keyUsage keyCertSign: re-issue the CA's certificate",
        )
    elif _is_weak(ca):
        yield UntrustedCertificateError(
            f"the certificate of the CA {name} is signed with a hash weaker than SHA-256",
            "re-issue the CA's certificate: signatures with SHA-256 or stronger are accepted",
        )
    elif constraints.path_length is not None and below > constraints.path_length:
        yield UntrustedCertificateError(
            f"the CA {name} allows {constraints.path_length} CAs below it, and there are {below}",
            "let a CA higher up issue the leaf, or re-issue the CA's certificate with a longer path length",
        )


def _ends_early(last: x509.Certificate, roots: Sequence[x509.Certificate], shown: str) -> UntrustedCertificateError:
    names = " or ".join(facts.subject(root) for root in roots)
    issuer = _name(last.issuer)
    return UntrustedCertificateError(
        f"the way from the leaf ends at {facts.subject(last)}, which was issued by {issuer}, and not by the trust "
        f"anchor's {names}",
        f"give the certificate of {issuer} with --intermediates FILE, if {names} stands above it; otherwise the trust "
        f"anchor is the wrong one: {shown} does not hold {issuer}",
    )


def _is_weak(certificate: x509.Certificate) -> bool:
    try:
        algorithm = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return False
    return algorithm is not None and algorithm.name in _WEAK_HASHES


def _has_signed(issuer: x509.Certificate, child: x509.Certificate) -> bool:
    try:
        child.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return True


# The words


def _described(certificate: x509.Certificate) -> Described:
    organizations = certificate.issuer.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME)
    names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return Described(
        facts.subject(certificate),
        _name(certificate.issuer),
        _printable(str(organizations[0].value)) if organizations else "",
        facts.serial(certificate),
        facts.not_before(certificate),
        facts.not_after(certificate),
        _printable(str(names[0].value)) if len(names) == 1 else "",
    )


def _name(name: x509.Name) -> str:
    return _printable(name.rfc4514_string() or "nobody")


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)[:_LONGEST_NAME]


def _extension(certificate: x509.Certificate, kind: type[_Kind]) -> _Kind | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except (x509.ExtensionNotFound, *facts.UNREADABLE_EXTENSIONS):
        return None
