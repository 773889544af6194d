"""The command from outside: exit codes, one line an error, JSON, test mode, and a server that starts, refuses and stops."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from gateway.core.errors import SettingsError
from gateway.operations.manage_agreements import Side, filled
from gateway.operations.set_up import shipped_policies
from gateway.sample.files import SampleFile
from gateway.sample.generate import write_sample
from tests.commands import chengxin, environment, process
from tests.house import PLAIN, settings_of, write_settings


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gateway's folder after `chengxin init`; copied, never used."""
    folder = tmp_path_factory.mktemp("made")
    write_settings(folder)
    done = process(folder, "init", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["policy"]["first"] is True
    return folder


@pytest.fixture(scope="module")
def city(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gateway's folder, shared by the tests of this file, each of which uses other rows."""
    return Path(shutil.copytree(made, tmp_path_factory.mktemp("city") / "city"))


@pytest.fixture(scope="module")
def served(city: Path) -> Iterator[httpx.Client]:
    """One server of the city for the tests that only ask it."""
    with Serving(city) as client:
        yield client


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[SampleFile]:
    """A small sample."""
    return write_sample(tmp_path_factory.mktemp("files"), seed=1, subjects=60)


def of(files: list[SampleFile], dataset: str) -> SampleFile:
    """The first file of a dataset."""
    return next(file for file in files if file.dataset == dataset and file.authority is not None)


def test_init_may_be_repeated(city: Path) -> None:
    """The second time nothing is made, and it is no error."""
    done = chengxin(city, "init")
    assert done.returncode == 0
    assert "none, all were there" in done.stdout
    assert "in force already" in done.stdout


def test_without_settings_it_says_how_to_give_them(tmp_path: Path) -> None:
    """No file and no variables: one coded line with what to do, and status 1 of the process."""
    done = process(tmp_path, "key", "list")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: settings-invalid at --settings:")
    assert "chengxin.toml" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("porrt = 1", "porrt"),
        ("metrics_port = -1", "metrics_port"),
        ("now = 5 o'clock", "TOML"),
        ("workers = 1000", "workers"),
        ('host = "0.0.0.0"', "demo"),
        ('[[partners]]\nparty = "credit.jl.example"\nconfig = { timeout_s = 3 }', "partners[0]"),
        ('[[partners]]\nparty = "credit.jl.example"\n[[partners]]\nparty = "credit.jl.example"', "partners[1]"),
        ('[[partners]]\nparty = "credit.tonghua.example"', "partners[0]"),
        ('[[partners]]\nparty = "credit.jl.example"\nadaptor = "file_drop"', "partners[0]"),
    ],
)
def test_wrong_settings_stop_the_start(tmp_path: Path, line: str, place: str) -> None:
    """An unknown key, a bad value, broken TOML and demo off loopback are named before anything is made."""
    write_settings(tmp_path, more=line)
    done = chengxin(tmp_path, "init")
    assert done.returncode == 1
    assert done.stderr.startswith("error: settings-invalid")
    assert place in done.stderr
    assert not (tmp_path / "data").exists()


def test_a_server_with_wrong_settings_does_not_start(tmp_path: Path) -> None:
    """`serve` as a process ends with status 1 and names the key."""
    write_settings(tmp_path, more="porrt = 1")
    done = process(tmp_path, "serve")
    assert (done.returncode, done.stderr.startswith("error: settings-invalid"), "porrt" in done.stderr) == (1, True, True)


@pytest.mark.parametrize("variable", ["CHENGXIN_NOW", "CHENGXIN_SEED"])
def test_the_test_clock_and_seed_are_refused_outside_the_demo(tmp_path: Path, variable: str) -> None:
    """Anywhere but in test mode the variables stop the start."""
    path = write_settings(tmp_path)
    path.write_text(path.read_text(encoding="utf-8").replace("demo = true", "demo = false"), encoding="utf-8")
    done = chengxin(tmp_path, "key", "init", **{variable: "2026-01-01T00:00:00Z"})
    assert done.returncode == 1
    assert variable in done.stderr


