"""From flags, environment and configuration file to settings: the first that says something wins, in this order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rolesanywhere_helper.config import document, proxy
from rolesanywhere_helper.config.environment import CONFIG_VARIABLE
from rolesanywhere_helper.config.flags import AGENT_SOCKET, REQUIRED, SESSION_FLAGS, Kind, flag_named
from rolesanywhere_helper.config.hops import OF_A_FIRST_SESSION, OF_THE_LAST_HOP, HopDefaults, make_hops
from rolesanywhere_helper.config.identity import make_identity, refuse_platform_stores, warnings_of_secrets
from rolesanywhere_helper.config.serve_keys import AGENT
from rolesanywhere_helper.config.settings import ConnectionSettings, ConsultedFile, LoadedSettings, SessionSettings
from rolesanywhere_helper.config.values import Value, Values, absolute, from_text
from rolesanywhere_helper.domain.endpoint import parse_endpoint, regional_endpoint
from rolesanywhere_helper.domain.identity_reference import scheme_of
from rolesanywhere_helper.domain.session import DEFAULT_SECONDS, session_spec
from rolesanywhere_helper.errors import ConfigurationError, UsageError
from rolesanywhere_helper.frozen import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rolesanywhere_helper.config.environment import Surroundings
    from rolesanywhere_helper.domain.identity_reference import IdentityReference
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
_OF_HOPS = frozenset({"assume-role-arn", "sts-endpoint", *OF_THE_LAST_HOP})


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
        (*made.warnings, *warnings_of_secrets(flags, written.values)),
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

    return make_identity(Values(_from_flags(flags, surroundings)), surroundings, read_trusted)


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
    refuse_platform_stores(values)  # rather than that a certificate is missing
    _refuse_missing(values, consulted)
    spec = _spec(values)
    connection = _connection(values, spec, surroundings, read)
    own = {flag: value for flag, value in written.values.items() if flag in OF_A_FIRST_SESSION}
    steps = ((written.name, own), *written.hops)
    hops = make_hops(steps, given, _hop_defaults(values, given, spec, connection, surroundings))
    use_cache = not values.switch("no-cache")
    first_name = written.name if hops else None
    settings = SessionSettings(
        name,
        spec,
        make_identity(values, surroundings, read),
        connection,
        use_cache=use_cache,
        hops=hops,
        first_name=first_name,
    )
    return Made(settings, _warnings(connection), _notes(connection, hops))


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
        # An empty one is as good as none, as for the official helper, which refuses an empty number too.
        elif isinstance(given, str) and (given or flag.kind is Kind.DURATION):
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


def _hop_defaults(
    values: Values,
    given: Mapping[str, Value],
    spec: SessionSpec,
    connection: ConnectionSettings,
    surroundings: Surroundings,
) -> HopDefaults:
    endpoint = connection.endpoint
    # An emulator on this machine answers for STS too, and nobody else would know what it has issued.
    own = str(endpoint) if endpoint.is_loopback else None
    # A region that was typed for this very call goes before one that is meant for every AWS program.
    region = Values(given).text("region") or surroundings.variable("AWS_REGION") or spec.region
    return HopDefaults(
        region,
        values.text("sts-endpoint") or own,
        use_fips=values.switch("use-fips-endpoint"),
        use_dualstack=values.switch("use-dualstack-endpoint"),
        proxy_for=(lambda sts: proxy.proxy_for(sts, surroundings)) if values.switch("with-proxy") else None,
    )


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


def _notes(connection: ConnectionSettings, hops: tuple[RoleHop, ...]) -> tuple[str, ...]:
    calls = [("CreateSession", connection.proxy), *((f"AssumeRole of {hop.role_arn}", hop.proxy) for hop in hops)]
    return tuple(
        f"{call} goes through the proxy {proxy.shown(url)} (--with-proxy)" for call, url in calls if url is not None
    )
