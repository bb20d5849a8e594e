"""A session that goes on from another one, seen from outside: what is called when, and what is read how often."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rolesanywhere_helper.cache.disk import DiskStore
from rolesanywhere_helper.domain.ports import StoredSet
from rolesanywhere_helper.system.clocks import SystemClock
from rolesanywhere_helper.system.private_directory import PrivateDirectory
from tests.fakes.daemon import until

if TYPE_CHECKING:
    from tests.conftest import RunHelper
    from tests.plugins.emulated import Emulated

DUE_SECONDS, LOW_SECONDS = 2400, 3400


class Chain:
    """A session of the emulator's other account, and what is cached of it: two sets."""

    def __init__(self, emulated: Emulated, home: str, run: RunHelper) -> None:
        account = json.loads(Path(str(emulated.announcement["adminCredentials"])).read_text())["otherAccount"]
        self.role = f"arn:aws:iam::{account['account']}:role/Consultant"
        self.first_role = str(emulated.announcement["roleArn"])
        self.flags = emulated.flags(assume_role_arn=self.role)
        self.cache = Path(home) / ".cache" / "rolesanywhere-helper"
        self._emulated = emulated
        self._run = run

    def ask(self) -> str:
        done = self._run("credential-process", *self.flags)
        assert done.exit_code == 0, done.err
        return str(json.loads(done.out)["AccessKeyId"])

    def renew(self) -> int:
        return self._run("renew", *self.flags).exit_code

    def calls(self) -> tuple[int, int]:
        """Return how often CreateSession and AssumeRole were called."""
        seen = Counter(each["operation"] for each in self._emulated.emulator.requests())
        return seen["CreateSession"], seen["AssumeRole"]

    def age(self, role: str, seconds: int) -> None:
        """Make the set of a role so much older, as if the clock had moved on."""
        account = role.split(":")[4].encode()
        [file] = [file for file in self.cache.glob("*.set") if account in file.read_bytes()]
        with PrivateDirectory(self.cache) as directory:
            store = DiskStore(directory, file.stem, role, SystemClock())
            entry = store.load()
            assert entry is not None
            made = entry.credentials
            older = replace(made, issued_at=made.issued_at - seconds, expires_at=made.expires_at - seconds)
            store.save(StoredSet(older, entry.due_at - seconds))


@pytest.fixture
def chain(emulated: Emulated, clean_environment: dict[str, str], run_helper: RunHelper) -> Chain:
    made = Chain(emulated, clean_environment["HOME"], run_helper)
    made.ask()
    assert made.calls() == (1, 1)
    return made


def test_the_renewal_renews_each_session_that_is_due_and_once(chain: Chain) -> None:
    chain.age(chain.role, DUE_SECONDS)
    chain.age(chain.first_role, DUE_SECONDS)

    assert (chain.renew(), chain.calls()) == (0, (2, 2))
    assert (chain.renew(), chain.calls()) == (0, (2, 2))


def test_a_session_before_it_that_is_fresh_is_not_renewed_with_it(chain: Chain) -> None:
    chain.age(chain.role, DUE_SECONDS)

    assert (chain.renew(), chain.calls()) == (0, (1, 2))


def test_a_session_before_it_that_is_due_waits_until_it_is_needed(chain: Chain) -> None:
    chain.age(chain.first_role, DUE_SECONDS)

    chain.ask()

    assert (chain.renew(), chain.calls()) == (0, (1, 1))


def test_what_is_asked_for_in_the_foreground_goes_on_from_what_is_there_and_starts_no_process(chain: Chain) -> None:
    chain.age(chain.role, LOW_SECONDS)
    chain.age(chain.first_role, DUE_SECONDS)

    chain.ask()

    assert chain.calls() == (1, 2)
    assert list(chain.cache.glob("*.renewal")) == []
    chain.age(chain.role, DUE_SECONDS)
    chain.ask()
    assert len(list(chain.cache.glob("*.renewal"))) == 1, "the negative control: one process, for the whole chain"
    until(lambda: chain.calls() == (2, 3), what="it renews both")


def test_where_the_session_before_it_cannot_be_renewed_it_is_gone_on_from_what_is_valid(
    chain: Chain, emulated: Emulated
) -> None:
    chain.age(chain.role, DUE_SECONDS)
    chain.age(chain.first_role, DUE_SECONDS)
    emulated.emulator.set_fault(status=403, message="Certificate revoked")

    assert (chain.renew(), chain.calls()) == (0, (2, 2))
    assert (chain.renew(), chain.calls()) == (0, (2, 2)), "the refusal is remembered"


@pytest.mark.promise(40)
def test_a_certificate_that_can_be_read_once_tells_the_sessions_of_the_whole_chain_apart(
    emulated: Emulated, run_helper: RunHelper, tmp_path: Path
) -> None:
    certificate = Path(emulated.certificate).read_bytes()
    chain = Chain(emulated, str(tmp_path), run_helper)
    flags = [word if word != emulated.certificate else "fd:0" for word in chain.flags]

    def ask(content: bytes) -> str:
        done = run_helper("credential-process", *flags, input=content)
        assert done.exit_code == 0, done.err
        return done.out

    first, again, with_another = ask(certificate), ask(certificate), ask(certificate + b"# another\n")

    assert first == again
    assert with_another != first
    assert chain.calls() == (2, 2)