@pytest.mark.parametrize("now", ["now", "2026-06-01T00:00:00", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "+P999999D", "-P999999D"])
def test_a_test_clock_stands_at_a_day_that_there_is(tmp_path: Path, now: str) -> None:
    """What is no instant, and one from which nothing could be reckoned, is a setting to be mended, no fault of the program."""
    with pytest.raises(SettingsError, match="CHENGXIN_NOW"):
        settings_of(write_settings(tmp_path), CHENGXIN_NOW=now)


def test_settle_is_refused_outside_the_demo(city: Path) -> None:
    """`settle` belongs to the test mode."""
    assert chengxin(city, "settle").stdout == "settled\n"
    assert json.loads(chengxin(city, "settle", "--json").stdout) == {"settled": True}
    done = chengxin(city, "settle", CHENGXIN_DEMO="false", CHENGXIN_QUOTA_FACTOR="1")
    assert done.returncode == 1
    assert "test-mode-only" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("ingest",),
        ("ingest", "registrations", "no-such-file.csv"),
        ("ingest", "registrations", "chengxin.toml", "--authority", "11220500XXT0001181"),
        ("ingest", "registrations", "chengxin.toml", "--encoding", "latin-1"),
        ("withdraw", "rec_x"),
        ("withdraw", "rec_x", "--reason", "because"),
        ("policy", "activate", "data"),
        ("policy", "check", "no-such-folder"),
        ("exchange", "keys"),
        ("--settings", "no-such-file.toml", "key", "list"),
    ],
)
def test_wrong_usage_is_exit_two(city: Path, arguments: tuple[str, ...]) -> None:
    """Whatever cannot be meant is exit 2, and says where the help is."""
    done = chengxin(city, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Error" in done.stderr


def test_a_process_tells_wrong_usage_by_its_status(tmp_path: Path) -> None:
    """The status of the process is 2, and nothing is said on stdout."""
    done = process(tmp_path, "withdraw", "rec_x", "--reason", "because")
    assert (done.returncode, done.stdout, "Error" in done.stderr) == (2, "", True)


def test_ingest_tells_rejected_rows_by_exit_three(city: Path, files: list[SampleFile]) -> None:
    """Rows are rejected alone, the receipt names line, code and column, and the same file again gives the same receipt."""
    file = of(files, "registrations")
    arguments = (
        "ingest",
        file.dataset,
        str(file.path),
        "--encoding",
        file.encoding,
        "--authority",
        str(file.authority),
        "--officer",
        "测试员甲",
    )
    first = process(city, *arguments, "--receipt", "receipt.json", "--json")
    assert first.returncode == 3, first.stderr
    receipt = json.loads(first.stdout)
    assert receipt == json.loads((city / "receipt.json").read_text(encoding="utf-8"))
    assert receipt["rejected"] == file.rejected
    assert receipt["accepted"] > 0
    assert all(set(row) == {"line", "code", "field"} for row in receipt["rows"])
    assert "\r" not in first.stderr
    assert "\x1b" not in first.stderr
    again = chengxin(city, *arguments, "--json")
    assert (again.returncode, json.loads(again.stdout)) == (3, receipt)


def test_ingest_of_a_clean_file_is_exit_zero(city: Path, files: list[SampleFile]) -> None:
    """A file without a bad row is exit 0."""
    file = next(file for file in files if not file.rejected and file.authority is not None)
    done = chengxin(
        city, "ingest", file.dataset, str(file.path), "--encoding", file.encoding, "--authority", str(file.authority), "--officer", "x"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("accepted ")


@pytest.mark.parametrize(
    ("dataset", "name", "data", "code"),
    [
        ("no-such-dataset", "a.csv", "企业名称\n".encode(), "dataset-unknown"),
        ("registrations", "a.csv", "企业名称,统一社会信用代码\n通化示例\n".encode("gb18030"), "FILE_ENCODING"),
        ("registrations", "a.csv", "不认识的列\n1\n".encode(), "FILE_HEADER"),
        ("registrations", "a.csv", b"", "FILE_"),
        ("registrations", "a.xlsx", b"PK\x03\x04 broken", "FILE_"),
        ("registrations", "a.xls", b"\xd0\xcf\x11\xe0", "FILE_"),
    ],
)
def test_a_refused_file_is_exit_one(city: Path, dataset: str, name: str, data: bytes, code: str) -> None:
    """An unknown dataset, a wrong encoding, header or format refuses the file with one coded line."""
    (city / name).write_bytes(data)
    done = chengxin(city, "ingest", dataset, name)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {code}")
    assert len(done.stderr.splitlines()) == 1


def test_cases_by_command(city: Path, served: httpx.Client, files: list[SampleFile]) -> None:
    """Objection, repair and withdrawal by command, and a coded error for what cannot be."""
    file = of(files, "administrative-penalties")
    chengxin(
        city, "ingest", file.dataset, str(file.path), "--encoding", file.encoding, "--authority", str(file.authority), "--officer", "x"
    )
    listed = served.get("/v1/records", params={"dataset": "administrative-penalties"}).json()["items"]
    one, two = listed[0]["id"], listed[1]["id"]
    assert chengxin(city, "dispute", "open", one).returncode == 0
    assert marks(served, one) == ["objection_in_progress"]
    assert chengxin(city, "dispute", "close", one).returncode == 0
    assert marks(served, one) == []
    done = chengxin(city, "repair", one, "--json")
    assert (done.returncode, json.loads(done.stdout)["state"]) == (0, "repaired")
    assert served.get(f"/v1/records/{one}").status_code == 404
    assert chengxin(city, "withdraw", two, "--reason", "revoked").returncode == 0
    assert served.get(f"/v1/records/{two}").status_code == 404
    again = chengxin(city, "repair", one)
    assert again.returncode == 1
    assert again.stderr.startswith(f"error: record-state at {one}:")


def marks(client: httpx.Client, record_id: str) -> list[str]:
    """The marks of a record as the public gets it."""
    return [mark["code"] for mark in client.get(f"/v1/records/{record_id}").json()["marks"]]


class Serving:
    """`chengxin serve` as a real process, ended at the end of the block."""

    def __init__(self, folder: Path, **more: str) -> None:
        self.port = free_port()
        self.folder = folder
        self.more = more | {"CHENGXIN_PORT": str(self.port), "CHENGXIN_PUBLIC_ORIGIN": f"http://127.0.0.1:{self.port}"}

    def __enter__(self) -> httpx.Client:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "serve"],
            cwd=self.folder,
            env=environment(**self.more),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=10, verify=PLAIN)
        for _ in range(300):
            assert self.process.poll() is None, self.process.communicate()[0]
            try:
                if self.client.get("/readyz").status_code == 200:
                    return self.client
            except httpx.HTTPError:
                pass
            time.sleep(0.1)
        raise AssertionError("the server does not become ready")

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.output = self.process.communicate(timeout=20)[0]
        finally:
            self.process.kill()


