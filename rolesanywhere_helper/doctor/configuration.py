"""Configuration: which file and session are meant, what comes from where, and what shadows what."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING

from rolesanywhere_helper.config.environment import CACHE_VARIABLE, CONFIG_VARIABLE
from rolesanywhere_helper.config.files import read_trusted
from rolesanywhere_helper.config.flags import AGENT_SOCKET, IDENTITY_FLAGS, PREFIX, SESSION_FLAGS, flag_named
from rolesanywhere_helper.config.load import (
    given_values,
    load_identity,
    load_session,
    look_up,
    written_session,
)
from rolesanywhere_helper.config.values import Values
from rolesanywhere_helper.doctor.findings import Finding, Hint, Step, hint_of, ok, problem_of, warning
from rolesanywhere_helper.domain.identity_reference import scheme_of
from rolesanywhere_helper.errors import HelperError, InvalidArnError, InvalidParameterError
from rolesanywhere_helper.frozen import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rolesanywhere_helper.config.environment import Surroundings
    from rolesanywhere_helper.config.settings import LoadedSettings
    from rolesanywhere_helper.config.values import Value
    from rolesanywhere_helper.domain.identity_reference import IdentityReference

# Read, but no session flag's.
_OTHER_VARIABLES = frozenset({CONFIG_VARIABLE, CACHE_VARIABLE, AGENT_SOCKET.variable, f"{PREFIX}INSIDE_AWS_CLIENT"})

_ROLE_SESSION = re.compile(r"arn:([a-z-]+):sts::(\d{12}):assumed-role/([^/\s]+)/\S+", re.ASCII)
# What stands in an ARN, and the flag for it.
_KINDS = {"trust-anchor": "--trust-anchor-arn", "profile": "--profile-arn"}


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be looked at: the session flags as typed, ``--config``, and where the command was started."""

    flags: Mapping[str, object]
    config: str | None
    surroundings: Surroundings


@dataclass(frozen=True, slots=True)
class Configured:
    """What came of it: the settings if they are whole, and the identity as far as one is named."""

    findings: tuple[Finding, ...]
    loaded: LoadedSettings | None = None
    identity: IdentityReference | None = None


def configure(asked: Asked) -> Configured:
    """Work out the session, and tell where it comes from."""
    try:
        loaded = load_session(asked.flags, asked.surroundings, read_trusted, asked.config)
    except HelperError as error:
        found = problem_of(Step.CONFIGURATION, error, _hints(error, asked))
        return Configured((found,), identity=_identity_anyway(asked))
    told = ok(
        Step.CONFIGURATION,
        _summary(loaded),
        session=loaded.settings.name,
        file=_used(loaded),
        lookedFor=[file.path for file in loaded.consulted],
    )
    warnings = (warning(Step.CONFIGURATION, "setting", text, _hint_of_setting(text)) for text in loaded.warnings)
    return Configured((told, *warnings), loaded, loaded.settings.identity)


def _hints(error: HelperError, asked: Asked) -> Iterator[Hint]:
    """Say more than the error can, which does not know who said what."""
    if isinstance(error, InvalidArnError):
        yield from _hints_for_arn(error)
    if isinstance(error, InvalidParameterError) and "FIPS" in error.what:
        yield leave_out(asked, "use-fips-endpoint")
    yield hint_of(error.hint)


def _hints_for_arn(error: InvalidArnError) -> Iterator[Hint]:
    what, _, arn = error.what.partition(": ")
    if arn != arn.strip():
        yield Hint("it has a blank at its beginning or end: take that out")
        return
    session = _ROLE_SESSION.fullmatch(arn)
    if session is not None:
        yield Hint(f"it is that of a session; the role's is arn:{session[1]}:iam::{session[2]}:role/{session[3]}")
    for other, flag in _KINDS.items():
        if f":{other}/" in arn and not what.endswith(other.replace("-", " ")):
            yield Hint(f"it belongs to {flag}: are the ARNs swapped?")


def look_at_environment(asked: Asked) -> Iterator[Finding]:
    """Tell which variables decide, which shadow the configuration file, and which nobody reads."""
    here = asked.surroundings
    written = _written(asked)
    used: list[str] = []
    shadowing: list[Finding] = []
    for flag in SESSION_FLAGS:
        if here.variable(flag.variable) is None or asked.flags.get(flag.name):
            continue
        used.append(flag.variable)
        if flag.name in written and _differs(asked, flag.name, written[flag.name]):
            shadowing.append(
                warning(
                    Step.ENVIRONMENT,
                    "shadowed-setting",
                    f"{flag.variable} is set, and replaces {flag.name} of the configuration file",
                    Hint("take it out of the environment, if the file is meant", f"unset {flag.variable}"),
                )
            )
    of_aws = [
        flag.aws_variable
        for flag in SESSION_FLAGS
        if flag.aws_variable is not None
        and here.variable(flag.aws_variable) is not None
        and flag.name not in written
        and not asked.flags.get(flag.name)
    ]
    strangers = list(_strangers(here))
    yield from shadowing
    yield from strangers
    if not shadowing and not strangers:
        names = [*used, *of_aws]
        what = f"used: {', '.join(names)}" if names else "no variable changes the session"
        yield ok(Step.ENVIRONMENT, what, variables=list(names))


