"""Writes the tables in docs/configuration.md from those that the program itself is built from.

Run it after a change of ``flags.py`` or ``serve_keys.py`` in ``rolesanywhere_helper/config``:
``python -m scripts.configuration_table``.
"""

from __future__ import annotations

from pathlib import Path

from rolesanywhere_helper.config.flags import AGENT_SOCKET, REQUIRED, SESSION_FLAGS, Flag, Kind
from rolesanywhere_helper.config.serve_keys import SERVE_KEYS, ServeKey

DOCUMENT = Path(__file__).parents[1] / "docs" / "configuration.md"
END = "<!-- end of the written table -->"
_BEGIN = "<!-- written by scripts/configuration_table.py from the table of {}: do not edit -->"


def session_table() -> str:
    """Return the table of the session's flags in Markdown, with a newline at its end."""
    head = "| flag | environment | TOML | what it does |\n|---|---|---|---|\n"
    return head + "".join(_row(flag) for flag in (*SESSION_FLAGS, AGENT_SOCKET))


def serve_table() -> str:
    """Return the table of the daemon's keys in Markdown, with a newline at its end."""
    head = "| table | key | flag of `serve` | what it does |\n|---|---|---|---|\n"
    return head + "".join(_serve_row(key) for key in SERVE_KEYS)


def with_tables(text: str) -> str:
    """Put the tables in their places in the document.

    Raises:
        ValueError: the document does not say where.

    """
    for name, table in (("flags", session_table()), ("the daemon's keys", serve_table())):
        text = _with_table(text, _BEGIN.format(name), table)
    return text


def _with_table(text: str, mark: str, table: str) -> str:
    before, begin, rest = text.partition(mark)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError("docs/configuration.md has lost the lines between which the table stands")
    return f"{before}{mark}\n{table}{END}{after}"


def _serve_row(key: ServeKey) -> str:
    flags = ", ".join(f"`{flag.option} {flag.metavar}`" for flag in key.flags) or "-"
    return f"| `[{key.table}]` | `{key.name} = {key.example}` | {flags} | {key.help} |\n"


def _row(flag: Flag) -> str:
    typed = f"`{flag.option}`" if flag.kind is Kind.SWITCH else f"`{flag.option} {flag.metavar}`"
    variables = [name for name in (flag.variable, flag.aws_variable) if name is not None]
    keys = ", ".join(f"`{key}`" for key in flag.toml_keys)
    toml = f"{keys} in {flag.place.value}" if keys else "-"
    text = flag.help + (" (required)" if flag.name in REQUIRED else "")
    return f"| {typed} | {', '.join(f'`{name}`' for name in variables)} | {toml} | {text} |\n"


if __name__ == "__main__":
    DOCUMENT.write_text(with_tables(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
