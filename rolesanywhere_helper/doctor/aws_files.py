"""What the AWS files really say, as botocore reads them: which profile runs this program, and what comes before it.

Rules: AWS CLI user guide, "Configuration and credential file settings" and "Precedence"; botocore's
``create_credential_resolver``. A ``credential_process`` is run without a shell by botocore: nothing is expanded in it.
A line is never quoted here: it may hold a secret.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
from difflib import get_close_matches
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from rolesanywhere_helper.config.flags import PREFIX, SESSION_FLAGS, Kind
from rolesanywhere_helper.doctor.command_lines import Start, assigned_in, meant_by, signs_for_a_shell, start_in
from rolesanywhere_helper.doctor.findings import MISCONFIGURED, Finding, Hint, Step, ok, problem, skipped, warning
from rolesanywhere_helper.domain.identity_reference import scheme_of
from rolesanywhere_helper.frozen import dataclass, field
from rolesanywhere_helper.protocol.ini_text import DEFAULT_PROFILE, IniError, decoded, profile_of, read_sections
from rolesanywhere_helper.system.replaced_file import read_if_there

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Sections = Mapping[str, Mapping[str, str]]

PROCESS = "credential_process"
_SOURCE = "source_profile"
_CONFIG_VARIABLE, _CREDENTIALS_VARIABLE = "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"
# botocore reads them in this order.
_PROFILE_VARIABLES = ("AWS_DEFAULT_PROFILE", "AWS_PROFILE")
# What AWS clients look at before they start a process; at the key only if it is in the credentials file (botocore comes
# to one in the config file last).
_KEY = "aws_access_key_id"
_PREFERRED = (
    _KEY,
    "role_arn",
    "web_identity_token_file",
    "sso_session",
    "sso_start_url",
    "login_session",
)
_FILE_OPTIONS = frozenset(flag.option for flag in SESSION_FLAGS if flag.kind in {Kind.PATH, Kind.REFERENCE}) | {
    "--config",
    "--log-file",
    "--agent-socket",
}
# What Linux reads of a script's first line.
_LONGEST_LINE = 256
_VARIABLE_IN_TEXT = re.compile(r"\$(?:\w|\{)")
# A line that is indented continues the key above it.
_NESTED = re.compile(rf"^\s*{PROCESS}\s*[=:]", re.MULTILINE)
_NEARLY_A_PROFILE = re.compile(r"\s*profile\s+(.*)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class AwsPaths:
    """Where AWS clients look for their two files, as absolute paths; None where nothing says so."""

    config: str | None
    credentials: str | None


@dataclass(frozen=True, slots=True)
class Selected:
    """The profile that is looked at, and who chose it: a flag, a variable, or nobody (``default``)."""

    name: str
    by: str | None


@dataclass(frozen=True, slots=True)
class AwsFiles:
    """Both files taken apart; ``broken`` are those that botocore could not read, with the reason."""

    paths: AwsPaths
    config: Sections = field(default_factory=dict, repr=False)
    credentials: Sections = field(default_factory=dict, repr=False)
    broken: tuple[tuple[str, str], ...] = ()
    is_config_there: bool = False

    def profile(self, name: str) -> Mapping[str, str] | None:
        """Return what both files say of a profile, or None if neither knows it."""
        is_known = name in self.credentials or any(profile_of(section) == name for section in self.config)
        return {**self.in_config(name), **self.credentials.get(name, {})} if is_known else None

    def in_config(self, name: str) -> Mapping[str, str]:
        """Return what the config file alone says of a profile."""
        found = [values for section, values in self.config.items() if profile_of(section) == name]
        return found[-1] if found else {}

    @property
    def profiles(self) -> list[str]:
        """The names of all profiles."""
        named = (profile_of(section) for section in self.config)
        return list(dict.fromkeys([*(name for name in named if name is not None), *self.credentials]))

    def words(self, name: str) -> list[str] | None:
        """Return the words of a profile's ``credential_process``, as botocore splits them; None if it has none."""
        line = (self.profile(name) or {}).get(PROCESS)
        if not line:
            return None
        try:
            return shlex.split(line)
        except ValueError:
            return None

    def origin(self, name: str) -> str:
        """Return the profile whose credentials a profile begins with: itself, or where ``source_profile`` leads to."""
        return self._way(name)[-1]

    def roles_after(self, name: str) -> dict[str, str | list[str]] | None:
        """Return the flags for the roles that AWS clients go on to from that profile; None if none can say it all."""
        roles = [self.profile(each) or {} for each in reversed(self._way(name)[:-1])]
        if any("mfa_serial" in role for role in roles) or any("external_id" in role for role in roles[:-1]):
            return None
        external_id = roles[-1].get("external_id") if roles else None
        flags: dict[str, str | list[str]] = {"assume-role-arn": [role["role_arn"] for role in roles]} if roles else {}
        return flags if external_id is None else {**flags, "external-id": external_id}

    def _way(self, name: str) -> list[str]:
        seen = [name]
        while (further := self._source_of(seen[-1])) is not None and further not in seen:
            seen.append(further)
        return seen

    def _source_of(self, name: str) -> str | None:
        values = self.profile(name) or {}
        return values.get(_SOURCE) if "role_arn" in values and PROCESS not in values else None

    def start(self, name: str) -> Start | None:
        """Return how a profile starts this program, or the one that it takes the place of; None if it does not."""
        line = (self.profile(name) or {}).get(PROCESS, "")
        # One with a quote that is not closed is ours all the same, and is told so.
        return start_in(self.words(name) or [word.strip("'\"") for word in line.split()])

    def runs_us(self, name: str) -> bool:
        """Tell whether a profile starts this program."""
        return self.start(name) is not None

    def means_us(self, name: str) -> bool:
        """Tell whether a line of a profile is meant to start this program, whether or not it does."""
        lines = (each.get(PROCESS, "") for each in (self.profile(name) or {}, self.in_config(name)))
        words = (word.strip("'\"").rpartition("/")[2] for line in lines for word in line.split())
        return self.runs_us(name) or any(meant_by(word) is not None for word in words)

    def arguments(self, name: str) -> list[str] | None:
        """Return what a profile's line gives this program; None if it does not run it, or cannot be taken apart."""
        found = None if self.words(name) is None else self.start(name)
        return None if found is None or found.arguments is None else list(found.arguments)


