"""The way to the endpoint: name, connection, TLS, and the clock at its end."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from rolesanywhere_helper import __version__
from rolesanywhere_helper.config.environment import PROXY_VARIABLES
from rolesanywhere_helper.doctor.configuration import leave_out
from rolesanywhere_helper.doctor.findings import (
    UNFORESEEN,
    Finding,
    Hint,
    Severity,
    Step,
    ok,
    problem_of,
    skipped,
    taken,
    warning,
)
from rolesanywhere_helper.domain.ports import HttpRequest
from rolesanywhere_helper.errors import ClockSkewError, HelperError, TlsError
from rolesanywhere_helper.identity.inspection import describe
from rolesanywhere_helper.protocol.create_session import TOLERANCE_SECONDS, clock_skew

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from rolesanywhere_helper.config.environment import Surroundings
    from rolesanywhere_helper.config.settings import ConnectionSettings, SessionSettings
    from rolesanywhere_helper.doctor.configuration import Asked
    from rolesanywhere_helper.doctor.doors import Doors
    from rolesanywhere_helper.domain.endpoint import Endpoint
    from rolesanywhere_helper.identity.inspection import Described

_SECONDS = 5.0
# More than this will be too much one day.
_NOTICEABLE_SECONDS = 60
_AWS_SUFFIXES = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws", ".api.amazonwebservices.com.cn", ".amazonaws.eu")
_AMAZON = "Amazon"


def look(connection: ConnectionSettings, asked: Asked, doors: Doors) -> Iterator[Finding]:
    """Go to the endpoint and shake hands; what comes after a step that failed is not looked at."""
    way: Mapping[Step, Callable[[], Finding]] = {
        Step.DNS: lambda: _dns(connection, asked, doors),
        Step.TCP: lambda: _tcp(connection, asked, doors),
        Step.TLS: lambda: _tls(connection, doors),
    }
    failed: Step | None = None
    for step, look_at in way.items():
        if failed is not None:
            yield skipped(step, f"the way ends at {failed.value}")
            continue
        found = taken(step, look_at)
        failed = step if is_closed(found) else None
        yield found


def is_of_aws(endpoint: Endpoint) -> bool:
    """Tell whether an endpoint's name is one of AWS's own."""
    return endpoint.host.endswith(_AWS_SUFFIXES)


def is_closed(found: Finding) -> bool:
    """Tell whether a finding says that the way does not lead on; a mistake of ours does not."""
    return found.severity is Severity.PROBLEM and found.code != UNFORESEEN


def look_at_clock(settings: SessionSettings, doors: Doors) -> tuple[Finding, float | None]:
    """Compare the clocks: an unsigned request costs nothing of the quota, and its answer has a date.

    Returns the finding, and by how many seconds this machine's clock is ahead, if that is known.
    """
    endpoint = settings.connection.endpoint
    headers = (
        ("Host", endpoint.authority),
        ("User-Agent", f"rolesanywhere-helper/{__version__}"),
        ("Accept-Encoding", "identity"),
        ("Connection", "close"),
    )
    request = HttpRequest("GET", f"{endpoint}/", f"{endpoint.prefix}/", headers, b"")
    try:
        answer = doors.transport(settings).send(request, _SECONDS)
    except HelperError as error:  # CreateSession itself will say whether that matters
        return skipped(Step.CLOCK, error.what), None
    skew = clock_skew(answer, doors.clock.now())
    if skew is None:
        return skipped(Step.CLOCK, f"what answers at {endpoint} tells no date"), None
    return _judged(skew), skew


def _judged(skew: float) -> Finding:
    away = f"{abs(skew):.0f} seconds {'ahead of' if skew > 0 else 'behind'} the service's"
    if abs(skew) > TOLERANCE_SECONDS:
        error = ClockSkewError(f"this machine's clock is {away}: signatures are refused beyond {TOLERANCE_SECONDS}")
        return problem_of(
            Step.CLOCK,
            error,
            (
                Hint("let this machine's clock be set by the network", "timedatectl set-ntp true"),
                Hint("see how far it is off, and who sets it (chronyc tracking)", "timedatectl timesync-status"),
            ),
        )
    if abs(skew) > _NOTICEABLE_SECONDS:
        return warning(
            Step.CLOCK,
            "clock-drifts",
            f"this machine's clock is {away}",
            Hint("let it be set by the network before it is five minutes", "timedatectl set-ntp true"),
            skewSeconds=round(skew),
        )
    return ok(Step.CLOCK, "this machine's clock and the service's agree", skewSeconds=round(skew))


# The steps


def _dns(connection: ConnectionSettings, asked: Asked, doors: Doors) -> Finding:
    name = _first_peer(connection)
    try:
        found = doors.addresses(connection)
    except HelperError as error:
        return problem_of(Step.DNS, error, _hints_for_resolving(connection, asked))
    what = f"{name} needs no name server" if list(found) == [_host_of(connection)] else f"{name} is {', '.join(found)}"
    return ok(Step.DNS, what, addresses=list(found))


def _tcp(connection: ConnectionSettings, asked: Asked, doors: Doors) -> Finding:
    try:
        address = doors.connect(connection)
    except HelperError as error:
        return problem_of(Step.TCP, error, _hints_for_connecting(connection, asked))
    return ok(Step.TCP, f"{_first_peer(connection)} answers at {address}", address=address)


def _hints_for_resolving(connection: ConnectionSettings, asked: Asked) -> Iterator[Hint]:
    if connection.proxy is None:
        yield from _proxy_that_is_not_used(asked.surroundings)
        yield Hint(f"check the region and the endpoint: is {connection.endpoint.host} the name that is meant?")
        if not is_of_aws(connection.endpoint):
            yield leave_out(asked, "endpoint")
    yield Hint("see what the name servers say", f"getent hosts {shlex.quote(_host_of(connection))}")


def _proxy_that_is_not_used(here: Surroundings) -> Iterator[Hint]:
    variable = next((name for name in PROXY_VARIABLES if here.variable(name) is not None), None)
    if variable is not None:
        yield Hint(f"{variable} is set, but a proxy is only used with --with-proxy: give that")


def _hints_for_connecting(connection: ConnectionSettings, asked: Asked) -> Iterator[Hint]:
    if connection.proxy_shown is not None:
        yield Hint(f"check the address of the proxy {connection.proxy_shown} in {' or '.join(PROXY_VARIABLES)}")
        return
    if connection.endpoint.is_loopback:
        yield Hint("start what is to answer there: it is an address of this machine (rolesanywhere-helper emulator)")
        yield Hint("for the service itself no endpoint is needed")
        yield leave_out(asked, "endpoint")
        return
    yield from _proxy_that_is_not_used(asked.surroundings)
    if not is_of_aws(connection.endpoint):
        yield leave_out(asked, "endpoint")
    yield Hint(f"open the firewall for outgoing connections to {connection.endpoint.authority}, or give --with-proxy")


def _tls(connection: ConnectionSettings, doors: Doors) -> Finding:
    endpoint = connection.endpoint
    if endpoint.scheme != "https":
        return skipped(Step.TLS, "the endpoint is plain http, on this machine alone")
    if connection.proxy is not None and connection.proxy.startswith("https:"):
        return skipped(Step.TLS, f"the proxy {connection.proxy_shown} speaks TLS itself")
    try:
        shown = describe(doors.tls_certificate(connection, verify=True))
    except TlsError as error:
        return problem_of(Step.TLS, error, _hints_for_tls(connection, error, doors))
    except HelperError as error:
        return problem_of(Step.TLS, error)
    return _judged_certificate(connection, shown)


def _judged_certificate(connection: ConnectionSettings, shown: Described) -> Finding:
    endpoint = connection.endpoint
    if not connection.verify_tls:
        return warning(
            Step.TLS,
            "tls-not-verified",
            f"the certificate of {endpoint.host}, issued by {shown.issuer}, is not verified (--no-verify-ssl)",
            Hint("leave --no-verify-ssl out; give the CA with --ca-bundle FILE"),
        )
    if is_of_aws(endpoint) and _AMAZON not in shown.issuer_organization:
        return warning(
            Step.TLS,
            "tls-inspection",
            f"the certificate of {endpoint.host} was issued by {shown.issuer}, which is not Amazon: somebody on "
            "the way reads along",
            Hint("if this is your company's TLS inspection, ask to leave this host out of it: credentials pass there"),
            issuer=shown.issuer,
        )
    return ok(Step.TLS, f"{endpoint.host} has proved who it is; issued by {shown.issuer}", issuer=shown.issuer)


def _hints_for_tls(connection: ConnectionSettings, error: TlsError, doors: Doors) -> Iterator[Hint]:
    issuer = _issuer_shown(connection, doors)
    if issuer is not None and "unknown CA" in error.what:
        bundle = connection.ca_bundle
        yield Hint(
            f"the certificate was issued by {issuer}: if that is your company's TLS inspection (or your own server), "
            f"give its CA with --ca-bundle FILE{f'; {bundle} does not hold it' if bundle else ''}"
        )
    elif issuer is not None:
        yield Hint(f"the certificate was issued by {issuer}: {error.hint}")
        return
    yield Hint(error.hint)


def _issuer_shown(connection: ConnectionSettings, doors: Doors) -> str | None:
    try:
        return describe(doors.tls_certificate(connection, verify=False)).issuer
    except HelperError:
        return None


def _first_peer(connection: ConnectionSettings) -> str:
    return connection.endpoint.host if connection.proxy is None else f"the proxy {_host_of(connection)}"


def _host_of(connection: ConnectionSettings) -> str:
    shown = connection.proxy_shown
    return connection.endpoint.host if shown is None else shown.partition("://")[2].rpartition(":")[0] or shown
