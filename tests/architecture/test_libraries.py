"""Each heavy library has its home, and nobody else imports it; only the command line prints and exits."""

from __future__ import annotations

import ast

import pytest

from tests.architecture.source import Module, imports, package_modules, parse

# The rooms that may import a library at all, inside a function too. They load it when they are loaded.
HOMES = {
    "aiobotocore": {"aws"},
    "aiohttp": {"emulator"},
    "argparse": {"cli"},
    "asyncio": {"emulator", "daemon", "vend", "wiring"},
    "boto3": {"aws", "emulator"},
    "botocore": {"aws", "emulator"},
    "cryptography": {"identity", "pki", "emulator"},
    "h2": {"identity"},
    "pkcs11": {"identity"},
    "requests": {"transport"},
    "tpm2_pytss": {"identity"},
    "urllib3": {"transport"},
    "httptools": {"vend"},
    "watchdog": {"daemon"},
}
# The launchers end the process with the code that they were given.
MAY_EXIT = {"cli", "__main__"}
# A detached child must not return into its parent's code, and says so to the kernel.
MAY_LEAVE_A_FORK = {"fastpath", "system"}
EXITS = {"exit", "quit", "sys.exit", "os.abort", "SystemExit"}
PRINTS = {"print", "sys.stdout.write", "sys.stdout.buffer.write", "sys.stderr.write", "sys.stderr.buffer.write"}
LOG_SET_UP = {"logging.basicConfig", "logging.config.dictConfig"}


def strangers(module: Module) -> list[str]:
    """Return the imports of heavy libraries by a module that is not their home."""
    return [
        f"{module.path}:{found.line} imports {found.library}"
        for found in imports(module)
        if found.library in HOMES and module.room not in HOMES[found.library]
    ]


def outbursts(module: Module) -> list[str]:
    """Return the calls by which a module prints, ends the process or sets up logging, though it must not."""
    forbidden = set[str]()
    if module.room not in MAY_EXIT:
        forbidden |= EXITS | PRINTS | LOG_SET_UP
    if module.room not in MAY_LEAVE_A_FORK:
        forbidden |= {"os._exit", "posix._exit"}
    names = (
        (node.lineno, ast.unparse(node.func if isinstance(node, ast.Call) else node))
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call | ast.Name)
    )
    return sorted({f"{module.path}:{line} uses {name}" for line, name in names if name in forbidden})


def test_heavy_libraries_stay_at_home() -> None:
    assert [found for module in package_modules() for found in strangers(module)] == []


def test_only_the_command_line_prints_exits_and_sets_up_logging() -> None:
    assert [found for module in package_modules() for found in outbursts(module)] == []


def test_the_fast_path_imports_built_ins_only_until_it_hands_over() -> None:
    fast = next(module for module in package_modules() if module.path == "fastpath.py")
    loaded = {found.library for found in imports(fast) if found.at_module_level}

    # hashlib only where an interpreter was built without its own SHA-256
    assert loaded <= {"_sha2", "_sha256", "hashlib", "posix", "sys", "time"}


def test_the_start_of_the_package_imports_nothing() -> None:
    start = next(module for module in package_modules() if module.path == "__init__.py")

    assert [found for found in imports(start) if found.at_module_level] == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("broker.py", "import requests"),
        ("cli/demo.py", "def run():\n    from boto3.session import Session"),
        ("protocol/x.py", "try:\n    import cryptography.x509\nexcept ImportError: pass"),
        ("transport/x.py", "if not TYPE_CHECKING:\n    import boto3"),
    ],
)
def test_a_stranger_is_found(path: str, text: str) -> None:
    assert len(strangers(parse(path, text))) == 1


@pytest.mark.parametrize(
    ("path", "text"),
    [("transport/x.py", "import requests"), ("broker.py", "if TYPE_CHECKING:\n    import requests")],
)
def test_at_home_or_for_type_checkers_it_is_none(path: str, text: str) -> None:
    assert strangers(parse(path, text)) == []


@pytest.mark.parametrize(
    "text", ["print(1)", "import sys\nsys.exit(1)", "raise SystemExit", "os._exit(1)", "logging.basicConfig()"]
)
def test_an_outburst_is_found(text: str) -> None:
    assert len(outbursts(parse("mint/x.py", text))) == 1
    assert outbursts(parse("cli/x.py", text)) == [] or "_exit" in text
