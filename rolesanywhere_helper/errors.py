"""Everything that can go wrong, as one tree.

.. code-block:: text

    HelperError                        exit code 1
    ├── UsageError                     2   what was asked cannot be done as asked; nothing was sent
    │   ├── ConfigurationError             the configuration file
    │   │   └── NotYetError            1       what it names is not on this machine, and may yet come
    │   ├── InvalidArnError                an ARN, or one that does not fit the others
    │   ├── InvalidParameterError          duration, role session name, region, endpoint …
    │   └── MissingExtraError              an optional dependency is not installed
    ├── UnwritableOutputError          1   nobody could be given the answer
    ├── UnwritableFileError            1   a file of the user's that cannot be rewritten
    ├── ProgramNotFoundError           127 what exec was to run is not there
    ├── ProgramNotStartedError         126 … or cannot be run
    ├── UnreadableAwsFileError         1   an AWS credentials or config file that the AWS CLI could not read either
    ├── UnsafeFileError                1   a file that others could have changed, or that is no plain file
    │   └── UnsafeConfigurationError   2       the configuration file is such a one
    ├── AgentError                     1   the daemon of this machine gave no credentials
    ├── MintChildError                 1   the daemon's child process gave no answer
    │   └── ChildNotStartedError           there was none: descriptors, processes or memory are used up
    ├── IdentityError                  1   certificate or key
    │   ├── UnreadableCertificateError, UnreadableKeyError, EncryptedKeyError, UnsupportedKeyError
    │   ├── WrongSecretError, PinRefusedError, TokenError, ObjectNotFoundError, AmbiguousObjectError, WorkloadApiError
    │   ├── SilentSourceError              a command or descriptor gave no end in time
    │   ├── KeyMismatchError
    │   └── UnusableLeafError
    │       └── LeafExpiredError, LeafNotYetValidError, LeafIsCaError, LeafVersionError,
    │           LeafLacksDigitalSignatureError
    ├── ServiceError                   1   the service answered, and said no
    │   ├── RefusedError                   it will say no again until something is changed
    │   │   └── InvalidSignatureError, ClockSkewError, UntrustedCertificateError,
    │   │       InsufficientCertificateError, CertificateRevokedError, RoleSessionNameRefusedError,
    │   │       InvalidProfileError, RoleNotInProfileError, TrustAnchorNotFoundError,
    │   │       AssumeRoleDeniedError, SessionTagMappingError, DurationTooLongError, HopRefusedError
    │   ├── ThrottledError                 too many calls
    │   ├── ServiceUnavailableError        the service has a problem of its own
    │   └── BadAnswerError                 an answer that cannot be trusted
    │       └── WrongRoleError, BadExpirationError
    └── NetworkError                   3   nothing reachable
        ├── UnresolvedHostError, DeadlineExceededError
        ├── ConnectionFailedError
        │   └── TruncatedAnswerError   1       something was reached, and broke off
        └── TlsError, RedirectRefusedError
                                       1       something was reached that is not to be trusted

Every error says what happened (``str(error)``) and what to do next (``error.hint``). Neither ever holds a secret: the
text is made from names, numbers and the service's own message. ``error.code`` is stable, so that a failure can be
written to a file and read by another process (see :func:`from_code`).
"""

from __future__ import annotations

from typing import ClassVar


class HelperError(Exception):
    """The root of everything this program raises on purpose."""

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1
    default_hint: ClassVar[str] = "run the command again with --debug for more detail"

    def __init__(self, what: str, hint: str | None = None) -> None:
        """Say what happened, in one line without a trailing stop, and what to do next (a class has a default)."""
        super().__init__(what)
        self.what = what
        self.hint = self.default_hint if hint is None else hint

    def __reduce__(self) -> tuple[type[HelperError], tuple[str, str]]:
        """Travel between processes with the hint, which plain exceptions would lose."""
        return type(self), (self.what, self.hint)


# What was asked cannot be done as asked


class UsageError(HelperError):
    """Wrong flags, wrong values, a contradiction between them."""

    code = "usage"
    exit_code = 2
    default_hint = "see 'rolesanywhere-helper COMMAND --help' for flags and an example"


class ConfigurationError(UsageError):
    """The configuration file cannot be read, or says something that has no meaning."""

    code = "configuration"
    default_hint = "docs/configuration.md lists every key with an example"


class NotYetError(ConfigurationError):
    """A name or an address that this machine does not have now, and that may come by itself: sssd, DHCP, a VPN.

    So it is no usage error to a supervisor, who should try again.
    """

    code = "not-yet"
    exit_code = 1


