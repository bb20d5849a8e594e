"""Editing the keys of one section of an AWS ini file as text: every byte that is not those keys' stays as it is.

What a file means is what botocore, and so the AWS CLI, takes it to mean: Python's ``configparser`` in strict mode, with
its rules for indentation, comments, ``:`` beside ``=`` and repeated names (Python's documentation of ``configparser``),
and botocore's nested settings (an indented block below ``s3 =``). A file that botocore refuses is refused here too,
since nobody could say what an edit of it does. Lines end with LF, CRLF or CR, each as it did before.

Other SDKs agree wherever the file is plain; docs/credentials-file.md has the rest.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from rolesanywhere_helper.frozen import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

DEFAULT_PROFILE = "default"
# What configparser takes for the defaults of all sections: no profile can have this name.
_SHARED_SECTION = "DEFAULT"
_COMMENTS = ("#", ";")
_LINE = re.compile(r"([^\r\n]*)(\r\n|\r|\n|\Z)")
_HEADER = re.compile(r"\[(?P<name>.+)\]")
_OPTION = re.compile(r"(?P<name>.*?)\s*[=:]\s*(?P<value>.*)$")
_UP_TO_VALUE = re.compile(r"\s*.*?\s*[=:][^\S\r\n]*")
_INDENT = re.compile(r"\s*")
# In a header these would mean something else to one SDK or another.
_NOT_IN_A_NAME = frozenset("[]\"'\\#;\ufeff")
_LONGEST_NAME = 128


class IniError(ValueError):
    """A file that the AWS CLI could not read either; the text says where and why, and quotes nothing of the file."""


@dataclass(frozen=True, slots=True)
class _Line:
    text: str
    end: str

    @property
    def indent(self) -> str:
        found = _INDENT.match(self.text)
        return found[0] if found else ""

    @property
    def is_content(self) -> bool:
        """Whether it is neither blank nor a comment."""
        stripped = self.text.strip()
        return bool(stripped) and not stripped.startswith(_COMMENTS)

    @property
    def is_blank(self) -> bool:
        return not self.text.strip()


@dataclass(frozen=True, slots=True)
class _Option:
    """One key: the number of its line, those of the lines that continue it, and its value as botocore joins it."""

    line: int
    continued: tuple[int, ...]
    value: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Section:
    """A section: the line of its header, its options by name in lower case, and the last line that is content."""

    header: int
    options: Mapping[str, _Option]
    last: int


class _Reader:
    """Reads lines as ``configparser.RawConfigParser._read`` does (the state that it keeps has the same parts here)."""

    def __init__(self, lines: Sequence[_Line]) -> None:
        self._lines = lines
        self._names: list[str] = []
        self._headers: list[int] = []
        self._options: list[dict[str, tuple[int, list[int], list[str]]]] = []
        self._last: list[int] = []
        self._level = 0
        self._option: str | None = None
        self._seen: set[tuple[str, str]] = set()

    def sections(self) -> dict[str, _Section]:
        for number, line in enumerate(self._lines):
            if line.is_content:
                self._take(number, line)
            elif line.is_blank and self._option is not None:
                self._options[-1][self._option][2].append("")
        made: dict[str, _Section] = {}
        for name, header, options, last in zip(self._names, self._headers, self._options, self._last, strict=True):
            frozen = {key: _option(*parts) for key, parts in options.items()}
            if name in made:  # only the shared section may stand twice
                frozen = {**made[name].options, **frozen}
            made[name] = _Section(header, frozen, last)
        return made

    def _take(self, number: int, line: _Line) -> None:
        indent = len(line.indent)
        if self._option is not None and indent > self._level:
            _, continued, parts = self._options[-1][self._option]
            continued.append(number)
            parts.append(line.text.strip())
        else:
            self._level = indent
            header = _HEADER.match(line.text.strip())
            if header is not None:
                self._begin(number, header["name"])
            else:
                self._add(number, line.text.strip())
        self._last[-1] = number

    def _begin(self, number: int, name: str) -> None:
        if name != _SHARED_SECTION and name in self._names:
            raise IniError(f"line {number + 1} begins a section a second time")
        self._names.append(name)
        self._headers.append(number)
        self._options.append({})
        self._last.append(number)
        self._option = None

    def _add(self, number: int, text: str) -> None:
        if not self._names:
            raise IniError(f"line {number + 1} stands before the first [section]{_because_of_bom(text)}")
        match = _OPTION.match(text)
        if match is None or not match["name"]:
            raise IniError(f"line {number + 1} is neither KEY = VALUE nor a [section]")
        name = match["name"].rstrip().lower()
        if (self._names[-1], name) in self._seen:
            raise IniError(f"line {number + 1} sets a key of its section a second time")
        self._seen.add((self._names[-1], name))
        self._options[-1][name] = (number, [], [match["value"].strip()])
        self._option = name


def _because_of_bom(text: str) -> str:
    return ", because of a byte order mark" if text.startswith("\ufeff") else ""


def _option(number: int, continued: list[int], parts: list[str]) -> _Option:
    value = "\n".join(parts).rstrip()
    if value.startswith("\n"):
        for line in value.splitlines():
            if line.strip() and "=" not in line:
                raise IniError(f"the block below line {number + 1} has a line without =")
    return _Option(number, tuple(continued), value)


def decoded(content: bytes) -> str:
    """Return a file's text.

    Raises:
        IniError: it is not UTF-8.

    """
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise IniError(f"the byte at {error.start} is not UTF-8") from None


def read_section(text: str, name: str) -> dict[str, str]:
    """Return the values of a section by key in lower case, as botocore's parser sees them; empty if there is none.

    What the shared section ``[DEFAULT]`` says is said by it too.

    Raises:
        IniError: botocore cannot read the file.

    """
    return read_sections(text).get(name, {})


def line_of(text: str, section: str, key: str) -> int | None:
    """Return the number of the line, from one, that gives a key of a section its value, or would; None if none does.

    Raises:
        IniError: botocore cannot read the file.

    """
    sections = _Reader(_lines(text)).sections()
    said_by = (sections[name].options.get(key) for name in (section, _SHARED_SECTION) if name in sections)
    return next((option.line + 1 for option in said_by if option is not None), None)


def read_sections(text: str) -> dict[str, dict[str, str]]:
    """Return the values of every section, in the file's order, as botocore's parser sees them.

    What the shared section ``[DEFAULT]`` says is said by each.

    Raises:
        IniError: botocore cannot read the file.

    """
    sections = {name: _values(section) for name, section in _Reader(_lines(text)).sections().items()}
    shared = sections.pop(_SHARED_SECTION, {})
    return {name: {**shared, **own} for name, own in sections.items()}


def is_profile_name(name: str) -> bool:
    """Tell whether a profile of this name would be the same to every SDK."""
    is_plain = name.isprintable() and name == name.strip() and _NOT_IN_A_NAME.isdisjoint(name)
    return bool(name) and len(name) <= _LONGEST_NAME and is_plain and name != _SHARED_SECTION


def config_section(text: str, profile: str) -> str:
    """Return the name of the section that botocore takes for a profile of the config file, or that it should get.

    In the credentials file a section has the profile's own name. In the config file it is ``profile NAME``, where NAME
    may be quoted; ``[default]`` alone goes without. Of more than one that say the same botocore takes the last.

    Raises:
        IniError: botocore cannot read the file.

    """
    found = [name for name in _Reader(_lines(text)).sections() if profile_of(name) == profile]
    if found:
        return found[-1]
    if profile == DEFAULT_PROFILE:
        return profile
    is_one_word = shlex.split(profile) == [profile]
    return f"profile {profile}" if is_one_word else f'profile "{profile}"'


def profile_of(section: str) -> str | None:
    """Return the profile that a section of the config file is for, or None."""
    if section == DEFAULT_PROFILE:
        return section
    if not section.startswith("profile"):
        return None
    try:
        words = shlex.split(section)
    except ValueError:
        return None
    return words[1] if len(words) == len(("profile", "NAME")) else None


def set_keys(text: str, section: str, values: Mapping[str, str]) -> str:
    """Return the text with these keys of a section set; keys and section are added where they are missing.

    A key that is there keeps its place, its spelling and the space around its ``=``; lines that continued its old value
    go. New keys follow the section's last line in the order given, a new section the file's.

    Raises:
        IniError: botocore cannot read the file, or could not read the new one.
        ValueError: a value could not stand in a line of its own.

    """
    for key, value in values.items():
        if not value or value != value.strip() or not value.isprintable():
            raise ValueError(f"the value of {key} cannot be written")
    lines = _lines(text)
    before = _Reader(lines).sections()
    known = before.get(section)
    edited = "".join(_with_section(lines, section, values) if known is None else _edited(lines, known, values))
    _check(before, _Reader(_lines(edited)).sections(), section, values)
    return edited


def _lines(text: str) -> list[_Line]:
    return [_Line(match[1], match[2]) for match in _LINE.finditer(text) if match[0]]


def _edited(lines: Sequence[_Line], section: _Section, values: Mapping[str, str]) -> Iterator[str]:
    replaced = {section.options[key].line: value for key, value in values.items() if key in section.options}
    gone = {number for key in values if key in section.options for number in section.options[key].continued}
    new = [(key, value) for key, value in values.items() if key not in section.options]
    # What continues the last key is gone with its old value: the new keys come after what is left.
    kept = (number for number in range(section.header, section.last + 1) if number not in gone)
    last = max(number for number in kept if lines[number].is_content)
    end = lines[last].end or _usual_end(lines)
    indent = _indent_for_new_keys(lines, section, last)
    for number, line in enumerate(lines):
        if number in gone:
            continue
        yield (_with_value(line, replaced[number]) if number in replaced else line.text) + line.end
        if number == last:
            # A last line of the file that has no end keeps none.
            yield from (
                f"{indent}{key} = {value}{end}" if line.end else f"{end}{indent}{key} = {value}" for key, value in new
            )


def _with_value(line: _Line, value: str) -> str:
    head = _UP_TO_VALUE.match(line.text)
    before = line.text if head is None else head[0]
    has_value = before != line.text
    return before + ("" if has_value or before[-1:].isspace() else " ") + value


def _indent_for_new_keys(lines: Sequence[_Line], section: _Section, last: int) -> str:
    """Return the space with which a new line after ``last`` begins a key, and makes nothing after it part of that.

    A line that is indented more than the key before it continues that key.
    """
    if section.options:
        return lines[max(option.line for option in section.options.values())].indent
    follower = next((line for line in lines[last + 1 :] if line.is_content), None)
    own = lines[section.header].indent
    return own if follower is None or len(follower.indent) <= len(own) else follower.indent


def _with_section(lines: Sequence[_Line], section: str, values: Mapping[str, str]) -> Iterator[str]:
    end = _usual_end(lines)
    yield from (line.text + line.end for line in lines)
    if lines:
        yield ("" if lines[-1].end else end) + ("" if lines[-1].is_blank else end)
    yield f"[{section}]{end}"
    yield from (f"{key} = {value}{end}" for key, value in values.items())


def _usual_end(lines: Sequence[_Line]) -> str:
    return next((line.end for line in lines if line.end), "\n")


def _check(
    before: Mapping[str, _Section], after: Mapping[str, _Section], section: str, values: Mapping[str, str]
) -> None:
    """Hold the new text against what it was to say.

    Raises:
        IniError: it says something else: this program has a mistake, and nothing is to be written.

    """
    expected = {name: _values(each) for name, each in before.items()}
    expected[section] = {**expected.get(section, {}), **values}
    if {name: _values(each) for name, each in after.items()} != expected:
        raise IniError("the edit would change more than it should")


def _values(section: _Section) -> dict[str, str]:
    return {key: option.value for key, option in section.options.items()}
