"""From flags, environment and configuration file to settings: the first that says something wins, in this order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rolesanywhere_helper.config import document, proxy
from rolesanywhere_helper.config.environment import CONFIG_VARIABLE
from rolesanywhere_helper.config.flags import AGENT_SOCKET, REQUIRED, SECRETS, SESSION_FLAGS, flag_named
from rolesanywhere_helper.config.serve_keys import AGENT
from rolesanywhere_helper.config.settings import ConnectionSettings, ConsultedFile, LoadedSettings, SessionSettings
from rolesanywhere_helper.config.values import Value, Values, absolute, from_text
from rolesanywhere_helper.domain.endpoint import parse_endpoint, regional_endpoint
from rolesanywhere_helper.domain.identity_reference import IdentityReference, SecretSource, scheme_of
from rolesanywhere_helper.domain.role_hop import role_hop
from rolesanywhere_helper.domain.session import DEFAULT_SECONDS, session_spec
from rolesanywhere_helper.errors import ConfigurationError, UsageError
from rolesanywhere_helper.frozen import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rolesanywhere_helper.config.environment import Surroundings
    from rolesanywhere_helper.domain.role_hop import RoleHop
    from rolesanywhere_helper.domain.session import SessionSpec

    # Returns the content of a file that nobody else could have written, or None if there is none.
    Read = Callable[[str, str], bytes | None]

ARNS = ("trust-anchor-arn", "profile-arn", "role-arn")
# What the daemon's session of the same name would not know of.
_WHAT_IS_ASKED_FOR = frozenset(
    {
        *ARNS,
        "certificate",
        "private-key",
        "intermediates",
        "session-duration",
        "role-session-name",
        "instance-properties",
        "region",
        "assume-role-arn",
        "external-id",
        "session-tags",
        "transitive-tag-keys",
        "sts-endpoint",
        "cert-selector",
        "cert-directory",
    }
)
# What is said of the last role that is gone on to.
_OF_THE_LAST_HOP = ("external-id", "session-tags", "transitive-tag-keys")
_OF_HOPS = frozenset({"assume-role-arn", "sts-endpoint", *_OF_THE_LAST_HOP})
_VARIABLE = "env:"
_PIN = "pkcs11-pin"


def load_session(
    flags: Mapping[str, object], surroundings: Surroundings, read: Read, config: str | None = None
) -> LoadedSettings:
    """Work out one session.

    ``flags`` holds what was typed, by the names of :data:`~rolesanywhere_helper.config.flags.SESSION_FLAGS`, and
    ``config`` the file named with ``--config``. A configuration file is read if it or ``--session`` is named, or if
    none of the three ARNs is given. Where no session is named its only one is meant, unless all three are given.

    ``read(path, what)`` returns a file's content, None if there is none, and raises ``UnsafeFileError`` for one that
    somebody else could have written (promise 81).

    Raises:
        UsageError: what was asked is incomplete, contradictory, malformed or not supported.
        UnsafeFileError: the configuration file or CA bundle is not to be trusted.

    """
    given = given_values(flags, surroundings)
    consulted, parsed = look_up(given, surroundings, read, config)
    name = Values(given).text("session") or (None if parsed is None else _only_session(parsed))
    written = _NOTHING_WRITTEN if parsed is None or name is None else written_session(parsed, name, surroundings.home)
    made = make_session(name, written, given, surroundings=surroundings, read=read, consulted=consulted)
    agent = _agent_socket(flags, surroundings, parsed) if name is not None else None
    changed = sorted(_WHAT_IS_ASKED_FOR & given.keys())
    notes = made.notes
    if agent is not None and set(changed) - _OF_HOPS:
        notes += (f"the daemon at {agent} is not asked: {', '.join(changed)} was given besides the session's name",)
    return LoadedSettings(
        made.settings,
        surroundings.cache_directory,
        consulted,
        (*made.warnings, *warnings_of_secrets(flags, written)),
        notes,
        surroundings.in_gitlab_ci,
        None if changed else agent,
        None if set(changed) - _OF_HOPS else agent,
    )


@dataclass(frozen=True, slots=True)
class Made:
    """One session's settings, what the user should be warned of, and what the log should tell."""

    settings: SessionSettings
    warnings: tuple[str, ...]
    notes: tuple[str, ...]


def load_identity(flags: Mapping[str, object], surroundings: Surroundings) -> IdentityReference:
    """Return what flags alone name of an identity, whatever is missing of it.

    Raises:
        UsageError: a value has no meaning here.

    """
    from rolesanywhere_helper.config.files import read_trusted  # noqa: PLC0415 - most commands bring their own

    return _identity(Values(_from_flags(flags, surroundings)), surroundings, read_trusted)


