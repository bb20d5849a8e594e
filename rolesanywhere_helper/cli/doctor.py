"""``doctor``: the whole way, and at each step what was found there, what it means, and what to do."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

from rolesanywhere_helper import __version__
from rolesanywhere_helper.cli import session
from rolesanywhere_helper.cli.aws_files import CONFIG, CREDENTIALS, AwsFile, aws_file
from rolesanywhere_helper.cli.descriptors import STDOUT, write_stdout
from rolesanywhere_helper.cli.parser import add_session_flags, add_switch
from rolesanywhere_helper.config.flags import SESSION_FLAGS
from rolesanywhere_helper.config.values import absolute
from rolesanywhere_helper.errors import HelperError, UsageError
from rolesanywhere_helper.frozen import dataclass

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Mapping, Sequence

    from rolesanywhere_helper.cli.commands import FlagValue, Invocation
    from rolesanywhere_helper.config.environment import Surroundings
    from rolesanywhere_helper.doctor.aws_files import AwsFiles, Selected
    from rolesanywhere_helper.doctor.findings import Finding

EXAMPLE = """\
  rolesanywhere-helper doctor --session deploy
  rolesanywhere-helper doctor --profile deploy --trust-anchor-certificate ca.pem
  rolesanywhere-helper doctor --session deploy --json | jq '.findings[] | select(.severity == "problem")'"""

SCHEMA = 1
_MARKS = {"ok": "ok", "warning": "warning", "problem": "PROBLEM", "skipped": "-"}
_COLOURS = {"ok": "32", "warning": "33", "problem": "31", "skipped": "2"}
# Flags that no command goes on after.
_SAY_AND_END = frozenset({"-h", "--help", "--version"})
_MARK_WIDTH, _STEP_WIDTH = 7, 15


def add_flags(parser: ArgumentParser) -> None:
    """Declare what to look at, how to tell it, and the session flags."""
    parser.add_argument(
        "--profile",
        metavar="NAME",
        help="AWS profile to look at; without session flags its credential_process says which session "
        "(default: AWS_PROFILE, or default)",
    )
    parser.add_argument(
        "--trust-anchor-certificate",
        dest="trust-anchor-certificate",
        metavar="FILE",
        help="the trust anchor's certificate (PEM), to look whether the chain leads to it",
    )
    add_switch(parser, "json", "print one JSON document (docs/doctor.md)")
    add_switch(parser, "strict", "end with 1 for a warning too")
    add_session_flags(parser)


def run(invocation: Invocation) -> int:
    """Print what each step found. The exit code is the first problem's: 1, 2 configuration, 3 network; else 0."""
    from rolesanywhere_helper.doctor.configuration import Asked  # noqa: PLC0415 - only when chosen
    from rolesanywhere_helper.doctor.machine import Machine  # noqa: PLC0415 - imports cryptography and requests
    from rolesanywhere_helper.doctor.walk import Examination, verdict, walk  # noqa: PLC0415 - as above

    here, flags = session.surroundings(), invocation.flags
    aws, profile, described = _aws(invocation, here)
    asked = Asked(described.flags, described.config, here)
    machine = Machine(here)
    examination = Examination(asked, aws, profile, described.finding, _anchor(flags, here))
    is_json = flags.get("json") is True
    findings: list[Finding] = []
    began = machine.clock.now()
    for finding in walk(examination, machine):
        findings.append(finding)
        _tell(finding, is_json=is_json)
    code = verdict(findings, is_strict=flags.get("strict") is True)
    write_stdout(_document(findings, code, began) if is_json else _summary(findings))
    return code


# What is looked at


@dataclass(frozen=True, slots=True)
class _Described:
    """The session flags, as they were typed or as a profile's line has them."""

    flags: Mapping[str, object]
    config: str | None
    finding: Finding | None = None


def _aws(invocation: Invocation, here: Surroundings) -> tuple[AwsFiles, Selected, _Described]:
    """Look at the AWS files, and at what they say of the session; a mistake of ours there ends nothing."""
    from rolesanywhere_helper.doctor import aws_files  # noqa: PLC0415 - only when chosen
    from rolesanywhere_helper.doctor.findings import Step, unforeseen  # noqa: PLC0415 - as above

    paths = aws_files.AwsPaths(_path(CONFIG, here), _path(CREDENTIALS, here))
    profile = aws_files.selected(invocation.flags.get("profile"), here.environment)
    try:
        files = aws_files.read_files(paths)
        return files, profile, _described(invocation, files, profile)
    except Exception as error:  # noqa: BLE001 - one step that breaks off must not end the report
        broken = unforeseen(Step.AWS_CONFIG, error)
        return aws_files.AwsFiles(paths), profile, _Described(invocation.flags, invocation.config, broken)


