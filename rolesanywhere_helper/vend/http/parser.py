"""From the bytes of one head to its parts, by llhttp."""

from __future__ import annotations

from typing import Final

import httptools

from rolesanywhere_helper.protocol.http_rules import Head

# What may stand around a field's value is no part of it (RFC 9110, 5.5): llhttp takes away what stands before it.
_OPTIONAL_WHITESPACE: Final = b" \t"
# Taken to the letter: padding is left where its reader sees and refuses it.
_TO_THE_LETTER: Final = frozenset({"x-aws-ec2-metadata-token-ttl-seconds"})


class _Parts:
    """Takes the parser's calls."""

    def __init__(self) -> None:
        self.target = b""
        self.fields: list[tuple[str, str]] = []
        self.is_complete = False

    def on_url(self, target: bytes) -> None:
        self.target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        key = name.decode("ascii").lower()
        told = value if key in _TO_THE_LETTER else value.rstrip(_OPTIONAL_WHITESPACE)
        self.fields.append((key, told.decode("latin-1")))

    def on_headers_complete(self) -> None:
        self.is_complete = True


def parse(head: bytes) -> Head | None:
    """Parse one head, with its empty line and nothing behind it; None if it is none.

    The bytes have passed :func:`rolesanywhere_helper.protocol.http_rules.early_refusal`: the
    request line has three parts, and only a token may hold what is not ASCII.
    """
    parts = _Parts()
    parser = httptools.HttpRequestParser(parts)
    try:
        parser.feed_data(head)
    except httptools.HttpParserUpgrade:
        # The head is complete, and asks for another protocol: it will be answered in this one.
        pass
    except httptools.HttpParserInvalidMethodError:
        # A method that llhttp has never heard of; it is refused by name like the others.
        return _of_unknown_method(head)
    except httptools.HttpParserError:
        return None
    if not parts.is_complete:
        return None
    line = head[: head.index(b"\r\n")].decode("ascii")
    return Head(line.partition(" ")[0], parts.target.decode("ascii"), int(line[-1]), tuple(parts.fields))


def _of_unknown_method(head: bytes) -> Head | None:
    method, space, rest = head.partition(b" ")
    known = parse(b"POST" + space + rest)
    return known and Head(method.decode("ascii"), known.target, known.minor, known.fields)