@dataclass(frozen=True, slots=True)
class WrittenSession:
    """What the configuration file says of a session, by flag name.

    ``name`` is that of the first one, ``hops`` are the sessions that go on from there, in their order, each with its
    name.
    """

    name: str | None
    values: Mapping[str, Value]
    hops: tuple[tuple[str, Mapping[str, Value]], ...] = ()


_NOTHING_WRITTEN = WrittenSession(None, {})


def written_session(parsed: document.Document, name: str, home: str | None) -> WrittenSession:
    """Pick a session out of the configuration file, with those that it goes on from.

    Raises:
        ConfigurationError: there is no such session, identity or source, or a value is of the wrong type.

    """
    first, *others = parsed.way_to(name)
    hops = tuple((each, parsed.hop_values(each, home)) for each in others)
    return WrittenSession(first, parsed.session_values(first, home), hops)


def make_session(  # noqa: PLR0913 - what is written, what is given over it, and the doors to the machine
    name: str | None,
    written: WrittenSession,
    given: Mapping[str, Value],
    *,
    surroundings: Surroundings,
    read: Read,
    consulted: tuple[ConsultedFile, ...],
) -> Made:
    """Make the settings of one session of values by flag name: those ``given`` go before those ``written``.

    Raises:
        UsageError: they are incomplete, contradictory or malformed.
        UnsafeFileError: the CA bundle is not to be trusted.

    """
    # AWS's own variables are meant for every AWS program on the machine: what is written for this session knows better.
    values = Values({**_from_aws_environment(surroundings), **written.values, **given})
    _refuse_platform_stores(values)  # rather than that a certificate is missing
    _refuse_missing(values, consulted)
    spec = _spec(values)
    connection = _connection(values, spec, surroundings, read)
    hops = _hops(values, written, _hop_defaults(values, spec, connection, surroundings))
    use_cache = not values.switch("no-cache")
    first_name = written.name if hops else None
    settings = SessionSettings(
        name,
        spec,
        _identity(values, surroundings, read),
        connection,
        use_cache=use_cache,
        hops=hops,
        first_name=first_name,
    )
    return Made(settings, _warnings(connection), _notes(connection))


# Where values come from


def given_values(flags: Mapping[str, object], surroundings: Surroundings) -> dict[str, Value]:
    """Return what flags and environment say about a session, by flag name.

    Raises:
        InvalidParameterError: a value has the wrong form.
        UsageError: a value names a place that this version cannot read a certificate or key from.

    """
    return _from_environment(surroundings) | _from_flags(flags, surroundings)


def look_up(
    given: Mapping[str, Value], surroundings: Surroundings, read: Read, config: str | None
) -> tuple[tuple[ConsultedFile, ...], document.Document | None]:
    """Read the configuration file if one is meant; the document is None if there is none, or it is not needed.

    Raises:
        ConfigurationError: a session or file was named and there is none, or the file has no meaning.
        UnsafeFileError: the file is not to be trusted.

    """
    name = Values(given).text("session")
    is_named = name is not None or config is not None or surroundings.variable(CONFIG_VARIABLE) is not None
    if not is_named and any(arn in given for arn in ARNS):
        return (), None
    consulted = consult(config, surroundings, read)
    if name is None and all(arn in given for arn in ARNS):
        return consulted, None
    used = consulted[-1]
    if used.content is not None:
        return consulted, document.parse(used.path, used.content)
    if name is not None:
        looked = ", ".join(file.path for file in consulted)
        raise ConfigurationError(
            f"session {name!a} was asked for, but there is no configuration file", f"looked for: {looked}"
        )
    return consulted, None


def agent_socket_named(flags: Mapping[str, object], surroundings: Surroundings) -> str | None:
    """Return the daemon's socket that flag or environment name, as an absolute path, or None."""
    typed = flags.get(AGENT_SOCKET.name)
    for text, origin in (
        (typed, AGENT_SOCKET.option),
        (surroundings.variable(AGENT_SOCKET.variable), AGENT_SOCKET.variable),
    ):
        if isinstance(text, str) and text:
            return absolute(text, origin, surroundings.working_directory, "give the path of the daemon's socket")
    return None