def _described(invocation: Invocation, aws: AwsFiles, profile: Selected) -> _Described:
    """Take the session from the profile's line where the command line names none."""
    from rolesanywhere_helper.doctor.aws_files import what_comes_after  # noqa: PLC0415 - only when chosen
    from rolesanywhere_helper.doctor.findings import Step, ok, problem_of  # noqa: PLC0415 - as above

    own = {flag.name for flag in SESSION_FLAGS} & invocation.flags.keys()
    is_typed = bool(own) or invocation.config is not None
    name = aws.origin(profile.name)
    words = aws.arguments(name)
    if not words or (is_typed and profile.by is None):
        return _Described(invocation.flags, invocation.config)
    from rolesanywhere_helper.cli import parser  # noqa: PLC0415 - it imports this module's table

    try:
        if not _SAY_AND_END.isdisjoint(words):
            raise UsageError("it prints help or a version, and no credentials", "take it out of the line")
        line = parser.parse(words)
        if line.command.name != "credential-process":
            raise UsageError(
                f"it runs the command {line.command.name}, which prints no credentials", "write credential-process"
            )
    except HelperError as error:
        wrong = type(error)(f"credential_process of profile {name}: {error.what}", error.hint)
        return _Described(invocation.flags, invocation.config, problem_of(Step.AWS_CONFIG, wrong))
    if is_typed:
        return _Described(invocation.flags, invocation.config)
    what = f"profile {name} of {aws.paths.config} runs this program: its session is the one that is looked at"
    further = aws.roles_after(profile.name)
    told = ok(
        Step.AWS_CONFIG,
        f"{what}{what_comes_after(aws, profile.name, is_tried=further is not None)}",
        profile=profile.name,
    )
    return _Described({**_with_roles(line.flags, further or {}), **_agent(invocation)}, line.config, told)


def _with_roles(flags: Mapping[str, FlagValue], further: Mapping[str, FlagValue]) -> Mapping[str, FlagValue]:
    """Let the roles of a line come first, then those that AWS clients go on to by themselves."""
    before, after = flags.get("assume-role-arn", []), further.get("assume-role-arn", [])
    if not isinstance(before, list) or not isinstance(after, list) or not after:
        return flags
    return {**flags, **further, "assume-role-arn": [*before, *after]}


def _agent(invocation: Invocation) -> Mapping[str, object]:
    return {name: value for name, value in invocation.flags.items() if name == "agent-socket"}


def _path(which: AwsFile, here: Surroundings) -> str | None:
    try:
        return aws_file(which, None, here)
    except UsageError:
        return None


def _anchor(flags: Mapping[str, object], here: Surroundings) -> str | None:
    given = flags.get("trust-anchor-certificate")
    if not isinstance(given, str) or not given:
        return None
    return absolute(given, "--trust-anchor-certificate", here.working_directory)


# How it is told


def _tell(finding: Finding, *, is_json: bool) -> None:
    if not is_json:
        write_stdout(line(finding, is_coloured=os.isatty(STDOUT) and "NO_COLOR" not in os.environ).encode())


def line(finding: Finding, *, is_coloured: bool = False) -> str:
    """Write one finding for a terminal, its hints below it."""
    severity = finding.severity.value
    mark = f"{_MARKS[severity]:<{_MARK_WIDTH}}"
    if is_coloured:
        mark = f"\x1b[{_COLOURS[severity]}m{mark}\x1b[0m"
    told = [f"{mark}  {finding.step.value:<{_STEP_WIDTH}}  {_printable(finding.what)}"]
    for hint in finding.hints:
        told.append(f"{'':{_MARK_WIDTH}}  hint: {_printable(hint.text)}")
        if hint.command is not None and hint.command not in hint.text:
            told.append(f"{'':{_MARK_WIDTH}}        {_printable(hint.command)}")
    return "\n".join(told) + "\n"


def _summary(findings: Sequence[Finding]) -> bytes:
    counts = [sum(each.severity.value == name for each in findings) for name in ("problem", "warning")]
    words = [
        f"{count} {name}{'' if count == 1 else 's'}" for count, name in zip(counts, ("problem", "warning"), strict=True)
    ]
    return f"\n{', '.join(words)}; there is no secret in this report\n".encode()


def _document(findings: Sequence[Finding], code: int, began: float) -> bytes:
    from rolesanywhere_helper.protocol.status import rfc3339  # noqa: PLC0415 - only when chosen

    severities = {each.severity.value for each in findings}
    worst = next((name for name in ("problem", "warning") if name in severities), "ok")
    document = {
        "schema": SCHEMA,
        "version": __version__,
        "python": sys.version.partition(" ")[0],
        "at": rfc3339(began),
        "verdict": worst,
        "exitCode": code,
        "findings": [_object(each) for each in findings],
    }
    return json.dumps(document, indent=2).encode() + b"\n"


def _object(finding: Finding) -> dict[str, object]:
    return {
        "step": finding.step.value,
        "severity": finding.severity.value,
        "code": finding.code,
        "what": finding.what,
        "hints": [{"text": hint.text, "command": hint.command} for hint in finding.hints],
        "facts": dict(finding.facts),
    }


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
