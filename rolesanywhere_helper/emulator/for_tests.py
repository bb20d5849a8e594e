"""The emulator as a test of another project sees it: what the fixture ``roles_anywhere`` gives.

docs/testing-with-the-emulator.md is its guide.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rolesanywhere_helper.emulator.files import write_private
from rolesanywhere_helper.emulator.server import Running, running
from rolesanywhere_helper.emulator.settings import Settings
from rolesanywhere_helper.emulator.state import Crl, put
from rolesanywhere_helper.pki.certificates import CertificateAuthority, LeafRequest, Validity
from rolesanywhere_helper.pki.keys import KeyKind
from rolesanywhere_helper.pki.revocation import RevocationList

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    import pytest

    from rolesanywhere_helper.pki.certificates import NameParts

_PROFILE, _ADMINISTRATOR = "default", "administrator"
_CRL = "revoked"
_PREFIXES = ("AWS_", "ROLESANYWHERE_HELPER_")
_NO_PROXY = "127.0.0.1,localhost"
_SERVICES = ("sts", "iam", "rolesanywhere")
# What stands between an AWS client and the helper where the environment is not known: it takes out what would speak to
# either of them, and goes on as the helper.
_SHIELD = f"""import os, runpy
for name in list(os.environ):
    if name.startswith({_PREFIXES!r}) or name.lower().endswith("_proxy"):
        del os.environ[name]
runpy.run_module("rolesanywhere_helper", run_name="__main__", alter_sys=True)
"""
_ORGANIZATION = "Example"


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A leaf and its private key, as PEM files; ``config`` is a configuration file for rolesanywhere-helper with them.

    ``serial_number`` is what a revocation list would hold.
    """

    certificate: Path
    private_key: Path
    config: Path
    serial_number: int = field(repr=False)