def agent_socket_of(parsed: document.Document, home: str | None) -> str | None:
    """Return the socket in ``[serve.agent]``, or None.

    Raises:
        ConfigurationError: the value is no path.

    """
    agent = parsed.serve.agent
    return None if agent is None else parsed.table(agent, AGENT, home).path("socket")


def _agent_socket(
    flags: Mapping[str, object], surroundings: Surroundings, parsed: document.Document | None
) -> str | None:
    named = agent_socket_named(flags, surroundings)
    if named is not None or parsed is None:
        return named
    return agent_socket_of(parsed, surroundings.home)


def _from_flags(flags: Mapping[str, object], surroundings: Surroundings) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for flag in SESSION_FLAGS:
        given = flags.get(flag.name)
        if isinstance(given, bool):
            values[flag.name] = given
        elif isinstance(given, list):
            values[flag.name] = tuple(given)
        elif isinstance(given, str) and given:  # an empty one is as good as none, as for the official helper
            values[flag.name] = from_text(flag, given, flag.option, surroundings.working_directory)
    return values


def _from_environment(surroundings: Surroundings) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for flag in SESSION_FLAGS:
        text = surroundings.variable(flag.variable)
        if text is not None:
            values[flag.name] = from_text(flag, text, flag.variable, surroundings.working_directory)
    return values


def _from_aws_environment(surroundings: Surroundings) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for flag in SESSION_FLAGS:
        text = None if flag.aws_variable is None else surroundings.variable(flag.aws_variable)
        if flag.aws_variable is not None and text is not None:
            values[flag.name] = from_text(flag, text, flag.aws_variable, surroundings.working_directory)
    return values


def consult(config: str | None, surroundings: Surroundings, read: Read) -> tuple[ConsultedFile, ...]:
    """Read the file that was named, or look for one until there is one.

    Raises:
        ConfigurationError: one was named and is not there.
        UnsafeFileError: it is not to be trusted.

    """
    named = config or surroundings.variable(CONFIG_VARIABLE)
    if named is not None:
        path = named if named.startswith("/") else f"{surroundings.working_directory.rstrip('/')}/{named}"
        content = read(path, "configuration file")
        if content is None:
            raise ConfigurationError(f"there is no configuration file {path}", f"check --config and {CONFIG_VARIABLE}")
        return (ConsultedFile(path, content),)
    consulted: list[ConsultedFile] = []
    for path in surroundings.configuration_candidates():
        consulted.append(ConsultedFile(path, read(path, "configuration file")))
        if consulted[-1].content is not None:
            break
    return tuple(consulted)


def _only_session(parsed: document.Document) -> str | None:
    if len(parsed.sessions) > 1:
        names = ", ".join(parsed.sessions)
        raise UsageError(f"there is more than one session in {parsed.path}", f"choose one with --session: {names}")
    return next(iter(parsed.sessions), None)


# What is made of them


def _refuse_missing(values: Values, consulted: tuple[ConsultedFile, ...]) -> None:
    found = _found_by_themselves(values)
    missing = [flag_named(name) for name in REQUIRED if not values.text(name) and name not in found]
    if not missing:
        return
    flags = ", ".join(flag.option for flag in missing)
    variables = ", ".join(flag.variable for flag in missing)
    keys = ", ".join(flag.name for flag in missing)
    used = next((file.path for file in consulted if file.content is not None), "the configuration file")
    raise UsageError(
        f"missing: {flags}",
        f"give {flags}, or set {variables}, or name a --session that has {keys} in {used}",
    )


def _found_by_themselves(values: Values) -> frozenset[str]:
    """Name what need not be given, since the source of the other one has it."""
    certificate, key = values.text("certificate") or "", values.text("private-key") or ""
    if values.text("cert-directory"):
        return frozenset({"certificate", "private-key"})
    if certificate:  # it may hold the key too: a token, PKCS#12, or one PEM file with both
        return frozenset({"private-key"})
    return frozenset({"certificate"}) if scheme_of(key) == "pkcs11" else frozenset()


def _spec(values: Values) -> SessionSpec:
    duration = values.seconds("session-duration")
    return session_spec(
        trust_anchor_arn=values.text("trust-anchor-arn") or "",
        profile_arn=values.text("profile-arn") or "",
        role_arn=values.text("role-arn") or "",
        region=values.text("region") or None,
        duration_seconds=DEFAULT_SECONDS if duration is None else duration,
        role_session_name=values.text("role-session-name") or None,
        instance_properties=values.properties("instance-properties"),
    )


