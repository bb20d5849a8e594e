"""Where the files that AWS clients share are, by the rules of those clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rolesanywhere_helper.config.values import absolute
from rolesanywhere_helper.errors import UsageError
from rolesanywhere_helper.frozen import dataclass

if TYPE_CHECKING:
    from rolesanywhere_helper.config.environment import Surroundings


@dataclass(frozen=True, slots=True)
class AwsFile:
    """One of the files: the variable that names it, and where it is in a home directory otherwise."""

    variable: str
    name: str

    @property
    def described(self) -> str:
        """How help names the default."""
        return f"{self.variable}, or ~/.aws/{self.name}"


CREDENTIALS = AwsFile("AWS_SHARED_CREDENTIALS_FILE", "credentials")
CONFIG = AwsFile("AWS_CONFIG_FILE", "config")


def aws_file(which: AwsFile, typed: object, surroundings: Surroundings) -> str:
    """Return the absolute path of the file that is typed, or that AWS clients started here would use.

    Raises:
        UsageError: neither flag nor environment names one.

    """
    if isinstance(typed, str) and typed:
        return absolute(typed, "--file", surroundings.working_directory)
    named = surroundings.variable(which.variable) or f"~/.aws/{which.name}"
    if named == "~" or named.startswith("~/"):
        if surroundings.home is None:
            raise UsageError(
                f"nothing says where the {which.name} file is: neither {which.variable} nor HOME is set",
                "name it with --file",
            )
        named = surroundings.home.rstrip("/") + named[1:]
    return absolute(named, which.variable, surroundings.working_directory)