def is_asked_for(asked: Asked, name: str) -> bool:
    """Tell whether a setting has a value that was given, wherever that was."""
    flag, here = flag_named(name), asked.surroundings
    try:
        given = given_values(asked.flags, here)
    except HelperError:
        given = {}
    value = given.get(name, _written(asked).get(name))
    if value is None and flag.aws_variable is not None:
        value = here.variable(flag.aws_variable)
    return value not in {None, False, "", "false", "False"}


def leave_out(asked: Asked, name: str) -> Hint:
    """Say how to take a setting back, by the name of its flag: whoever set it must be told."""
    flag, here = flag_named(name), asked.surroundings
    if asked.flags.get(name):
        return Hint(f"leave {flag.option} out")
    own = flag.variable if here.variable(flag.variable) is not None else None
    if own is None and name in _written(asked):
        return Hint(f"leave {name} out of the session in the configuration file")
    of_aws = flag.aws_variable if flag.aws_variable and here.variable(flag.aws_variable) is not None else None
    variable = own or of_aws
    if variable is None:
        return Hint(f"leave {flag.option} out")
    return Hint(f"{variable} sets it: take that out of the environment", f"unset {variable}")


def _strangers(here: Surroundings) -> Iterator[Finding]:
    known = {flag.variable for flag in SESSION_FLAGS} | _OTHER_VARIABLES
    for name in sorted(here.environment):
        if name.startswith(PREFIX) and name not in known:
            near = get_close_matches(name, known, n=1)
            text = f"did you mean {near[0]}?" if near else "docs/configuration.md lists the variables"
            yield warning(
                Step.ENVIRONMENT, "unknown-variable", f"{name} is set, and nobody reads it", Hint(text, f"unset {name}")
            )


def _summary(loaded: LoadedSettings) -> str:
    used, name = _used(loaded), loaded.settings.name
    role = f"role {loaded.settings.role_arn}"
    if name is not None:
        return f"session {name} of {used}: {role}"
    if used is not None:
        return f"flags and environment say all, {used} is not needed: {role}"
    return f"flags and environment, no configuration file: {role}"


def _used(loaded: LoadedSettings) -> str | None:
    return next((file.path for file in loaded.consulted if file.content is not None), None)


def _written(asked: Asked) -> Mapping[str, Value]:
    """Return what the configuration file says of the session, empty where it cannot be read."""
    try:
        given = given_values(asked.flags, asked.surroundings)
        _, parsed = look_up(given, asked.surroundings, read_trusted, asked.config)
        if parsed is None:
            return {}
        name = Values(given).text("session") or (next(iter(parsed.sessions)) if len(parsed.sessions) == 1 else None)
        return {} if name is None else written_session(parsed, name, asked.surroundings.home).values
    except HelperError:
        return {}


def _differs(asked: Asked, name: str, written: Value) -> bool:
    try:
        return given_values({}, asked.surroundings).get(name) != written
    except HelperError:
        return True


def _identity_anyway(asked: Asked) -> IdentityReference | None:
    """Return the identity that is named, though the session is not whole."""
    try:
        given = given_values(asked.flags, asked.surroundings)
        values = {**_written(asked), **given}
        named = load_identity({name: values[name] for name in IDENTITY_FLAGS if name in values}, asked.surroundings)
    except HelperError:
        return None
    # A token has the certificate that belongs to its key.
    is_named = named.certificate or named.certificate_directory or scheme_of(named.private_key) == "pkcs11"
    return named if is_named else None


def _hint_of_setting(text: str) -> Hint:
    """Return what such a warning says at its end, or what is to be done about the one that does not say it."""
    _, found, advice = text.rpartition("use ")
    return Hint(f"use {advice}") if found else Hint("leave --no-verify-ssl out; give the CA with --ca-bundle FILE")


def warning_of_text(step: Step, code: str, text: str) -> Finding:
    """Take a line of warning apart: the command in brackets at its end is the hint."""
    what, bracket, rest = text.rpartition(" (")
    if bracket and rest.endswith(")"):
        return warning(step, code, what, hint_of(rest.removesuffix(")")))
    return warning(step, code, text)