def _identity(values: Values, surroundings: Surroundings, read: Read) -> IdentityReference:
    _refuse_platform_stores(values)
    # A URI goes into keys of the cache, logs and questions to children: the PIN in it does not.
    certificate, its_pin = _without_pin(values.text("certificate") or "")
    private_key, pin = _without_pin(values.text("private-key") or "")
    return IdentityReference(
        certificate=certificate,
        private_key=private_key,
        intermediates=values.text("intermediates"),
        strict_key_permissions=values.switch("strict-key-permissions"),
        accept_insecure_key_file=values.switch("accept-insecure-private-key-file"),
        secrets=_with_pin(_secrets(values), pin or its_pin),
        pkcs11_library=values.text("pkcs11-lib"),
        reuse_pin=values.switch("reuse-pin"),
        no_tpm_key_password=values.switch("no-tpm-key-password"),
        certificate_selector=_selector(values.text("cert-selector"), surroundings, read),
        certificate_directory=values.text("cert-directory"),
        use_latest_expiring=values.switch("use-latest-expiring-certificate"),
    )


def _refuse_platform_stores(values: Values) -> None:
    if values.text("system-store-name"):
        raise UsageError(
            "--system-store-name names a certificate store of Windows, and there is none here",
            "choose from a directory of certificates: --cert-directory DIRECTORY --cert-selector SELECTOR",
        )
    if values.text("cert-selector") and not values.text("cert-directory"):
        raise UsageError(
            "--cert-selector alone chooses from the certificate store of Windows or macOS, and there is none here",
            "name a directory of certificates to choose from: --cert-directory DIRECTORY",
        )
    if values.text("certificate") and values.text("cert-directory"):
        raise UsageError("--certificate and --cert-directory are both given", "keep the one that is meant")


def _selector(text: str | None, surroundings: Surroundings, read: Read) -> str | None:
    """Return a selector in its one form; what stands in a file stands in the settings from then on."""
    if text is None:
        return None
    from rolesanywhere_helper.domain import certificate_selector as selectors  # noqa: PLC0415 - few use one

    path = selectors.selector_file(text)
    if path is None:
        return str(selectors.parse_selector(text))
    whole = absolute(path, "--cert-selector", surroundings.working_directory)
    content = read(whole, "certificate selector")
    if content is None:
        raise UsageError(f"there is no certificate selector {whole}", "check the path after file://")
    return str(selectors.parse_json_selector(content.decode("utf-8", "replace")))


def _secrets(values: Values) -> tuple[tuple[str, SecretSource], ...]:
    found: list[tuple[str, SecretSource]] = []
    for name in SECRETS:
        text, place = values.text(name), values.text(f"{name}-file")
        if text is not None and place is not None:
            raise UsageError(f"--{name} and --{name}-file are both given", f"keep --{name}-file")
        if place is not None:
            found.append((name, SecretSource(place)))
        elif text is not None:
            found.append((name, SecretSource(text) if text.startswith(_VARIABLE) else SecretSource(text=text)))
    return tuple(found)


def _without_pin(reference: str) -> tuple[str, SecretSource | None]:
    if scheme_of(reference) != "pkcs11":
        return reference, None
    from rolesanywhere_helper.domain.pkcs11_uri import take_pin  # noqa: PLC0415 - only where there is a token

    return take_pin(reference)


def _with_pin(
    secrets: tuple[tuple[str, SecretSource], ...], pin: SecretSource | None
) -> tuple[tuple[str, SecretSource], ...]:
    """Add the PIN of a PKCS#11 URI, where no flag says another."""
    is_said = any(name == _PIN for name, _ in secrets)
    return secrets if pin is None or is_said else (*secrets, (_PIN, pin))


def warnings_of_secrets(flags: Mapping[str, object], written: WrittenSession) -> tuple[str, ...]:
    """Warn of secrets that others may read; those in variables of the environment are nobody else's."""
    typed = [name for name in SECRETS if _is_secret_itself(flags.get(name))]
    in_file = [name for name in SECRETS if _is_secret_itself(written.values.get(name))]
    uris = [name for name in ("certificate", "private-key") if _has_pin_value(flags.get(name))]
    uris_in_file = [name for name in ("certificate", "private-key") if _has_pin_value(written.values.get(name))]
    return (
        *(f"--{name}: every user of this machine can read a command line; use --{name}-file" for name in typed),
        *(f"{name} stands in the configuration file: use {name}-file" for name in in_file),
        *(
            f"pin-value in --{name}: every user of this machine can read a command line; use pin-source"
            for name in uris
        ),
        *(f"pin-value in {name} stands in the configuration file: use pin-source" for name in uris_in_file),
    )


