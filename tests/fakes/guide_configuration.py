"""A document's configuration, with the emulator in the place of AWS."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAMES = {"trust-anchor": "trustAnchorArn", "profile": "profileArn", "role": "roleArn"}


def with_the_emulator(configuration: str, announcement: Mapping[str, Any]) -> str:
    """Return it with the ARNs and the endpoint that an emulator announced; all else is the document's."""
    for key, name in _NAMES.items():
        line = f'{key}-arn = "{announcement[name]}"'
        configuration = re.sub(rf'^{key}-arn = ".*"$', line, configuration, flags=re.MULTILINE)
    at = f'identity = "host"\nendpoint = "{announcement["endpoint"]}"\n'
    return configuration.replace('identity = "host"\n', at)
