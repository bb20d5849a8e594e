"""Writes the table of flags in docs/configuration.md from the one that the program itself is built from.

Run it after a change of ``rolesanywhere_helper/config/flags.py``: ``python -m scripts.configuration_table``.
"""

from __future__ import annotations

from pathlib import Path

from rolesanywhere_helper.config.flags import REQUIRED, SESSION_FLAGS, Flag, Kind

DOCUMENT = Path(__file__).parents[1] / "docs" / "configuration.md"
BEGIN = "<!-- written by scripts/configuration_table.py from the table of flags: do not edit -->"
END = "<!-- end of the written table -->"


def table() -> str:
    """Return the table in Markdown, with a newline at its end."""
    head = "| flag | environment | TOML | what it does |\n|---|---|---|---|\n"
    return head + "".join(_row(flag) for flag in SESSION_FLAGS)


def with_table(text: str) -> str:
    """Put the table in its place in the document.

    Raises:
        ValueError: the document does not say where.

    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError("docs/configuration.md has lost the lines between which the table stands")
    return f"{before}{BEGIN}\n{table()}{END}{after}"


def _row(flag: Flag) -> str:
    typed = f"`{flag.option}`" if flag.kind is Kind.SWITCH else f"`{flag.option} {flag.metavar}`"
    variables = [name for name in (flag.variable, flag.aws_variable) if name is not None]
    keys = ", ".join(f"`{key}`" for key in flag.toml_keys)
    toml = f"{keys} in {flag.place.value}" if keys else "-"
    text = flag.help + (" (required)" if flag.name in REQUIRED else "")
    return f"| {typed} | {', '.join(f'`{name}`' for name in variables)} | {toml} | {text} |\n"


if __name__ == "__main__":
    DOCUMENT.write_text(with_table(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
