"""Writing a command as the value of ``credential_process``, so that every AWS client runs the same words.

botocore and the AWS CLI split the value as a POSIX shell would, without one (``shlex.split``); the SDKs for Go, Java,
JavaScript, Rust and others hand it to ``sh -c``. Some parsers of ini files take ``#`` or ``;`` after a space for the
begin of a comment, and quotes around a whole value away. So only what needs it is quoted, piece by piece: no value
begins with a quote, and no space stands before ``#`` or ``;``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_UNSAFE = re.compile(r"[^\w@%+=:,./#;-]+|[#;]", re.ASCII)


def command_line(words: Iterable[str]) -> str:
    """Return the line. Its first word is to be an absolute path.

    Raises:
        ValueError: a word has a character that cannot stand in a line of an ini file.

    """
    return " ".join(_quoted(word) for word in words)


def _quoted(word: str) -> str:
    if not word.isprintable():
        raise ValueError("a word of the command has characters that a line cannot hold")
    return _UNSAFE.sub(lambda found: "'" + found[0].replace("'", "'\"'\"'") + "'", word) or "''"
