"""The files of an identity: whether they can be read, and who could change or read them."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from rolesanywhere_helper.doctor.configuration import warning_of_text
from rolesanywhere_helper.doctor.findings import Finding, Hint, Step, hint_of, ok, problem, problem_of, skipped
from rolesanywhere_helper.domain.identity_reference import scheme_of
from rolesanywhere_helper.errors import HelperError, UnreadableCertificateError
from rolesanywhere_helper.system.inputs import check_private_key_file, explain, read_input

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rolesanywhere_helper.domain.identity_reference import IdentityReference
    from rolesanywhere_helper.system.inputs import InputFile

NOT_ALLOWED = "unreadable-file"


def look(reference: IdentityReference, *, in_gitlab_ci: bool) -> Iterator[Finding]:
    """Read each file that is named by its path, and judge the private key's permissions."""
    if reference.certificate_directory is not None:
        yield ok(Step.FILES, f"the certificate is chosen from the directory {reference.certificate_directory}")
        return
    seen: list[str] = []
    findings: list[Finding] = []
    key = reference.private_key or reference.certificate
    for what, path in (
        ("certificate", reference.certificate),
        ("private key", reference.private_key),
        ("intermediates", reference.intermediates),
    ):
        if not path or scheme_of(path) is not None:
            continue
        try:
            file = read_input(path)
        except OSError as error:
            said, hint = explain(error, path)
            findings.append(problem(Step.FILES, NOT_ALLOWED, f"{what}: {said}", hint_of(hint)))
            continue
        except HelperError as error:
            findings.append(problem_of(Step.FILES, error))
            continue
        if what == "certificate" and _is_request(file.content):
            findings.append(
                problem(
                    Step.FILES,
                    UnreadableCertificateError.code,
                    f"certificate: {path} is a signing request, which no CA has signed yet",
                    Hint("send it to the CA, and give the certificate that comes back"),
                )
            )
        seen.append(f"{what} {path} ({stat.S_IMODE(file.facts.mode):04o}, user {file.facts.uid})")
        if path == key:
            findings += _judged(file, reference, in_gitlab_ci=in_gitlab_ci)
    yield from findings
    if not findings:
        yield ok(Step.FILES, ", ".join(seen), files=seen) if seen else skipped(Step.FILES, "the identity is in none")


def _is_request(content: bytes) -> bool:
    return b"CERTIFICATE REQUEST-----" in content and b"-----BEGIN CERTIFICATE-----" not in content


def _judged(file: InputFile, reference: IdentityReference, *, in_gitlab_ci: bool) -> Iterator[Finding]:
    try:
        warnings = check_private_key_file(
            file,
            strict=reference.strict_key_permissions,
            accept_insecure=reference.accept_insecure_key_file,
            in_gitlab_ci=in_gitlab_ci,
        )
    except HelperError as error:
        yield problem_of(Step.FILES, error)
        return
    yield from (warning_of_text(Step.FILES, "key-permissions", text) for text in warnings)
