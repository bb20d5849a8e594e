"""``setup``: the AWS side made, or printed for CloudFormation or Terraform; and a CA of one's own for who has none.

Standard output gets what somebody goes on with: the session for ``config.toml``, a plan, a template. What was done is
told on standard error.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from rolesanywhere_helper.cli import parser as command_line
from rolesanywhere_helper.cli import render
from rolesanywhere_helper.cli.descriptors import write_stdout
from rolesanywhere_helper.cli.session import surroundings
from rolesanywhere_helper.config.flags import Flag, Kind, Place
from rolesanywhere_helper.config.values import from_text
from rolesanywhere_helper.domain.arn import is_region
from rolesanywhere_helper.domain.identity_reference import SecretSource
from rolesanywhere_helper.domain.session import DEFAULT_SECONDS, LONGEST_SECONDS, SHORTEST_SECONDS, parse_duration
from rolesanywhere_helper.errors import BadAnswerError, EncryptedKeyError, InvalidParameterError, UsageError

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Mapping

    from rolesanywhere_helper.aws.account import AwsAccount
    from rolesanywhere_helper.cli.commands import FlagValue, Invocation
    from rolesanywhere_helper.domain.account_setup import Account, Wanted
    from rolesanywhere_helper.protocol.session_toml import SessionBlock
    from rolesanywhere_helper.wiring.local_ca import AuthorityDirectory

EXAMPLE = """\
  rolesanywhere-helper setup --ca ca.pem --name build --subject-cn 'build-*' --region eu-central-1 --dry-run
  rolesanywhere-helper setup --ca ca.pem --name build --subject-cn 'build-*' --print terraform
  rolesanywhere-helper setup --with-local-ca ./ca --issue build-7
  rolesanywhere-helper setup --with-local-ca ./ca --name build --subject-cn build-7 --write-config config.toml"""

_CA = Flag("ca", Kind.PATH, Place.NOWHERE, "the CA's certificate, which becomes the trust anchor", "FILE")
_LOCAL_CA = Flag(
    "with-local-ca", Kind.PATH, Place.NOWHERE, "use the CA in this directory; it is made if there is none", "DIR"
)
_PASSWORD = Flag(
    "ca-password-file",
    Kind.REFERENCE,
    Place.NOWHERE,
    "passphrase of the local CA's key: a file that holds it, or env:NAME, fd:N, credential:NAME, command:…, prompt:",
    "FILE",
)
_CSR = Flag(
    "csr", Kind.PATH, Place.NOWHERE, "issue for the key of this signing request, which stays where it is", "FILE"
)
_WRITE = Flag("write-config", Kind.PATH, Place.NOWHERE, "add the session to this configuration file", "FILE")
_CERTIFICATE = Flag(
    "certificate",
    Kind.REFERENCE,
    Place.NOWHERE,
    "the leaf that the session in the configuration file shall name",
    "FILE",
)
_PRIVATE_KEY = Flag("private-key", Kind.REFERENCE, Place.NOWHERE, "its private key", "FILE")
_SECRET = "ca-password"  # noqa: S105 - the name of a flag
_DEFAULT_NAME = "rolesanywhere-helper"
_DEFAULT_DAYS = 90
_TO_BE_MADE = "(to be made)"
_LANGUAGES = ("cloudformation", "terraform")
_SUBJECT_FLAGS: Mapping[str, str] = {"CN": "subject-cn", "OU": "subject-ou", "O": "subject-o"}
_OF_THE_CA = frozenset({_LOCAL_CA.name, _PASSWORD.name, "name"})
_OF_THE_PLAN = frozenset({*_OF_THE_CA, _CA.name, *_SUBJECT_FLAGS.values(), "role-name", "duration", "policy-arn"})
_OF_THE_ADMINISTRATOR = frozenset({"region", "aws-profile"})
_SET_UP = _OF_THE_PLAN | _OF_THE_ADMINISTRATOR | {"dry-run", _WRITE.name, _CERTIFICATE.name, _PRIVATE_KEY.name}
# What is done instead of setting an account up, and the flags that have a meaning then.
_MODES: Mapping[str, frozenset[str]] = {
    "issue": _OF_THE_CA | {"issue", _CSR.name, "days", "subject-ou", "subject-o"},
    "revoke": _OF_THE_CA | _OF_THE_ADMINISTRATOR | {"revoke"},
    "print": _OF_THE_PLAN | {"print"},
}


def add_flags(parser: ArgumentParser) -> None:
    """Declare what to set up, for which certificates, and in whose account."""
    for flag in (_CA, _LOCAL_CA, _PASSWORD):
        command_line.add_flag(parser, flag)
    parser.add_argument(
        "--name", metavar="NAME", help=f"name of trust anchor, profile and session (default: {_DEFAULT_NAME})"
    )
    parser.add_argument("--role-name", dest="role-name", metavar="NAME", help="name of the role (default: --name)")
    for attribute, name in _SUBJECT_FLAGS.items():
        parser.add_argument(
            f"--{name}",
            dest=name,
            metavar="VALUE",
            action="append",
            help=f"{attribute} of the certificates that may have the role; * and ? are wildcards; can be repeated",
        )
    parser.add_argument("--duration", metavar="SECONDS", help="longest session, for example 1h (default: 3600)")
    parser.add_argument(
        "--policy-arn",
        dest="policy-arn",
        metavar="ARN",
        action="append",
        help="managed policy to attach to the role; can be repeated (default: none, and the role may do nothing)",
    )
    parser.add_argument("--region", metavar="REGION", help="region of trust anchor and profile")
    parser.add_argument(
        "--aws-profile", dest="aws-profile", metavar="NAME", help="profile with the administrator's credentials"
    )
    command_line.add_switch(parser, "dry-run", "show what would be done, and do nothing")
    parser.add_argument("--print", choices=_LANGUAGES, help="print it for another tool to make, and ask AWS nothing")
    for flag in (_WRITE, _CERTIFICATE, _PRIVATE_KEY):
        command_line.add_flag(parser, flag)
    parser.add_argument(
        "--issue", metavar="NAME", help="let the local CA issue or renew the leaf of this common name, and nothing else"
    )
    command_line.add_flag(parser, _CSR)
    parser.add_argument("--days", metavar="NUMBER", help=f"how long a leaf is valid (default: {_DEFAULT_DAYS})")
    parser.add_argument(
        "--revoke",
        metavar="CERTIFICATE",
        help="let the local CA revoke a leaf (file or serial number), and import the list, and nothing else",
    )


def run(invocation: Invocation) -> int:
    """Set up, print, plan, issue or revoke.

    Raises:
        UsageError: flags are missing, contradict each other or have no meaning; or something of that name is not ours.
        IdentityError: the CA's certificate or key cannot be used.
        ServiceError: AWS says no.
        NetworkError: AWS gave no answer.

    """
    asked = _Asked(invocation.flags)
    asked.refuse_contradictions()
    if asked.text("issue") is not None:
        return _issue(asked)
    if asked.text("revoke") is not None:
        return _revoke(asked)
    return _set_up(asked)


class _Asked:
    """What the flags say."""

    def __init__(self, flags: Mapping[str, FlagValue]) -> None:
        self._flags = flags
        self._directory = surroundings().working_directory

    def text(self, name: str) -> str | None:
        value = self._flags.get(name)
        return value if isinstance(value, str) else None

    def texts(self, name: str) -> tuple[str, ...]:
        value = self._flags.get(name)
        return tuple(value) if isinstance(value, list) else ()

    def switch(self, name: str) -> bool:
        return self._flags.get(name) is True

    def place(self, flag: Flag) -> str | None:
        """Return a path, absolute, or a reference."""
        given = self.text(flag.name)
        return None if given is None else str(from_text(flag, given, flag.option, self._directory))

    @property
    def name(self) -> str:
        return self.text("name") or _DEFAULT_NAME

    @property
    def region(self) -> str | None:
        region = self.text("region")
        if region is not None and not is_region(region):
            raise InvalidParameterError(
                f"this is not the name of an AWS region: {region!a}", "for example: eu-central-1"
            )
        return region

    @property
    def seconds(self) -> int:
        text = self.text("duration")
        seconds = DEFAULT_SECONDS if text is None else parse_duration(text)
        if not SHORTEST_SECONDS <= seconds <= LONGEST_SECONDS:
            raise InvalidParameterError(
                f"a session cannot last {seconds} seconds", f"from {SHORTEST_SECONDS} to {LONGEST_SECONDS} seconds"
            )
        return seconds

    @property
    def days(self) -> int:
        text = self.text("days") or str(_DEFAULT_DAYS)
        if not (text.isascii() and text.isdecimal()):
            raise InvalidParameterError(f"this is not a number of days: {text!a}", "give --days a number, such as 90")
        return int(text)

    def refuse_contradictions(self) -> None:
        """Refuse flags that have no meaning together.

        Raises:
            UsageError: there are such.

        """
        mode = next((name for name in _MODES if self.text(name) is not None), None)
        allowed = _SET_UP if mode is None else _MODES[mode]
        others = sorted(
            f"--{name}" for name, value in self._flags.items() if name not in allowed and value is not False
        )
        if others and mode is not None:
            raise UsageError(f"--{mode} does not go with {', '.join(others)}", "do one after the other")
        if others:
            raise UsageError(f"{', '.join(others)} is about a leaf", "add --issue NAME")
        if (self.text(_CA.name) is None) == (self.text(_LOCAL_CA.name) is None):
            raise UsageError("the CA is to be named once", "give --ca FILE, or --with-local-ca DIR")


# The local CA


def _issue(asked: _Asked) -> int:
    authority = _authority(asked)
    others = tuple((part, value) for part in ("O", "OU") for value in asked.texts(_SUBJECT_FLAGS[part]))
    _make_if_missing(authority, asked)
    request = asked.place(_CSR)
    files = authority.issue(
        (*others, ("CN", str(asked.text("issue")))), asked.days, None if request is None else Path(request)
    )
    render.message(f"issued for {asked.days} days: {files.certificate}")
    if files.is_new_key:
        render.message("the key before was that of a revoked certificate, so this one is new")
    if files.key is not None:
        render.message(f"its private key: {files.key}")
    write_stdout(f"{files.certificate}\n".encode())
    return 0


def _revoke(asked: _Asked) -> int:
    authority = _authority(asked)
    serial = authority.revoke(str(asked.text("revoke")))
    render.message(f"revoked {serial:x} in {authority.crl}")
    _publish(asked, authority)
    return 0


def _publish(asked: _Asked, authority: AuthorityDirectory) -> None:
    """Give the revocation list to every trust anchor of the CA, or to the one that was named."""
    aws, name = _account(asked), asked.text("name")
    anchors = aws.anchors_of(_certificates(str(authority.certificate)))
    chosen = [each for each in anchors if name in {None, each.name}]
    if anchors and not chosen:
        raise UsageError(
            f"this CA has no trust anchor {name} in {aws.region}, so the revocation list is not imported",
            f"leave --name out, or give one of: {', '.join(sorted(each.name for each in anchors))}",
        )
    for each in chosen:
        found = aws.crl(each)
        if found is not None:
            authority.require_nothing_lost(found.content, found.identifier)
        done = aws.publish_crl(each, str(authority.revocations()), found)
        render.message(f"the revocation list of trust anchor {each.name}: {done}")
    for each in anchors:
        if each not in chosen:
            render.message(f"not given to {each.name}, another trust anchor of this CA: leave --name out to reach all")
    if not anchors:
        render.message(f"this CA has no trust anchor in {aws.region} yet: setup imports the list when it makes one")


def _authority(asked: _Asked) -> AuthorityDirectory:
    from rolesanywhere_helper.system.clocks import SystemClock  # noqa: PLC0415 - only when chosen
    from rolesanywhere_helper.wiring.local_ca import AuthorityDirectory  # noqa: PLC0415 - imports cryptography

    reference = asked.place(_PASSWORD)
    return AuthorityDirectory(
        Path(str(asked.place(_LOCAL_CA))), lambda is_new: _passphrase(reference, is_new=is_new), SystemClock()
    )


def _make_if_missing(authority: AuthorityDirectory, asked: _Asked) -> None:
    if not authority.exists:
        authority.make(f"{asked.name} CA")
        render.message(f"made a CA, valid for ten years: {authority.certificate}")
        render.message("its passphrase is nowhere but with you: without it, nothing can be issued or revoked")


def _passphrase(reference: str | None, *, is_new: bool) -> bytes:
    from rolesanywhere_helper.identity.passphrases import Passphrases  # noqa: PLC0415 - only when chosen
    from rolesanywhere_helper.system.references import References  # noqa: PLC0415 - as above
    from rolesanywhere_helper.system.terminal import ask_secret  # noqa: PLC0415 - as above
    from rolesanywhere_helper.wiring.access import asking  # noqa: PLC0415 - as above

    source, references = SecretSource(reference or "prompt:"), References(os.environ)

    def read(typed: Mapping[str, str]) -> bytes | None:
        return Passphrases(((_SECRET, source),), references, typed).read(_SECRET)

    def ask(question: str) -> str | None:
        first = ask_secret(question)
        if first is None or not is_new or ask_secret("The same again: ") == first:
            return first
        raise UsageError("the two passphrases differ", "run the command again")

    try:
        found = asking(read, ask, {})
    except EncryptedKeyError:
        raise EncryptedKeyError(
            "the key of the CA needs a passphrase, and there is nobody to ask for it",
            "name a file that holds it: --ca-password-file FILE (or env:NAME, fd:N, credential:NAME, command:…)",
        ) from None
    if not found:
        raise UsageError("the passphrase is empty", "the key of a CA is always encrypted: give one")
    return found


# The account


def _set_up(asked: _Asked) -> int:
    from rolesanywhere_helper.domain import account_setup  # noqa: PLC0415 - only when chosen

    _check_before_anything_is_made(asked)
    wanted = account_setup.wanted(
        name=asked.name,
        role_name=asked.text("role-name") or asked.name,
        bundle=_bundle(asked),
        subjects=_subjects(asked),
        duration_seconds=asked.seconds,
        policy_arns=asked.texts("policy-arn"),
        crl=None if asked.text(_LOCAL_CA.name) is None else _authority(asked).revocations(),
    )
    if asked.text("print") is not None:
        return _print(str(asked.text("print")), wanted)
    aws = _account(asked)
    found = aws.look(wanted)
    if found.crl is not None:
        _authority(asked).require_nothing_lost(found.crl.content, found.crl.identifier)
    leaf = _leaf(asked, wanted)
    path = asked.place(_WRITE)
    # A file that cannot be written is found out while there is nothing to take back.
    foreseen = None if path is None else _foreseen(path, _block(aws, wanted, found, leaf))
    if asked.switch("dry-run"):
        return _show_plan(wanted, found, foreseen)
    made = _converge(aws, wanted, found)
    if made.anchor is None or made.profile is None:
        raise BadAnswerError("AWS has not told the ARNs of trust anchor and profile")
    block = _block(aws, wanted, made, leaf)
    if path is not None:
        _write_config(path, block)
    write_stdout(str(block).encode())
    return 0


def _check_before_anything_is_made(asked: _Asked) -> None:
    """Find wrong flags while there is nothing to take back."""
    from rolesanywhere_helper.domain import account_setup  # noqa: PLC0415 - only when chosen

    _ = asked.region
    account_setup.wanted(
        name=asked.name,
        role_name=asked.text("role-name") or asked.name,
        bundle="",
        subjects=_subjects(asked),
        duration_seconds=asked.seconds,
        policy_arns=asked.texts("policy-arn"),
    )


def _subjects(asked: _Asked) -> dict[str, tuple[str, ...]]:
    return {attribute: asked.texts(name) for attribute, name in _SUBJECT_FLAGS.items()}


def _bundle(asked: _Asked) -> str:
    path = asked.place(_CA)
    if path is None:
        authority = _authority(asked)
        if asked.switch("dry-run") and not authority.exists:
            raise UsageError(
                f"there is no CA in {authority.certificate.parent} yet, and a dry run makes none",
                f"make it with its first leaf: --with-local-ca {authority.certificate.parent} --issue NAME",
            )
        _make_if_missing(authority, asked)
        path = str(authority.certificate)
    return _certificates(path)


def _certificates(path: str) -> str:
    from rolesanywhere_helper.pki.trust_bundle import trust_bundle  # noqa: PLC0415 - imports cryptography
    from rolesanywhere_helper.system.inputs import explain, read_input  # noqa: PLC0415 - only when chosen

    try:
        return trust_bundle(read_input(path).content, path)
    except OSError as error:
        raise UsageError(*explain(error, path)) from error


def _print(language: str, wanted: Wanted) -> int:
    from rolesanywhere_helper.protocol import cloudformation, terraform  # noqa: PLC0415 - only when chosen

    if language == "cloudformation":
        write_stdout(cloudformation.render(wanted).encode())
        render.message("its role has a name: deploy it with --capabilities CAPABILITY_NAMED_IAM")
    else:
        write_stdout(terraform.render(wanted).encode())
        if wanted.crl is not None:
            render.message("Terraform cannot import the revocation list: after apply run this again without --print")
    return 0


def _account(asked: _Asked) -> AwsAccount:
    from rolesanywhere_helper.aws.account import AwsAccount  # noqa: PLC0415 - imports boto3

    return AwsAccount(asked.text("aws-profile"), asked.region)


def _show_plan(wanted: Wanted, found: Account, foreseen: str | None) -> int:
    from rolesanywhere_helper.domain.account_setup import plan  # noqa: PLC0415 - only when chosen

    steps = [*map(str, plan(wanted, found)), *(() if foreseen is None else (foreseen,))]
    head = f"account {found.caller.account}, region {found.region}, as {found.caller}"
    write_stdout("\n".join([head, *(steps or ["nothing to do"]), ""]).encode())
    return 0


def _converge(aws: AwsAccount, wanted: Wanted, found: Account) -> Account:
    """Do what the plan says, one step at a time, until it says nothing."""
    from rolesanywhere_helper.domain.account_setup import plan  # noqa: PLC0415 - only when chosen

    render.message(f"account {found.caller.account}, region {found.region}, as {found.caller}")
    done = []
    while steps := plan(wanted, found):
        step = steps[0]
        if (step.action, step.details) in done:
            raise BadAnswerError(f"AWS accepted to {step.action.value} {step.target}, and it is not so")
        render.message(f"{step}")
        found = aws.do(step, wanted, found)
        done.append((step.action, step.details))
    if not done:
        render.message("nothing to do")
    return found


def _block(aws: AwsAccount, wanted: Wanted, account: Account, leaf: Mapping[str, str]) -> SessionBlock:
    """Return the session; before the account is set up, with what will be an ARN in its place."""
    from rolesanywhere_helper.domain.endpoint import regional_endpoint  # noqa: PLC0415 - only when chosen
    from rolesanywhere_helper.protocol.session_toml import SessionBlock  # noqa: PLC0415 - as above

    values = {
        **leaf,
        "trust-anchor-arn": _TO_BE_MADE if account.anchor is None else account.anchor.arn,
        "profile-arn": _TO_BE_MADE if account.profile is None else account.profile.arn,
        "role-arn": account.role_arn(wanted.role_name),
    }
    if wanted.duration_seconds != DEFAULT_SECONDS:
        values["duration"] = f"{wanted.duration_seconds}s"
    if aws.endpoint != str(regional_endpoint(account.caller.partition, account.region)):
        values["endpoint"] = aws.endpoint
    return SessionBlock(wanted.name, values)


def _leaf(asked: _Asked, wanted: Wanted) -> dict[str, str]:
    """Return which leaf the session has: the one that was named, or the local CA's for the one name that may come."""
    given = {flag.name: asked.place(flag) for flag in (_CERTIFICATE, _PRIVATE_KEY)}
    if not any(given.values()) and asked.text(_LOCAL_CA.name) is not None:
        names = [rule.values[0] for rule in wanted.subjects if rule.attribute == "CN" and len(rule.values) == 1]
        files = _authority(asked).leaf(names[0]) if names else None
        if files is not None:
            given = {
                _CERTIFICATE.name: str(files.certificate),
                _PRIVATE_KEY.name: None if files.key is None else str(files.key),
            }
    if asked.text(_LOCAL_CA.name) is not None:
        _tell_if_revoked(_authority(asked), given[_CERTIFICATE.name])
    return {name: value for name, value in given.items() if value is not None}


