r"""Credentials as the environment variables that every AWS SDK reads, written for a shell or as a file.

Nothing in a value can run or end its quotes, whatever the value is. The rule of each format:

* ``sh`` (also bash, zsh, ksh): POSIX, "Shell Command Language", 2.2.2: between single quotes every character stands for
  itself, and only a single quote cannot be among them.
* ``fish``: between single quotes ``\`` and ``'`` are escaped with a backslash, all else stands for itself (fish's
  language reference, "Quotes").
* ``powershell``: between single quotes only a quote is special, and is doubled (about_Quoting_Rules). The four
  typographic quotes U+2018 to U+201B are single quotes to PowerShell too.
* ``dotenv``: what reads such files differs (python-dotenv, docker, systemd, GitLab, a shell that sources them): to some
  of them quotes are part of the value. So a value is written only if they all read it alike, bare: all that a service
  sends is. What is not is refused.
* ``json``: one object, values by variable name.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, assert_never

from rolesanywhere_helper.errors import BadAnswerError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rolesanywhere_helper.domain.credentials import Credentials

# zsh takes =NAME, at the start or after a colon, for the path of a command.
_BARE = re.compile(r"(?!=)(?:[A-Za-z0-9_./+=@%,-]|:(?!=))*")
_POWERSHELL_QUOTES = re.compile("(['\u2018\u2019\u201a\u201b])")


class Format(Enum):
    """How variables are written; the value is what ``--format`` takes."""

    SH = "sh"
    FISH = "fish"
    POWERSHELL = "powershell"
    DOTENV = "dotenv"
    JSON = "json"


def variables(credentials: Credentials, region: str | None = None) -> dict[str, str]:
    """Return the variables by name; those of the region only if one is given.

    ``AWS_CREDENTIAL_EXPIRATION`` is ``YYYY-MM-DDTHH:MM:SSZ`` (RFC 3339, UTC), as the AWS CLI exports it.
    """
    found = {
        "AWS_ACCESS_KEY_ID": credentials.access_key_id,
        "AWS_SECRET_ACCESS_KEY": credentials.secret_access_key,
        "AWS_SESSION_TOKEN": credentials.session_token,
        "AWS_CREDENTIAL_EXPIRATION": datetime.fromtimestamp(credentials.expires_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    if region is not None:
        # The AWS CLI and boto3 read the second where the first is not set, older ones nothing else.
        found |= {"AWS_REGION": region, "AWS_DEFAULT_REGION": region}
    return found


def render(values: Mapping[str, str], form: Format) -> bytes:
    """Write variables, each on a line of its own (JSON: all on one), with a newline at the end.

    Raises:
        BadAnswerError: a value holds what no environment variable can (NUL, or half a character).
        UsageError: a value cannot be written in this format.

    """
    for name, value in values.items():
        _check(name, value)
    return f"{_written(values, form)}\n".encode()


def _check(name: str, value: str) -> None:
    # Half a surrogate pair has no bytes in UTF-8.
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise BadAnswerError(f"the value of {name} cannot be that of an environment variable")


def _written(values: Mapping[str, str], form: Format) -> str:
    match form:
        case Format.SH:
            return "\n".join(f"export {name}={_quoted_for_sh(value)}" for name, value in values.items())
        case Format.FISH:
            return "\n".join(f"set -gx {name} {_quoted_for_fish(value)}" for name, value in values.items())
        case Format.POWERSHELL:
            return "\n".join(f"$Env:{name} = {_quoted_for_powershell(value)}" for name, value in values.items())
        case Format.DOTENV:
            return "\n".join(f"{name}={_bare(name, value)}" for name, value in values.items())
        case Format.JSON:
            return json.dumps(dict(values), separators=(",", ":"))
        case _:
            assert_never(form)


def _quoted_for_sh(value: str) -> str:
    return "'" + value.replace("'", r"'\''") + "'"


def _quoted_for_fish(value: str) -> str:
    return "'" + value.replace("\\", r"\\").replace("'", r"\'") + "'"


def _quoted_for_powershell(value: str) -> str:
    return "'" + _POWERSHELL_QUOTES.sub(r"\1\1", value) + "'"


def _bare(name: str, value: str) -> str:
    if not _BARE.fullmatch(value):
        raise UsageError(
            f"the value of {name} has characters that not every reader of such files takes alike", "use --format json"
        )
    return value