def test_serve_answers_and_stops(made: Path, tmp_path: Path) -> None:
    """It answers, logs nothing that was asked, and a TERM ends it in order with status 0."""
    serving = Serving(Path(shutil.copytree(made, tmp_path / "city")))
    with serving as client:
        assert client.get("/healthz").status_code == 200
        assert client.get("/v1/subjects", params={"q": "一家没有的公司"}).status_code == 200
    assert serving.process.returncode == 0
    assert "一家没有的公司" not in serving.output
    assert "%E4%B8%80" not in serving.output


def test_serve_on_a_used_port_says_so(city: Path) -> None:
    """An address that is taken is a coded error, not a worker that is started over and over."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = process(city, "serve", CHENGXIN_PORT=str(taken.getsockname()[1]))
    assert done.returncode == 1
    assert "error: port-in-use at 127.0.0.1:" in done.stderr


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda data: (data / "keys" / "kek").chmod(0o644), "key-mode"),
        (lambda data: (data / "keys" / "exchange-1.toml").chmod(0o644), "key-readable"),
        (lambda data: (data / "gateway.db").unlink(), "migration-needed"),
        (lambda data: (data / "gateway.db").write_bytes(b"no database" * 1000), "store-"),
    ],
)
def test_serve_refuses_damaged_data(made: Path, tmp_path: Path, damage: object, code: str) -> None:
    """Keys that others can read, a missing or broken database: the program refuses to start and says how to mend it."""
    folder = Path(shutil.copytree(made, tmp_path / "city"))
    damage(folder / "data")  # type: ignore[operator]  # a row of the table above
    done = process(folder, "serve")
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {code}")
    assert len(done.stderr.splitlines()) == 1


def test_serve_refuses_settings_of_partners_that_nobody_would_use(made: Path, tmp_path: Path) -> None:
    """An adapter that is not there is named with its place; the other commands go on, and the doctor tells it too."""
    folder = Path(shutil.copytree(made, tmp_path / "city"))
    with (folder / "chengxin.toml").open("a", encoding="utf-8") as file:
        file.write('\n[[partners]]\nparty = "credit.jl.example"\nadapter = "province_sope"\n')
    done = process(folder, "serve")
    assert (done.returncode, done.stderr.startswith("error: adapter-unknown at partners[0].adapter")) == (1, True), done.stderr
    assert chengxin(folder, "policy", "status").returncode == 0
    told = chengxin(folder, "exchange", "doctor", "--no-lines")
    assert (told.returncode, "partners[0].adapter" in told.stdout) == (1, True), told.stdout


def test_policy_commands(city: Path, tmp_path: Path) -> None:
    """check, status and explain by command; a fault is exit 1 with code, file and line."""
    status = json.loads(chengxin(city, "policy", "status", "--json").stdout)
    assert status["version"] == 1
    assert chengxin(city, "policy", "check", status["folder"]).returncode == 0
    (tmp_path / "tiers.toml").write_text("order = [[", encoding="utf-8")
    broken = chengxin(tmp_path, "policy", "check", str(tmp_path), "--json")
    assert broken.returncode == 1
    report = json.loads(broken.stdout)
    assert (report["ok"], report["errors"][0]["code"]) == (False, "policy-parse")
    assert process(tmp_path, "policy", "check", str(tmp_path)).stderr.startswith("error: policy-parse")
    told = chengxin(
        city,
        "policy",
        "explain",
        "--dataset",
        "administrative-penalties",
        "--tier",
        "public",
        "--kind",
        "legal",
        "--field",
        "legal_representative",
    )
    assert told.returncode == 0
    assert "drop" in told.stdout
    unknown = chengxin(city, "policy", "explain", "--dataset", "x", "--tier", "public")
    assert (unknown.returncode, unknown.stderr.split(":")[1].strip()) == (
        1,
        "policy-S10 at x" if " at x" in unknown.stderr else "policy-S10",
    )


def test_policy_tools(city: Path, tmp_path: Path) -> None:
    """test, diff and preview by command, as text and as JSON; what does not hold is exit 1, wrong usage 2."""
    folder = json.loads(chengxin(city, "policy", "status", "--json").stdout)["folder"]
    checked = json.loads(chengxin(tmp_path, "policy", "check", folder, "--at", "2026-06-01", "--json").stdout)
    assert list(checked) == ["ok", "errors", "warnings", "residual"]
    shutil.copytree(folder, tmp_path / "rules")
    rules = tmp_path / "rules" / "datasets" / "administrative-penalties.toml"
    text = rules.read_text(encoding="utf-8")
    rules.write_text(text.replace('class = { O = "clear" }', 'class = { O = "exists" }', 1), encoding="utf-8")
    same = chengxin(tmp_path, "policy", "diff", folder, folder)
    assert (same.returncode, same.stdout.startswith("no effect")) == (0, True)
    compared = json.loads(chengxin(city, "policy", "diff", folder, str(tmp_path / "rules"), "--json").stdout)
    assert (compared["widens"], compared["empty"], compared["b"]["version"]) == (False, False, None)
    told = chengxin(city, "policy", "diff", str(tmp_path / "rules"), "active")
    assert (told.returncode, told.stdout.startswith("widens: needs a second person")) == (0, True)
    assert chengxin(tmp_path, "policy", "diff", "active", folder).stderr.startswith("error: policy-")
    shown = json.loads(chengxin(city, "policy", "preview", "--tier", "public", "--dataset", "registrations", "--json").stdout)
    assert {one["case"] for one in shown} >= {"ordinary", "one_character", "odd_shapes", "leap_day"}
    assert chengxin(city, "policy", "preview", "--tier", "king").returncode == 1
    assert chengxin(city, "policy", "preview").returncode == 2
    (tmp_path / "rules" / "tests").mkdir(exist_ok=True)
    (tmp_path / "rules" / "tests" / "empty.toml").write_text("cases = []", encoding="utf-8")
    tested = chengxin(tmp_path, "policy", "test", str(tmp_path / "rules"), "--json")
    report = json.loads(tested.stdout)
    assert tested.returncode == (0 if report["ok"] else 1)
    assert set(report) == {"ok", "digest", "cases", "failed", "coverage"}


def test_a_token_opens_the_departments_view(city: Path, served: httpx.Client, files: list[SampleFile]) -> None:
    """With the token a department sees what the public does not; without it, or with a wrong one, it does not."""
    file = of(files, "administrative-penalties")
    chengxin(
        city, "ingest", file.dataset, str(file.path), "--encoding", file.encoding, "--authority", str(file.authority), "--officer", "x"
    )
    issued = json.loads(
        chengxin(
            city, "key", "issue-token", "--app", "try", "--org", "11220500XXT0001181", "--purpose", "dept.supervision", "--json"
        ).stdout
    )
    record = served.get("/v1/records", params={"dataset": "administrative-penalties"}).json()["items"][-1]
    path = f"/v1/records/{record['id']}"
    fuller = served.get(path, headers={"Authorization": f"Bearer {issued['token']}", "Case-Ref": "test-1"})
    assert fuller.status_code == 200
    assert set(record["fields"]) < set(fuller.json()["fields"])
    assert served.get(path, headers={"Authorization": "Bearer cxt_" + "a" * 43}).status_code == 401


def test_openapi_is_what_the_server_gives(city: Path, served: httpx.Client) -> None:
    """The printed document is the served one, but for the fields that the public's plans show."""
    done = subprocess.run([sys.executable, "-m", "gateway", "openapi"], cwd=city, env=environment(), capture_output=True, check=True)
    printed = json.loads(done.stdout)
    given = served.get("/openapi.json").json()
    shapes = {name: shape for name, shape in given["components"]["schemas"].items() if not name.startswith("Fields.")}
    assert len(shapes) < len(given["components"]["schemas"])
    for name in ("Record", "Listing"):
        shapes[name]["properties"]["fields"] = printed["components"]["schemas"][name]["properties"]["fields"]
    assert given | {"components": given["components"] | {"schemas": shapes}} == printed


