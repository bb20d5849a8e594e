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
from typing import TYPE_CHECKING

from rolesanywhere_helper.config.flags import SESSION_FLAGS, Kind
from rolesanywhere_helper.doctor.findings import MISCONFIGURED, Finding, Hint, Step, ok, problem, skipped, warning
from rolesanywhere_helper.domain.identity_reference import scheme_of
from rolesanywhere_helper.frozen import dataclass, field
from rolesanywhere_helper.protocol.ini_text import DEFAULT_PROFILE, IniError, decoded, profile_of, read_sections
from rolesanywhere_helper.system.replaced_file import read_if_there

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Sections = Mapping[str, Mapping[str, str]]

PROCESS = "credential_process"
PROGRAMS = frozenset({"rolesanywhere-helper", "aws_signing_helper"})
# The other way to start it: "/…/python3 -m rolesanywhere_helper …".
_PYTHON, _AS_MODULE = re.compile(r"python[\d.]*t?"), ("-m", __name__.partition(".")[0])
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
_VARIABLE_IN_TEXT = re.compile(r"\$(?:\w|\{)")


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
        found = [values for section, values in self.config.items() if profile_of(section) == name]
        own = self.credentials.get(name)
        if not found and own is None:
            return None
        return {**(found[-1] if found else {}), **(own or {})}

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

    def runs_us(self, name: str) -> bool:
        """Tell whether a profile runs this program, or the one that it takes the place of."""
        line = (self.profile(name) or {}).get(PROCESS, "")
        # One with a quote that is not closed is ours all the same, and is told so.
        words = self.words(name) or [word.strip("'\"") for word in line.split()]
        return _length_of_program(words) > 0

    def arguments(self, name: str) -> list[str] | None:
        """Return what a profile's line gives this program; None if it does not run it, or cannot be taken apart."""
        words = self.words(name)
        length = _length_of_program(words or [])
        return words[length:] if words and length else None


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
    if files.runs_us(chosen.name):
        yield ok(
            Step.AWS_CONFIG, f"profile {chosen.name} of {files.paths.config} runs this program", profile=chosen.name
        )
        return
    ours = [name for name in files.profiles if files.runs_us(name)]
    if chosen.by is None and ours:
        yield ok(
            Step.AWS_CONFIG,
            f"{files.paths.config} has {', '.join(ours)}, to be chosen with AWS_PROFILE or --profile",
            profiles=ours,
        )
    elif files.words(chosen.name):
        yield skipped(Step.AWS_CONFIG, f"credential_process of profile {chosen.name} runs another program")
    else:
        yield skipped(Step.AWS_CONFIG, f"no profile of {files.paths.config or 'an AWS config file'} runs this program")


# The files


def _length_of_program(words: list[str]) -> int:
    """Count the words at the beginning that start this program; 0 if they start another one."""
    if not words:
        return 0
    name = words[0].rpartition("/")[2]
    if _PYTHON.fullmatch(name) and tuple(words[1:3]) == _AS_MODULE:
        return 1 + len(_AS_MODULE)
    return 1 if name in PROGRAMS else 0


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
                Hint(f"in this file write [profile {section}]"),
            )
    for section, values in files.credentials.items():
        if section.startswith("profile ") and PROCESS in values:
            yield _wrong(
                "unread-profile",
                f"[{section}] in {files.paths.credentials} is read by nobody",
                Hint(f"in this file write [{section.removeprefix('profile ')}]"),
            )


# The profile


def _profile(files: AwsFiles, chosen: Selected, environment: Mapping[str, str]) -> Iterator[Finding]:
    name, values = chosen.name, files.profile(chosen.name)
    if values is None:
        if chosen.by is not None and not files.broken:
            yield _unknown(files, chosen)
        return
    if PROCESS not in values or not files.runs_us(name):
        return
    yield from _line(name, values[PROCESS], files)
    yield from _shadowed(name, values, files)
    yield from _environment(chosen, environment)


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
        program, *words = shlex.split(line)
    except ValueError:
        yield _wrong("broken-line", f"{where} has a quote that is not closed", Hint("close it, in one line"))
        return
    yield from _program(where, program)
    yield from _arguments(where, words)
    # No more than the flag's name: what follows it may be a secret.
    beside = [key.split()[0] for key in files.profile(name) or {} if key.startswith("--")]
    if beside:
        yield _wrong(
            "continued-line",
            f"{', '.join(beside)} stands in a line of its own below {where}, and is read by nobody",
            Hint("write all flags into the one line of credential_process"),
        )


def _program(where: str, program: str) -> Iterator[Finding]:
    if program.startswith("~") or _VARIABLE_IN_TEXT.search(program):
        yield _wrong(
            "unexpanded-path",
            f"{where} names its program with ~ or a variable, which nobody expands",
            Hint(f"write the absolute path: {shutil.which('rolesanywhere-helper') or '/usr/bin/rolesanywhere-helper'}"),
        )
    elif shutil.which(program) is None:
        found = shutil.which(program.rpartition("/")[2])
        yield _wrong(
            "program-not-there",
            f"{where} runs {program}, which is not there or cannot be run",
            Hint(
                "write its absolute path" + (f": {found}" if found else "; 'command -v rolesanywhere-helper' tells it")
            ),
        )
    elif "/" in program and not program.startswith("/"):
        yield _wrong(
            "relative-path",
            f"{where} names its program by a relative path: it is found from one directory only",
            Hint(f"write the absolute path: {os.path.abspath(program)}"),  # noqa: PTH100 - links stay links
        )


def _arguments(where: str, words: list[str]) -> Iterator[Finding]:
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


def _file_arguments(words: list[str]) -> Iterator[tuple[str, str]]:
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
