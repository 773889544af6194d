"""A department comes in, from its registration on the command line to a call with the reference client, and is stopped in every process."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from gateway.cli import cli
from gateway.commands.admins import key_confirm_admin, key_invite_admin
from gateway.core.callers.administrators import ROLES
from gateway.reference_client import Client
from gateway.reference_client import Key as ClientKey
from tests.callers import Key
from tests.commands import chengxin
from tests.doors import PENALTIES
from tests.house import CENTRE, PLAIN, write_settings
from tests.operations.line_partner import line_file
from tests.operations.test_callers import grant_text
from tests.test_cli import free_port

PURPOSE = "dept.supervision"


class Desk:
    """The command line of one gateway, in this process."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.origin = f"http://127.0.0.1:{port}"
        self.settings = write_settings(folder, port=port, more='replay_url = "database"')

    def run(self, *arguments: str, status: int = 0) -> str:
        """What a command prints."""
        done = CliRunner().invoke(cli, ["--settings", str(self.settings), *arguments], catch_exceptions=status == 0)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == status, done.output
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """What it says to programs."""
        return json.loads(self.run(*arguments, "--json"))

    def enrol(self, name: str, role: str) -> list[str]:
        """An administrator with a key of its own; the words that sign a command."""
        key = self.folder / f"{name}.key"
        code = self.json("key", "invite-admin", "--name", name, "--unit", f"unit of {name}", "--role", role, "--person", f"{name}-1")[
            "code"
        ]
        self.json("key", "enrol-admin", "--code", code, "--key", str(key))
        return ["--as", name, "--key", str(key)]

    @contextmanager
    def serving(self, port: int) -> Iterator[str]:
        """One process that serves this gateway, listening on a port."""
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "--settings", str(self.settings), "serve"],
            env={**os.environ, "CHENGXIN_PORT": str(port)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        origin = f"http://127.0.0.1:{port}"
        try:
            for _ in range(1200):
                try:
                    if httpx.get(f"{origin}/healthz", timeout=2, verify=PLAIN).status_code == 200:
                        break
                except httpx.HTTPError:
                    assert process.poll() is None
                    time.sleep(0.1)
            yield origin
        finally:
            process.terminate()
            process.wait(30)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A gateway that nobody calls yet."""
    made = Desk(tmp_path_factory.mktemp("desk"), free_port())
    made.run("init")
    return made


def test_a_department_comes_in_and_is_stopped_everywhere(desk: Desk) -> None:
    """Registration, four eyes, token and calls at two processes; a proof counts once for both; a suspension reaches both."""
    approver, operator = desk.enrol("anna", "approver"), desk.enrol("olga", "operator")
    key = Key("ES256", seed=99)
    private, public = desk.folder / "private.pem", desk.folder / "public.pem"
    private.write_bytes(key.pem)
    public.write_bytes(key.public_pem)
    about = ["--org", CENTRE, "--org-name", "测试局", "--kind", "department", "--region", "220500", "--name", "监管平台"]
    registered = desk.json("key", "new-app", *about, "--tier", "department", "--jwk", str(public), *operator)
    app = registered["app"]
    assert [each["state"] for each in registered["keys"]] == ["proposed"]
    spare = desk.folder / "spare.pem"
    spare.write_bytes(Key("ES256", seed=98).public_pem)
    assert desk.json("key", "add", app, "--jwk", str(spare), *operator)["state"] == "proposed"
    desk.run("key", "add", app, str(spare), "--jwk", str(spare), *operator, status=2)
    assert desk.json("key", "approve", key.thumbprint, *approver)["state"] == "active"
    file = desk.folder / "grant.toml"
    file.write_bytes(grant_text(app).replace(b"2026-12-31", b"2099-12-31").replace(b"2026-01-01", b"2020-01-01"))
    proposed = desk.json("grant", "propose", str(file), *operator)
    assert (proposed["dataset"], proposed["state"]) == (PENALTIES, "proposed")
    assert desk.json("grant", "approve", proposed["id"], "--digest", proposed["digest"], *approver)["state"] == "active"
    assert app in desk.run("key", "list-apps")
    assert "active" in desk.run("grant", "list")
    file.write_bytes(line_file(until="2099-12-31"))
    line = desk.json("line", "propose", str(file), *operator)
    assert f"{line['digest']}\nprovince 1: " in desk.run("line", "approve", "province", "--digest", line["digest"], *approver)
    assert desk.run("line", "end", "province", *approver).endswith("until 2099-12-31, ended\n"), "lines go the way of grants"

    with ExitStack() as stack:
        first, second = (stack.enter_context(desk.serving(port)) for port in (desk.port, free_port()))
        said = ["--app", app, "--key", str(private), "--purpose", PURPOSE, "--case-ref", "通市监案〔2026〕1号"]
        me = json.loads(desk.run("call", "GET", f"{first}/v1/me", *said))
        assert (me["tier"], me["app"], me["purpose"]) == ("department", app, PURPOSE)
        wrong = (
            (f"{first}/v1/me?no=1", said, "unknown-parameter at no: 400 "),
            (f"{first}/v1/nothing-here", said, f"not-found at {first}/v1/nothing-here: 404 "),
            (f"{first}/v1/me", ["--app", "app_x", *said[2:]], f"invalid_client at {first}/oauth/token: 400 "),
            (first, [*said[:2], "--key", str(desk.settings)], f"key-invalid at {desk.settings}: "),
            ("http://[::/v1", said, "url-invalid at http://[::/v1: "),
            ("http://127.0.0.1:1/", said, "unreachable at http://127.0.0.1:1: "),
        )
        for url, words, told in wrong:
            done = CliRunner().invoke(cli, ["call", "GET", url, *words])
            assert (done.exit_code, done.stderr.startswith(f"error: {told}")) == (1, True), done.stderr
        ready = dict(line.split(": ", 1) for line in desk.run("call", "GET", f"{first}/v1/me", *said[:6], "--headers").splitlines())
        assert httpx.get(f"{first}/v1/me", headers=ready, verify=PLAIN).status_code == 200

        client = Client(first, app, ClientKey.read(private))
        assert client.request("GET", f"{first}/v1/me", {}).json()["tier"] == "department"

        def at(origin: str, proof: str) -> httpx.Response:
            return httpx.get(f"{origin}/v1/me", headers={"Authorization": f"DPoP {client.token}", "DPoP": proof}, verify=PLAIN)

        proof = client.proof("GET", f"{first}/v1/me", client.token)
        assert [at(second, proof).status_code, at(first, proof).status_code] == [200, 401]
        proof = client.proof("GET", f"{first}/v1/me", client.token)
        assert [at(first, proof).status_code, at(second, proof).status_code] == [200, 401]

        desk.run("key", "suspend", app, *approver)
        stopped, ended = time.monotonic(), dict[str, float]()
        while len(ended) < 2 and time.monotonic() - stopped < 20:
            for origin in {first, second} - set(ended):
                if at(origin, client.proof("GET", f"{first}/v1/me", client.token)).status_code == 401:
                    ended[origin] = time.monotonic() - stopped
            time.sleep(0.1)
        assert all(seconds < 6 for seconds in ended.values()), ended
        assert len(ended) == 2
        desk.run("call", "GET", f"{first}/v1/me", *said, status=1)
        client.http.close()


def test_the_reference_client_stands_alone(tmp_path: Path) -> None:
    """Copied elsewhere it runs without us: one file, two libraries."""
    copy = tmp_path / "reference_client.py"
    source = Path(sys.modules["gateway.reference_client"].__file__ or "")
    copy.write_bytes(source.read_bytes())
    done = subprocess.run([sys.executable, "-I", str(copy), "--help"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0
    assert "--case-ref" in done.stdout
    assert "gateway" not in "".join(line for line in source.read_text().splitlines() if line.startswith(("import ", "from ")))


def test_a_key_file_that_is_none_is_told(tmp_path: Path) -> None:
    """A public key, a key under a password and a file of nonsense are the caller's mistake, told in a line."""
    private = Key("ES256", seed=15)
    locked = private.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    write_settings(tmp_path)
    for content in (private.public_pem, locked, json.dumps(private.jwk).encode(), b""):
        (tmp_path / "key").write_bytes(content)
        for command in (("call", "GET", "http://127.0.0.1:1/v1/me"), ("review", "list")):
            done = chengxin(tmp_path, *command, "--app", "app_x", "--key", "key")
            assert done.returncode == 1
            assert "no private key" in done.stderr
            assert "internal" not in done.stderr


def test_help_says_which_roles_there_are_and_who_confirms() -> None:
    """Whoever invites an administrator reads there what to write; a confirmation is the approver's act."""
    invite = {option.name: str(getattr(option, "help", "")) for option in key_invite_admin.params}
    assert all(role in invite["roles"] for role in ROLES)
    confirm = {option.name: str(getattr(option, "help", "")) for option in key_confirm_admin.params}
    assert "approver" in confirm["admin"]
    assert "approver" in confirm["key_file"]