def test_a_closed_pipe_is_no_fault(city: Path) -> None:
    """`chengxin … | head` ends quietly."""
    line = f"{sys.executable} -m gateway policy explain --dataset registrations --tier public | head -1"
    done = subprocess.run(["sh", "-c", line], cwd=city, env=environment(), capture_output=True, text=True)
    assert done.stderr == ""


def test_help_is_quick_and_says_everything() -> None:
    """`--help` works anywhere and loads neither store nor web."""
    assert loaded(("import gateway.cli", ("sqlalchemy", "litestar", "granian"))) == [[]]


def test_the_house_opens_without_what_few_need() -> None:
    """A command of the office loads no web, no file formats, no Valkey and no patterns of the redactor; a server loads these later."""
    few = ("litestar", "granian", "pyarrow", "openpyxl", "xlsxwriter", "rdflib", "valkey", "gateway.core.disclosure.redaction")
    engine = "import sqlalchemy as sa, gateway.store.dialects as one; one.read_engine(sa.make_url('sqlite+aiosqlite:///no'), wait_s=1)"
    orm = ("sqlalchemy.ext.asyncio.engine", "sqlalchemy.orm")
    assert loaded(("import gateway.services", few), (engine, orm)) == [[], ["sqlalchemy.ext.asyncio.engine"]]
    later = ("joserfc.jwk", "joserfc.jws", "gateway.core.disclosure.redaction", "structlog", "jinja2")
    never = ("gateway.web.admin.desk", "pydantic", "alembic", "prometheus_client", "tenacity", "yaml.reader", "bdb", POSTGRESQL)
    served = "import gateway.commands.running as one; [*map(one.late, one._NEVER_USED)]; import gateway.app"
    first, second = loaded((served, (*later, *never, *few[2:])), ("import asyncio; asyncio.run(gateway.background._load_later())", later))
    assert first == [], "the first answer waits for it"
    assert second == list(later), "no upload waits for it"


