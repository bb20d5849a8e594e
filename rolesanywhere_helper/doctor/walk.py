"""The whole way, step by step: what each finds, and how much of what comes after still makes sense."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeVar

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
from rolesanywhere_helper.doctor.configuration import Configured
from rolesanywhere_helper.doctor.findings import Finding, Severity, Step, problem_of, skipped, taken, unforeseen
from rolesanywhere_helper.doctor.holder import Held
from rolesanywhere_helper.errors import HelperError, UsageError
from rolesanywhere_helper.frozen import dataclass, replace
from rolesanywhere_helper.identity.inspection import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from rolesanywhere_helper.config.settings import LoadedSettings, SessionSettings
    from rolesanywhere_helper.doctor.configuration import Asked
    from rolesanywhere_helper.doctor.doors import Doors
    from rolesanywhere_helper.domain.ports import Identity

_Result = TypeVar("_Result")
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
    is_profile_broken = yield from _guarded((Step.AWS_CONFIG,), _aws_config(examination), otherwise=False)
    configured = yield from _guarded(
        (Step.CONFIGURATION,), _configuration(examination, is_profile_broken=is_profile_broken), Configured(())
    )
    yield from _guarded((Step.ENVIRONMENT,), _each(lambda: configuration.look_at_environment(asked)), None)
    answered = yield from _guarded((Step.DAEMON,), _daemon(asked, configured, doors), daemon.Answered(()))
    settings = None if configured.loaded is None else configured.loaded.settings
    directory = asked.surroundings.cache_directory
    home = asked.surroundings.home
    yield from _guarded((Step.CACHE,), _each(lambda: resting.look(settings, directory, doors, home)), None)
    reached = yield from _guarded(_NETWORK, _network(configured.loaded, asked, doors), _Reached(is_open=True))
    held = yield from _guarded(
        (Step.FILES, *_IDENTITY), _identity(configured, doors, is_served=answered.serves_session), Held(())
    )
    is_way_checked = yield from _guarded((Step.CHAIN,), _chain(examination, held, doors), otherwise=False)
    circumstances = partial(_circumstances, settings, held, reached, doors, is_way_checked=is_way_checked)
    yield from _guarded(_SESSION, _session(circumstances, held.identity, reached, asked, doors), None)


def verdict(findings: Sequence[Finding], *, is_strict: bool) -> int:
    """Return the exit code: the first problem's, else 0; with ``is_strict`` a warning is a failure too."""
    first = next((each for each in findings if each.severity is Severity.PROBLEM), None)
    if first is not None:
        return first.exit_code
    return int(is_strict and any(each.severity is Severity.WARNING for each in findings))


# What nobody thought of


def _guarded(
    steps: Sequence[Step], part: Generator[Finding, None, _Result], otherwise: _Result
) -> Generator[Finding, None, _Result]:
    """Yield what a part of the way finds; if it breaks off, say so, and let the rest of the way go on."""
    told: set[Step] = set()
    try:
        while True:
            finding = next(part)
            told.add(finding.step)
            yield finding
    except StopIteration as done:
        result: _Result = done.value
        return result
    except HelperError as error:
        broken = problem_of(_first_left(steps, told), error)
    except Exception as error:  # noqa: BLE001 - one step that breaks off must not end the report
        broken = unforeseen(_first_left(steps, told), error)
    yield broken
    told.add(broken.step)
    yield from _skipped((each for each in steps if each not in told), f"doctor broke off at {broken.step.value}")
    return otherwise


def _first_left(steps: Sequence[Step], told: set[Step]) -> Step:
    return next((each for each in steps if each not in told), steps[-1])


def _each(look: Callable[[], Iterable[Finding]]) -> Generator[Finding, None, None]:
    yield from look()


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


def _configuration(examination: Examination, *, is_profile_broken: bool) -> Generator[Finding, None, Configured]:
    configured = configuration.configure(examination.asked)
    if is_profile_broken and _is_incomplete(configured):
        yield skipped(Step.CONFIGURATION, f"profile {examination.profile.name} does not say which session is meant")
    else:
        yield from configured.findings
    return configured


def _daemon(asked: Asked, configured: Configured, doors: Doors) -> Generator[Finding, None, daemon.Answered]:
    answered = daemon.ask(asked, configured.loaded, doors)
    yield from answered.findings
    return answered


def _network(loaded: LoadedSettings | None, asked: Asked, doors: Doors) -> Generator[Finding, None, _Reached]:
    if loaded is None:
        yield from _skipped(_NETWORK, "the configuration does not say where to")
        return _Reached(is_open=False)
    settings = loaded.settings
    yield from agreement.look(settings, asked)
    found = list(network.look(settings.connection, asked, doors))
    yield from found
    if any(network.is_closed(each) for each in found):
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
    fault = _fault_of_chain(held, doors)
    found = holder.look_at_chain(held.identity, held.described, file, doors.clock.now(), fault)
    yield found
    return file is not None and found.severity is Severity.OK


def _fault_of_chain(held: Held, doors: Doors) -> HelperError | None:
    return None if held.identity is None else holder.fault_of_chain(held.identity, held.warnings, doors.clock.now())


def _circumstances(
    settings: SessionSettings | None, held: Held, reached: _Reached, doors: Doors, *, is_way_checked: bool
) -> Circumstances | None:
    identity, shown = held.identity, held.described
    if settings is None or identity is None or shown is None:
        return None
    sent = [describe(der) for der in (identity.leaf_der, *identity.chain_der)]
    return Circumstances(
        settings,
        reached.skew_seconds,
        shown.subject,
        top_issuer=sent[-1].issuer,
        intermediates=len(identity.chain_der),
        is_way_checked=is_way_checked,
        warnings=held.warnings,
        common_name=shown.common_name,
        fault=held.fault,
        not_before=shown.not_before,
        not_after=shown.not_after,
        now=doors.clock.now(),
        issuer=shown.issuer,
        sent=tuple((each.subject, each.serial) for each in sent),
        fault_of_chain=_fault_of_chain(held, doors),
    )


def _session(
    circumstances: Callable[[], Circumstances | None],
    identity: Identity | None,
    reached: _Reached,
    asked: Asked,
    doors: Doors,
) -> Generator[Finding, None, None]:
    found = circumstances()
    if found is None or identity is None or not reached.is_open:
        because = "there is nobody to ask for" if found is None else "there is no way to the service"
        yield from _skipped(_SESSION, because)
        return
    settings = found.settings
    found = replace(found, without_endpoint=configuration.leave_out(asked, "endpoint"))
    made = session.make(settings, identity, found, doors)
    yield made.finding
    if made.credentials is None:
        unasked = made.finding.step is not Step.CREATE_SESSION
        yield from _skipped(
            _SESSION if unasked else _SESSION[1:], "nothing is signed" if unasked else "there is no session"
        )
        return
    credentials = made.credentials
    yield taken(Step.CALLER_IDENTITY, lambda: session.look_at_caller(settings, credentials, doors))
    yield from session.go_on(settings, credentials, asked, doors)


def _skipped(steps: Iterable[Step], because: str) -> Iterator[Finding]:
    return (skipped(step, because) for step in steps)
