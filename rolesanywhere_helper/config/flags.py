"""The session flags, declared once.

The command line, the loader of environment and TOML, and the table in docs/configuration.md are all built from
:data:`SESSION_FLAGS`, so that none of them can know a flag that the others do not.
"""

from __future__ import annotations

from enum import Enum

from rolesanywhere_helper.frozen import dataclass

PREFIX = "ROLESANYWHERE_HELPER_"


class Kind(Enum):
    """What a flag's value is; the value is how the documentation calls it."""

    TEXT = "text"
    PATH = "path"
    DURATION = "duration"
    SWITCH = "switch"
    PROPERTIES = "properties"
    REFERENCE = "path or URI"
    SECRET = "secret"  # noqa: S105 - the name of a kind
    NAMES = "list of names"


class Place(Enum):
    """Where a flag may stand in the configuration file."""

    IDENTITY = "`[identity.NAME]`, `[session.NAME]`"
    SESSION = "`[session.NAME]`"
    NOWHERE = "-"


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag: its name without dashes is also its key in TOML."""

    name: str
    kind: Kind
    place: Place
    help: str
    metavar: str = ""
    toml_alias: str | None = None
    # The AWS variable that means the same, read after the flag's own.
    aws_variable: str | None = None
    # May be typed more than once: every value counts, where otherwise the last one does.
    is_repeatable: bool = False

    @property
    def option(self) -> str:
        """The flag as typed."""
        return f"--{self.name}"

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return PREFIX + self.name.upper().replace("-", "_")

    @property
    def toml_keys(self) -> tuple[str, ...]:
        """The keys that set it in the configuration file, the usual one first."""
        if self.place is Place.NOWHERE:
            return ()
        return (self.name,) if self.toml_alias is None else (self.toml_alias, self.name)


def _secret(name: str, what: str) -> tuple[Flag, Flag]:
    """Return the two flags of a secret: by value, as the official helper has it, and by the place where it is."""
    return (
        Flag(
            name,
            Kind.SECRET,
            Place.IDENTITY,
            f"{what}; on a command line every user can read it: give --{name}-file, or env:NAME",
            "SECRET",
        ),
        Flag(
            f"{name}-file",
            Kind.REFERENCE,
            Place.IDENTITY,
            f"{what}: a file that holds it, or env:NAME, fd:N, credential:NAME, command:…, prompt:",
            "FILE",
        ),
    )


SESSION_FLAGS: tuple[Flag, ...] = (
    Flag("session", Kind.TEXT, Place.NOWHERE, "take everything from [session.NAME] of the configuration file", "NAME"),
    Flag(
        "certificate",
        Kind.REFERENCE,
        Place.IDENTITY,
        "the leaf, alone or with its chain: a PEM, DER or PKCS#12 file, or a URI (docs/keys.md lists them)",
        "FILE",
    ),
    Flag(
        "private-key",
        Kind.REFERENCE,
        Place.IDENTITY,
        "the leaf's private key: a file, or a URI; not needed where the certificate's source has it",
        "FILE",
    ),
    Flag(
        "intermediates",
        Kind.REFERENCE,
        Place.IDENTITY,
        "intermediate certificates, in any order: a PEM file, or a URI",
        "FILE",
    ),
    *_secret("pkcs8-password", "passphrase of an encrypted private key"),
    *_secret("pkcs12-password", "password of a PKCS#12 file"),
    *_secret("pkcs11-pin", "PIN of the PKCS#11 token"),
    *_secret("tpm-key-password", "password of a TPM key"),
    *_secret("tpm-parent-password", "password of the TPM key's parent"),
    Flag("no-tpm-key-password", Kind.SWITCH, Place.IDENTITY, "the TPM key has no password: never ask for one"),
    Flag("pkcs11-lib", Kind.PATH, Place.IDENTITY, "PKCS#11 library (default: p11-kit's proxy)", "FILE"),
    Flag("reuse-pin", Kind.SWITCH, Place.IDENTITY, "give the PIN again for a key that asks before every signature"),
    Flag(
        "cert-selector",
        Kind.TEXT,
        Place.IDENTITY,
        "which certificate of --cert-directory: Key=x509Subject,Value=CN=host …, a JSON list, or file://PATH",
        "SELECTOR",
    ),
    Flag("cert-directory", Kind.PATH, Place.IDENTITY, "directory to choose the certificate from", "DIRECTORY"),
    Flag(
        "use-latest-expiring-certificate",
        Kind.SWITCH,
        Place.IDENTITY,
        "of several certificates that fit take the one that is valid longest",
    ),
    Flag(
        "system-store-name",
        Kind.TEXT,
        Place.IDENTITY,
        "certificate store of the platform (Windows): an error where there is none",
        "NAME",
    ),
    Flag("trust-anchor-arn", Kind.TEXT, Place.SESSION, "trust anchor that vouches for the certificate", "ARN"),
    Flag("profile-arn", Kind.TEXT, Place.SESSION, "Roles Anywhere profile that lists the role", "ARN"),
    Flag("role-arn", Kind.TEXT, Place.SESSION, "role to assume", "ARN"),
    Flag(
        "session-duration",
        Kind.DURATION,
        Place.SESSION,
        "length of the session, 900 to 43200 seconds, or for example 1h (default: 3600)",
        "SECONDS",
        toml_alias="duration",
    ),
    Flag("role-session-name", Kind.TEXT, Place.SESSION, "name of the session, if the profile accepts one", "NAME"),
    Flag(
        "instance-properties",
        Kind.PROPERTIES,
        Place.SESSION,
        "properties to send along: KEY=VALUE,KEY=VALUE or a JSON object (TOML: a table)",
        "PROPERTIES",
    ),
    Flag("region", Kind.TEXT, Place.SESSION, "region of CreateSession (default: the trust anchor's)", "REGION"),
    Flag(
        "endpoint",
        Kind.TEXT,
        Place.SESSION,
        "endpoint to call in place of the region's",
        "URL",
        aws_variable="AWS_ENDPOINT_URL_ROLESANYWHERE",
    ),
    Flag(
        "use-fips-endpoint",
        Kind.SWITCH,
        Place.SESSION,
        "call the region's FIPS endpoint; an error where there is none",
        aws_variable="AWS_USE_FIPS_ENDPOINT",
    ),
    Flag(
        "use-dualstack-endpoint",
        Kind.SWITCH,
        Place.SESSION,
        "call the region's dual-stack endpoint (IPv4 and IPv6)",
        aws_variable="AWS_USE_DUALSTACK_ENDPOINT",
    ),
    Flag(
        "ca-bundle",
        Kind.PATH,
        Place.SESSION,
        "PEM file with the CAs to trust for TLS (default: the system's)",
        "FILE",
        aws_variable="AWS_CA_BUNDLE",
    ),
    Flag("with-proxy", Kind.SWITCH, Place.SESSION, "use the proxy that HTTPS_PROXY, ALL_PROXY and NO_PROXY name"),
    Flag("no-verify-ssl", Kind.SWITCH, Place.SESSION, "DANGEROUS: do not verify the endpoint's TLS certificate"),
    Flag(
        "strict-key-permissions",
        Kind.SWITCH,
        Place.IDENTITY,
        "refuse a private key that everybody can read (default: warn)",
    ),
    Flag(
        "accept-insecure-private-key-file",
        Kind.SWITCH,
        Place.IDENTITY,
        "DANGEROUS: use a private key that other users could have replaced",
    ),
    Flag("no-cache", Kind.SWITCH, Place.SESSION, "neither read nor write the cache on disk"),
    Flag(
        "assume-role-arn",
        Kind.NAMES,
        Place.SESSION,
        "role to go on to from there, also in another account; typed more than once: from role to role",
        "ARN",
        is_repeatable=True,
    ),
    Flag("external-id", Kind.TEXT, Place.SESSION, "external ID that the last of these roles asks for", "ID"),
    Flag(
        "session-tags",
        Kind.PROPERTIES,
        Place.SESSION,
        "tags of the last role's session: KEY=VALUE,KEY=VALUE or a JSON object (TOML: a table)",
        "TAGS",
    ),
    Flag(
        "transitive-tag-keys",
        Kind.NAMES,
        Place.SESSION,
        "keys of the tags that the sessions after it keep: KEY,KEY (TOML: a list)",
        "KEYS",
    ),
    Flag(
        "sts-endpoint",
        Kind.TEXT,
        Place.SESSION,
        "endpoint of STS to go from role to role (default: the region's; for an emulator on this machine its own)",
        "URL",
        aws_variable="AWS_ENDPOINT_URL_STS",
    ),
)

AGENT_SOCKET = Flag(
    "agent-socket",
    Kind.PATH,
    Place.NOWHERE,
    "unix socket of a running daemon to ask for the session first (default: [serve.agent] of the configuration file)",
    "PATH",
)
"""Of the commands that ask a daemon. It has its variable; ``serve`` has a flag of the same name and no variable."""

IDENTITY_FLAGS: tuple[str, ...] = tuple(flag.name for flag in SESSION_FLAGS if flag.place is Place.IDENTITY)
"""The names of the flags that say who we are."""

SECRETS = ("pkcs8-password", "pkcs12-password", "pkcs11-pin", "tpm-key-password", "tpm-parent-password")
"""The flags with a secret; each has one of the same name with ``-file``."""

REQUIRED = ("certificate", "private-key", "trust-anchor-arn", "profile-arn", "role-arn")

SCHEMES = ("pkcs11", "handle", "env", "fd", "command", "spiffe", "credential")
"""How certificates and keys that are no files are named: the scheme, a colon, and what it needs."""

SECRET_SCHEMES = ("env", "fd", "command", "credential", "prompt")
"""The same for passphrases and PINs."""


def flag_named(name: str) -> Flag:
    """Return the session flag of a name.

    Raises:
        KeyError: there is none.

    """
    for flag in SESSION_FLAGS:
        if flag.name == name:
            return flag
    raise KeyError(name)