def _tell_if_revoked(authority: AuthorityDirectory, certificate: str | None) -> None:
    if certificate is not None and authority.is_revoked(certificate):
        name = authority.name_of(Path(certificate)) or "NAME"
        render.message(
            f"this leaf is revoked, and gets no session: {certificate} (for a new one: "
            f"rolesanywhere-helper setup --with-local-ca {authority.certificate.parent} --issue {name})"
        )


def _foreseen(path: str, block: SessionBlock) -> str | None:
    """Say what will be written into the configuration file, if anything is.

    Raises:
        ConfigurationError: nothing can be.
        UsageError: it cannot be read.

    """
    from rolesanywhere_helper.system.inputs import explain, read_input  # noqa: PLC0415 - only when chosen

    try:
        before = read_input(path).content
    except FileNotFoundError:
        before = None
    except OSError as error:
        raise UsageError(*explain(error, path)) from error
    return None if block.added_to(before) == before else f"write [session.{block.name}] into {path}"


def _write_config(path: str, block: SessionBlock) -> None:
    from rolesanywhere_helper.system.clocks import SystemClock  # noqa: PLC0415 - only when chosen
    from rolesanywhere_helper.system.replaced_file import rewrite  # noqa: PLC0415 - only when chosen

    is_changed = rewrite(path, block.added_to, SystemClock())
    said = "wrote" if is_changed else "nothing to change in"
    render.message(f"{said} [session.{block.name}] of {path}")
