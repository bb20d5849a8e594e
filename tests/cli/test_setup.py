"""``setup``, from the outside: what it makes in the emulator's account, what it leaves alone, and the local CA."""

from __future__ import annotations

import json
import subprocess
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from tests.fakes.terminal import at_a_terminal
from tests.plugins.emulated import Emulated, issue, openssl

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Finished, RunHelper

LEAF = "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth"
CA = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign"
READ_ONLY = "arn:aws:iam::aws:policy/ReadOnlyAccess"
PASSPHRASE = "canary-correct-horse"
READS = ("List", "Get")


class Administrator:
    """Runs ``setup`` with an administrator's credentials, and looks at the account."""

    def __init__(self, emulated: Emulated, run_helper: RunHelper, folder: Path) -> None:
        self.emulated = emulated
        self.folder = folder
        self.run_helper = run_helper
        self._environment = {
            "AWS_CONFIG_FILE": str(emulated.announcement["awsConfig"]),
            "AWS_PROFILE": "emulator-admin",
        }
        self.ca = self.root("ca")

    def root(self, name: str) -> tuple[Path, Path]:
        """Make a CA (certificate, key) with openssl."""
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        extensions = [word for line in CA.splitlines() for word in ("-addext", line)]
        new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}")
        openssl("req", "-x509", *new, "-keyout", key, "-out", certificate, *extensions)
        return certificate, key

    def setup(self, *flags: str | Path, ca: Path | None = None, name: str = "build") -> Finished:
        """Run ``setup`` for the account."""
        return self.run(f"--ca={ca or self.ca[0]}", f"--name={name}", *flags)

    def local(self, *flags: str | Path) -> Finished:
        """Run ``setup`` with a CA of its own."""
        (self.folder / "passphrase").write_text(f"{PASSPHRASE}\n")
        return self.run("--with-local-ca=local", "--ca-password-file=passphrase", *flags)

    def run(self, *flags: str | Path, **environment: str) -> Finished:
        done = self.run_helper("setup", *flags, env=self._environment | environment)
        assert PASSPHRASE not in done.out + done.err
        return done

    def leaf(self, subject: str, ca: tuple[Path, Path] | None = None) -> list[str]:
        """Let the CA issue a leaf; return the flags that name it."""
        certificate, key = ca or self.ca
        leaf, private = issue(self.folder, (str(certificate), str(key)), config=LEAF, subject=subject)
        return [f"--certificate={leaf}", f"--private-key={private}"]

    def credentials(self, block: str, *leaf: str) -> Finished:
        """Get credentials with the session that ``setup`` has printed."""
        config = self.folder / "printed.toml"
        config.write_text(block)
        config.chmod(0o600)
        return self.run_helper("credential-process", "--no-cache", f"--config={config}", *leaf)

    def client(self, service: str) -> Any:
        told = json.loads(Path(self.emulated.announcement["adminCredentials"]).read_text())
        session: Any = boto3.Session(told["accessKeyId"], told["secretAccessKey"], region_name="us-east-1")
        return session.client(service, endpoint_url=self.emulated.endpoint)

    def changes(self) -> list[str]:
        """Return the operations that were asked for and only an administrator may, but to look."""
        operations = [str(seen["operation"]) for seen in self.emulated.emulator.requests()]
        return [each for each in operations if not each.startswith(READS) and each != "CreateSession"]


@pytest.fixture
def admin(
    emulated: Emulated, run_helper: RunHelper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Administrator]:
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    emulated.emulator.reset()
    yield Administrator(emulated, run_helper, tmp_path)
    emulated.emulator.reset()