class InvalidArnError(UsageError):
    """An ARN that is not of the form, kind, region or account it must have."""

    code = "invalid-arn"


class InvalidParameterError(UsageError):
    """A duration, name, region or endpoint that the service would refuse."""

    code = "invalid-parameter"


class MissingExtraError(UsageError):
    """Something was asked that needs an optional dependency."""

    code = "missing-extra"

    @classmethod
    def named(cls, feature: str, extra: str) -> MissingExtraError:
        """Name the feature and the exact line that installs what it needs."""
        return cls(
            f"{feature} needs packages that are not installed",
            f"pip install 'rolesanywhere-helper[{extra}]'",
        )


# Output and files


class UnwritableOutputError(HelperError):
    """Standard output is closed, or the file behind it is full."""

    code = "unwritable-output"
    default_hint = "check where standard output leads: is it closed, or the disk behind it full?"


class UnwritableFileError(HelperError):
    """A file that was to be rewritten and cannot be: no room, no permission, or somebody else has its lock."""

    code = "unwritable-file"


class ProgramNotFoundError(HelperError):
    """The program that ``exec`` was to run is not there; the exit code is that of env(1)."""

    code = "program-not-found"
    exit_code = 127
    default_hint = "check its name and PATH; a script also needs the program in its first line (#!)"


class ProgramNotStartedError(HelperError):
    """The program that ``exec`` was to run is there and cannot be run; the exit code is that of env(1)."""

    code = "program-not-started"
    exit_code = 126
    default_hint = "it must be executable (chmod +x), and a script must begin with a line like #!/bin/sh"


class UnreadableAwsFileError(HelperError):
    """An AWS credentials or config file that AWS clients could not read, or would not read as it is meant."""

    code = "unreadable-aws-file"
    default_hint = "correct the file there; 'aws configure list-profiles' says whether it can be read"


class UnsafeFileError(HelperError):
    """A file that somebody else could have written, or that is not a plain file of a sane size."""

    code = "unsafe-file"


class UnsafeConfigurationError(UnsafeFileError):
    """The configuration file is one that somebody else could have written, or no plain file."""

    code = "unsafe-configuration"
    exit_code = 2


# The daemon


class AgentError(HelperError):
    """The daemon of this machine was asked for a session, and gave no credentials."""

    code = "agent"
    default_hint = "see the daemon's log: journalctl -u rolesanywhere-helper"


class MintChildError(HelperError):
    """The process that the daemon started to make a session crashed, hung, or gave an answer that has no meaning."""

    code = "mint-child"
    default_hint = (
        "see the log lines of that process with --debug; 'rolesanywhere-helper credential-process --no-cache' with the "
        "same session shows whether it works by itself"
    )


class ChildNotStartedError(MintChildError):
    """The process that makes a session could not be started: nothing was asked of anybody."""

    code = "child-not-started"
    default_hint = "raise the limits of the service: LimitNOFILE=, TasksMax=, MemoryMax="


# Certificate and key


class IdentityError(HelperError):
    """The certificate or the private key cannot be used."""

    code = "identity"


class UnreadableCertificateError(IdentityError):
    """No certificate could be read from where it was said to be."""

    code = "unreadable-certificate"
    default_hint = "give a PEM file that begins with the leaf: -----BEGIN CERTIFICATE-----"


class UnreadableKeyError(IdentityError):
    """No private key could be read from where it was said to be."""

    code = "unreadable-key"
    default_hint = "give a private key as PEM or DER (PKCS#8, PKCS#1 or SEC1), or a PKCS#12 file"


class EncryptedKeyError(IdentityError):
    """The private key, or its token, needs a passphrase or PIN that was not given.

    ``needs`` is the name of the secret's flag (``pkcs8-password`` …), for who can ask somebody.
    """

    code = "encrypted-key"

    def __init__(self, what: str, hint: str | None = None, needs: str | None = None) -> None:
        super().__init__(what, hint)
        self.needs = needs


class WrongSecretError(IdentityError):
    """The passphrase does not open the private key."""

    code = "wrong-secret"
    default_hint = "check the file or variable that the passphrase comes from: one newline at its end is not counted"


class PinRefusedError(IdentityError):
    """The token refused the PIN; it is not tried again until key, token or PIN source change."""

    code = "pin-refused"
    default_hint = "correct the PIN where it comes from: it is not tried again before, so that the token is not locked"


class TokenError(IdentityError):
    """A token, its library or a TPM cannot be used."""

    code = "token"
    default_hint = "check that the token is plugged in and its library installed: p11-kit list-modules"


