"""The whole way, step by step: what each finds, and how much of what comes after still makes sense."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rolesanywhere_helper.doctor import (
    agreement,
    aws_files,
    configuration,
    daemon,
    files,
    holder,
    network,
    resting,
    session,
)
from rolesanywhere_helper.doctor.causes import Circumstances
from rolesanywhere_helper.doctor.findings import Finding, Severity, Step, skipped
from rolesanywhere_helper.doctor.holder import Held
from rolesanywhere_helper.errors import UsageError
from rolesanywhere_helper.frozen import dataclass
from rolesanywhere_helper.identity.inspection import describe

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

    from rolesanywhere_helper.config.settings import LoadedSettings, SessionSettings
    from rolesanywhere_helper.doctor.configuration import Asked, Configured
    from rolesanywhere_helper.doctor.doors import Doors
    from rolesanywhere_helper.domain.ports import Identity

_NETWORK = (Step.ARNS, Step.DNS, Step.TCP, Step.TLS, Step.CLOCK)
_IDENTITY = (Step.CERTIFICATE, Step.KEY, Step.LEAF, Step.EXPIRY)
_SESSION = (Step.CREATE_SESSION, Step.CALLER_IDENTITY, Step.ROLE_CHAINING)


@dataclass(frozen=True, slots=True)
class Examination:
    """What is looked at: a session, the AWS files with a profile, and the trust anchor's certificate if it is given.

    ``line`` is what taking the session from the profile's line came to, where that was tried.
    """

    asked: Asked
    aws: aws_files.AwsFiles
    profile: aws_files.Selected
    line: Finding | None = None
    trust_anchor_certificate: str | None = None


@dataclass(frozen=True, slots=True)
class _Reached:
    """What was found of the network: whether the way is open, and by how much this machine's clock is ahead."""

    is_open: bool
    skew_seconds: float | None = None


def walk(examination: Examination, doors: Doors) -> Iterator[Finding]:
    """Take every step, and yield what it found at once."""
    asked = examination.asked
    is_profile_broken = yield from _aws_config(examination)
    configured = configuration.configure(asked)
    if is_profile_broken and _is_incomplete(configured):
        yield skipped(Step.CONFIGURATION, f"profile {examination.profile.name} does not say which session is meant")
    else:
        yield from configured.findings
    yield from configuration.look_at_environment(asked)
    answered = daemon.ask(asked, configured.loaded, doors)
    yield from answered.findings
    settings = None if configured.loaded is None else configured.loaded.settings
    yield from resting.look(settings, asked.surroundings.cache_directory, doors)
    reached = yield from _network(configured.loaded, asked, doors)
    held = yield from _identity(configured, doors, is_served=answered.serves_session)
    is_way_checked = yield from _chain(examination, held, doors)
    found = _circumstances(settings, held, reached, is_way_checked=is_way_checked)
    yield from _session(settings, held.identity, reached, found, doors)


def verdict(findings: Sequence[Finding], *, is_strict: bool) -> int:
    """Return the exit code: the first problem's, else 0; with ``is_strict`` a warning is a failure too."""
    first = next((each for each in findings if each.severity is Severity.PROBLEM), None)
    if first is not None:
        return first.exit_code
    return int(is_strict and any(each.severity is Severity.WARNING for each in findings))


# The groups of steps


def _is_incomplete(configured: Configured) -> bool:
    """Tell whether nobody has said which session is meant, or not all of it."""
    return configured.loaded is None and any(each.code == UsageError.code for each in configured.findings)


def _aws_config(examination: Examination) -> Generator[Finding, None, bool]:
    """Yield what the AWS files say; return whether the profile that was asked for cannot say which session is meant."""
    found = list(aws_files.look(examination.aws, examination.profile, examination.asked.surroundings.environment))
    line = examination.line
    # What is wrong with the line as a whole says more than what its words mean.
    if line is not None and (
        line.severity is Severity.OK or all(each.severity is not Severity.PROBLEM for each in found)
    ):
        found = [*(each for each in found if each.severity is not Severity.OK), line]
    yield from found
    return examination.profile.by is not None and any(each.severity is Severity.PROBLEM for each in found)


def _network(loaded: LoadedSettings | None, asked: Asked, doors: Doors) -> Generator[Finding, None, _Reached]:
    if loaded is None:
        yield from _skipped(_NETWORK, "the configuration does not say where to")
        return _Reached(is_open=False)
    settings = loaded.settings
    yield from agreement.look(settings)
    found = list(network.look(settings.connection, asked.surroundings, doors))
    yield from found
    if any(each.severity is Severity.PROBLEM for each in found):
        yield skipped(Step.CLOCK, "there is no way to the service")
        return _Reached(is_open=False)
    clock, skew = network.look_at_clock(settings, doors)
    yield clock
    return _Reached(is_open=True, skew_seconds=skew)


def _identity(configured: Configured, doors: Doors, *, is_served: bool) -> Generator[Finding, None, Held]:
    reference = configured.identity
    if reference is None:
        yield from _skipped((Step.FILES, *_IDENTITY), "no certificate is named")
        return Held(())
    in_gitlab_ci = configured.loaded is not None and configured.loaded.in_gitlab_ci
    found = list(files.look(reference, in_gitlab_ci=in_gitlab_ci))
    if is_served and any(each.code == files.NOT_ALLOWED for each in found):
        yield from _skipped((Step.FILES, *_IDENTITY), "this user may not read them, and the daemon holds the session")
        return Held(())
    yield from found
    if any(each.severity is Severity.PROBLEM for each in found):
        yield from _skipped(_IDENTITY, "the files cannot be used")
        return Held(())
    held = holder.hold(reference, doors)
    yield from held.findings
    return held


def _chain(examination: Examination, held: Held, doors: Doors) -> Generator[Finding, None, bool]:
    """Yield what is found of the chain; return whether the way to the trust anchor's certificate is whole."""
    if held.identity is None or held.described is None:
        yield skipped(Step.CHAIN, "there is no leaf that could be used")
        return False
    file = examination.trust_anchor_certificate
    found = holder.look_at_chain(held.identity, held.described, file, doors.clock.now())
    yield found
    return file is not None and found.severity is Severity.OK


def _session(
    settings: SessionSettings | None,
    identity: Identity | None,
    reached: _Reached,
    found: Circumstances | None,
    doors: Doors,
) -> Iterator[Finding]:
    if settings is None or identity is None or found is None or not reached.is_open:
        because = "there is no way to the service" if settings and identity else "there is nobody to ask for"
        yield from _skipped(_SESSION, because)
        return
    made = session.make(settings, identity, found, doors)
    yield made.finding
    if made.credentials is None:
        yield from _skipped(_SESSION[1:], "there is no session")
        return
    yield session.look_at_caller(settings, made.credentials, doors)
    yield from session.go_on(settings, made.credentials, doors)


def _circumstances(
    settings: SessionSettings | None, held: Held, reached: _Reached, *, is_way_checked: bool
) -> Circumstances | None:
    if settings is None or held.identity is None or held.described is None:
        return None
    chain = held.identity.chain_der
    top = describe((held.identity.leaf_der, *chain)[-1]).issuer
    return Circumstances(
        settings,
        reached.skew_seconds,
        held.described.subject,
        top,
        len(chain),
        is_way_checked,
        held.warnings,
        held.described.common_name,
    )


def _skipped(steps: Iterable[Step], because: str) -> Iterator[Finding]:
    return (skipped(step, because) for step in steps)