class RolesAnywhere:
    """One emulator, as new, with a trust anchor, a profile, a role and a certificate that gets a session of it.

    Everything is on this machine: the service listens on loopback, and files lie in pytest's temporary folder.

    Attributes:
        endpoint: The URL of Roles Anywhere, STS and IAM, without a slash at its end.
        region: The region in the ARNs.
        account: The number of the account.
        trust_anchor_arn: The trust anchor of ``ca_certificate``.
        profile_arn: A profile with the role.
        role_arn: A role that every certificate of the CA may have.
        ca_certificate: The CA's certificate (PEM).
        client: A certificate of that CA, with its key.

    """

    def __init__(self, emulator: Running, folder: Path) -> None:
        told = emulator.announcement
        self._emulator = emulator
        self._folder = folder
        self._revoked = RevocationList()
        self.endpoint = emulator.endpoint
        self.region = str(told["region"])
        self.account = emulator.state.account
        self.trust_anchor_arn = str(told["trustAnchorArn"])
        self.profile_arn = str(told["profileArn"])
        self.role_arn = str(told["roleArn"])
        self.ca_certificate = Path(told["caCertificate"])
        self.client = self.issue("client")

    # Certificates

    def issue(self, common_name: str, *, days: int = 30, ou: str | None = None) -> ClientCertificate:
        """Issue a certificate with O=Example and this common name; negative days make one that has expired."""
        subject: NameParts = (
            ("O", _ORGANIZATION),
            *(() if ou is None else (("OU", ou),)),
            ("CN", common_name),
        )
        request = LeafRequest(Validity.days(time.time(), days), subject, KeyKind.P_256)
        issued = self._authority().issue(request)
        serial = issued.certificate.serial_number
        certificate, key, config = (self._folder / f"{serial:x}.{ending}" for ending in ("pem", "key", "toml"))
        write_private(key, issued.key_pem())
        write_private(certificate, issued.full_chain_pem)
        write_private(config, self._configuration(certificate, key))
        return ClientCertificate(certificate, key, config, serial)

    def revoke(self, client: ClientCertificate) -> None:
        """Revoke a certificate; it is refused from the next request on."""
        now = time.time()
        self._revoked = self._revoked.plus(client.serial_number, now)
        data = self._revoked.signed(self._authority(), now)
        state = self._emulator.state
        # The same id for each list of this test: it takes the place of the one before.
        arn = state.arn(state.account, f"crl/{self.trust_anchor_arn.rpartition('/')[2]}")
        crl = Crl(arn, _CRL, self.trust_anchor_arn, data, created_at=now, updated_at=now)
        self._emulator.change_state(lambda before: put(before, crl))

    # Programs and clients that shall get credentials

    def environment(
        self, client: ClientCertificate | None = None, base: Mapping[str, str] = os.environ
    ) -> dict[str, str]:
        """Return the environment of a program whose AWS clients get their credentials here, with a certificate.

        It is ``base`` without anything of AWS. Every AWS SDK and the AWS CLI find a default profile in it, whose
        ``credential_process`` is rolesanywhere-helper; Roles Anywhere, STS and IAM lead to the emulator.
        """
        kept = {name: value for name, value in base.items() if not name.startswith(_PREFIXES)}
        return kept | self._variables(client or self.client, base)

    def use(self, monkeypatch: pytest.MonkeyPatch, client: ClientCertificate | None = None) -> None:
        """Make this process such a program until the test ends: ``boto3.client("sts")`` gets credentials here."""
        import boto3  # noqa: PLC0415 - not every test has a use for it

        # It keeps the credentials that it has found, for all who ask it.
        monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
        for name in os.environ:
            if name.startswith(_PREFIXES):
                monkeypatch.delenv(name)
        for name, value in self._variables(client or self.client, os.environ).items():
            monkeypatch.setenv(name, value)

    def session(self, client: ClientCertificate | None = None) -> Any:
        """Return a boto3 session with credentials of a certificate, whatever this process's environment says.

        Its clients of Roles Anywhere, STS and IAM ask the emulator, and no proxy.
        """
        return self._boto3_session(_PROFILE, client or self.client)

    def administrator(self) -> Any:
        """Return a boto3 session of the account's administrator, to change trust policies, profiles, CRLs."""
        return self._boto3_session(_ADMINISTRATOR, self.client)

    # What the service does, and what it saw

    def set_fault(self, **keys: Any) -> None:
        """Order a fault, with the keys of docs/emulator.md (``status=503, times=2``).

        Raises:
            ValueError: an unknown key, or a value that makes no sense.

        """
        self._emulator.set_fault(**keys)

    def clear_faults(self) -> None:
        """Take all faults back."""
        self._emulator.clear_faults()

    def set_clock_offset(self, seconds: float) -> None:
        """Let the service's clock go ahead by so much (behind, if negative)."""
        self._emulator.set_clock_offset(seconds)

    def set_quota(self, per_second: float | None) -> None:
        """Throttle CreateSession at so many requests a second; None: not at all."""
        self._emulator.set_quota(per_second)

    def requests(self) -> list[dict[str, Any]]:
        """Return what the service saw, the oldest first: operation, status, error, role … and never a secret."""
        return self._emulator.requests()

    def reset(self) -> None:
        """Make the service as it was at the beginning of the test; certificates stay, and none is revoked."""
        self._emulator.reset()
        self._revoked = RevocationList()

    def _authority(self) -> CertificateAuthority:
        files = self._emulator.directory
        return CertificateAuthority.from_pem(self.ca_certificate.read_bytes(), files.file("ca.key").read_bytes())

    def _session(self, certificate: Path, key: Path) -> dict[str, str]:
        """Return the settings of a certificate's session, by the names of flags."""
        return {
            "certificate": str(certificate),
            "private-key": str(key),
            "trust-anchor-arn": self.trust_anchor_arn,
            "profile-arn": self.profile_arn,
            "role-arn": self.role_arn,
            "endpoint": self.endpoint,
        }

    def _configuration(self, certificate: Path, key: Path) -> bytes:
        values = self._session(certificate, key)
        lines = (f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in values.items())
        return "\n".join(["[session.default]", *lines, ""]).encode()

    def _variables(self, client: ClientCertificate, base: Mapping[str, str]) -> dict[str, str]:
        around = _without_proxy(base)
        return {
            # Safe: a module of the project that is called like one of Python's is not the helper's.
            "AWS_CONFIG_FILE": str(self._aws_config(client, "aws-config", ("-P", "-m", "rolesanywhere_helper"))),
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_PROFILE": _PROFILE,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_EC2_METADATA_DISABLED": "true",
            **{f"AWS_ENDPOINT_URL_{service}": self.endpoint for service in map(str.upper, _SERVICES)},
            "ROLESANYWHERE_HELPER_CONFIG": str(client.config),
            # Of this test alone: another one's sets are of accounts that have been reset.
            "ROLESANYWHERE_HELPER_CACHE_DIR": str(self._folder / "cache"),
            "NO_PROXY": around,
            "no_proxy": around,
        }

    def _aws_config(self, client: ClientCertificate, ending: str, program: tuple[str, ...]) -> Path:
        """Write an AWS configuration file with the certificate's profile, and the administrator's.

        ``program`` is what Python runs as the helper.
        """
        key = self._emulator.administrators[0]
        # Nothing is remembered: a test that revokes a certificate, or takes a fault back, wants to see it at once.
        words = (sys.executable, *program, "credential-process", "--no-cache", "--config", str(client.config))
        # The flags come before what a test's environment says.
        process = (
            *words,
            *(f"--{name}={value}" for name, value in self._session(client.certificate, client.private_key).items()),
        )
        common = [f"region = {self.region}", "services = emulator"]
        lines = [
            f"[{_PROFILE}]",
            *common,
            f"credential_process = {' '.join(map(_quoted, process))}",
            f"[profile {_ADMINISTRATOR}]",
            *common,
            f"aws_access_key_id = {key.access_key_id}",
            f"aws_secret_access_key = {key.secret_access_key}",
            "[services emulator]",
            *(f"{service} =\n  endpoint_url = {self.endpoint}" for service in _SERVICES),
            "",
        ]
        path = client.config.with_suffix(f".{ending}")
        write_private(path, "\n".join(lines).encode())
        return path

    def _boto3_session(self, profile: str, client: ClientCertificate) -> Any:
        from botocore.session import Session  # noqa: PLC0415 - not every test has a use for it

        from rolesanywhere_helper.emulator.boto3_session import EmulatedSession  # noqa: PLC0415 - as above

        shield = self._folder / "shielded.py"
        write_private(shield, _SHIELD.encode())
        core: Any = Session(profile=profile)
        core.set_config_variable("config_file", str(self._aws_config(client, "shielded-config", (str(shield),))))
        core.set_config_variable("credentials_file", os.devnull)
        return EmulatedSession(core, self.region, self.endpoint, _SERVICES)


def emulator_in(directory: Path) -> AbstractContextManager[Running]:
    """Run an emulator that forgets, for as long as the context lasts."""
    return running(Settings(directory, in_memory=True))


def _without_proxy(base: Mapping[str, str]) -> str:
    """Return what NO_PROXY says in an environment, and this machine."""
    before = base.get("no_proxy") or base.get("NO_PROXY") or ""
    # A lone star is for all; in a list it would be none.
    return before if before.strip() == "*" else ",".join(filter(None, (before, _NO_PROXY)))


def _quoted(word: str) -> str:
    """Quote a word of ``credential_process`` as every SDK reads it."""
    return f'"{word}"' if " " in word else word
