"""The way from the leaf towards the trust anchor, out of whatever the user's files hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from rolesanywhere_helper.identity.certificates import is_valid_at

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cryptography import x509

MOST_INTERMEDIATES = 5
"""The service's limit for X-Amz-X509-Chain (user guide, "authentication-sign-process")."""


def build_chain(
    leaf: x509.Certificate, candidates: Iterable[x509.Certificate], now: float
) -> tuple[x509.Certificate, ...]:
    """Climb from the leaf to the last intermediate: the leaf's issuer first, each signed by the next.

    Left out are the leaf, roots (the service has the trust anchor), and whatever does not belong to the way. Where
    several certificates fit (a CA that was renewed), one that is valid at ``now`` comes first. At most five are taken.
    """
    left = list(dict.fromkeys(candidate for candidate in candidates if candidate != leaf and not is_root(candidate)))
    chain: list[x509.Certificate] = []
    current = leaf
    while len(chain) < MOST_INTERMEDIATES:
        issuers = [candidate for candidate in left if _issued(candidate, current)]
        if not issuers:
            break
        current = min(issuers, key=lambda issuer: not is_valid_at(issuer, now))
        chain.append(current)
        left.remove(current)  # so that CAs that signed each other end the climb too
    return tuple(chain)


def is_root(certificate: x509.Certificate) -> bool:
    """Tell whether a certificate is signed with its own key.

    Not so one that has the same name as its issuer but another's signature: the "new with old" of a CA that changed
    its key is an intermediate. A signature that cannot be checked (SHA-1) is taken for the root's own.
    """
    if certificate.issuer != certificate.subject:
        return False
    try:
        certificate.verify_directly_issued_by(certificate)
    except InvalidSignature:
        return False
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return True
    return True


def _issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    if issuer.subject != certificate.issuer:  # before the signature, which costs
        return False
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return True