def read_files(paths: AwsPaths) -> AwsFiles:
    """Read what is there."""
    broken: list[tuple[str, str]] = []
    config = _sections(paths.config, broken)
    credentials = _sections(paths.credentials, broken)
    is_there = paths.config is not None and os.path.exists(paths.config)  # noqa: PTH110 - a path stays the text that it is
    return AwsFiles(paths, config, credentials, tuple(broken), is_there)


def selected(asked: object, environment: Mapping[str, str]) -> Selected:
    """Return the profile that was asked for, else the one that AWS clients started here would use."""
    if isinstance(asked, str) and asked:
        return Selected(asked, "--profile")
    for name in _PROFILE_VARIABLES:
        if environment.get(name):
            return Selected(environment[name], name)
    return Selected(DEFAULT_PROFILE, None)


def look(files: AwsFiles, chosen: Selected, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Tell what AWS clients started here would do."""
    findings = [*_files(files, chosen, environment), *_strangers(files), *_profile(files, chosen, environment)]
    yield from findings
    if findings:
        return
    name = files.origin(chosen.name)
    if files.runs_us(name):
        what = f"profile {name} of {files.paths.config} runs this program"
        if files.arguments(name) is None:
            what += " through a shell, which alone knows its words: give doctor the session's flags"
        yield ok(Step.AWS_CONFIG, f"{what}{what_comes_after(files, chosen.name, is_tried=False)}", profile=chosen.name)
        return
    yield _other(files, chosen)


def what_comes_after(files: AwsFiles, name: str, *, is_tried: bool) -> str:
    """Say which roles AWS clients take by themselves with the credentials that a profile begins with, and where."""
    elsewhere = _endpoint_of((files.profile(name) or {}).get("endpoint_url"))
    where = "" if elsewhere is None else f"; its endpoint_url sends AWS clients to {elsewhere} for every service"
    source = files.origin(name)
    if source == name:
        return where
    looked = "is tried here too" if is_tried else "is not looked at here"
    return f"; profile {name} goes on from {source} with a role of its own, which {looked}{where}"


def _endpoint_of(url: str | None) -> str | None:
    """Return host and port of a URL, and nothing else that stands in it."""
    try:
        parts = urlsplit(url or "")
        return parts.netloc.rpartition("@")[2] or None
    except ValueError:
        return "what cannot be read"


def _other(files: AwsFiles, chosen: Selected) -> Finding:
    """Say of a profile that does not run this program what it does, and which would."""
    ours = [name for name in files.profiles if files.runs_us(name)]
    if chosen.by is None and ours:
        return ok(
            Step.AWS_CONFIG,
            f"{files.paths.config} has {', '.join(ours)}, to be chosen with AWS_PROFILE or --profile",
            profiles=ours,
        )
    if chosen.by == "--profile":
        return warning(
            Step.AWS_CONFIG,
            "another-program",
            f"credential_process of profile {files.origin(chosen.name)} runs another program, as far as can be seen: "
            "what that prints is not looked at",
            Hint("if it starts this one in the end, give doctor the session's flags; then see what AWS clients get"),
            Hint(
                "see what AWS clients get",
                f"aws sts get-caller-identity --profile {shlex.quote(chosen.name)}",
            ),
        )
    if chosen.by is not None and ours:
        return warning(
            Step.AWS_CONFIG,
            "another-profile",
            f"{chosen.by} names the profile {chosen.name}, which does not run this program: AWS clients started here "
            f"use that, not {', '.join(ours)}",
            Hint(f"choose {ours[0]}", f"export {chosen.by}={shlex.quote(ours[0])}"),
        )
    if files.words(chosen.name):
        return skipped(Step.AWS_CONFIG, f"credential_process of profile {chosen.name} runs another program")
    return skipped(Step.AWS_CONFIG, f"no profile of {files.paths.config or 'an AWS config file'} runs this program")


# The files


def _files(files: AwsFiles, chosen: Selected, environment: Mapping[str, str]) -> Iterator[Finding]:
    for path, reason in files.broken:
        yield _wrong(
            "unreadable-aws-file",
            f"{path} is no file that AWS clients read: {reason}",
            Hint(
                "correct that line; a credential_process is one line, however long, without a backslash at its end",
                "aws configure list-profiles",
            ),
        )
    home = environment.get("HOME", "")
    usual = f"{home.rstrip('/')}/.aws/config"
    elsewhere = environment.get(_CONFIG_VARIABLE)
    if elsewhere and not files.is_config_there:
        what = f"{_CONFIG_VARIABLE} names {files.paths.config}, which is not there"
        hint = Hint(f"if {usual} is meant", f"unset {_CONFIG_VARIABLE}")
        # Clients take it for an empty file; only a profile that was asked for would have to be in it.
        if chosen.by is not None and files.profile(chosen.name) is None:
            yield _wrong("aws-config-elsewhere", what, hint)
        else:
            yield warning(Step.AWS_CONFIG, "aws-config-elsewhere", what, hint)
    elif elsewhere and files.paths.config != usual and files.profile(chosen.name) is None:
        other = read_files(AwsPaths(usual, files.paths.credentials))
        if other.runs_us(chosen.name):
            yield _wrong(
                "aws-config-elsewhere",
                f"profile {chosen.name} is in {usual}, which nobody reads: {_CONFIG_VARIABLE} names "
                f"{files.paths.config}",
                Hint(f"if {usual} is meant", f"unset {_CONFIG_VARIABLE}"),
            )


def _strangers(files: AwsFiles) -> Iterator[Finding]:
    """Find sections that no client takes for a profile."""
    for section, values in files.config.items():
        if profile_of(section) is None and PROCESS in values:
            yield _wrong(
                "unread-profile",
                f"[{section}] in {files.paths.config} is read by nobody",
                Hint(f"in this file write [{_header(section)}]"),
            )
    for section, values in files.credentials.items():
        if section.startswith("profile ") and PROCESS in values:
            yield _wrong(
                "unread-profile",
                f"[{section}] in {files.paths.credentials} is read by nobody",
                Hint(f"in this file write [{section.removeprefix('profile ')}]"),
            )


def _header(section: str) -> str:
    """Return the header that is meant by one which is nobody's: ``[ profile x ]``, ``[Profile x]``, ``[x]``."""
    nearly = _NEARLY_A_PROFILE.fullmatch(section)
    name = (section if nearly is None else nearly[1]).strip().strip("'\"")
    return f"profile {name}" if len(name.split()) == 1 else f'profile "{name}"'


# The profile


def _profile(files: AwsFiles, chosen: Selected, environment: Mapping[str, str]) -> Iterator[Finding]:
    name, values = chosen.name, files.profile(chosen.name)
    if values is None:
        if chosen.by is not None and not files.broken:
            yield _unknown(files, chosen)
        return
    source = files.origin(name)
    named = files.profile(source)
    if named is None:
        yield _lost(files, name, source)
    elif PROCESS in named and (chosen.by is not None or files.means_us(source)):
        yield from _line(source, named[PROCESS], files)
        if files.means_us(source):
            yield from _shadowed(source, named, files)
            yield from _environment(chosen, environment)
    elif PROCESS not in named and chosen.by is not None:
        yield from _without_line(files, chosen, source, named)


def _lost(files: AwsFiles, name: str, source: str) -> Finding:
    return _wrong(
        "unknown-profile",
        f"profile {name} begins with the credentials of {source} ({_SOURCE}), which {files.paths.config} does not have",
        Hint(f"there is: {', '.join(files.profiles)}"),
    )


def _without_line(files: AwsFiles, chosen: Selected, name: str, values: Mapping[str, str]) -> Iterator[Finding]:
    """Tell why nothing is started for a profile, where that is not what was meant."""
    what = f"profile {name} has no {PROCESS} that AWS clients read"
    above = next((key for key, value in values.items() if _NESTED.search(value)), None)
    near = get_close_matches(PROCESS, values, cutoff=0.9)
    if above is not None:
        yield _wrong(
            "no-process",
            f"{what}: that line is indented, and so it is a part of {above}, the key above it",
            Hint("let the line begin where the others begin"),
        )
    elif near:
        yield _wrong("no-process", f"{what}: there is {near[0]}, a key that nobody knows", Hint(f"write {PROCESS} = …"))
    elif chosen.by == "--profile":
        instead = [key for key in _PREFERRED if key in values]
        ours = [each for each in files.profiles if files.runs_us(each)]
        hints = [Hint(f"name one that does: --profile {shlex.quote(ours[0])}")] if ours else []
        yield _wrong(
            "no-process",
            what + (f", but {', '.join(instead)}" if instead else ""),
            *hints,
            Hint(f"or let it: rolesanywhere-helper configure --profile {shlex.quote(name)} …"),
        )


def _unknown(files: AwsFiles, chosen: Selected) -> Finding:
    there = ", ".join(files.profiles) or "none"
    hints = [Hint(f"there is: {there}")]
    if chosen.by != "--profile":
        ours = [name for name in files.profiles if files.runs_us(name)]
        command = f"export {chosen.by}={shlex.quote(ours[0])}" if ours else f"unset {chosen.by}"
        hints.insert(0, Hint(f"name one that there is in {chosen.by}", command))
    else:
        hints.append(Hint(f"or make it: rolesanywhere-helper configure --profile {shlex.quote(chosen.name)} …"))
    return _wrong(
        "unknown-profile",
        f"{chosen.by} names the profile {chosen.name}, which {files.paths.config} does not have",
        *hints,
    )


def _line(name: str, line: str, files: AwsFiles) -> Iterator[Finding]:
    where = f"credential_process of profile {name}"
    if "\n" in line or line.rstrip().endswith("\\"):
        yield _wrong(
            "continued-line",
            f"{where} goes on over several lines, which AWS clients do not put together: a backslash means nothing "
            "there",
            Hint("write it as one line; 'rolesanywhere-helper configure' with the same flags does"),
        )
        return
    try:
        words = shlex.split(line)
    except ValueError:
        yield _wrong("broken-line", f"{where} has a quote that is not closed", Hint("close it, in one line"))
        return
    if not words:
        yield _wrong("program-not-there", f"{where} is empty", Hint(f"write what is to be started: {_own_path()} …"))
        return
    start = start_in(words)
    misread = list(_misread(where, words, signs_for_a_shell(line) if start is not None else ()))
    yield from misread
    if misread:
        return
    programs = dict.fromkeys([words[0]] if start is None else [words[0], start.program])
    for each in filter(None, programs):
        yield from _program(where, each)
    if start is None:
        return
    yield from _arguments(where, start.arguments or ())
    yield from _variables(where, name, start)
    # No more than the flag's name: what follows it may be a secret.
    beside = [key.split()[0] for key in files.profile(name) or {} if key.startswith("--")]
    if beside:
        yield _wrong(
            "continued-line",
            f"{', '.join(beside)} stands in a line of its own below {where}, and is read by nobody",
            Hint("write all flags into the one line of credential_process"),
        )


def _misread(where: str, words: Sequence[str], signs: Sequence[str]) -> Iterator[Finding]:
    """Tell what was written as for a shell, or quoted, and means something else where none reads it.

    No more than names and signs are told: what stands beside them may be a secret.
    """
    if len(words) == 1 and shutil.which(words[0]) is None and len(words[0].split()) > 1:
        yield _wrong(
            "quoted-line",
            f"{where} stands in quotes as a whole: AWS clients take all of it for the name of a program",
            Hint("take the quotes out that stand around the whole line; quote single words that hold a blank"),
        )
        return
    variable = assigned_in(words[0])
    if variable is not None:
        yield _wrong(
            "line-for-a-shell",
            f"{where} begins by setting {variable}, as in a shell: AWS clients use none, and look for a program of "
            "that name",
            Hint("begin the line with env (/usr/bin/env NAME=VALUE PROGRAM …), or give flags instead of variables"),
        )
    elif signs:
        yield _wrong(
            "line-for-a-shell",
            f"{where} has {', '.join(signs)} in it, which means something to a shell alone: AWS clients use none, and "
            "give it to the program",
            Hint("take that out, with what belongs to it; a remark stands on a line of its own, --log-file takes logs"),
        )


def _program(where: str, program: str) -> Iterator[Finding]:
    found = shutil.which(program)
    if program.startswith("~") or _VARIABLE_IN_TEXT.search(program):
        yield _wrong(
            "unexpanded-path",
            f"{where} names its program with ~ or a variable, which nobody expands",
            Hint(f"write the absolute path: {_own_path()}"),
        )
    elif found is None:
        yield _wrong(
            "program-not-there",
            f"{where} runs {program}, which is not there or cannot be run",
            *_hints_for_program(program),
        )
    elif (why_not := _why_not_run(found)) is not None:
        yield _wrong(
            "program-not-there",
            f"{where} runs {program}, {why_not}",
            Hint("install it again where it is, or write the path of one that runs"),
        )
    elif "/" in program and not program.startswith("/"):
        yield _wrong(
            "relative-path",
            f"{where} names its program by a relative path: it is found from one directory only",
            Hint(f"write the absolute path: {os.path.abspath(program)}"),  # noqa: PTH100 - links stay links
        )


def _hints_for_program(program: str) -> Iterator[Hint]:
    name = program.rpartition("/")[2]
    meant = meant_by(name)
    if meant is not None and meant != name:
        yield Hint(
            f"did you mean {meant}? Its absolute path is {shutil.which(meant) or f'told by: command -v {meant}'}"
        )
        return
    found = shutil.which(name)
    if found is None and os.path.isfile(program):  # noqa: PTH113 - a path stays the text that it is
        yield Hint("let it be run", f"chmod +x {shlex.quote(program)}")
    yield Hint(
        "write its absolute path" + (f": {found}" if found else f"; 'command -v {meant or shlex.quote(name)}' tells it")
    )


def _own_path() -> str:
    return shutil.which("rolesanywhere-helper") or "/usr/bin/rolesanywhere-helper"


def _variables(where: str, name: str, start: Start) -> Iterator[Finding]:
    # No more than their names: what they are set to may be a secret.
    read = [each for each in start.variables if each.startswith((PREFIX, "AWS_"))]
    if read:
        yield warning(
            Step.AWS_CONFIG,
            "line-sets-variables",
            f"{where} sets {', '.join(read)} for its program alone: they are not looked at here",
            Hint(
                f"start doctor in the same way: env {' '.join(f'{each}=…' for each in read)} rolesanywhere-helper "
                f"doctor --profile {shlex.quote(name)}; or give flags in the line instead of variables"
            ),
        )


def _why_not_run(program: str) -> str | None:
    """Say why the system would not run a file, though it may be run; None if nothing speaks against it."""
    try:
        with open(program, "rb") as script:  # noqa: PTH123 - a path stays the text that it is
            line = script.readline(_LONGEST_LINE)
    except OSError:  # who may run a program may not always read it
        return None
    if not line.startswith(b"#!"):
        is_text = line.isascii() and line.decode().rstrip().isprintable()
        return "a text without #! in its first line: no system call runs that, a shell does" if is_text else None
    interpreter, *words = line[2:].decode(errors="replace").split() or [""]
    if not os.access(interpreter, os.X_OK):
        return f"a script for {interpreter}, which is not there: has its environment been moved?"
    sought = words[0] if words and interpreter.endswith("/env") else None
    if sought is not None and not sought.startswith("-") and "=" not in sought and shutil.which(sought) is None:
        return f"a script for {sought}, which is not there"
    return None


def _arguments(where: str, words: Sequence[str]) -> Iterator[Finding]:
    unexpanded, relative = list[str](), list[str]()
    for option, value in _file_arguments(words):
        if value.startswith("~") or _VARIABLE_IN_TEXT.search(value):
            unexpanded.append(option)
        elif not value.startswith("/") and scheme_of(value) is None:
            relative.append(option)
    if unexpanded:
        yield _wrong(
            "unexpanded-path",
            f"{where} gives {', '.join(unexpanded)} a path with ~ or a variable, which nobody expands",
            Hint("write absolute paths; 'rolesanywhere-helper configure' with the same flags does"),
        )
    if relative:
        yield _wrong(
            "relative-path",
            f"{where} gives {', '.join(relative)} a relative path: it works from one directory only",
            Hint("write absolute paths; 'rolesanywhere-helper configure' with the same flags does"),
        )


def _file_arguments(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    for position, word in enumerate(words):
        option, has_value, value = word.partition("=")
        if option not in _FILE_OPTIONS:
            continue
        if has_value:
            yield option, value
        elif position + 1 < len(words):
            yield option, words[position + 1]


def _shadowed(name: str, values: Mapping[str, str], files: AwsFiles) -> Iterator[Finding]:
    in_credentials = files.credentials.get(name, {})
    preferred = [key for key in _PREFERRED if key in values]
    if _KEY in preferred and _KEY not in in_credentials:
        preferred.remove(_KEY)
        yield warning(
            Step.AWS_CONFIG,
            "shadowed-process",
            f"profile {name} also has {_KEY} in {files.paths.config}: boto3 and the AWS CLI run credential_process all "
            "the same, some other AWS clients prefer the key",
            Hint(f"remove {_KEY} (and what belongs to it) from [{name}] in {files.paths.config}"),
        )
    if PROCESS in in_credentials and PROCESS in files.in_config(name):
        yield _wrong(
            "shadowed-process",
            f"profile {name} has a credential_process in {files.paths.credentials} too, which AWS clients prefer to "
            f"that in {files.paths.config}",
            Hint(f"remove credential_process from [{name}] in {files.paths.credentials}"),
        )
    if not preferred:
        return
    path = files.paths.credentials if any(key in in_credentials for key in preferred) else files.paths.config
    yield _wrong(
        "shadowed-process",
        f"profile {name} also has {', '.join(preferred)} in {path}, which AWS clients prefer to credential_process",
        Hint(f"remove {', '.join(preferred)} (and what belongs to it) from [{name}] in {path}"),
    )


def _environment(chosen: Selected, environment: Mapping[str, str]) -> Iterator[Finding]:
    if environment.get("AWS_ACCESS_KEY_ID"):
        yield _wrong(
            "shadowed-process",
            f"AWS_ACCESS_KEY_ID is set: AWS clients prefer it to profile {chosen.name}",
            Hint("take it out", "unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN"),
        )
    if environment.get("AWS_WEB_IDENTITY_TOKEN_FILE") and environment.get("AWS_ROLE_ARN"):
        yield _wrong(
            "shadowed-process",
            f"AWS_WEB_IDENTITY_TOKEN_FILE is set: AWS clients prefer it to profile {chosen.name}",
            Hint("take it out", "unset AWS_WEB_IDENTITY_TOKEN_FILE AWS_ROLE_ARN"),
        )
    other = next(
        (each for each in _PROFILE_VARIABLES if environment.get(each, chosen.name) not in {"", chosen.name}), None
    )
    if other is not None:
        yield warning(
            Step.AWS_CONFIG,
            "another-profile",
            f"{other} names the profile {environment[other]}: AWS clients started here use that, not {chosen.name}",
            Hint(f"choose {chosen.name}", f"export {other}={shlex.quote(chosen.name)}"),
        )


def _wrong(code: str, what: str, *hints: Hint) -> Finding:
    return problem(Step.AWS_CONFIG, code, what, *hints, exit_code=MISCONFIGURED)


def _sections(path: str | None, broken: list[tuple[str, str]]) -> Sections:
    # Who names the null device wants none; clients read it as an empty file.
    if path is None or path == os.devnull:
        return {}
    content = read_if_there(path)
    if content is None:
        if os.path.lexists(path):
            broken.append((path, "it cannot be read by this user, or is no plain file"))
        return {}
    try:
        return read_sections(decoded(content))
    except IniError as error:
        broken.append((path, str(error)))
    return {}
