"""The services themselves: a request as it arrived goes in, what to answer comes out. No socket, no web library.

An operation is a method that fills in its entry in the request list, and returns an answer or raises a refusal. Which
service a request is for is told by its path, and at ``/`` by the service in its credential scope.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from rolesanywhere_helper.emulator import (
    create_session,
    iam,
    management,
    model,
    query,
    signatures,
    sigv4,
    sts,
    subjects,
    unforeseen,
)
from rolesanywhere_helper.emulator.answers import (
    Answer,
    Refusal,
    json_answer,
    json_refusal,
    xml_answer,
    xml_refusal,
)
from rolesanywhere_helper.emulator.authorization import AuthorizationError, parse_authorization
from rolesanywhere_helper.emulator.faults import Fault, Faults
from rolesanywhere_helper.emulator.issuing import Grant, Issuer
from rolesanywhere_helper.emulator.journal import Entry, Journal
from rolesanywhere_helper.emulator.keys import keyring
from rolesanywhere_helper.emulator.knobs import Knobs
from rolesanywhere_helper.emulator.managing import Managing
from rolesanywhere_helper.emulator.state import account_of, as_made
from rolesanywhere_helper.emulator.throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rolesanywhere_helper.emulator.arrival import Arrival
    from rolesanywhere_helper.emulator.model import Routed
    from rolesanywhere_helper.emulator.state import State

# What rest-json services call the refusals of a signature that the query protocol has shorter names for.
_REST_KINDS = {
    "MissingAuthenticationToken": "MissingAuthenticationTokenException",
    "IncompleteSignature": "IncompleteSignatureException",
    "InvalidClientTokenId": "UnrecognizedClientException",
    "SignatureDoesNotMatch": "InvalidSignatureException",
    "ExpiredToken": "ExpiredTokenException",
}


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, how many seconds later it is to be sent, and whether only half of it."""

    answer: Answer
    delay_seconds: float = 0.0
    truncate: bool = False


