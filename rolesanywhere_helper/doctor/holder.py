"""The identity: certificate and key, whether they belong together, and whether the service would accept the leaf."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rolesanywhere_helper.doctor.findings import (
    Finding,
    Hint,
    Step,
    hint_of,
    ok,
    problem_of,
    skipped,
    warning,
    warning_of,
)
from rolesanywhere_helper.errors import (
    HelperError,
    KeyMismatchError,
    LeafExpiredError,
    LeafNotYetValidError,
    UnreadableCertificateError,
    UnusableLeafError,
)
from rolesanywhere_helper.frozen import dataclass
from rolesanywhere_helper.identity.inspection import check_way, describe, faults_of_chain
from rolesanywhere_helper.protocol.status import rfc3339
from rolesanywhere_helper.system.inputs import explain, read_input

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rolesanywhere_helper.doctor.doors import Doors
    from rolesanywhere_helper.domain.identity_reference import IdentityReference
    from rolesanywhere_helper.domain.ports import Identity
    from rolesanywhere_helper.identity.inspection import Described

_DAY = 86_400
# Renewal is usually due at a third of a certificate's life, or a month before its end.
_EARLY_DAYS = 30
_EARLY_FRACTION = 1 / 3
# How a warning of the registry about the chain begins.
_INTERMEDIATE = "the intermediate certificate "
# How a PEM file is told that ends in the middle.
_CUT_SHORT = "cut short"
_STEPS = (Step.CERTIFICATE, Step.KEY, Step.LEAF, Step.EXPIRY)


@dataclass(frozen=True, slots=True)
class Held:
    """What was found, and the identity if it is one that can be shown to the service.

    ``warnings`` are what loading had to say, but for the permissions of the key's file. ``fault`` is what is wrong with
    a leaf that is shown to the service all the same, whose word is the last.
    """

    findings: tuple[Finding, ...]
    identity: Identity | None = None
    described: Described | None = None
    warnings: tuple[str, ...] = ()
    fault: HelperError | None = None


def hold(reference: IdentityReference, doors: Doors) -> Held:
    """Load certificate and key, once."""
    try:
        loaded = doors.load(reference)
    except UnusableLeafError as error:
        return _hold_anyway(error, reference, doors)
    except HelperError as error:
        return Held(tuple(_failed(error, reference, doors)))
    identity = loaded.identity
    # The permissions of the key's file were told with the files.
    warnings = tuple(text for text in loaded.warnings if "private key /" not in text)
    shown = describe(identity.leaf_der)
    findings = (
        _certificate(shown.subject, identity.serial, shown.issuer),
        ok(
            Step.KEY,
            f"{identity.key_type.value}, belongs to the certificate (signs with {identity.key_type.signing_algorithm})",
            keyType=identity.key_type.value,
        ),
        ok(Step.LEAF, "the service accepts such a leaf: X.509 v3, no CA, digitalSignature, SHA-256 or stronger"),
        _expiry(shown, doors.clock.now()),
        *(warning(Step.CERTIFICATE, "identity", text, _hint_of_loading(text)) for text in warnings),
    )
    return Held(findings, identity, shown, warnings)


def _hold_anyway(fault: UnusableLeafError, reference: IdentityReference, doors: Doors) -> Held:
    findings = tuple(_failed(fault, reference, doors))
    try:
        identity = doors.load(reference, accept_unusable=True).identity
        return Held(findings, identity, describe(identity.leaf_der), fault=fault)
    except HelperError:  # what is wrong has been told
        return Held(findings)


def _hint_of_loading(text: str) -> Hint:
    if text.startswith(_INTERMEDIATE):
        return Hint("replace it by the CA's new certificate, in the certificate's file or in that of --intermediates")
    return Hint("--debug shows more")


def fault_of_chain(identity: Identity, warnings: Sequence[str], now: float) -> HelperError | None:
    """Return what is wrong with a CA that is sent, where loading had not warned of that already."""
    found = faults_of_chain(identity.chain_der, now)
    return next(
        (each for each in found if not any(each.what.removeprefix("the CA ") in text for text in warnings)), None
    )


def look_at_chain(
    identity: Identity, shown: Described, anchor_file: str | None, now: float, fault: HelperError | None = None
) -> Finding:
    """Climb to the trust anchor's certificate if it was given, else tell what is sent.

    ``fault`` is what is wrong with a CA that is sent; a trust anchor that holds a lower one would not mind.
    """
    count = len(identity.chain_der)
    top = describe((identity.leaf_der, *identity.chain_der)[-1]).issuer
    sent = f"{count} intermediate certificate{'' if count == 1 else 's'}"
    if anchor_file is None and fault is not None:
        return warning_of(Step.CHAIN, fault)
    if anchor_file is None:
        return ok(
            Step.CHAIN,
            f"sends {sent}; the trust anchor must hold {top} (compare it: --trust-anchor-certificate FILE)",
            intermediates=count,
            topIssuer=top,
        )
    try:
        file = read_input(anchor_file)
        anchor = check_way(identity.leaf_der, identity.chain_der, file.content, anchor_file, now)
    except OSError as error:
        what, hint = explain(error, anchor_file)
        return problem_of(Step.CHAIN, UnreadableCertificateError(what, hint))
    except HelperError as error:
        return problem_of(Step.CHAIN, error)
    return ok(
        Step.CHAIN,
        f"sends {sent}; the way leads from {shown.subject} to {anchor.subject}",
        intermediates=count,
        trustAnchor=anchor.subject,
    )


def _failed(error: HelperError, reference: IdentityReference, doors: Doors) -> Iterator[Finding]:
    """Tell what was well before the step that failed, as far as it can be looked at alone."""
    at = _step_of(error)
    before = _STEPS[: _STEPS.index(at)]
    if before:
        alone = _certificate_alone(reference, doors)
        yield alone
        if alone.what == error.what:  # what holds both cannot be opened: that is one problem
            yield from (skipped(step, f"the way ends at {Step.CERTIFICATE.value}") for step in _STEPS[1:])
            return
    if Step.KEY in before:
        yield ok(Step.KEY, "belongs to the certificate")
    if Step.LEAF in before:
        yield ok(Step.LEAF, "the service accepts such a leaf: X.509 v3, no CA, digitalSignature, SHA-256 or stronger")
    yield problem_of(at, error, _hints(error))
    for step in _STEPS[_STEPS.index(at) + 1 :]:
        yield skipped(step, f"the way ends at {at.value}")


def _hints(error: HelperError) -> Iterator[Hint]:
    if _CUT_SHORT in error.what:
        yield Hint(
            "write the whole file again, from where it came; who renews it should write a new file beside it, and "
            "rename that"
        )
    elif isinstance(error, KeyMismatchError):
        yield hint_of(error.hint)
        yield Hint(
            "compare: openssl x509 -in CERTIFICATE -noout -pubkey, and openssl pkey -in KEY -pubout, must be equal"
        )
    elif isinstance(error, LeafExpiredError | LeafNotYetValidError):
        yield hint_of(error.hint)
        yield Hint("a new one begins with a signing request: rolesanywhere-helper csr --private-key KEY --help")


def _step_of(error: HelperError) -> Step:
    if isinstance(error, UnreadableCertificateError):
        return Step.CERTIFICATE
    if isinstance(error, LeafExpiredError | LeafNotYetValidError):
        return Step.EXPIRY
    return Step.LEAF if isinstance(error, UnusableLeafError) else Step.KEY


def _certificate_alone(reference: IdentityReference, doors: Doors) -> Finding:
    try:
        facts = doors.certificate(reference)
        if facts is None:
            return skipped(Step.CERTIFICATE, "it is not looked at without its key")
        return _certificate(facts.subject, facts.serial, describe(facts.der).issuer)
    except HelperError as error:
        return problem_of(Step.CERTIFICATE, error)


def _certificate(subject: str, serial: int, issuer: str) -> Finding:
    return ok(
        Step.CERTIFICATE,
        f"{subject}, issued by {issuer} (serial {serial:x})",
        subject=subject,
        issuer=issuer,
        serial=f"{serial:x}",
    )


def _expiry(shown: Described, now: float) -> Finding:
    left, life = shown.not_after - now, shown.not_after - shown.not_before
    what = f"{_length(left)} left, until {rfc3339(shown.not_after)}"
    days = int(left // _DAY)
    if left < min(_EARLY_DAYS * _DAY, life * _EARLY_FRACTION):
        return warning(
            Step.EXPIRY,
            "expires-soon",
            what,
            Hint("renew the certificate, and replace both files when the key is new too"),
            notAfter=rfc3339(shown.not_after),
            daysLeft=days,
        )
    return ok(Step.EXPIRY, what, notAfter=rfc3339(shown.not_after), daysLeft=days)


def _length(seconds: float) -> str:
    count, unit = next(
        (
            (int(seconds // size), unit)
            for size, unit in ((_DAY, "day"), (3_600, "hour"), (60, "minute"))
            if seconds >= size
        ),
        (int(seconds), "second"),
    )
    return f"{count} {unit}{'' if count == 1 else 's'}"
