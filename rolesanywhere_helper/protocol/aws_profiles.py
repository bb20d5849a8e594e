"""The user's AWS files as a program under ``exec`` sees them: settings, and nobody else's credentials.

Credentials of a container endpoint come late in every SDK's chain: a profile that has any comes before them. So the
program gets a config file without those of the profile that the user works with, which becomes ``[default]``. What a
key means is in the AWS CLI's user guide, "Configuration and credential file settings".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rolesanywhere_helper.frozen import dataclass, field
from rolesanywhere_helper.protocol.ini_text import DEFAULT_PROFILE, profile_of, read_sections

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# What says where credentials come from, or what they are for.
_CREDENTIAL_KEYS = frozenset(
    {
        "credential_process",
        "credential_source",
        "source_profile",
        "role_arn",
        "role_session_name",
        "external_id",
        "mfa_serial",
        "duration_seconds",
        "web_identity_token_file",
    }
)
_CREDENTIAL_PREFIXES = ("aws_", "sso_", "login_")
_SSO_SESSION = "sso-session"
# A role that is gone on to from what a container endpoint gives: from ours.
_FROM_OURS = ("credential_source", "ecscontainer")


@dataclass(frozen=True, slots=True)
class Shielded:
    """The text of a config file, and the region in its ``[default]``."""

    text: str = field(repr=False)
    region: str | None = None


NOTHING = Shielded("")


def shielded(config: str, credentials: str, selected: str) -> Shielded:
    """Make the config file for a program whose user works with the profile ``selected``.

    ``config`` and ``credentials`` are the texts of the user's two files; settings may stand in either, and those of the
    second win, as in botocore. That profile becomes ``[default]`` without its credentials, and keeps its own name too.
    Other profiles are kept as they are if they have none, or go on from those of a container endpoint. One that has
    others is left out, so that naming it fails, where the program would get another role than it says. The same holds
    for a section that is no profile to botocore: old SDKs take ``[x]`` in a config file for one.

    Raises:
        IniError: botocore cannot read one of them.

    """
    sections = read_sections(config)
    profiles = _profiles(sections, read_sections(credentials))
    settings = {key: value for key, value in profiles.get(selected, {}).items() if not _is_credential(key)}
    made = {DEFAULT_PROFILE: settings}
    if selected != DEFAULT_PROFILE:
        made[_header(sections, selected)] = settings
    for name, values in profiles.items():
        if name not in {selected, DEFAULT_PROFILE} and _needs_nobody_else(values):
            made[_header(sections, name)] = values
    made |= {
        name: values for name, values in sections.items() if _is_kept_as_it_is(name) and _needs_nobody_else(values)
    }
    return Shielded("\n".join(_written(made)), settings.get("region") or None)


def _profiles(
    sections: Mapping[str, Mapping[str, str]], credentials: Mapping[str, Mapping[str, str]]
) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for section, values in sections.items():
        name = profile_of(section)
        if name is not None:
            found[name] = dict(values)
    for name, values in credentials.items():
        found[name] = {**found.get(name, {}), **values}
    return found


def _header(sections: Mapping[str, Mapping[str, str]], profile: str) -> str:
    return next((each for each in reversed(list(sections)) if profile_of(each) == profile), f'profile "{profile}"')


def _is_credential(key: str) -> bool:
    return key in _CREDENTIAL_KEYS or key.startswith(_CREDENTIAL_PREFIXES)


def _needs_nobody_else(values: Mapping[str, str]) -> bool:
    has_own = any(key.startswith(_CREDENTIAL_PREFIXES) for key in values)
    named, ours = _FROM_OURS
    is_from_ours = values.get(named, "").lower() == ours
    others = {key for key in values if key in _CREDENTIAL_KEYS} if not is_from_ours else set[str]()
    return not has_own and not others


def _is_kept_as_it_is(section: str) -> bool:
    return profile_of(section) is None and section.partition(" ")[0] != _SSO_SESSION


def _written(sections: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    for name, values in sections.items():
        yield f"[{name}]"
        for key, value in values.items():
            first, *more = value.split("\n")
            yield f"{key} = {first}".rstrip()
            yield from (f"    {line}" if line else "" for line in more)
        yield ""