class TestTheAccount:
    def test_what_it_makes_works_for_the_subject_that_was_named_and_no_other(self, admin: Administrator) -> None:
        done = admin.setup("--subject-cn=build-7", "--subject-o=Example")

        assert done.exit_code == 0, done.err
        assert admin.changes() == ["CreateTrustAnchor", "CreateRole", "CreateProfile"]
        assert admin.credentials(done.out, *admin.leaf("/O=Example/CN=build-7")).exit_code == 0
        for other in ("/O=Example/CN=build-8", "/O=Other/CN=build-7", "/CN=build-7"):
            refused = admin.credentials(done.out, *admin.leaf(other))
            assert (refused.exit_code, "Unable to assume role" in refused.err) == (1, True)
        stranger = admin.credentials(done.out, *admin.leaf("/O=Example/CN=build-7", admin.root("stranger")))
        assert "Untrusted" in stranger.err

    def test_the_trust_policy_names_service_actions_trust_anchor_and_subject(self, admin: Administrator) -> None:
        printed = tomllib.loads(admin.setup("--subject-cn=build-7", "--subject-cn=web-*", "--subject-ou=CI").out)

        [statement] = admin.client("iam").get_role(RoleName="build")["Role"]["AssumeRolePolicyDocument"]["Statement"]
        assert statement == {
            "Effect": "Allow",
            "Principal": {"Service": "rolesanywhere.amazonaws.com"},
            "Action": ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"],
            "Condition": {
                "ArnEquals": {"aws:SourceArn": printed["session"]["build"]["trust-anchor-arn"]},
                "StringLike": {"aws:PrincipalTag/x509Subject/CN": ["build-7", "web-*"]},
                "StringEquals": {"aws:PrincipalTag/x509Subject/OU": "CI"},
            },
        }

    def test_wildcards_let_in_what_fits(self, admin: Administrator) -> None:
        done = admin.setup("--subject-cn=build-*")

        outcomes = [admin.credentials(done.out, *admin.leaf(f"/CN={name}")).exit_code for name in ("build-1", "web-1")]
        assert outcomes == [0, 1]

    def test_a_second_run_changes_nothing_and_says_the_same(self, admin: Administrator) -> None:
        flags = ("--subject-cn=build-7", f"--policy-arn={READ_ONLY}", "--duration=2h", "--role-name=Other")
        first = admin.setup(*flags)
        admin.emulated.emulator.forget_requests()

        second = admin.setup(*flags)

        assert (second.exit_code, second.out) == (0, first.out)
        assert admin.changes() == []
        assert "nothing to do" in second.err

    def test_a_dry_run_shows_the_plan_and_does_nothing(self, admin: Administrator) -> None:
        done = admin.setup("--subject-cn=build-7", f"--policy-arn={READ_ONLY}", "--dry-run")

        assert done.exit_code == 0, done.err
        assert [line for line in done.out.splitlines() if not line.startswith(" ")] == [
            "account 111122223333, region us-east-1, as arn:aws:iam::111122223333:user/EmulatorAdministrator",
            "create trust anchor build",
            "create role build",
            "attach policy to role build",
            "create profile build",
        ]
        assert admin.changes() == []
        admin.setup("--subject-cn=build-7", f"--policy-arn={READ_ONLY}")
        assert admin.changes() == ["CreateTrustAnchor", "CreateRole", "AttachRolePolicy", "CreateProfile"]

    def test_what_is_asked_for_otherwise_is_changed_and_no_more(self, admin: Administrator) -> None:
        first = admin.setup("--subject-cn=build-7")
        renewed = admin.root("renewed")
        flags = ("--subject-cn=build-8", "--duration=2h", f"--policy-arn={READ_ONLY}")
        plan = admin.setup(*flags, "--dry-run", ca=renewed[0])
        admin.emulated.emulator.forget_requests()

        done = admin.setup(*flags, ca=renewed[0])

        assert done.exit_code == 0, done.err
        assert admin.changes() == [
            "UpdateTrustAnchor", "UpdateAssumeRolePolicy", "UpdateRole", "AttachRolePolicy", "UpdateProfile"
        ]  # fmt: skip
        told = [line for line in plan.out.splitlines()[1:] if not line.startswith(" ")]
        assert [line for line in done.err.splitlines()[1:] if not line.startswith(" ")] == told
        arns = [{key: value for key, value in tomllib.loads(each.out)["session"]["build"].items() if "arn" in key}
                for each in (first, done)]  # fmt: skip
        assert arns[0] == arns[1]
        assert admin.credentials(done.out, *admin.leaf("/CN=build-8", renewed)).exit_code == 0
        assert "Untrusted" in admin.credentials(done.out, *admin.leaf("/CN=build-8")).err

    def test_a_session_of_the_length_that_was_asked_for(self, admin: Administrator) -> None:
        admin.setup("--subject-cn=build-7", "--duration=2h")

        told = tomllib.loads(admin.setup("--subject-cn=build-7", "--duration=2h").out)["session"]["build"]
        profile = admin.client("rolesanywhere").get_profile(profileId=told["profile-arn"].rpartition("/")[2])["profile"]
        assert (told["duration"], profile["durationSeconds"]) == ("7200s", 7200)
        assert admin.client("iam").get_role(RoleName="build")["Role"]["MaxSessionDuration"] == 7200

    def test_what_somebody_has_disabled_is_enabled_and_what_they_have_added_stays(self, admin: Administrator) -> None:
        told = tomllib.loads(admin.setup("--subject-cn=build-7").out)["session"]["build"]
        anchor, profile = (told[f"{kind}-arn"].rpartition("/")[2] for kind in ("trust-anchor", "profile"))
        client, more = admin.client("rolesanywhere"), admin.emulated.announcement["roleArn"]
        client.update_profile(profileId=profile, roleArns=[told["role-arn"], more])
        client.disable_trust_anchor(trustAnchorId=anchor)
        client.disable_profile(profileId=profile)
        admin.client("iam").attach_role_policy(RoleName="build", PolicyArn=READ_ONLY)
        admin.emulated.emulator.forget_requests()

        assert admin.setup("--subject-cn=build-7").exit_code == 0

        assert admin.changes() == ["EnableTrustAnchor", "EnableProfile"]
        assert client.get_profile(profileId=profile)["profile"]["roleArns"] == [told["role-arn"], more]
        assert len(admin.client("iam").list_attached_role_policies(RoleName="build")["AttachedPolicies"]) == 1

    def test_what_others_have_made_is_not_changed(self, admin: Administrator) -> None:
        nobody = {"Effect": "Deny", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [nobody]})
        admin.client("iam").create_role(RoleName="build", AssumeRolePolicyDocument=document)
        admin.emulated.emulator.forget_requests()

        refused = admin.setup("--subject-cn=build-7")

        assert (refused.exit_code, refused.out, admin.changes()) == (2, "", [])
        assert (
            "there is a role build already that this set-up has not made, and its trust policy differs" in refused.err
        )
        tag = {"Key": "rolesanywhere-helper:setup", "Value": "build"}
        admin.client("iam").tag_role(RoleName="build", Tags=[tag])
        assert admin.setup("--subject-cn=build-7").exit_code == 0

    def test_a_trust_anchor_of_others_is_used_as_it_is_or_not_at_all(self, admin: Administrator) -> None:
        source = {"sourceType": "CERTIFICATE_BUNDLE", "sourceData": {"x509CertificateData": admin.ca[0].read_text()}}
        made = admin.client("rolesanywhere").create_trust_anchor(name="build", enabled=True, source=source)

        used = admin.setup("--subject-cn=build-7")
        refused = admin.setup("--subject-cn=build-7", ca=admin.root("another")[0])

        told = tomllib.loads(used.out)["session"]["build"]
        assert told["trust-anchor-arn"] == made["trustAnchor"]["trustAnchorArn"]
        assert (refused.exit_code, "its certificates differ" in refused.err) == (2, True)

    def test_several_of_one_name_are_not_guessed_at(self, admin: Administrator) -> None:
        source = {"sourceType": "CERTIFICATE_BUNDLE", "sourceData": {"x509CertificateData": admin.ca[0].read_text()}}
        for _ in range(2):
            admin.client("rolesanywhere").create_trust_anchor(name="build", enabled=True, source=source)

        refused = admin.setup("--subject-cn=build-7")

        assert (refused.exit_code, "there are 2 trust anchors with the name build" in refused.err) == (2, True)

    def test_after_a_refusal_the_same_command_goes_on(self, admin: Administrator) -> None:
        admin.emulated.emulator.set_fault(operation="CreateProfile", status=403, message="no CreateProfile for you")

        refused = admin.setup("--subject-cn=build-7")

        assert (refused.exit_code, refused.out) == (1, "")
        assert "AWS refused to create profile build: AccessDeniedException: no CreateProfile for you" in refused.err
        admin.emulated.emulator.clear_faults()
        admin.emulated.emulator.forget_requests()
        assert admin.setup("--subject-cn=build-7").exit_code == 0
        assert admin.changes() == ["CreateProfile"]

    def test_the_session_is_written_into_a_configuration_file_once(self, admin: Administrator) -> None:
        config = admin.folder / "config.toml"
        config.write_text("# mine\n[session.other]\nrole-arn = 'x'")
        config.chmod(0o600)
        leaf = admin.leaf("/CN=build-7")
        flags = ("--subject-cn=build-7", f"--write-config={config}", *leaf)

        outputs = [admin.setup(*flags) for _ in range(2)]

        text = config.read_text()
        assert text.startswith("# mine\n[session.other]\nrole-arn = 'x'\n\n[session.build]\n")
        assert tomllib.loads(text)["session"]["build"] == tomllib.loads(outputs[0].out)["session"]["build"]
        assert "nothing to change in [session.build]" in outputs[1].err
        run = ("credential-process", "--no-cache", "--session=build", f"--config={config}")
        assert admin.run_helper(*run).exit_code == 0

    def test_a_changed_session_is_changed_where_it_stands_and_one_of_others_stops_it_beforehand(
        self, admin: Administrator
    ) -> None:
        config = admin.folder / "config.toml"
        flags = ("--subject-cn=build-7", f"--write-config={config}")
        first = tomllib.loads(admin.setup(*flags).out)["session"]["build"]
        config.write_text(f"# mine\n{config.read_text()}external-id = 'x' # theirs\n\n[session.other]\n")
        identifier = first["trust-anchor-arn"].rpartition("/")[2]
        admin.client("rolesanywhere").delete_trust_anchor(trustAnchorId=identifier)

        told = admin.setup(*flags, "--duration=2h", "--dry-run")
        done = admin.setup(*flags, "--duration=2h")

        assert told.out.endswith(f"\nwrite [session.build] into {config}\n")
        assert done.exit_code == 0, done.err
        text, new = config.read_text(), tomllib.loads(done.out)["session"]["build"]
        assert new["trust-anchor-arn"] != first["trust-anchor-arn"]
        assert tomllib.loads(text)["session"] == {"build": new | {"external-id": "x"}, "other": {}}
        assert text.startswith("# mine\n[session.build]\n# certificate = ")
        assert text.endswith("external-id = 'x' # theirs\nduration = \"7200s\"\n\n[session.other]\n")
        assert "nothing to do\n" in admin.setup(*flags, "--duration=2h", "--dry-run").out
        # Not one of this set-up: nothing is done in the account either.
        config.write_text("[session.build]\nrole-arn = 'theirs'\n")
        admin.emulated.emulator.forget_requests()
        for more in ([], ["--dry-run"]):
            refused = admin.setup(*flags, "--duration=3h", *more)
            assert (refused.exit_code, "another [session.build]" in refused.err, admin.changes()) == (2, True, [])
        assert config.read_text() == "[session.build]\nrole-arn = 'theirs'\n"

    @pytest.mark.parametrize(
        ("flags", "error"),
        [
            ((), "nothing says which certificates may have the role"),
            (("--subject-cn=",), "--subject-cn is not a value of a subject"),
            (("--subject-cn=${aws:username}",), "--subject-cn holds ${"),
            (("--subject-cn=x", "--role-name=a/b"), "this cannot be the name of a role"),
            (("--subject-cn=x", "--policy-arn=ReadOnlyAccess"), "this is not the ARN of a policy"),
            (("--subject-cn=x", "--duration=5m"), "a session cannot last 300 seconds"),
            (("--subject-cn=x", "--region=Frankfurt"), "this is not the name of an AWS region"),
            (("--subject-cn=x", "--with-local-ca=d"), "the CA is to be named once"),
            (("--issue=a",), "--issue does not go with --ca"),
            (("--subject-cn=x", "--days=3"), "--days is about a leaf"),
            (("--print=terraform", "--subject-cn=x", "--write-config=x"), "--print does not go with --write-config"),
            (("--print=terraform", "--subject-cn=x", "--dry-run"), "--print does not go with --dry-run"),
        ],
    )
    def test_what_makes_no_sense_is_refused_before_anything_is_asked(
        self, admin: Administrator, flags: tuple[str, ...], error: str
    ) -> None:
        done = admin.setup(*flags)

        assert (done.exit_code, done.out) == (2, "")
        assert done.err.startswith(f"error: {error}")
        assert admin.emulated.emulator.requests() == []

    def test_a_file_that_is_no_ca_is_refused(self, admin: Administrator) -> None:
        leaf = Path(admin.leaf("/CN=build-7")[0].partition("=")[2])

        done = admin.setup("--subject-cn=build-7", ca=leaf)

        assert (done.exit_code, "cannot be a trust anchor: it is not a CA's" in done.err) == (1, True)
        assert "holds no certificate" in admin.setup("--subject-cn=build-7", ca=admin.ca[1]).err

    def test_a_private_key_beside_the_certificate_stays_here(self, admin: Administrator) -> None:
        both = admin.folder / "both.pem"
        both.write_bytes(admin.ca[1].read_bytes() + admin.ca[0].read_bytes())

        printed = admin.setup("--subject-cn=x", "--print=cloudformation", ca=both)

        assert (printed.exit_code, "PRIVATE KEY" in printed.out) == (0, False)
        assert admin.setup("--subject-cn=x", ca=both).exit_code == 0
        bundles = [
            anchor["source"]["sourceData"]["x509CertificateData"]
            for anchor in admin.client("rolesanywhere").list_trust_anchors()["trustAnchors"]
        ]
        assert not any("PRIVATE KEY" in bundle for bundle in bundles)

    def test_without_credentials_or_region_it_says_what_to_give(
        self, admin: Administrator, run_helper: RunHelper
    ) -> None:
        flags = ("setup", "--ca", admin.ca[0], "--subject-cn=x")
        nobody = {"AWS_EC2_METADATA_DISABLED": "true"}

        no_region = run_helper(*flags, env=nobody)
        no_credentials = run_helper(*flags, "--region=eu-central-1", env=nobody)
        no_profile = run_helper(*flags, "--aws-profile=nobody", env=nobody)

        assert [each.exit_code for each in (no_region, no_credentials, no_profile)] == [2, 2, 2]
        assert "no region was given" in no_region.err
        assert "there are no AWS credentials" in no_credentials.err
        assert "--aws-profile NAME" in no_profile.err

    def test_an_aws_that_cannot_be_reached_is_told_as_such(self, admin: Administrator, run_helper: RunHelper) -> None:
        nowhere = {
            "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
            "AWS_SECRET_ACCESS_KEY": PASSPHRASE,
            "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        }
        done = run_helper("setup", "--ca", admin.ca[0], "--subject-cn=x", "--region=eu-central-1", env=nowhere)

        assert (done.exit_code, done.out) == (3, "")
        assert "AWS gave no answer to: GetCallerIdentity (EndpointConnectionError)" in done.err
        assert PASSPHRASE not in done.err

    def test_printing_needs_no_credentials(self, admin: Administrator, run_helper: RunHelper) -> None:
        for language in ("cloudformation", "terraform"):
            done = run_helper("setup", "--ca", admin.ca[0], "--subject-cn=x", "--print", language)
            assert (done.exit_code, "rolesanywhere.amazonaws.com" in done.out) == (0, True)
        assert admin.emulated.emulator.requests() == []


class TestTheLocalCa:
    def test_from_nothing_to_credentials_in_two_commands(self, admin: Administrator) -> None:
        issued = admin.local("--issue=build-7")
        made = admin.local("--name=build", "--subject-cn=build-7", "--write-config=config.toml")

        assert issued.out == f"{admin.folder}/local/leaves/build-7.pem\n"
        assert made.exit_code == 0, made.err
        done = admin.run_helper(
            "credential-process", "--no-cache", f"--config={admin.folder}/config.toml", "--session=build"
        )
        assert done.exit_code == 0, done.err
        admin.local("--issue=build-8")
        other = [f"--{flag}={admin.folder}/local/leaves/build-8.{end}"
                 for flag, end in (("certificate", "pem"), ("private-key", "key"))]  # fmt: skip
        assert "Unable to assume role" in admin.credentials(made.out, *other).err

    def test_its_key_is_encrypted_and_every_file_as_private_as_it_must_be(self, admin: Administrator) -> None:
        assert admin.local("--issue=build-7").exit_code == 0

        local = admin.folder / "local"
        assert (local / "ca.key").read_text().startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----")
        openssl("pkey", "-in", local / "ca.key", "-passin", f"pass:{PASSPHRASE}", "-noout")
        with pytest.raises(subprocess.CalledProcessError):
            openssl("pkey", "-in", local / "ca.key", "-passin", "pass:another", "-noout")
        modes = [path.stat().st_mode & 0o777 for path in (local, local / "ca.key", local / "leaves/build-7.key")]
        assert modes == [0o700, 0o600, 0o600]
        openssl("verify", "-CAfile", local / "ca.pem", "-purpose", "sslclient", local / "leaves/build-7.pem")

    def test_without_the_passphrase_it_issues_nothing(self, admin: Administrator) -> None:
        nobody = admin.run("--with-local-ca=local", "--issue=build-7")
        assert (nobody.exit_code, "--ca-password-file" in nobody.err) == (1, True)
        assert not (admin.folder / "local").exists()
        admin.local("--issue=build-7")
        (admin.folder / "wrong").write_text("wrong")

        wrong = admin.run("--with-local-ca=local", "--ca-password-file=wrong", "--issue=build-8")

        assert (wrong.exit_code, wrong.out) == (1, "")
        assert "the passphrase does not open" in wrong.err
        assert len(list((admin.folder / "local/issued").iterdir())) == 1
        (admin.folder / "empty").touch()
        assert "passphrase is empty" in admin.run("--with-local-ca=x", "--ca-password-file=empty", "--issue=a").err

    @pytest.mark.parametrize(("second", "code"), [(PASSPHRASE, 0), ("another", 2)])
    def test_a_new_passphrase_is_typed_twice_and_seen_by_nobody(
        self, helper: Path, clean_environment: dict[str, str], tmp_path: Path, second: str, code: int
    ) -> None:
        command = [str(helper), "setup", "--with-local-ca=local", "--issue=build-7"]
        with at_a_terminal(command, clean_environment, tmp_path) as running:
            running.terminal.wait_for("Passphrase of the CA's key: ")
            running.terminal.type(f"{PASSPHRASE}\n")
            running.terminal.wait_for("The same again: ")
            running.terminal.type(f"{second}\n")
            done, _, stderr = running.finish()
            shown = running.terminal.shown

        assert (done, (tmp_path / "local/ca.pem").exists()) == (code, code == 0), stderr
        assert PASSPHRASE.encode() not in shown + stderr
        assert (b"the two passphrases differ" in stderr) is (code != 0)

    def test_a_renewal_is_a_new_certificate_for_the_same_key(self, admin: Administrator) -> None:
        admin.local("--issue=build-7", "--days=3")
        leaf, key = (admin.folder / f"local/leaves/build-7.{ending}" for ending in ("pem", "key"))
        before = leaf.read_bytes(), key.read_bytes()

        assert admin.local("--issue=build-7").exit_code == 0

        assert (leaf.read_bytes() != before[0], key.read_bytes() == before[1]) == (True, True)
        assert len(list((admin.folder / "local/issued").iterdir())) == 2

    def test_a_renewal_keeps_the_subject_unless_another_one_is_given(self, admin: Administrator) -> None:
        def subject(*flags: str) -> str:
            issued = admin.local("--issue=build-7", *flags)
            assert issued.exit_code == 0, issued.err
            read = ["openssl", "x509", "-in", issued.out.strip(), "-noout", "-subject", "-nameopt", "RFC2253"]
            return subprocess.run(read, check=True, capture_output=True, text=True).stdout.strip()

        first = subject("--subject-o=Example", "--subject-ou=CI", "--subject-ou=Linux")
        assert first == "subject=CN=build-7,OU=Linux,OU=CI,O=Example"
        assert subject() == first
        assert subject("--subject-ou=Web") == subject() == "subject=CN=build-7,OU=Web"

    def test_a_key_that_stays_on_its_host_is_certified_by_a_request(
        self, admin: Administrator, run_helper: RunHelper
    ) -> None:
        run_helper("keygen", "--out=host.key")
        run_helper("csr", "--private-key=host.key", "--subject=/CN=somebody-else", "--out=host.csr")

        done = admin.local("--issue=build-7", "--subject-ou=CI", "--csr=host.csr")

        assert done.exit_code == 0, done.err
        read = ["openssl", "x509", "-in", done.out.strip(), "-noout", "-subject", "-nameopt", "RFC2253"]
        subject = subprocess.run(read, check=True, capture_output=True, text=True).stdout
        assert subject == "subject=CN=build-7,OU=CI\n"
        assert not (admin.folder / "local/leaves/build-7.key").exists()
        made = admin.local("--name=build", "--subject-cn=build-7")
        assert admin.credentials(made.out, f"--private-key={admin.folder}/host.key").exit_code == 0
        damaged = (admin.folder / "host.csr").read_text().replace("A", "B")
        (admin.folder / "damaged.csr").write_text(damaged)
        assert "is no signing request, or damaged" in admin.local("--issue=x", "--csr=damaged.csr").err

    def test_a_revoked_leaf_is_refused_at_once_and_its_renewal_is_not(self, admin: Administrator) -> None:
        leaves = [f"{admin.folder}/local/leaves/build-{number}" for number in (7, 8)]
        flags = [[f"--certificate={leaf}.pem", f"--private-key={leaf}.key"] for leaf in leaves]
        for number in (7, 8):
            admin.local(f"--issue=build-{number}")
        block = admin.local("--name=build", "--subject-cn=build-*").out
        assert [admin.credentials(block, *leaf).exit_code for leaf in flags] == [0, 0]

        done = admin.local("--name=build", f"--revoke={leaves[0]}.pem")

        assert done.exit_code == 0, done.err
        assert "Certificate revoked" in admin.credentials(block, *flags[0]).err
        assert admin.credentials(block, *flags[1]).exit_code == 0
        admin.local("--issue=build-7")
        assert admin.credentials(block, *flags[0]).exit_code == 0

    def test_what_was_revoked_stays_revoked_wherever_the_ca_becomes_a_trust_anchor(self, admin: Administrator) -> None:
        leaves = [f"{admin.folder}/local/leaves/build-{number}" for number in (7, 8)]
        flags = [[f"--certificate={leaf}.pem", f"--private-key={leaf}.key"] for leaf in leaves]
        wanted = ("--subject-cn=build-7", "--subject-cn=build-8")

        def outcomes(block: str) -> list[bool]:
            return ["Certificate revoked" in admin.credentials(block, *leaf).err for leaf in flags]

        for number in (7, 8):
            admin.local(f"--issue=build-{number}")
        early = admin.local(f"--revoke={leaves[0]}.pem")
        assert (early.exit_code, "no trust anchor in us-east-1 yet" in early.err) == (0, True), early.err
        plan = admin.local("--name=build", *wanted, "--dry-run")
        made = admin.local("--name=build", *wanted)
        assert outcomes(made.out) == [True, False]
        assert "import the revocation list of trust anchor build\n" in plan.out
        assert admin.changes()[:2] == ["CreateTrustAnchor", "ImportCrl"]
        # Another name for the same CA.
        assert outcomes(admin.local("--name=more", *wanted).out) == [True, False]
        # Made again: the list of the one before is of no use to it.
        client, arn = admin.client("rolesanywhere"), tomllib.loads(made.out)["session"]["build"]["trust-anchor-arn"]
        client.delete_trust_anchor(trustAnchorId=arn.rpartition("/")[2])
        again = admin.local("--name=build", *wanted)
        assert outcomes(again.out) == [True, False]
        # What is there already is compared.
        arn = tomllib.loads(again.out)["session"]["build"]["trust-anchor-arn"]
        [crl] = [each for each in client.list_crls()["crls"] if each["trustAnchorArn"] == arn]
        client.disable_crl(crlId=crl["crlId"])
        assert "enable the revocation list of trust anchor build" in admin.local("--name=build", *wanted).err
        assert "nothing to do" in admin.local("--name=build", *wanted, "--dry-run").out

    def test_a_revocation_reaches_every_trust_anchor_of_the_ca(self, admin: Administrator) -> None:
        admin.local("--issue=build-7")
        leaf = f"{admin.folder}/local/leaves/build-7"
        flags = [f"--certificate={leaf}.pem", f"--private-key={leaf}.key"]
        blocks = [admin.local(f"--name={name}", "--subject-cn=build-7").out for name in ("one", "two")]
        revoke = f"--revoke={leaf}.pem"

        unknown = admin.local("--name=three", revoke)
        assert (unknown.exit_code, "leave --name out, or give one of: one, two" in unknown.err) == (2, True)
        one = admin.local("--name=one", revoke)
        assert (one.exit_code, "not given to two" in one.err) == (0, True)
        assert [admin.credentials(block, *flags).exit_code for block in blocks] == [1, 0]
        assert admin.local(revoke).exit_code == 0
        assert [admin.credentials(block, *flags).exit_code for block in blocks] == [1, 1]

        # Named in a session, it is told; a renewed one is not.
        told = f"this leaf is revoked, and gets no session: {leaf}.pem"
        for more, is_told in (([], True), (["--dry-run"], True), (flags, True)):
            assert (told in admin.local("--name=one", "--subject-cn=build-7", *more).err) is is_told
        admin.local("--issue=build-7")
        assert told not in admin.local("--name=one", "--subject-cn=build-7").err

    def test_the_revocation_list_is_printed_where_it_can_be(self, admin: Administrator) -> None:
        admin.local("--issue=build-7")
        printed = [admin.local("--subject-cn=a", f"--print={each}") for each in ("cloudformation", "terraform")]
        assert not any("evocation" in each.out + each.err for each in printed)
        admin.local("--revoke=local/leaves/build-7.pem")

        cloudformation, terraform = (
            admin.local("--subject-cn=a", f"--print={each}") for each in ("cloudformation", "terraform")
        )

        resources = json.loads(cloudformation.out)["Resources"]
        assert resources["RevocationList"]["Properties"] == {
            "Name": "rolesanywhere-helper",
            "Enabled": True,
            "TrustAnchorArn": {"Fn::GetAtt": ["TrustAnchor", "TrustAnchorArn"]},
            "CrlData": (admin.folder / "local/crl.pem").read_text(),
            "Tags": resources["Role"]["Properties"]["Tags"],
        }
        assert resources["Role"]["DependsOn"] == "RevocationList"
        assert terraform.out.startswith("# The provider has no resource for revocation lists")
        assert "Terraform cannot import the revocation list" in terraform.err

    def test_a_key_that_was_revoked_is_never_certified_again(self, admin: Administrator, run_helper: RunHelper) -> None:
        admin.local("--issue=build-7")
        key = admin.folder / "local/leaves/build-7.key"
        revoked = key.read_bytes()
        run_helper("csr", f"--private-key={key}", "--subject=/CN=x", "--out=same.csr")
        assert admin.local("--issue=other", "--csr=same.csr").exit_code == 0
        assert admin.local("--issue=build-7").exit_code == 0
        assert key.read_bytes() == revoked
        admin.local("--revoke=local/leaves/build-7.pem")

        renewed = admin.local("--issue=build-7")
        refused = admin.local("--issue=another", "--csr=same.csr")

        assert (renewed.exit_code, "so this one is new" in renewed.err) == (0, True)
        assert key.read_bytes() != revoked
        assert (refused.exit_code, "is that of a certificate that was revoked" in refused.err) == (2, True)
        assert "keygen" in refused.err
        # The new one is renewed like any other.
        new = key.read_bytes()
        assert "so this one is new" not in admin.local("--issue=build-7").err
        assert key.read_bytes() == new

    def test_a_second_revocation_adds_to_the_list_and_a_repeated_one_changes_nothing(
        self, admin: Administrator
    ) -> None:
        for number in (7, 8):
            admin.local(f"--issue=build-{number}")
        admin.local("--name=build", "--subject-cn=build-*")
        first, second = sorted(path.stem for path in (admin.folder / "local/issued").iterdir())
        crl = admin.folder / "local/crl.pem"

        assert admin.local("--name=build", f"--revoke={first}").exit_code == 0
        once = crl.read_bytes()
        repeated = admin.local("--name=build", f"--revoke={first}")
        assert (crl.read_bytes(), "unchanged" in repeated.err) == (once, True)
        assert "replaced" in admin.local("--name=build", f"--revoke={second}").err

        [imported] = admin.client("rolesanywhere").list_crls()["crls"]
        assert (imported["crlData"], imported["enabled"]) == (crl.read_bytes(), True)
        told = subprocess.run(
            ["openssl", "crl", "-in", crl, "-CAfile", admin.folder / "local/ca.pem", "-noout", "-text"],
            check=True,
            capture_output=True,
            text=True,
        )
        # An old copy of the directory lets nobody in again, and the list is brought back as the hint says.
        both = crl.read_bytes()
        crl.write_bytes(once)
        for flags in (("--subject-cn=build-*", "--dry-run"), (f"--revoke={first}",)):
            stale = admin.local("--name=build", *flags)
            assert (stale.exit_code, f"the imported revocation list has {second}" in stale.err) == (2, True)
        assert f"--crl-id {imported['crlId']}" in stale.err
        assert admin.client("rolesanywhere").list_crls()["crls"][0]["crlData"] == both
        assert "verify OK" in told.stderr
        assert all(f"{int(serial, 16):X}" in told.stdout for serial in (first, second))

    @pytest.mark.parametrize(
        ("flags", "error"),
        [
            (("--revoke=abcdef",), "has not issued a certificate with the serial number abcdef"),
            (("--revoke=none.pem",), "none.pem cannot be read"),
            (("--issue=../up",), "this cannot be the name of a leaf"),
            (("--issue=a", "--days=0"), "a leaf cannot be valid for 0 days"),
            (("--issue=a", "--days=many"), "this is not a number of days"),
            (("--issue=a", "--subject-cn=b"), "--issue does not go with --subject-cn"),
            (("--issue=a", "--dry-run"), "--issue does not go with --dry-run"),
            (("--issue=a", "--revoke=b"), "--issue does not go with --revoke"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, admin: Administrator, flags: tuple[str, ...], error: str) -> None:
        admin.local("--issue=build-7")

        done = admin.local(*flags)

        assert (done.exit_code, error in done.err) == (2, True), done.err
        assert len(list((admin.folder / "local/issued").iterdir())) == 1

    def test_a_dry_run_makes_no_ca(self, admin: Administrator) -> None:
        done = admin.local("--subject-cn=a", "--dry-run")

        assert (done.exit_code, "a dry run makes none" in done.err) == (2, True)
        assert not (admin.folder / "local").exists()

    def test_a_directory_with_something_else_in_it_is_left_alone(self, admin: Administrator) -> None:
        (admin.folder / "local").mkdir()
        (admin.folder / "local/mine.txt").touch()

        done = admin.local("--issue=build-7")

        assert (done.exit_code, "not an empty directory" in done.err) == (1, True)
        assert [path.name for path in (admin.folder / "local").iterdir()] == ["mine.txt"]

    def test_a_key_that_others_could_change_is_not_used(self, admin: Administrator) -> None:
        admin.local("--issue=build-7")
        (admin.folder / "local/ca.key").chmod(0o622)

        (admin.folder / "local").chmod(0o777)

        refused = admin.local("--issue=build-8")

        assert (refused.exit_code, "can be written by" in refused.err) == (1, True)
        assert "--accept" not in refused.err
        hint = next(line.partition("run: ")[2] for line in refused.err.splitlines() if "run: " in line)
        subprocess.run(["sh", "-c", hint], check=True)
        assert admin.local("--issue=build-8").exit_code == 0
        (admin.folder / "local/ca.key").chmod(0o644)
        assert f"run: chmod o-r {admin.folder}/local/ca.key\n" in admin.local("--issue=build-9").err
