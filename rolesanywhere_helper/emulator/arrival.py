"""A request as it arrived, before anybody has interpreted it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Arrival:
    """One HTTP request: ``target`` is path and query as they stood in the request line, headers are in their order.

    The body is as sent (no decoding), and left out of ``repr`` with the headers, which hold tokens and signatures.
    ``remote`` is the address that it came from.
    """

    method: str
    target: str
    headers: tuple[tuple[bytes, bytes], ...] = field(repr=False)
    body: bytes = field(repr=False)
    remote: str = "127.0.0.1"

    @property
    def path(self) -> str:
        """The path as sent, without the query."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """The query as sent; empty if there is none."""
        return self.target.partition("?")[2]

    def values(self, name: str) -> tuple[str, ...]:
        """Return every value of a header, stripped, in order; what is not ASCII is replaced."""
        wanted = name.lower().encode("ascii")
        return tuple(value.decode("ascii", "replace").strip() for sent, value in self.headers if sent.lower() == wanted)

    def value(self, name: str) -> str | None:
        """Return the one value of a header; None if it was not sent, or more than once (which is right)."""
        values = self.values(name)
        return values[0] if len(values) == 1 else None
