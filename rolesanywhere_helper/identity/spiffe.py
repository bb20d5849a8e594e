"""The backend for X.509-SVIDs of a SPIFFE Workload API: leaf, chain and key come from one answer, and no file.

How one is named: :mod:`rolesanywhere_helper.domain.workload_reference`. The agent decides by the process that asks
(its user, its unit, its container) which identities it gets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509

from rolesanywhere_helper.domain.workload_reference import parse_workload_reference
from rolesanywhere_helper.errors import MissingExtraError, UnreadableCertificateError, UsageError
from rolesanywhere_helper.identity.material import Material
from rolesanywhere_helper.identity.private_key import read_private_key
from rolesanywhere_helper.identity.software import SoftwareKey

if TYPE_CHECKING:
    from rolesanywhere_helper.domain.identity_reference import IdentityReference
    from rolesanywhere_helper.identity.access import Access
    from rolesanywhere_helper.identity.material import PrivateHalf
    from rolesanywhere_helper.protocol.workload_api import Svid


def material(reference: IdentityReference, access: Access) -> Material:
    """Ask the agent for certificates and key.

    Raises:
        UsageError: key and certificate are to come from different places, no socket is named, or h2 is missing.
        WorkloadApiError: there is no agent, or it gives nothing to this process.
        ObjectNotFoundError: there is no SVID of the ID that was asked for.
        IdentityError: what it gives cannot be read.

    """
    if reference.private_key not in {"", reference.certificate}:
        raise UsageError("the SPIFFE Workload API gives a certificate together with its key", "leave --private-key out")
    svid, warnings = _svid(reference.certificate, access)
    return Material(_certificates(svid), _key(svid), warnings=warnings)


def signing_key(reference: IdentityReference, access: Access) -> tuple[PrivateHalf, tuple[str, ...]]:
    """Ask the agent for a key alone, named as its certificate is.

    Raises:
        UsageError, IdentityError: as :func:`material` raises them.

    """
    svid, warnings = _svid(reference.private_key, access)
    return _key(svid), warnings


def certificates(reference: str, access: Access) -> tuple[x509.Certificate, ...]:
    """Ask the agent for certificates, the leaf first.

    Raises:
        UsageError, IdentityError: as :func:`material` raises them.

    """
    return _certificates(_svid(reference, access)[0])


def _svid(reference: str, access: Access) -> tuple[Svid, tuple[str, ...]]:
    wanted = parse_workload_reference(reference)
    try:
        from rolesanywhere_helper.identity import workload_api  # noqa: PLC0415 - needs an optional library
    except ImportError:
        raise MissingExtraError.named("the SPIFFE Workload API", "spiffe") from None
    return workload_api.choose(workload_api.fetch(workload_api.socket_of(wanted, access.environment)), wanted.spiffe_id)


def _certificates(svid: Svid) -> tuple[x509.Certificate, ...]:
    try:
        return tuple(x509.load_der_x509_certificate(der) for der in svid.certificates)
    except (ValueError, TypeError, x509.InvalidVersion) as error:
        raise UnreadableCertificateError(
            f"a certificate of the SVID {svid.spiffe_id} cannot be read", "see the agent's log"
        ) from error


def _key(svid: Svid) -> PrivateHalf:
    return SoftwareKey(read_private_key(svid.private_key, svid.spiffe_id))
