"""One profile of the shared credentials file, for programs that read nothing else.

Three keys are the profile's: ``aws_access_key_id``, ``aws_secret_access_key`` and ``aws_session_token``. Everything
else in the file stays as it is, to the byte; how it is put in place is told in
:mod:`rolesanywhere_helper.system.replaced_file`. What makes AWS clients see another token is refused, what tells them
another account is warned of: the credentials themselves work.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from rolesanywhere_helper.errors import InvalidParameterError, UnreadableAwsFileError
from rolesanywhere_helper.protocol.ini_text import IniError, decoded, is_profile_name, line_of, read_section, set_keys
from rolesanywhere_helper.system.replaced_file import rewrite

if TYPE_CHECKING:
    from rolesanywhere_helper.domain.credentials import Credentials
    from rolesanywhere_helper.domain.ports import Clock

_MODE = 0o600
_log = logging.getLogger(__name__)
# The old name of the session token, which botocore prefers to the new one (botocore.credentials, "TOKENS").
_OLD_TOKEN = "aws_security_token"  # noqa: S105 - the name of a key
# botocore takes it for the account of the credentials, and makes endpoints of it (botocore.credentials, "ACCOUNT_ID").
_ACCOUNT = "aws_account_id"


class CredentialsFile:
    """A profile of a file at an absolute path.

    Raises:
        InvalidParameterError: the name is none that every AWS client would find.

    """

    def __init__(self, path: str, profile: str, clock: Clock) -> None:
        check_profile(profile)
        self.path = path
        self.profile = profile
        self._clock = clock
        self._told: str | None = None

    def write(self, credentials: Credentials) -> bool:
        """Put credentials into the profile; tell whether the file changed.

        Raises:
            UnreadableAwsFileError: AWS clients could not read the file, or would read another token; it is untouched.
            UnsafeFileError: others could replace or redirect the file.
            UnwritableFileError: it cannot be written; the old one stands.

        """
        values = {
            "aws_access_key_id": credentials.access_key_id,
            "aws_secret_access_key": credentials.secret_access_key,
            "aws_session_token": credentials.session_token,
        }

        def edit(content: bytes | None) -> bytes:
            try:
                text = decoded(content or b"")
                edited = set_keys(text, self.profile, values)
                found = read_section(edited, self.profile)
            except IniError as error:
                raise UnreadableAwsFileError(f"{self.path} is no file that the AWS CLI reads: {error}") from None
            if _OLD_TOKEN in found:
                raise UnreadableAwsFileError(
                    f"the profile {self.profile} of {self.path} has the old key {_OLD_TOKEN} in line "
                    f"{line_of(text, self.profile, _OLD_TOKEN)}, which the AWS CLI takes for the session token",
                    f"remove the line {_OLD_TOKEN} = …, which may stand under [DEFAULT]",
                )
            self._compare_account(edited, found.get(_ACCOUNT), credentials.account_id)
            return edited.encode()

        return rewrite(self.path, edit, self._clock, mode=_MODE)

    def _compare_account(self, text: str, said: str | None, real: str) -> None:
        """Warn, once, of a line that tells AWS clients another account than that of the credentials."""
        if said is not None and said not in {real, self._told}:
            _log.warning(
                "line %s of %s says %s to the profile %s, but its credentials are of the account %s: remove the line",
                line_of(text, self.profile, _ACCOUNT),
                self.path,
                _ACCOUNT,
                self.profile,
                real,
            )
        self._told = said


def check_profile(name: str) -> None:
    """Check the name of a profile.

    Raises:
        InvalidParameterError: it is none that every AWS client would find.

    """
    if not is_profile_name(name):
        raise InvalidParameterError(
            f"this cannot be the name of a profile: {name[:80]!a}",
            "use letters, digits, spaces and punctuation, but no brackets, quotes, backslash, # or ;, and not DEFAULT",
        )
