"""What the daemon's child is made of: the same parts as those of ``credential-process`` on a miss, without a cache."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rolesanywhere_helper.config.child_flags import from_flags
from rolesanywhere_helper.config.files import read_trusted
from rolesanywhere_helper.domain.identity_reference import scheme_of
from rolesanywhere_helper.errors import HelperError
from rolesanywhere_helper.frozen import replace
from rolesanywhere_helper.mint.child import Learnt, WatchedTransport
from rolesanywhere_helper.mint.child import answer as answer_with
from rolesanywhere_helper.protocol.mint_exchange import Answer
from rolesanywhere_helper.system.clocks import SystemClock
from rolesanywhere_helper.wiring.access import open_access
from rolesanywhere_helper.wiring.hops import Given, hop_minter
from rolesanywhere_helper.wiring.mint import MINT_SECONDS, session_minter, transport_for

if TYPE_CHECKING:
    from rolesanywhere_helper.domain.identity_reference import IdentityReference
    from rolesanywhere_helper.domain.ports import Identity
    from rolesanywhere_helper.identity.access import Access
    from rolesanywhere_helper.protocol.mint_exchange import Question


def answer(question: Question) -> Answer:
    """Make the session that is asked for, and tell what came of it."""
    ends_at = SystemClock().monotonic() + MINT_SECONDS
    try:
        settings = from_flags(question.session, question.secrets, read_trusted)
        transport = WatchedTransport(transport_for(settings), SystemClock())
    except HelperError as error:
        return Answer(error=error)
    learnt = Learnt()
    if question.hop is not None and question.source is not None:
        left = ends_at - SystemClock().monotonic()
        hop = replace(question.hop, proxy=settings.connection.proxy)  # apart from the hop, as every secret
        minter = hop_minter(hop, Given(question.source), settings.connection, left)
        return answer_with(minter.mint, learnt, lambda: None)
    access = open_access(
        os.environ,
        secrets=question.secrets,
        cache_directory=question.pin_records,
        in_gitlab_ci=question.in_gitlab_ci,
        is_attended=False,
    )

    def load() -> Identity:
        return _load_identity(settings.identity, learnt, access)

    minter = session_minter(settings, load, transport, ends_at)
    return answer_with(minter.mint, learnt, lambda: transport.clock_skew_seconds)


def _load_identity(reference: IdentityReference, learnt: Learnt, access: Access) -> Identity:
    from rolesanywhere_helper.identity import registry  # noqa: PLC0415 - under the deadline, as everything it does

    try:
        loaded = registry.load(reference, now=SystemClock().now(), access=access)
    except HelperError:
        _learn_dates(learnt, reference, access, None)
        raise
    learnt.warnings = loaded.warnings
    learnt.not_after = loaded.identity.not_after
    _learn_dates(learnt, reference, access, loaded.identity.leaf_der)
    return loaded.identity


def _learn_dates(learnt: Learnt, reference: IdentityReference, access: Access, leaf_der: bytes | None) -> None:
    """Note the dates of the file's first certificate, if that is the leaf in use or none could be used."""
    from rolesanywhere_helper.identity import registry  # noqa: PLC0415 - as above

    if scheme_of(reference.certificate) is not None or not reference.certificate:
        return  # nobody is asked for a PIN twice
    try:
        facts = registry.load_certificate(reference, access)
    except HelperError:
        return
    if leaf_der in (None, facts.der):
        learnt.not_before, learnt.not_after = facts.not_before, facts.not_after