class Service:
    """One Roles Anywhere region, and the STS and IAM beside it.

    ``now`` returns seconds since the epoch; ``persist`` is called with every new state. ``lenient`` accepts what the
    service only flags; ``quota_per_second`` limits CreateSession for each account.
    """

    def __init__(
        self,
        state: State,
        now: Callable[[], float],
        persist: Callable[[State], None],
        *,
        lenient: bool = False,
        quota_per_second: float | None = None,
    ) -> None:
        self._state = state
        self._clock = now
        self._persist = persist
        self._first_knobs = Knobs(lenient, quota_per_second)
        self._from_files = tuple(anchor for anchor in state.trust_anchors if anchor.source is not None)
        self._issuer = Issuer(bytes.fromhex(state.sealing_key))
        self._keys = keyring(state)
        self._unsaved = False
        self._knobs = self._first_knobs
        self._throttle = Throttle(quota_per_second)
        self.faults = Faults()
        self.journal = Journal()

    @property
    def state(self) -> State:
        """The accounts as they are now."""
        return self._state

    def change_state(self, change: Callable[[State], State]) -> State:
        """Change the accounts, and persist them.

        Raises:
            OSError: they could not be persisted; nothing changed.

        """
        changed = change(self._state)
        self._persist(changed)
        self._state = changed
        self._unsaved = False
        return changed

    @property
    def knobs(self) -> Knobs:
        """Where the knobs are now."""
        return self._knobs

    def turn(self, given: Mapping[str, Any]) -> None:
        """Turn the knobs that are given, as in JSON: all of them, or none if one makes no sense.

        Raises:
            ValueError: what makes no sense.

        """
        turned = self._knobs.turned(given)
        if "quotaPerSecond" in given:
            self._set(turned)
        else:
            self._knobs = turned

    def save(self) -> None:
        """Persist what has been noted about subjects since the last change.

        Raises:
            OSError: it could not be persisted.

        """
        if self._unsaved:
            self.change_state(lambda state: state)

    def reset(self) -> None:
        """Make everything as it was at the first start: accounts, knobs, clock, faults, and the request list.

        Raises:
            OSError: the accounts could not be persisted; nothing changed.

        """
        self.change_state(lambda state: as_made(state, self._clock(), self._from_files))
        self._set(self._first_knobs)
        self.faults.clear()
        self.journal.clear()

    def _set(self, knobs: Knobs) -> None:
        """Set the knobs, and begin the quota with full buckets."""
        self._knobs, self._throttle = knobs, Throttle(knobs.quota_per_second)

    def now(self) -> float:
        """Return the service's time, in seconds since the epoch."""
        return self._clock() + self.knobs.clock_offset_seconds

    def handle(self, arrival: Arrival) -> Reply:
        """Judge a request, note it, and say what to answer."""
        entry = Entry(_timestamp(self.now()), "Unknown")
        self.journal.add(entry)
        if arrival.path == "/sessions" and arrival.method == "POST":
            return self._perform("CreateSession", entry, self._create_session, json_refusal, arrival)
        if arrival.path == "/" and arrival.method in {"GET", "POST"}:
            return self._query(entry, arrival)
        routed = model.route(arrival.method, arrival.path)
        if routed is not None:
            return self._perform(routed.operation, entry, partial(self._manage, routed), json_refusal, arrival)
        return Reply(_note(entry, json_refusal(Refusal("UnknownOperationException", "Unknown operation", 404))))

    def _query(self, entry: Entry, arrival: Arrival) -> Reply:
        """Answer in the query protocol: STS, or IAM."""
        form = query.read_form(arrival)
        if _service_of(arrival, form.get("Version")) == iam.SERVICE:
            refuse = partial(xml_refusal, namespace=iam.NAMESPACE)
            known: dict[str, Callable[[Arrival, Entry, Fault], Answer]] = dict.fromkeys(iam.ACTIONS, self._iam)
            version = iam.VERSION
        else:
            refuse = partial(xml_refusal)
            known = {"GetCallerIdentity": self._get_caller_identity, "AssumeRole": self._assume_role}
            version = sts.VERSION
        try:
            action = query.require_action(form, known, version)
        except Refusal as refusal:
            return Reply(_note(entry, refuse(refusal), refusal))
        return self._perform(action, entry, known[action], refuse, arrival)

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
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is answered in its protocol
            refusal = unforeseen.refusal_of(error, operation)
            answer = refuse(refusal)
        answer = _note(entry, _spoilt(answer, fault), refusal)
        return Reply(answer, fault.delay_seconds or 0.0, truncate=bool(fault.truncate))

    def _create_session(self, arrival: Arrival, entry: Entry, fault: Fault) -> Answer:
        now = self.now()
        if not arrival.values("authorization"):
            raise Refusal("MissingAuthenticationTokenException", "Missing Authentication Token")
        leaf, chain = signatures.read_certificates(arrival)
        entry.serial = str(leaf.serial_number)
        deviations = signatures.verify(arrival, leaf, self._state.region, now)
        entry.flags = tuple(deviations)
        if not self.knobs.lenient:
            signatures.require_none(deviations)
        parameters = create_session.read_parameters(arrival)
        entry.role_arn, entry.role_session_name = parameters.role_arn, parameters.role_session_name
        self._throttle.take(create_session.account_asked_for(parameters), now)
        anchor = create_session.trusted_anchor(self._state, parameters, leaf, chain, now)
        moment = create_session.Moment(now, arrival.remote)
        properties = tuple(parameters.instance_properties.items())
        attempt = subjects.Attempt(account_of(anchor.arn), leaf, properties, now, failed=False)
        try:
            create_session.require_unrevoked(self._state, leaf, chain, anchor, now)
            grant = create_session.authorize(self._state, parameters, leaf, anchor, moment)
        except Refusal:
            self._note_subject(replace(attempt, failed=True))
            raise
        self._note_subject(attempt)
        entry.reason = create_session.doubt_about(grant.source_identity or "")
        grant = _note_grant(entry, _expiring(grant, fault, now))
        subject_arn = self._state.subject_arn(attempt.account, leaf.subject.public_bytes())
        document = create_session.response(grant, self._issuer.issue(grant), _timestamp(grant.expires_at), subject_arn)
        return json_answer(201, document)

    def _note_subject(self, attempt: subjects.Attempt) -> None:
        # Written with the next change, and at the end: a file for every session would cost more than the session.
        self._state = subjects.noted(self._state, attempt)
        self._unsaved = True

    def _manage(self, routed: Routed, arrival: Arrival, entry: Entry, _: Fault) -> Answer:
        try:
            caller = sigv4.verify(arrival, self._keys, management.SERVICE, self.now(), self._state.region)
        except Refusal as refusal:
            kind = _REST_KINDS.get(refusal.kind, refusal.kind)
            raise Refusal(kind, refusal.message, refusal.status, refusal.reason) from None
        _note_caller(entry, caller)
        asked = model.read_input(arrival, routed)
        managing = Managing(self._state, caller.account, caller.session_arn, self.now())
        state, document = management.perform(routed.operation, managing, asked)
        self._keep(state)
        return json_answer(routed.status, document)

    def _iam(self, arrival: Arrival, entry: Entry, _: Fault) -> Answer:
        caller = sigv4.verify(arrival, self._keys, iam.SERVICE, self.now())
        _note_caller(entry, caller)
        asked = query.read_input(iam.SERVICE, entry.operation, query.read_form(arrival))
        state, result = iam.perform(entry.operation, iam.Call(self._state, caller.account, asked, self.now()))
        self._keep(state)
        return xml_answer(entry.operation, result, iam.NAMESPACE)

    def _keep(self, state: State) -> None:
        if state is self._state:
            return
        try:
            self.change_state(lambda _: state)
        except OSError as error:
            reason = f"the accounts could not be written: {error.strerror}"
            raise Refusal("ServiceUnavailableException", "Service unavailable", 503, reason) from None

    def _get_caller_identity(self, arrival: Arrival, entry: Entry, _: Fault) -> Answer:
        caller = sigv4.verify(arrival, self._keys, sts.SERVICE, self.now())
        _note_caller(entry, caller)
        return xml_answer("GetCallerIdentity", sts.caller_identity(caller))

    def _assume_role(self, arrival: Arrival, entry: Entry, fault: Fault) -> Answer:
        now = self.now()
        caller = sigv4.verify(arrival, self._keys, sts.SERVICE, now)
        form = query.read_form(arrival)
        entry.role_arn, entry.role_session_name = form.get("RoleArn"), form.get("RoleSessionName")
        asked = query.read_input(sts.SERVICE, entry.operation, form)
        grant = sts.assume_role(self._state, caller, asked, create_session.Moment(now, arrival.remote))
        grant = _note_grant(entry, _expiring(grant, fault, now))
        return xml_answer("AssumeRole", sts.assumed(grant, self._issuer.issue(grant), _timestamp(grant.expires_at)))


def _service_of(arrival: Arrival, version: str | None) -> str:
    """Tell which service a request at ``/`` is for; the version decides where nothing is signed."""
    try:
        return parse_authorization(arrival).service
    except AuthorizationError:
        return iam.SERVICE if version == iam.VERSION else sts.SERVICE


def _fail_as_ordered(fault: Fault) -> None:
    if fault.error_status is not None:
        raise Refusal(fault.error_kind, fault.message or "An ordered fault", fault.error_status, "a fault")


def _expiring(grant: Grant, fault: Fault, now: float) -> Grant:
    if fault.expires_in_seconds is None:
        return grant
    return replace(grant, expires_at=int(now) + fault.expires_in_seconds)


def _note_caller(entry: Entry, caller: Grant) -> None:
    entry.role_arn, entry.role_session_name = caller.role_arn or None, caller.session_name


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
