"""What nobody thought of: a step that breaks off is a finding, and the rest of the way is taken."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from rolesanywhere_helper.cli import doctor as command
from rolesanywhere_helper.config.environment import Surroundings
from rolesanywhere_helper.doctor import aws_files, configuration, network, resting
from rolesanywhere_helper.doctor.configuration import Asked
from rolesanywhere_helper.doctor.findings import Severity, Step
from rolesanywhere_helper.doctor.machine import Machine
from rolesanywhere_helper.doctor.walk import Examination, verdict, walk

if TYPE_CHECKING:
    from rolesanywhere_helper.doctor.findings import Finding
    from tests.doctor.conftest import Patient

CANARY = "canary-sesame-4711"
# What breaks off, and the step that then says so.
DOORS = {
    "addresses": Step.DNS,
    "connect": Step.TCP,
    "transport": Step.CLOCK,
    "load": Step.CERTIFICATE,
    "caller": Step.CALLER_IDENTITY,
    "daemon_status": Step.DAEMON,
    "cache_key": Step.CACHE,
}
ROOMS = {
    (aws_files, "look"): Step.AWS_CONFIG,
    (configuration, "configure"): Step.CONFIGURATION,
    (configuration, "look_at_environment"): Step.ENVIRONMENT,
    (network, "look"): Step.DNS,
    (resting, "look"): Step.CACHE,
}


def breaks_off(*_: object, **__: object) -> Any:
    raise ZeroDivisionError(CANARY)


def walked(patient: Patient) -> list[Finding]:
    patient.write()
    (patient.home / ".cache" / "rolesanywhere-helper").mkdir(parents=True, mode=0o700, exist_ok=True)
    here = Surroundings({"HOME": str(patient.home), "PATH": os.environ["PATH"]}, str(patient.folder), is_root=False)
    files = aws_files.read_files(aws_files.AwsPaths(None, None))
    examination = Examination(Asked({}, str(patient.config), here), files, aws_files.Selected("default", None))
    return list(walk(examination, Machine(here)))


def unforeseen(findings: list[Finding]) -> list[Step]:
    assert {each.step for each in findings} == set(Step)
    assert CANARY not in repr(findings)
    return [each.step for each in findings if each.code == "unforeseen"]


def test_nothing_is_unforeseen_where_all_is_well(patient: Patient) -> None:
    found = walked(patient)
    assert unforeseen(found) == []
    assert verdict(found, is_strict=False) == 0


@pytest.mark.parametrize("door", DOORS)
def test_a_door_that_breaks_off(patient: Patient, door: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Machine, door, breaks_off)

    found = walked(patient)

    assert DOORS[door] in unforeseen(found)
    told = next(each for each in found if each.code == "unforeseen")
    assert (told.severity, verdict(found, is_strict=False)) == (Severity.PROBLEM, 1)
    assert "ZeroDivisionError (test_unforeseen.py:" in told.what
    assert "report it" in told.hints[0].text
    # A mistake on the way to the service does not keep from asking it.
    asked = next(each for each in found if each.step is Step.CREATE_SESSION)
    assert (asked.severity is Severity.OK) is (door not in {"load", "transport"})


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: f"{room[0].__name__.rpartition('.')[2]}.{room[1]}")
def test_a_room_that_breaks_off(patient: Patient, room: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room[0], room[1], breaks_off)
    assert unforeseen(walked(patient))[0] is ROOMS[room]


def test_the_system_s_own_words_are_told(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device", CANARY)

    monkeypatch.setattr(Machine, "cache_key", fails)
    told = next(each for each in walked(patient) if each.code == "unforeseen")
    assert "OSError, No space left on device (" in told.what


def test_what_comes_before_the_way_breaks_off(
    patient: Patient, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    from rolesanywhere_helper.cli import parser  # noqa: PLC0415 - as the command itself does

    patient.write()
    for name, value in {"HOME": str(patient.home), "ROLESANYWHERE_HELPER_CONFIG": str(patient.config)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(aws_files, "read_files", breaks_off)

    assert command.run(parser.parse(["doctor", "--json"])) == 1

    said = capfdbinary.readouterr().out
    findings = json.loads(said)["findings"]
    assert [each["step"] for each in findings if each["code"] == "unforeseen"] == ["aws-config"]
    assert {each["step"]: each["severity"] for each in findings}["create-session"] == "ok"
    assert CANARY.encode() not in said
