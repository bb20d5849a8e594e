"""The cache: its directory, who can enter it, what rests in it, and what is remembered of failures."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from rolesanywhere_helper import fastpath
from rolesanywhere_helper.cache.disk import DiskStore
from rolesanywhere_helper.cache.pin_attempts import DIRECTORY as PINS
from rolesanywhere_helper.doctor.findings import Finding, Hint, Step, ok, skipped, warning
from rolesanywhere_helper.domain.freshness import Freshness, judge
from rolesanywhere_helper.protocol.status import rfc3339
from rolesanywhere_helper.system.private_directory import PrivateDirectory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rolesanywhere_helper.config.settings import SessionSettings
    from rolesanywhere_helper.doctor.doors import Doors
    from rolesanywhere_helper.domain.ports import StoredSet

# Below the home directory, the usual one first.
_PLACES = (".cache/rolesanywhere-helper", ".rolesanywhere-helper/cache")


def look(
    settings: SessionSettings | None, path: str | None, doors: Doors, home: str | None = None
) -> Iterator[Finding]:
    """Look at the directory as it is: nothing is made or mended.

    Whatever is wrong with it, sessions are made without it (promise 37): nothing here is more than a warning.
    """
    if settings is not None and not settings.use_cache:
        yield skipped(Step.CACHE, "it is turned off (no-cache)")
        return
    if path is None:
        yield warning(
            Step.CACHE,
            "no-cache-directory",
            "nothing is cached: neither HOME nor ROLESANYWHERE_HELPER_CACHE_DIR is set",
            _elsewhere(path, home),
        )
        return
    try:
        why_not = fastpath.why_not_private(os.fsencode(path))
    except FileNotFoundError:
        yield ok(Step.CACHE, f"{path} is not there yet: it is made when it is needed", directory=path)
        return
    except OSError as error:
        yield warning(
            Step.CACHE,
            "cache-directory",
            f"nothing is cached: {path} cannot be entered: {error.strerror}",
            _elsewhere(path, home),
        )
        return
    if why_not:
        yield _not_private(path, why_not, home)
    elif not os.access(path, os.W_OK):
        yield warning(
            Step.CACHE,
            "cache-directory",
            f"{path} cannot be written: nothing new is cached",
            _elsewhere(path, home),
        )
    else:
        yield from _inside(settings, path, doors)


def _elsewhere(path: str | None, home: str | None) -> Hint:
    """Name a directory that would do, where there is one."""
    variable = "ROLESANYWHERE_HELPER_CACHE_DIR"
    places = (f"{home.rstrip('/')}/{place}" for place in _PLACES) if home is not None else ()
    found = next((place for place in places if place != path and _would_do(place)), None)
    text = "name a directory that only this user can write"
    if found is None:
        return Hint(f"{text}: {variable}=/a/directory/of/this/user")
    return Hint(text, f"export {variable}={shlex.quote(found)}")


def _would_do(place: str) -> bool:
    """Tell whether a directory is there and private, or could be made where it is to be."""
    try:
        return not fastpath.why_not_private(os.fsencode(place)) and os.access(place, os.W_OK)
    except FileNotFoundError:
        above = Path(place).parent
        while not above.exists():
            above = above.parent
        return above.is_dir() and os.access(above, os.W_OK)
    except OSError:
        return False


def _not_private(path: str, why_not: str, home: str | None) -> Finding:
    if why_not.startswith("has mode"):  # taken away when it is opened the next time
        hint = Hint("take the others' rights away", f"chmod 700 {shlex.quote(path)}")
        return warning(Step.CACHE, "cache-directory", f"{path} {why_not}", hint)
    return warning(Step.CACHE, "cache-directory", f"nothing is cached: {path} {why_not}", _elsewhere(path, home))


def _inside(settings: SessionSettings | None, path: str, doors: Doors) -> Iterator[Finding]:
    names = os.listdir(path)  # noqa: PTH208 - names are enough
    sets = sum(name.endswith(".set") for name in names)
    pins = Path(path, PINS)
    refused = len(list(pins.glob("*.json"))) if pins.is_dir() else 0
    if refused:
        yield warning(
            Step.CACHE,
            "pin-remembered",
            f"refused PINs of {refused} tokens or keys are written down in {pins}: they are not tried again",
            Hint(
                "correct the PIN where it comes from; to have the old one tried again",
                f"rm -r {shlex.quote(str(pins))}",
            ),
        )
    what = f"{path} holds {sets} set{'' if sets == 1 else 's'} of credentials"
    key = None if settings is None else doors.cache_key(settings)
    if settings is None or key is None:
        yield ok(Step.CACHE, what, directory=path, sets=sets)
        return
    with PrivateDirectory(Path(path)) as directory:
        store = DiskStore(directory, key, str(settings.role_arn), doors.clock)
        stored, failure = store.load(), store.load_failure()
    now = doors.clock.now()
    if failure is not None and now < failure.until:
        yield warning(
            Step.CACHE,
            "failure-remembered",
            f"for {failure.until - now:.0f} seconds credential-process repeats a failure of a moment ago: "
            f"{failure.error.what}",
            Hint("mend it, and have the service asked at once with --no-cache"),
            failure=failure.error.code,
        )
    yield ok(Step.CACHE, f"{what}, {_of_this_session(stored, now)}", directory=path, sets=sets)


def _of_this_session(stored: StoredSet | None, now: float) -> str:
    if stored is None:
        return "none for this session"
    state = judge(stored.credentials, stored.due_at, now)
    until = rfc3339(stored.credentials.expires_at)
    if state is Freshness.EXPIRED:
        return f"that of this session expired at {until}"
    return f"that of this session lasts until {until}"
