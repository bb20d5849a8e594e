"""What stands between fences in a document. A block that is a file begins with a comment that is its path."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

DOCUMENTS = Path(__file__).parents[2] / "docs"
_FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PATH = re.compile(r"# (/\S+)\n")


@dataclass(frozen=True, slots=True)
class Guide:
    """One document, as far as a machine can read it."""

    text: str

    @classmethod
    def named(cls, name: str) -> Guide:
        return cls((DOCUMENTS / name).read_text(encoding="utf-8"))

    def blocks(self, language: str) -> list[str]:
        return [body for found, body in _FENCED.findall(self.text) if found == language]

    @property
    def files(self) -> dict[str, str]:
        """The blocks that are files, by their paths."""
        bodies = [body for _, body in _FENCED.findall(self.text)]
        return {found[1]: body for body in bodies if (found := _PATH.match(body))}
