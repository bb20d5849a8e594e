"""A guard against going round in circles (promise 84).

An AWS client that we run must never ask a ``credential_process`` for credentials: that could be this program again,
which would run an AWS client again. Clients get explicit credentials and no shared configuration; should one still
start a process, this variable in its environment turns the loop into an error.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rolesanywhere_helper.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

VARIABLE = "ROLESANYWHERE_HELPER_INSIDE_AWS_CLIENT"


def refuse_loop() -> None:
    """Refuse to hand credentials to an AWS client that runs inside this program.

    Raises:
        UsageError: this process was started by such a client.

    """
    if VARIABLE in os.environ:
        raise UsageError(
            "an AWS client inside rolesanywhere-helper asked for credentials through credential_process",
            "remove the credential_process line of the profile that AWS_PROFILE or [default] selects while this runs",
        )


@contextmanager
def loop_guard() -> Iterator[None]:
    """Mark every process that is started meanwhile as one of an AWS client of ours."""
    os.environ[VARIABLE] = "1"
    try:
        yield
    finally:
        os.environ.pop(VARIABLE, None)
