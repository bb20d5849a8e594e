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


SESSION_FLAGS: tuple[Flag, ...] = (
    Flag("session", Kind.TEXT, Place.NOWHERE, "take everything from [session.NAME] of the configuration file", "NAME"),
    Flag("certificate", Kind.PATH, Place.IDENTITY, "PEM file with the leaf, alone or with its chain", "FILE"),
    Flag("private-key", Kind.PATH, Place.IDENTITY, "PEM file with the leaf's private key", "FILE"),
    Flag("intermediates", Kind.PATH, Place.IDENTITY, "PEM file with intermediate certificates, in any order", "FILE"),
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
)

AGENT_SOCKET = Flag(
    "agent-socket",
    Kind.PATH,
    Place.NOWHERE,
    "unix socket of a running daemon to ask for the session first (default: [serve.agent] of the configuration file)",
    "PATH",
)
"""Of the commands that ask a daemon. It has its variable; ``serve`` has a flag of the same name and no variable."""

REQUIRED = ("certificate", "private-key", "trust-anchor-arn", "profile-arn", "role-arn")

# Known to the official helper or planned, and refused by name rather than as unknown. Names only, so that a value (it
# may be a password) is never looked at.
NOT_YET = frozenset(
    {
        "assume-role-arn",
        "cert-directory",
        "cert-selector",
        "external-id",
        "no-tpm-key-password",
        "pkcs11-lib",
        "pkcs11-pin",
        "pkcs11-pin-file",
        "pkcs12-password",
        "pkcs12-password-file",
        "pkcs8-password",
        "pkcs8-password-file",
        "reuse-pin",
        "system-store-name",
        "tpm-key-password",
        "tpm-key-password-file",
        "use-latest-expiring-certificate",
    }
)

# Schemes of certificates and keys that live elsewhere than in a file.
NOT_YET_SCHEMES = ("pkcs11:", "handle:", "env:", "fd:", "command:", "spiffe:")


def flag_named(name: str) -> Flag:
    """Return the session flag of a name.

    Raises:
        KeyError: there is none.

    """
    for flag in SESSION_FLAGS:
        if flag.name == name:
            return flag
    raise KeyError(name)
