"""The session itself: one CreateSession without the cache, whose it is, and the roles after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rolesanywhere_helper.doctor import causes
from rolesanywhere_helper.doctor.findings import Finding, Step, ok, problem_of, skipped, warning_of
from rolesanywhere_helper.errors import HelperError, IdentityError, NetworkError
from rolesanywhere_helper.frozen import dataclass
from rolesanywhere_helper.mint.deadline import within
from rolesanywhere_helper.protocol import create_session
from rolesanywhere_helper.protocol.sigv4_x509 import sign_request
from rolesanywhere_helper.protocol.status import rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rolesanywhere_helper.config.settings import SessionSettings
    from rolesanywhere_helper.doctor.configuration import Asked
    from rolesanywhere_helper.doctor.doors import Doors
    from rolesanywhere_helper.domain.credentials import Credentials
    from rolesanywhere_helper.domain.ports import Identity
    from rolesanywhere_helper.mint.deadline import Progress

_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Made:
    """What came of CreateSession; the finding is of the step ``key`` where nothing could be signed."""

    finding: Finding
    credentials: Credentials | None = None


def make(settings: SessionSettings, identity: Identity, circumstances: causes.Circumstances, doors: Doors) -> Made:
    """Ask once; a second attempt would hide what the first one met.

    What the key has to say when it is to sign is a finding of the key.
    """
    try:
        # A key that asks for a PIN before each signature asks now: the service has not heard anything yet.
        credentials = doors.attended(
            lambda: within(_SECONDS, lambda progress: _ask(settings, identity, doors, progress))
        )
    except IdentityError as error:
        return Made(problem_of(Step.KEY, error))
    except HelperError as error:
        return Made(problem_of(Step.CREATE_SESSION, error, causes.hints(error, circumstances)))
    until = rfc3339(credentials.expires_at)
    return Made(
        ok(Step.CREATE_SESSION, f"the service gave credentials for {credentials.role_arn} until {until}", until=until),
        credentials,
    )


def _ask(settings: SessionSettings, identity: Identity, doors: Doors, progress: Progress) -> Credentials:
    progress.enter("signing")
    unsigned = create_session.build(settings.spec, settings.connection.endpoint)
    request = sign_request(unsigned, identity, region=settings.spec.region, at=int(doors.clock.now()))
    progress.enter(f"talking to {settings.connection.endpoint.host}")
    answer = doors.transport(settings).send(request, _SECONDS)
    return create_session.parse(answer, settings.spec, doors.clock.now())


def look_at_caller(settings: SessionSettings, credentials: Credentials, doors: Doors) -> Finding:
    """Ask STS; where it cannot be reached the credentials may still be good for what they are wanted for."""
    try:
        arn = doors.caller(credentials, settings)
    except NetworkError as error:
        return warning_of(Step.CALLER_IDENTITY, error)
    except HelperError as error:
        return problem_of(Step.CALLER_IDENTITY, error)
    return ok(Step.CALLER_IDENTITY, f"STS knows the credentials as {arn}", arn=arn)


def go_on(settings: SessionSettings, first: Credentials, asked: Asked, doors: Doors) -> Iterator[Finding]:
    """Go on from role to role, as far as it leads."""
    if not settings.hops:
        yield skipped(Step.ROLE_CHAINING, "no role is gone on to (--assume-role-arn)")
        return
    current = first
    for hop in settings.hops:
        try:
            current = doors.assume(hop, current, settings.connection)
        except HelperError as error:
            yield problem_of(Step.ROLE_CHAINING, error, causes.hints_for_hop(error, hop, current, asked))
            return
        yield ok(Step.ROLE_CHAINING, f"STS let it go on to {hop.role_arn}", roleArn=str(hop.role_arn))
