"""The service itself: a request as it arrived goes in, what to answer comes out. No socket, no web library.

An operation is a method that fills in its entry in the request list, and returns an answer or raises a refusal.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rolesanywhere_helper.emulator import create_session, signatures, sigv4, sts
from rolesanywhere_helper.emulator.answers import (
    Answer,
    Refusal,
    json_answer,
    json_refusal,
    xml_answer,
    xml_refusal,
)
from rolesanywhere_helper.emulator.faults import Fault, Faults
from rolesanywhere_helper.emulator.issuing import Grant, Issuer
from rolesanywhere_helper.emulator.journal import Entry, Journal

if TYPE_CHECKING:
    from collections.abc import Callable

    from rolesanywhere_helper.emulator.arrival import Arrival
    from rolesanywhere_helper.emulator.state import State

_STS_ACTIONS = ("GetCallerIdentity", "AssumeRole")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, how many seconds later it is to be sent, and whether only half of it."""

    answer: Answer
    delay_seconds: float = 0.0
    truncate: bool = False


class Service:
    """One Roles Anywhere region and the STS beside it.

    ``now`` returns seconds since the epoch; ``persist`` is called with every new state.
    """

    def __init__(
        self, state: State, now: Callable[[], float], persist: Callable[[State], None], *, lenient: bool = False
    ) -> None:
        self._state = state
        self._now = now
        self._persist = persist
        self._lenient = lenient
        self._issuer = Issuer(bytes.fromhex(state.sealing_key))
        self.faults = Faults()
        self.journal = Journal()

    @property
    def state(self) -> State:
        """The account as it is now."""
        return self._state

    def change_state(self, change: Callable[[State], State]) -> State:
        """Change the account, and persist it.

        Raises:
            OSError: it could not be persisted; nothing changed.

        """
        changed = change(self._state)
        self._persist(changed)
        self._state = changed
        return changed

    def now(self) -> float:
        """Return the service's time, in seconds since the epoch."""
        return self._now()

    def handle(self, arrival: Arrival) -> Reply:
        """Judge a request, note it, and say what to answer."""
        entry = Entry(_timestamp(self._now()), "Unknown")
        self.journal.add(entry)
        if arrival.path == "/sessions" and arrival.method == "POST":
            return self._perform("CreateSession", entry, self._create_session, json_refusal, arrival)
        if arrival.path == "/" and arrival.method in {"GET", "POST"}:
            return self._sts(entry, arrival)
        return Reply(_note(entry, json_refusal(Refusal("UnknownOperationException", "Unknown operation", 404))))

    def _sts(self, entry: Entry, arrival: Arrival) -> Reply:
        form = sts.read_form(arrival)
        try:
            action = sts.require_action(form, _STS_ACTIONS)
        except Refusal as refusal:
            return Reply(_note(entry, xml_refusal(refusal), refusal))
        perform = self._get_caller_identity if action == "GetCallerIdentity" else self._assume_role
        return self._perform(action, entry, perform, xml_refusal, arrival)

    def _perform(
        self,
        operation: str,
        entry: Entry,
        perform: Callable[[Arrival, Entry, Fault], Answer],
        refuse: Callable[[Refusal], Answer],
        arrival: Arrival,
    ) -> Reply:
        entry.operation = operation
        fault = self.faults.take(operation)
        refusal = None
        try:
            _fail_as_ordered(fault)
            answer = perform(arrival, entry, fault)
        except Refusal as caught:
            refusal, answer = caught, refuse(caught)
        answer = _note(entry, _spoilt(answer, fault), refusal)
        return Reply(answer, fault.delay_seconds or 0.0, truncate=bool(fault.truncate))

    def _create_session(self, arrival: Arrival, entry: Entry, fault: Fault) -> Answer:
        now = self._now()
        if not arrival.values("authorization"):
            raise Refusal("MissingAuthenticationTokenException", "Missing Authentication Token")
        leaf, chain = signatures.read_certificates(arrival)
        entry.serial = str(leaf.serial_number)
        deviations = signatures.verify(arrival, leaf, self._state.region, now)
        entry.flags = tuple(deviations)
        if not self._lenient:
            signatures.require_none(deviations)
        parameters = create_session.read_parameters(arrival)
        entry.role_arn, entry.role_session_name = parameters.role_arn, parameters.role_session_name
        grant = create_session.authorize(self._state, parameters, leaf, chain, now)
        grant = _note_grant(entry, _expiring(grant, fault, now))
        subject_arn = self._state.subject_arn(leaf.subject.public_bytes())
        document = create_session.response(grant, self._issuer.issue(grant), _timestamp(grant.expires_at), subject_arn)
        return json_answer(201, document)

    def _get_caller_identity(self, arrival: Arrival, entry: Entry, _: Fault) -> Answer:
        caller = sigv4.verify(arrival, self._issuer, sts.SERVICE, self._now())
        entry.role_arn, entry.role_session_name = caller.role_arn, caller.session_name
        return xml_answer("GetCallerIdentity", sts.caller_identity(caller))

    def _assume_role(self, arrival: Arrival, entry: Entry, fault: Fault) -> Answer:
        now = self._now()
        caller = sigv4.verify(arrival, self._issuer, sts.SERVICE, now)
        form = sts.read_form(arrival)
        entry.role_arn, entry.role_session_name = form.get("RoleArn"), form.get("RoleSessionName")
        grant = sts.assume_role(self._state, caller, form, now)
        grant = _note_grant(entry, _expiring(grant, fault, now))
        return xml_answer("AssumeRole", sts.assumed(grant, self._issuer.issue(grant), _timestamp(grant.expires_at)))


def _fail_as_ordered(fault: Fault) -> None:
    if fault.error_status is not None:
        raise Refusal(fault.error_kind, fault.message or "An ordered fault", fault.error_status, "a fault")


def _expiring(grant: Grant, fault: Fault, now: float) -> Grant:
    if fault.expires_in_seconds is None:
        return grant
    return replace(grant, expires_at=int(now) + fault.expires_in_seconds)


def _note_grant(entry: Entry, grant: Grant) -> Grant:
    entry.access_key_id, entry.role_session_name = grant.access_key_id, grant.session_name
    return grant


def _spoilt(answer: Answer, fault: Fault) -> Answer:
    return replace(
        answer,
        status=fault.status or answer.status,
        body=answer.body if fault.body is None else fault.body.encode("utf-8"),
        headers=answer.headers + (fault.headers or ()),
    )


def _note(entry: Entry, answer: Answer, refusal: Refusal | None = None) -> Answer:
    entry.status = answer.status
    if refusal is not None:
        entry.error, entry.reason = refusal.message, refusal.reason
    return answer


def _timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
