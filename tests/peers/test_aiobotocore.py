"""The library's session for aiobotocore, in an environment that has it: its own clients, and s3fs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import rolesanywhere_helper
from rolesanywhere_helper.errors import MissingExtraError, UsageError
from tests.peers.s3_stub import BUCKET, CONTENT, KEY, s3_stub

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.plugins.emulated import Emulated

CLIENTS = """
import asyncio, itertools, json, sys, time
import rolesanywhere_helper
from rolesanywhere_helper.errors import HelperError
from rolesanywhere_helper.system.clocks import SystemClock

async def ticks(until):
    for count in itertools.count():
        if until.is_set():
            return count
        await asyncio.sleep(0.02)

async def main(given):
    session = rolesanywhere_helper.aiobotocore_session(**given)
    async with session.create_client("sts", endpoint_url=given["endpoint"]) as sts:
        async def eight():
            return {each["Arn"] for each in await asyncio.gather(*(sts.get_caller_identity() for _ in range(8)))}

        done = asyncio.Event()
        ticking = asyncio.create_task(ticks(done))
        told = {"first": sorted(await eight())}
        done.set()
        told["ticks"] = await ticking
        now = SystemClock.now
        SystemClock.now = lambda self: now(self) + 150
        told["renewed"] = sorted(await eight())
    refused = rolesanywhere_helper.aiobotocore_session(**{**given, "role_arn": given["role_arn"] + "OfNobody"})
    async with refused.create_client("sts", endpoint_url=given["endpoint"]) as sts:
        try:
            await sts.get_caller_identity()
        except HelperError as error:
            told["error"] = error.code
    told["region"] = session.get_config_variable("region")
    print(json.dumps(told))

asyncio.run(main(json.loads(sys.argv[1])))
"""
FILES = """
import json, sys
import rolesanywhere_helper, s3fs

given, url, name = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3]
session = rolesanywhere_helper.aiobotocore_session(**given)
print(s3fs.S3FileSystem(session=session, endpoint_url=url).cat(name).decode(), end="")
"""


@pytest.fixture
def run(
    environment_with_aiobotocore: Path, emulated: Emulated, clean_environment: dict[str, str]
) -> Callable[..., str]:
    """Return a function that runs a script there with the arguments of a session.

    The user's default profile would leave a mark.
    """
    told = emulated.announcement
    given = {
        "certificate": emulated.certificate,
        "private_key": emulated.private_key,
        "trust_anchor_arn": told["trustAnchorArn"],
        "profile_arn": told["profileArn"],
        "role_arn": told["roleArn"],
        "endpoint": emulated.endpoint,
        "no_cache": True,
    }
    home = Path(clean_environment["HOME"])
    (home / ".aws").mkdir()
    (home / ".aws" / "config").write_text(f"[default]\ncredential_process = touch {home}/asked\n")

    def run(script: str, *words: str) -> str:
        command = [str(environment_with_aiobotocore / "bin" / "python"), "-c", script, json.dumps(given), *words]
        environment = {**clean_environment, "AWS_EC2_METADATA_DISABLED": "true"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        assert not (home / "asked").exists()
        return done.stdout

    return run


@pytest.mark.promise(84)
def test_many_at_once_share_one_session_which_is_renewed_while_the_loop_goes_on(
    run: Callable[..., str], emulated: Emulated
) -> None:
    emulated.emulator.set_fault(expiresInSeconds=240, delaySeconds=1, times=1)

    told: dict[str, Any] = json.loads(run(CLIENTS))

    [arn] = told["first"]
    assert ":assumed-role/EmulatorRole/" in arn
    assert told["renewed"] == [arn]
    assert told["ticks"] > 10, "the loop stood still while the session was made"
    assert told["error"] == "role-not-in-profile"
    assert told["region"] == emulated.announcement["region"]
    seen = Counter(each["operation"] for each in emulated.emulator.requests())
    assert seen == {"CreateSession": 3, "GetCallerIdentity": 16}, "the third is the one that was refused"


def test_s3fs_reads_a_file(run: Callable[..., str], emulated: Emulated) -> None:
    with s3_stub(emulated.emulator.state.sealing_key) as s3:
        found = run(FILES, s3.url, f"{BUCKET}/{KEY}")

    assert found.encode() == CONTENT
    assert [":assumed-role/EmulatorRole/" in str(caller) for caller in s3.callers] == [True]


def test_without_aiobotocore_it_is_told_what_to_install(emulated: Emulated, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiobotocore", None)
    monkeypatch.delitem(sys.modules, "rolesanywhere_helper.aws.aio_refreshing", raising=False)

    with pytest.raises(MissingExtraError, match="aiobotocore") as caught:
        rolesanywhere_helper.aiobotocore_session(config=str(emulated.announcement["config"]), session="default")
    assert caught.value.hint == "pip install 'aiobotocore[boto3]'"
    with pytest.raises(UsageError, match="missing"):
        rolesanywhere_helper.aiobotocore_session(role_arn="arn:aws:iam::111122223333:role/Role")
