"""What the emulator's directory holds, made on the first start and used again on later ones.

=============================  ==============================================================================
``state.json``                 the accounts: trust anchors, profiles, CRLs, subjects, roles, and a secret
``admin-credentials.json``     the access keys of the two accounts' administrators
``aws-config``                 an AWS configuration file with a profile for each of them, written at every start
``ca.pem, ca.key``             the CA of the first trust anchor
``client.pem, client.key``     a client's certificate and RSA key; ``client-ec`` the same with an EC key
``tls-ca.*, tls.*``            with TLS: a CA, and the server's certificate for 127.0.0.1 and localhost
``config.toml``                a configuration for the client, written at every start (the port changes)
``.lock``                      whoever has it (``flock``) runs on this directory; it stays when nobody does
=============================  ==============================================================================

All are private from birth. Certificates that have expired, or have less than a day left, are renewed.
"""

from __future__ import annotations

import json
import os
import re
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization

from rolesanywhere_helper.emulator import certificates, state_file
from rolesanywhere_helper.emulator import state as states
from rolesanywhere_helper.emulator.answers import Refusal
from rolesanywhere_helper.emulator.files import make_private_directory, write_private
from rolesanywhere_helper.emulator.keys import administrator_keys
from rolesanywhere_helper.errors import ConfigurationError
from rolesanywhere_helper.pki.certificates import CertificateAuthority, LeafRequest, Validity
from rolesanywhere_helper.pki.keys import KeyKind
from rolesanywhere_helper.system.turns import try_lock

if TYPE_CHECKING:
    from collections.abc import Collection

    from rolesanywhere_helper.emulator.settings import Settings
    from rolesanywhere_helper.emulator.state import State, TrustAnchor

_CA_DAYS = 3_650
_LEAF_DAYS = 365
_SECONDS_A_DAY = 86_400
_ORGANIZATION = "rolesanywhere-helper emulator"
PROFILES = ("emulator-admin", "emulator-other-admin")
_LOCK = ".lock"
TLS_NAMES = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Directory:
    """The paths, all absolute."""

    path: Path

    def file(self, name: str) -> Path:
        """Return the path of one file."""
        return self.path / name

    def persist(self, state: State) -> None:
        """Write the state down.

        Raises:
            OSError: it could not be written; the old one stands.

        """
        write_private(self.file("state.json"), state_file.to_json(state))


