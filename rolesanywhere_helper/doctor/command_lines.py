"""Whether a command line starts this program, and with which arguments.

It may be named itself, be run by Python as a module or script, stand behind programs that start another one (``env``,
``nice``, ``sudo``, ``uv run`` …), or in a shell's line.
"""

from __future__ import annotations

import re
import shlex
from difflib import get_close_matches
from itertools import pairwise
from typing import TYPE_CHECKING

from rolesanywhere_helper.frozen import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# The last one is the official helper, whose place this program takes.
PROGRAMS = frozenset({"rolesanywhere-helper", "rolesanywhere-helper-python", "aws_signing_helper"})
_ENDINGS = (".exe", ".pyz", ".pex", ".py")
_MODULE = __name__.partition(".")[0]
_MODULES = frozenset({_MODULE, f"{_MODULE}.__main__"})
_COMMAND = "credential-process"
_PYTHON = re.compile(r"(?:python|pypy)[\d.]*t?")
# Python's options before the module or script; those of the second kind have a word of their own as value.
_AS_MODULE = re.compile(r"-[A-Za-z]*?m(.*)", re.DOTALL)
_WITH_VALUE = frozenset({"-X", "-W", "--check-hash-based-pycs"})
_CODE = re.compile(r"-[A-Za-z]*c.*", re.DOTALL)
_SHELLS = frozenset({"sh", "bash", "dash", "ash", "ksh", "zsh"})
# What only the shell knows the meaning of.
_OF_THE_SHELL = re.compile(r"[$`~|;&<>(){}*?\[\]!#\n]")
# What they start runs on another machine, or among other files.
_ELSEWHERE = frozenset({"ssh", "docker", "podman", "nerdctl", "kubectl", "chroot", "nsenter", "machinectl"})
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=.*", re.DOTALL)
# A word that a shell would not have passed on: a pipe, another command, a remark, or somewhere to write to.
_SIGN = re.compile(r"(\|\|?&?|&&?|;|#|\d?[<>]+&?).*", re.DOTALL)
_NEAR = 0.85


@dataclass(frozen=True, slots=True)
class Start:
    """How a line starts this program.

    ``program`` is the word that is run for it; empty, and ``arguments`` None, where only a shell knows. ``variables``
    are the names of those that are set on the way.
    """

    program: str
    arguments: tuple[str, ...] | None
    variables: tuple[str, ...] = ()


def start_in(words: Sequence[str]) -> Start | None:
    """Find where a line starts this program; None if it starts another one."""
    if not words or _name(words[0]) in _ELSEWHERE:
        return None
    # Of several words that name it behind another program ("uvx --from NAME NAME …") the last one is run.
    places = (0, *range(len(words) - 1, 0, -1))
    return next((found for place in places if (found := _start_at(words, place)) is not None), None)


def meant_by(name: str) -> str | None:
    """Return the program of ours that a name is, or is nearly; None if it is another one's."""
    near = get_close_matches(_name(name).replace("_", "-").lower(), PROGRAMS, n=1, cutoff=_NEAR)
    return "aws_signing_helper" if name == "aws_signing_helper" else next(iter(near), None)


def assigned_in(word: str) -> str | None:
    """Return the name of the variable that a word would set in a shell, or None."""
    found = _ASSIGNMENT.fullmatch(word)
    return None if found is None else found[1]


def signs_for_a_shell(line: str) -> list[str]:
    """Return the signs that only a shell knows the meaning of, where no quotes stand around them; nothing else."""
    try:
        words = shlex.split(line, posix=False)  # keeps the quotes
    except ValueError:
        return []
    signs = (found[1] for word in words if (found := _SIGN.fullmatch(word)) is not None)
    return list(dict.fromkeys(signs))


def _start_at(words: Sequence[str], place: int) -> Start | None:
    here = words[place:]
    before = tuple(found[1] for word in words[:place] if (found := _ASSIGNMENT.fullmatch(word)))
    if _name(here[0]) in _SHELLS:
        inside = _in_a_shell(here)
        return None if inside is None else Start(inside.program, inside.arguments, (*before, *inside.variables))
    length = _length(here)
    arguments = tuple(here[length:])
    # A word behind another program may be anything: it is ours if the word that we are always given follows.
    if not length or (place and _COMMAND not in arguments):
        return None
    return Start(here[0], arguments, before)


def _in_a_shell(words: Sequence[str]) -> Start | None:
    line = next((line for option, line in pairwise(words) if _CODE.fullmatch(option)), None)
    if line is None:
        return None
    if not _OF_THE_SHELL.search(line):
        try:
            return start_in(shlex.split(line))
        except ValueError:
            return None
    is_ours = _COMMAND in line and any(name in line for name in (*PROGRAMS, _MODULE))
    return Start("", None) if is_ours else None


def _length(words: Sequence[str]) -> int:
    """Count the words at the beginning that start this program; 0 if they start another one."""
    name = _name(words[0])
    if _PYTHON.fullmatch(name):
        return _length_by_python(words)
    return 1 if name in PROGRAMS else 0


def _length_by_python(words: Sequence[str]) -> int:
    rest = iter(enumerate(words[1:], 1))
    for position, word in rest:
        as_module = _AS_MODULE.fullmatch(word)
        if word in _WITH_VALUE:
            next(rest, None)
        elif as_module is not None and not word.startswith(("-X", "-W")):
            return _length_of_module(as_module[1], position, rest)
        elif not word.startswith("-"):
            return position + 1 if _is_our_script(word) else 0
        elif _CODE.fullmatch(word):
            return 0
    return 0


def _length_of_module(attached: str, position: int, rest: Iterator[tuple[int, str]]) -> int:
    position, name = (position, attached) if attached else next(rest, (position, ""))
    return position + 1 if name in _MODULES else 0


def _is_our_script(path: str) -> bool:
    folder, _, name = path.rpartition("/")
    if name == "__main__.py":
        name = folder.rpartition("/")[2]
    return _name(name) in PROGRAMS or name == _MODULE


def _name(word: str) -> str:
    name = word.rpartition("/")[2]
    ending = next((each for each in _ENDINGS if name.endswith(each)), "")
    return name.removesuffix(ending)