def _has_pin_value(reference: object) -> bool:
    pin = _without_pin(reference)[1] if isinstance(reference, str) else None
    return pin is not None and pin.text is not None


def _is_secret_itself(text: object) -> bool:
    return isinstance(text, str) and bool(text) and not text.startswith(_VARIABLE)


# From role to role


@dataclass(frozen=True, slots=True)
class _HopDefaults:
    """Where STS is called unless something is said of it."""

    region: str
    sts_endpoint: str | None


@dataclass(frozen=True, slots=True)
class _Step:
    """One role to go on to: the name of its session if it has one, and what is said of it."""

    name: str | None
    role_arn: str
    own: Values


def _hops(values: Values, written: WrittenSession, defaults: _HopDefaults) -> tuple[RoleHop, ...]:
    """Make the steps from role to role: those of the configuration file first, then what was typed."""
    steps = [step for name, own in written.hops for step in _steps(name, Values(own))]
    steps += _steps(None, Values({"assume-role-arn": values.names("assume-role-arn")}))
    of_the_last = {flag: values.by_name[flag] for flag in _OF_THE_LAST_HOP if flag in values.by_name}
    if of_the_last and not steps:
        raise UsageError(f"--{next(iter(of_the_last))} is for a role to go on to", "give --assume-role-arn too")
    if steps:
        steps[-1] = _Step(steps[-1].name, steps[-1].role_arn, Values({**steps[-1].own.by_name, **of_the_last}))
    return tuple(_hop(step, defaults) for step in steps)


def _steps(name: str | None, own: Values) -> list[_Step]:
    """Take the roles of one session apart: what else it says is for the last of them."""
    *between, last = own.names("assume-role-arn") or ("",)
    steps = [_Step(None, arn, Values({})) for arn in between]
    return [*steps, _Step(name, last, own)] if last else steps


def _hop(step: _Step, defaults: _HopDefaults) -> RoleHop:
    own = step.own
    sts_endpoint = own.text("sts-endpoint") or defaults.sts_endpoint
    return role_hop(
        role_arn=step.role_arn,
        region=own.text("region") or defaults.region,
        name=step.name,
        external_id=own.text("external-id"),
        duration_seconds=own.seconds("session-duration"),
        session_name=own.text("role-session-name"),
        tags=own.properties("session-tags"),
        transitive_tag_keys=own.names("transitive-tag-keys"),
        sts_endpoint=None if sts_endpoint is None else str(parse_endpoint(sts_endpoint)),
    )


def _hop_defaults(
    values: Values, spec: SessionSpec, connection: ConnectionSettings, surroundings: Surroundings
) -> _HopDefaults:
    endpoint = connection.endpoint
    # An emulator on this machine answers for STS too, and nobody else would know what it has issued.
    own = str(endpoint) if endpoint.is_loopback else None
    return _HopDefaults(surroundings.variable("AWS_REGION") or spec.region, values.text("sts-endpoint") or own)


# How to get there


def _connection(values: Values, spec: SessionSpec, surroundings: Surroundings, read: Read) -> ConnectionSettings:
    given = values.text("endpoint")
    if given:
        endpoint = parse_endpoint(given)
    else:
        endpoint = regional_endpoint(
            spec.trust_anchor_arn.partition,
            spec.region,
            use_fips=values.switch("use-fips-endpoint"),
            use_dualstack=values.switch("use-dualstack-endpoint"),
        )
    is_tls = endpoint.scheme == "https"
    ca_bundle = values.text("ca-bundle") if is_tls else None
    if ca_bundle is not None and read(ca_bundle, "CA bundle") is None:
        raise UsageError(f"there is no CA bundle {ca_bundle}", "check --ca-bundle and AWS_CA_BUNDLE")
    chosen = proxy.proxy_for(endpoint, surroundings) if values.switch("with-proxy") else None
    return ConnectionSettings(endpoint, ca_bundle, chosen, verify_tls=not values.switch("no-verify-ssl"))


def _warnings(connection: ConnectionSettings) -> tuple[str, ...]:
    if connection.verify_tls:
        return ()
    danger = "anybody on the way can read and replace the credentials"
    return (f"the endpoint's TLS certificate is NOT verified (--no-verify-ssl): {danger}",)


def _notes(connection: ConnectionSettings) -> tuple[str, ...]:
    if connection.proxy_shown is None:
        return ()
    return (f"CreateSession goes through the proxy {connection.proxy_shown} (--with-proxy)",)