POSTGRESQL = "sqlalchemy.dialects.postgresql"
"""What the default, SQLite, has no use for."""


def loaded(*steps: tuple[str, tuple[str, ...]]) -> list[list[str]]:
    """What a new process does, step by step, and which of some modules are there after each."""
    code = "import sys; found = []\n"
    code += "".join(f"{done}\nfound.append([name for name in {modules!r} if name in sys.modules])\n" for done, modules in steps)
    code += "import json; print(json.dumps(found))"
    found: list[list[str]] = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    return found


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two gateways without anything in them."""
    folders = tmp_path_factory.mktemp("tonghua"), tmp_path_factory.mktemp("baishan")
    for folder, party in zip(folders, ("credit.tonghua.example", "credit.baishan.example"), strict=True):
        write_settings(folder, party=party)  # keys of their own, so nothing is copied
        assert chengxin(folder, "init").returncode == 0
    return folders


def test_keys_documents_and_status_by_command(pair: tuple[Path, Path]) -> None:
    """A gateway writes its keys document; without an agreement nobody believes it, and there is nothing to send."""
    ours, theirs = pair
    assert chengxin(ours, "exchange", "keys", "--out", "keys.json").returncode == 0
    document = json.loads((ours / "keys.json").read_text(encoding="utf-8"))
    assert set(document) == {"body", "note"}
    refused = chengxin(theirs, "exchange", "take-keys", str(ours / "keys.json"))
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: SCOPE_AGREEMENT at credit.tonghua.example")
    for command in (("agreement", "list"), ("exchange", "status"), ("exchange", "send")):
        done = chengxin(ours, *command, "--json")
        assert (done.returncode, json.loads(done.stdout)) == (0, [])


def test_an_agreement_by_command(pair: tuple[Path, Path]) -> None:
    """Offered by one office, countersigned by the other, taken back: active on both sides; a notice suspends it at once."""
    ours, theirs = pair
    parties = {"credit.tonghua.example": ours, "credit.baishan.example": theirs}
    sides = {}
    for party, folder in parties.items():
        keys = json.loads(chengxin(folder, "key", "list", "--json").stdout)
        vkey = next(key["vkey"] for key in keys if key["use"] == "agreement")
        sides[party] = Side(base_url="http://127.0.0.1:9/x/v1", agreement_keys=(vkey,))
    template = next((shipped_policies() / "agreements").glob("*.toml")).read_text(encoding="utf-8")
    text = filled(template, sides)
    for folder in pair:
        (folder / "agreement.toml").write_text(text, encoding="utf-8")
    assert chengxin(ours, "agreement", "offer", "agreement.toml", "--out", "offered.json").returncode == 0
    offered = str(ours / "offered.json")
    (theirs / "other.toml").write_text(text.replace("withdraw_h = 24", "withdraw_h = 48"), encoding="utf-8")
    differs = chengxin(theirs, "agreement", "countersign", "other.toml", offered, "--out", "no.json")
    assert (differs.returncode, differs.stderr.split()[1]) == (1, "SCOPE_DIGEST:")
    assert not (theirs / "no.json").exists()
    assert chengxin(theirs, "agreement", "countersign", "agreement.toml", offered, "--out", "signed.json").returncode == 0
    assert process(ours, "agreement", "take", str(theirs / "signed.json")).returncode == 0
    for folder, other in (pair, pair[::-1]):
        assert chengxin(folder, "exchange", "keys", "--out", "keys.json").returncode == 0
        assert chengxin(other, "exchange", "take-keys", str(folder / "keys.json")).returncode == 0
    for folder in pair:
        (held,) = json.loads(chengxin(folder, "agreement", "list", "--json").stdout)
        assert held["signed_by"] == sorted(parties)
        assert held["state"] == "active"
    assert "tonghua-baishan" in chengxin(ours, "exchange", "status").stdout
    measures = f"{held['id']}.measures"  # where nobody listens
    for wrong, status, told in (
        (("resync", measures, "--because", "too_late"), 1, "UNAVAILABLE at credit.baishan.example: "),
        (("resync", "nothing.honours", "--because", "too_late"), 1, "not-found: nothing here has this name"),
        (("epoch", "nothing.honours", "--reason", "x"), 1, "not-found: nothing here has this name"),
        (("send", "--stream", "nothing.honours"), 1, "NOT_FOUND at nothing.honours: "),
        (("overdue", "--partner", "credit.nobody.example"), 1, "NOT_FOUND at credit.nobody.example: "),
        (("pull", "credit.nobody.example"), 1, "NOT_FOUND at credit.nobody.example: "),
        (("hold", f"{held['id']}.honours", "--reason", "  "), 2, "say why"),
    ):
        done = chengxin(ours, "exchange", *wrong)
        assert (done.returncode, told in done.stderr) == (status, True), done.stderr
    suspended = chengxin(theirs, "agreement", "state", held["id"], "suspended", "--reason", "示例", "--out", "notice.json")
    assert suspended.returncode == 0, suspended.stderr
    taken = json.loads(chengxin(ours, "agreement", "take", str(theirs / "notice.json"), "--json").stdout)
    assert taken["state"] == "suspended"


def test_the_same_on_postgresql(tmp_path: Path, pg_database: str, files: list[SampleFile]) -> None:
    """init, ingest, serve, repair: the same commands on the other database, chosen by one setting."""
    write_settings(tmp_path)
    where = {"CHENGXIN_DATABASE": pg_database}
    done = chengxin(tmp_path, "init", "--json", **where)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["database"] == "postgresql"
    file = of(files, "administrative-penalties")
    arguments = ("ingest", file.dataset, str(file.path), "--encoding", file.encoding, "--authority", str(file.authority), "--officer", "x")
    assert chengxin(tmp_path, *arguments, **where).returncode == 3
    with Serving(tmp_path, **where) as client:
        record = client.get("/v1/records", params={"dataset": "administrative-penalties"}).json()["items"][0]
        assert process(tmp_path, "repair", record["id"], **where).returncode == 0
        assert client.get(f"/v1/records/{record['id']}").status_code == 404
    assert not (tmp_path / "data" / "gateway.db").exists()