def claim(settings: Settings) -> int:
    """Make the directory, and take it for this emulator alone; who closes the returned descriptor gives it back.

    Two emulators would each write down their own accounts, and so undo what the other one has changed.

    Raises:
        ConfigurationError: another emulator has it, it cannot be written, or holds something else.

    """
    directory = Directory(settings.directory.absolute())
    try:
        make_private_directory(directory.path)
        _leave_others_alone(directory)
        descriptor = os.open(directory.file(_LOCK), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            is_ours = try_lock(descriptor)
        except OSError:
            os.close(descriptor)
            raise
    except OSError as error:
        raise _unusable(directory, error) from error
    if not is_ours:
        os.close(descriptor)
        raise ConfigurationError(
            f"another emulator is running on the directory {directory.path}",
            "end that one, or give --directory another path",
        )
    return descriptor


def prepare(settings: Settings, now: float) -> tuple[Directory, State]:
    """Make the directory what it should be. ``now`` is in seconds since the epoch.

    Raises:
        ConfigurationError: it cannot be written, holds something else, or a CA file cannot be a trust anchor.

    """
    directory = Directory(settings.directory.absolute())
    try:
        make_private_directory(directory.path)
        state = _load(directory) or states.new_state(settings.region, settings.account, now)
        # First, so that a start that was killed here leaves a directory that the next one recognises.
        directory.persist(state)
        ca = _ensure_ca(directory, "ca", f"{_ORGANIZATION} CA", now)
        _ensure_leaf(directory, "client", ca, _client(KeyKind.RSA_2048, now), now)
        _ensure_leaf(directory, "client-ec", ca, _client(KeyKind.P_256, now), now)
        if settings.tls:
            _ensure_tls(directory, now)
        state = _with_anchors(state, ca, settings, now)
        directory.persist(state)
        _write_administrators(directory, state)
    except OSError as error:
        raise _unusable(directory, error) from error
    return directory, state


def _unusable(directory: Directory, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"the emulator's directory {directory.path} cannot be used: {error.strerror}",
        "give --directory a path that this user can write",
    )


def write_config(directory: Directory, state: State, endpoint: str, *, tls: bool) -> None:
    """Write the client's configuration, with a session named ``default``.

    Raises:
        OSError: it could not be written.

    """
    arns = first_arns(state)
    session = {
        "identity": "client",
        "trust-anchor-arn": arns["trustAnchorArn"],
        "profile-arn": arns["profileArn"],
        "role-arn": arns["roleArn"],
        "endpoint": endpoint,
        **({"ca-bundle": str(directory.file("tls-ca.pem"))} if tls else {}),
    }
    identity = {"certificate": str(directory.file("client.pem")), "private-key": str(directory.file("client.key"))}
    lines = ["# Written by the emulator at every start.", *_table("identity.client", identity)]
    text = "\n".join([*lines, "", *_table("session.default", session), ""])
    write_private(directory.file("config.toml"), text.encode("utf-8"))


def write_aws_config(directory: Directory, state: State, endpoint: str, *, tls: bool) -> None:
    """Write an AWS configuration file whose profiles are the administrators.

    Raises:
        OSError: it could not be written.

    """
    lines = ["# Written by the emulator at every start."]
    for profile, key in zip(PROFILES, administrator_keys(state), strict=True):
        lines += [
            "",
            f"[profile {profile}]",
            f"region = {state.region}",
            f"endpoint_url = {endpoint}",
            f"aws_access_key_id = {key.access_key_id}",
            f"aws_secret_access_key = {key.secret_access_key}",
            *([f"ca_bundle = {directory.file('tls-ca.pem')}"] if tls else []),
        ]
    write_private(directory.file("aws-config"), "\n".join([*lines, ""]).encode("utf-8"))


def first_arns(state: State) -> dict[str, str]:
    """Return the ARNs of the trust anchor, the profile and the role that the directory was made with."""
    origin = state.origin
    return {
        "trustAnchorArn": origin.trust_anchor_arn,
        "profileArn": origin.profile_arn,
        "roleArn": origin.role_arn,
    }


def extra_anchor_arns(state: State, settings: Settings) -> dict[str, str]:
    """Return the ARN that each ``--ca`` file, as the user wrote it, became."""
    by_source = {anchor.source: anchor.arn for anchor in state.trust_anchors}
    return {file: by_source[str(Path(file).resolve())] for file in settings.extra_cas}


def _table(name: str, values: dict[str, str]) -> list[str]:
    # A JSON string is a TOML basic string, once nothing is left that only JSON escapes.
    return [f"[{name}]", *(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items())]


def _leave_others_alone(directory: Directory) -> None:
    if directory.file("state.json").exists():
        return
    names = (entry.name for entry in directory.path.iterdir())
    taken = sorted(name for name in names if name != _LOCK and not name.startswith(".new-"))
    if taken:
        raise ConfigurationError(
            f"{directory.path} is not empty and no emulator's directory: it holds {taken[0]}",
            "give --directory a new or empty directory",
        )


def _load(directory: Directory) -> State | None:
    """Return what an earlier run left; None if the directory is new."""
    try:
        text = directory.file("state.json").read_bytes()
    except FileNotFoundError:
        _leave_others_alone(directory)
        return None
    try:
        return state_file.from_json(text)
    except ValueError as error:
        raise ConfigurationError(
            f"{directory.file('state.json')} cannot be read: {error}", "remove the directory; it is made again"
        ) from error


def _with_anchors(state: State, ca: CertificateAuthority, settings: Settings, now: float) -> State:
    """Bring the bundles up to date with the files; what an earlier run added with ``--ca`` counts no longer."""
    state = replace(state, own_ca_pem=ca.pem.decode("ascii"))
    extra = {str(Path(file).resolve()): file for file in settings.extra_cas}
    kept = [_up_to_date(state, anchor) for anchor in state.trust_anchors if anchor.source is None]
    first, others = (
        [anchor for anchor in kept if (anchor.arn == state.origin.trust_anchor_arn) is of] for of in (True, False)
    )
    added: list[TrustAnchor] = []
    for path, file in extra.items():
        aliases = {anchor.alias_name for anchor in (*kept, *added)}
        added.append(_extra_anchor(state, path, file, aliases, now))
    return replace(state, trust_anchors=(*first, *added, *others))


def _up_to_date(state: State, anchor: TrustAnchor) -> TrustAnchor:
    if anchor.acm_pca_arn is not None:
        return replace(anchor, bundle_pem=state.certificate_of_private_authority(anchor.acm_pca_arn))
    return replace(anchor, bundle_pem=state.own_ca_pem) if anchor.arn == state.origin.trust_anchor_arn else anchor


def _extra_anchor(state: State, path: str, file: str, aliases: Collection[str | None], now: float) -> TrustAnchor:
    try:
        text = Path(path).read_bytes()
        bundle = x509.load_pem_x509_certificates(text)
        for certificate in bundle:
            certificates.require_ca(certificate)
    except OSError as error:
        raise ConfigurationError(f"--ca {file} cannot be read: {error.strerror}", "give a PEM file") from error
    except (ValueError, Refusal) as error:
        raise ConfigurationError(
            f"--ca {file} cannot be a trust anchor: {error}",
            "give PEM certificates with basicConstraints CA:TRUE and keyUsage keyCertSign",
        ) from error
    # The same file is the same trust anchor at every start, without being remembered.
    identifier = uuid.uuid5(uuid.UUID(states.identifier_of(state.origin.trust_anchor_arn)), path)
    pem = b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in bundle)
    name = re.sub(r"[^A-Za-z0-9_-]", "-", Path(path).stem)
    return states.TrustAnchor(
        state.arn(state.account, f"trust-anchor/{identifier}"),
        name,
        pem.decode("ascii"),
        source=path,
        alias_name=name if name[:1].isalpha() and name not in aliases else None,
        created_at=now,
        updated_at=now,
    )