class ObjectNotFoundError(IdentityError):
    """There is no such certificate or key in a token."""

    code = "object-not-found"
    default_hint = "list what is there: rolesanywhere-helper read-certificate-data --certificate pkcs11:"


class AmbiguousObjectError(IdentityError):
    """More than one certificate or key fits what was asked for."""

    code = "ambiguous-object"
    default_hint = "name one of them"


class WorkloadApiError(IdentityError):
    """The SPIFFE Workload API gives no certificate."""

    code = "workload-api"
    default_hint = "check that the SPIFFE agent runs, and that this process has a registration entry"


class SilentSourceError(IdentityError):
    """A command or descriptor that certificate, key or passphrase come from gave no end in time."""

    code = "silent-source"
    default_hint = "try the command in a shell: it must print the value and end, without asking anybody"


class UnsupportedKeyError(IdentityError):
    """The key's type, size or curve is not one that the service accepts."""

    code = "unsupported-key"
    default_hint = "use an RSA key of 2048 to 4096 bits, an EC key on P-256, P-384 or P-521, or an ML-DSA key"


class KeyMismatchError(IdentityError):
    """The private key does not belong to the certificate."""

    code = "key-mismatch"
    default_hint = "give the key that the certificate was requested with; after a renewal both files must be replaced"


class UnusableLeafError(IdentityError):
    """The service would refuse this leaf (user guide, "trust model": end entity certificates)."""

    code = "unusable-leaf"


class LeafExpiredError(UnusableLeafError):
    """The leaf's notAfter has passed."""

    code = "leaf-expired"
    default_hint = "renew the certificate, or check this machine's clock"


class LeafNotYetValidError(UnusableLeafError):
    """The leaf's notBefore has not come."""

    code = "leaf-not-yet-valid"
    default_hint = "check this machine's clock, or wait until the certificate begins to be valid"


class LeafIsCaError(UnusableLeafError):
    """The leaf is a CA certificate."""

    code = "leaf-is-ca"
    default_hint = "use an end-entity certificate (basicConstraints CA:FALSE) that the CA issued, not the CA's own"


class LeafVersionError(UnusableLeafError):
    """The leaf is not X.509 version 3."""

    code = "leaf-version"
    default_hint = "re-issue the certificate with extensions: the service accepts only X.509 v3"


class LeafLacksDigitalSignatureError(UnusableLeafError):
    """The leaf's keyUsage does not include digitalSignature."""

    code = "leaf-lacks-digital-signature"
    default_hint = "re-issue the certificate with keyUsage = critical, digitalSignature"


# The service's answers


class ServiceError(HelperError):
    """The service answered, but not with credentials."""

    code = "service"


class RefusedError(ServiceError):
    """A refusal that stands until somebody changes something (HTTP 4xx other than throttling)."""

    code = "refused"
    default_hint = "compare trust anchor, profile, role and certificate with the account's settings"


class InvalidSignatureError(RefusedError):
    """``Invalid signature``: a bad signature, or a clock that is wrong."""

    code = "invalid-signature"
    default_hint = "check this machine's clock first, then that key and certificate belong together"


class ClockSkewError(RefusedError):
    """The clocks of this machine and of the service are more than five minutes apart."""

    code = "clock-skew"
    default_hint = "set this machine's clock (timedatectl, chrony): requests are refused when it is over 5 minutes off"


class UntrustedCertificateError(RefusedError):
    """``Untrusted signing certificate``: no path from the leaf to the trust anchor."""

    code = "untrusted-certificate"
    default_hint = "give the missing intermediate with --intermediates, or the trust anchor of the CA that issued it"


class InsufficientCertificateError(RefusedError):
    """``Untrusted certificate. Insufficient certificate``: the leaf lacks what the service asks of it."""

    code = "insufficient-certificate"
    default_hint = "re-issue the certificate with keyUsage = critical, digitalSignature and CA:FALSE"


class CertificateRevokedError(RefusedError):
    """``Certificate revoked``: the serial is in an enabled CRL."""

    code = "certificate-revoked"
    default_hint = "request a new certificate: this one, or a CA that is sent with it, is on a CRL of the trust anchor"


class RoleSessionNameRefusedError(RefusedError):
    """``Not authorized to set roleSessionName``: the profile does not accept one."""

    code = "role-session-name-refused"
    default_hint = "leave --role-session-name out, or set acceptRoleSessionName on the profile"


class InvalidProfileError(RefusedError):
    """``Invalid or empty profile provided.``: unknown, deleted, or in another region."""

    code = "invalid-profile"
    default_hint = "check the profile's ARN: it must exist, be enabled and be in the trust anchor's region"


