"""From role to role, of the values by flag name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rolesanywhere_helper.config.values import Values
from rolesanywhere_helper.domain import endpoint
from rolesanywhere_helper.domain.role_hop import role_hop
from rolesanywhere_helper.errors import ConfigurationError, UsageError
from rolesanywhere_helper.frozen import dataclass, replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from rolesanywhere_helper.config.values import Value
    from rolesanywhere_helper.domain.endpoint import Endpoint
    from rolesanywhere_helper.domain.role_hop import RoleHop

OF_THE_LAST_HOP = ("external-id", "session-tags", "transitive-tag-keys")
"""What is said of the last role that is gone on to."""
OF_A_FIRST_SESSION = ("assume-role-arn", *OF_THE_LAST_HOP)
"""What a session that signs itself says of roles to go on to; all else it says is of CreateSession."""


@dataclass(frozen=True, slots=True)
class HopDefaults:
    """Where STS is called unless a session says something of it.

    ``proxy_for`` returns the URL of the proxy on the way to an endpoint, or None; it is itself None where no proxy is
    to be used.
    """

    region: str
    sts_endpoint: str | None
    use_fips: bool = False
    use_dualstack: bool = False
    proxy_for: Callable[[Endpoint], str | None] | None = None


@dataclass(frozen=True, slots=True)
class _Step:
    """One role to go on to: the name of its session if it has one, and what is said of it."""

    name: str | None
    role_arn: str
    own: Values


def make_hops(
    written: Iterable[tuple[str | None, Mapping[str, Value]]], typed: Mapping[str, Value], defaults: HopDefaults
) -> tuple[RoleHop, ...]:
    """Make the steps from role to role: those ``written`` first, each with its session's name, then what was typed.

    Raises:
        UsageError: something is said of a role to go on to, and there is none, or it breaks a rule of the service.
        InvalidParameterError: a proxy is to be used, and the environment names none that can be, or it cannot be told
            where STS is.

    """
    written = tuple(written)
    steps = [step for name, own in written for step in _steps(name, Values(own))]
    loose = _without_a_role(written, is_role_typed="assume-role-arn" in typed and not steps)
    steps += _steps(None, Values({flag: typed[flag] for flag in ("assume-role-arn",) if flag in typed}))
    of_the_last = {**loose, **{flag: typed[flag] for flag in OF_THE_LAST_HOP if flag in typed}}
    if of_the_last and not steps:
        raise UsageError(f"--{next(iter(of_the_last))} is for a role to go on to", "give --assume-role-arn too")
    if steps:
        steps[-1] = _Step(steps[-1].name, steps[-1].role_arn, Values({**steps[-1].own.by_name, **of_the_last}))
    return tuple(_hop(step, Values(typed).text("sts-endpoint"), defaults) for step in steps)


def _without_a_role(
    written: Iterable[tuple[str | None, Mapping[str, Value]]], *, is_role_typed: bool
) -> Mapping[str, Value]:
    """Return what is written of a role that is not: it is for the one that was typed."""
    for name, own in written:
        loose = {flag: own[flag] for flag in OF_THE_LAST_HOP if flag in own and "assume-role-arn" not in own}
        if loose and is_role_typed:
            return loose
        if loose:
            raise ConfigurationError(
                f"{next(iter(loose))} in [session.{name}] is for a role to go on to, and the session names none",
                "write assume-role-arn there too, or leave it out",
            )
    return {}


def _steps(name: str | None, own: Values) -> list[_Step]:
    """Take the roles of one session apart: what else it says is for the last of them."""
    if "assume-role-arn" not in own.by_name:
        return []
    roles = own.names("assume-role-arn")
    if not all(roles) or not roles:  # where a variable was empty, the credentials would be those of the role before
        raise UsageError("an assume-role-arn is empty", "name the role to go on to, or leave it out")
    *between, last = roles
    return [*(_Step(None, arn, Values({})) for arn in between), _Step(name, last, own)]


def _hop(step: _Step, typed_endpoint: str | None, defaults: HopDefaults) -> RoleHop:
    own = step.own
    sts_endpoint = typed_endpoint or own.text("sts-endpoint") or defaults.sts_endpoint
    hop = role_hop(
        role_arn=step.role_arn,
        region=own.text("region") or defaults.region,
        name=step.name,
        external_id=own.text("external-id"),
        duration_seconds=own.seconds("session-duration"),
        session_name=own.text("role-session-name"),
        tags=own.properties("session-tags"),
        transitive_tag_keys=own.names("transitive-tag-keys"),
        sts_endpoint=None if sts_endpoint is None else str(endpoint.parse_endpoint(sts_endpoint)),
        use_fips=defaults.use_fips,
        use_dualstack=defaults.use_dualstack,
    )
    return hop if defaults.proxy_for is None else replace(hop, proxy=defaults.proxy_for(_where(hop)))


def _where(hop: RoleHop) -> Endpoint:
    """Return the endpoint of STS that is asked: the one that was named, or the one that an AWS client chooses."""
    if hop.sts_endpoint is not None:
        return endpoint.parse_endpoint(hop.sts_endpoint)
    partition = hop.role_arn.partition
    return endpoint.sts_endpoint(partition, hop.region, use_fips=hop.use_fips, use_dualstack=hop.use_dualstack)