def _write_administrators(directory: Directory, state: State) -> None:
    own, other = (
        {"account": key.account, "accessKeyId": key.access_key_id, "secretAccessKey": key.secret_access_key}
        for key in administrator_keys(state)
    )
    document = {**own, "region": state.region, "otherAccount": other}
    write_private(directory.file("admin-credentials.json"), json.dumps(document, indent=2).encode("utf-8"))


def _client(key: KeyKind, now: float) -> LeafRequest:
    return LeafRequest(Validity.days(now, _LEAF_DAYS), (("O", _ORGANIZATION), ("CN", "client")), key)


def _ensure_tls(directory: Directory, now: float) -> None:
    ca = _ensure_ca(directory, "tls-ca", f"{_ORGANIZATION} TLS CA", now)
    subject = (("O", _ORGANIZATION), ("CN", "localhost"))
    request = LeafRequest(Validity.days(now, _LEAF_DAYS), subject, KeyKind.P_256, names=TLS_NAMES, server=True)
    _ensure_leaf(directory, "tls", ca, request, now)


def _ensure_ca(directory: Directory, name: str, common_name: str, now: float) -> CertificateAuthority:
    validity = Validity.days(now, _CA_DAYS)
    certificate, key = directory.file(f"{name}.pem"), directory.file(f"{name}.key")
    try:
        ca = CertificateAuthority.from_pem(certificate.read_bytes(), key.read_bytes())
        if _is_usable(ca.certificate, ca, now):
            return ca
    except (FileNotFoundError, ValueError):
        pass
    ca = CertificateAuthority.root(common_name, validity)
    write_private(key, ca.key_pem())
    write_private(certificate, ca.pem)
    return ca


def _ensure_leaf(directory: Directory, name: str, ca: CertificateAuthority, request: LeafRequest, now: float) -> None:
    certificate, key = directory.file(f"{name}.pem"), directory.file(f"{name}.key")
    try:
        there = x509.load_pem_x509_certificate(certificate.read_bytes())
        private = serialization.load_pem_private_key(key.read_bytes(), None)
        if _is_usable(there, ca, now) and private.public_key() == there.public_key():
            return
    except (FileNotFoundError, ValueError):
        pass
    issued = ca.issue(request)
    write_private(key, issued.key_pem())
    write_private(certificate, issued.pem)


def _is_usable(certificate: x509.Certificate, ca: CertificateAuthority, now: float) -> bool:
    """Tell whether a certificate of an earlier run can be used for another day."""
    try:
        certificate.verify_directly_issued_by(ca.certificate)
    except (InvalidSignature, ValueError):
        return False
    begin, end = certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()
    return begin <= now and now + _SECONDS_A_DAY <= end