class RoleNotInProfileError(RefusedError):
    """``Requested Role isn't one of those listed in the Profile.``."""

    code = "role-not-in-profile"
    default_hint = "add the role to the profile's roles, or ask for one that is in it"


class TrustAnchorNotFoundError(RefusedError):
    """``Specified Trust Anchor wasn't found.``."""

    code = "trust-anchor-not-found"
    default_hint = "check the trust anchor's ARN and region"


class AssumeRoleDeniedError(RefusedError):
    """``Unable to assume role for …``: the role's trust policy or its condition denies."""

    code = "assume-role-denied"
    default_hint = (
        "let rolesanywhere.amazonaws.com do sts:AssumeRole, sts:TagSession and sts:SetSourceIdentity in the role's "
        "trust policy, and check its conditions on aws:SourceArn and aws:PrincipalTag"
    )


class SessionTagMappingError(AssumeRoleDeniedError):
    """``… Some attributes failed to be mapped into session tags.``."""

    code = "session-tag-mapping"
    default_hint = "change the profile's attribute mappings, or re-issue the certificate without the named values"


class DurationTooLongError(AssumeRoleDeniedError):
    """``… The requested DurationSeconds exceeds the MaxSessionDuration set for this role.``."""

    code = "duration-too-long"
    default_hint = "ask for a shorter --session-duration, or raise the role's maximum session duration"


class HopRefusedError(RefusedError):
    """STS refused to go on from one role to the next (role chaining)."""

    code = "hop-refused"
    default_hint = (
        "let the role before it do sts:AssumeRole on this role in its policy, and name that role as a principal in "
        "this role's trust policy; check the external ID"
    )


class ThrottledError(ServiceError):
    """Too many calls: the quota is 10 CreateSession a second for an account and region."""

    code = "throttled"
    default_hint = "wait a moment; leave the cache on, so that one session serves every process of this machine"


class ServiceUnavailableError(ServiceError):
    """The service answered with a 5xx, also when asked again."""

    code = "service-unavailable"
    default_hint = "try again in a moment; the AWS health dashboard tells of outages"


class BadAnswerError(ServiceError):
    """An answer that is not what the service documents; it is never used."""

    code = "bad-answer"
    default_hint = "check --endpoint, and whether a proxy answers in the service's place"


class WrongRoleError(BadAnswerError):
    """Credentials for another role than the one asked for."""

    code = "wrong-role"


class BadExpirationError(BadAnswerError):
    """An expiration that cannot be read, has passed, or lies beyond what was asked."""

    code = "bad-expiration"
    default_hint = "check this machine's clock against the service's"


# The network


class NetworkError(HelperError):
    """No answer came back."""

    code = "network"
    exit_code = 3
    default_hint = "check that the endpoint can be reached from here: DNS, firewall, proxy (--with-proxy)"


class UnresolvedHostError(NetworkError):
    """The endpoint's name has no address."""

    code = "unresolved-host"
    default_hint = "check DNS, and the region in the trust anchor's ARN"


class ConnectionFailedError(NetworkError):
    """Nothing listens there, or the connection broke."""

    code = "connection-failed"


class TruncatedAnswerError(ConnectionFailedError):
    """The connection broke in the middle of an answer; something was reached, and another attempt may pass."""

    code = "truncated-answer"
    exit_code = 1
    default_hint = "try again; if it stays so, look at the proxy or firewall in between, and at --endpoint"


class TlsError(NetworkError):
    """The peer could not prove who it is, or speaks only TLS below 1.2."""

    code = "tls"
    exit_code = 1  # something was reached
    default_hint = "behind a TLS-inspecting proxy give its CA with --ca-bundle or AWS_CA_BUNDLE"


class RedirectRefusedError(NetworkError):
    """The answer was a redirect: signed requests are never sent elsewhere."""

    code = "redirect-refused"
    exit_code = 1  # something was reached
    default_hint = "give the final address with --endpoint; a captive portal or proxy may be answering"


class DeadlineExceededError(NetworkError):
    """No complete answer within the deadline, retries included."""

    code = "deadline-exceeded"
    default_hint = "check DNS, firewall and proxy: the endpoint was reached too slowly or not at all"


def from_code(code: str, what: str, hint: str) -> HelperError:
    """Rebuild an error that another process wrote down; an unknown code becomes a plain :class:`HelperError`."""
    classes: list[type[HelperError]] = [HelperError]
    for known in classes:  # the list grows while it is read: a walk of the whole tree
        if known.code == code:
            return known(what, hint)
        classes.extend(known.__subclasses__())
    return HelperError(what, hint)
