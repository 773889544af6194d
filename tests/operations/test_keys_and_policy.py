"""Keys, tokens and the first policy: made once, never overwritten, and refused with what to do."""

import shutil
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.core.errors import GatewayError, PolicyError, SettingsError
from gateway.operations.change_policy import FILE_LIMIT, check_folder, read_folder, status
from gateway.operations.explain_policy import explain_cells
from gateway.operations.manage_keys import create_keys, issue_token, list_keys, new_key, revoke_key
from gateway.operations.rescore_texts import rescore_texts
from gateway.operations.seal_withdrawn import seal_withdrawn
from gateway.operations.set_up import set_up, shipped_policies
from gateway.services import load_signers, open_services
from gateway.store import audit, clients
from tests.house import CENTRE, a_gateway, settings_of, write_settings
from tests.operations.publishing import PENALTIES, code, penalty, put

NOW = datetime(2026, 6, 1, tzinfo=UTC)


async def test_set_up_may_be_repeated(tmp_path: Path) -> None:
    """The second time nothing is made and nothing changes."""
    settings = settings_of(write_settings(tmp_path))
    first, second = await set_up(settings, by="test"), await set_up(settings, by="test")
    assert len(first.keys.files) == 9
    assert first.policy.first
    assert (second.keys.files, second.policy.first, second.policy.version) == ((), False, first.policy.version)


async def test_set_up_again_asks_no_more_what_the_folder_says(tmp_path: Path) -> None:
    """A folder that was edited, or broken, since the first activation is a proposal: keys and tables are seen to, the version stays."""
    settings = settings_of(write_settings(tmp_path, policies=shutil.copytree(shipped_policies(), tmp_path / "rules")))
    first = await set_up(settings, by="test")
    tiers = tmp_path / "rules" / "tiers.toml"
    for text in (tiers.read_text(encoding="utf-8") + "\n# for the next version\n", "no = [TOML"):
        tiers.write_text(text, encoding="utf-8")
        again = await set_up(settings, by="test")
        assert (again.policy.version, again.policy.digest, again.policy.first) == (1, first.policy.digest, False)


async def test_a_new_house_holds_nothing_that_earlier_programs_left(tmp_path: Path) -> None:
    """Whoever takes a register in before the first process serves it does not have every record of it looked through at that start."""
    async with a_gateway(tmp_path) as services:
        assert (await rescore_texts(services), await seal_withdrawn(services)) == (0, 0)
        await put(services, PENALTIES, penalty(code(1), "通化市旁邻商贸有限公司", "通邻罚〔2026〕1号"))
        assert (await rescore_texts(services), await seal_withdrawn(services)) == (0, 0)


async def test_set_up_copies_the_shipped_policies_where_none_are(tmp_path: Path) -> None:
    """A folder that does not exist is filled, to be edited; one that exists is left alone."""
    settings = settings_of(write_settings(tmp_path, policies=Path("rules")))
    assert (await set_up(settings, by="test")).policies_copied
    assert read_folder(tmp_path / "rules") == read_folder(shipped_policies())
    assert not (await set_up(settings, by="test")).policies_copied


def test_a_lost_key_beside_a_database_is_not_replaced(tmp_path: Path) -> None:
    """A new key would not open what was written under the old one, so none is made."""
    settings = settings_of(write_settings(tmp_path))
    create_keys(settings)
    (settings.data_path / "gateway.db").touch()
    settings.kek_path.unlink()
    with pytest.raises(SettingsError, match=r"key-missing.*backup"):
        create_keys(settings)
    assert not settings.kek_path.exists()


async def test_who_may_not_revoke_the_only_key_is_told_what_to_do(tmp_path: Path) -> None:
    """First the command that makes its successor, then the instant from which that one is good."""
    async with a_gateway(tmp_path, CHENGXIN_NOW="2026-06-01T00:00:00Z") as services:
        only = next(one.vkey for one in list_keys(services.settings, NOW) if one.use == "exchange")
        with pytest.raises(SettingsError, match=r"key-missing.*chengxin key new exchange"):
            await revoke_key(services, only, reason="测试", by="test")
        await new_key(services, "exchange", by="test")
        with pytest.raises(SettingsError, match=r"key-missing.*2026-06-02T00:00:00Z"):
            await revoke_key(services, only, reason="测试", by="test")


async def test_a_successor_is_published_before_it_signs(tmp_path: Path) -> None:
    """A new exchange key waits a day; until then the old one signs, afterwards the new one."""
    async with a_gateway(tmp_path, CHENGXIN_NOW="2026-06-01T00:00:00Z") as services:
        line = await new_key(services, "exchange", by="test")
        assert (line.state, line.not_before) == ("waiting", NOW + timedelta(days=1))
        signers = load_signers(services.settings)
        today, tomorrow = (signers.signing("exchange", NOW + timedelta(days=days)).vkey for days in (0, 1))
        assert today != tomorrow == line.vkey
        assert [one.state for one in list_keys(services.settings, NOW) if one.use == "exchange"] == ["good", "waiting"]
        assert {one.state for one in list_keys(services.settings, NOW + timedelta(days=900))} == {"expired"}
        with pytest.raises(SettingsError, match="key-use"):
            await new_key(services, "log-2026", by="test")  # type: ignore[arg-type]  # no use
        successor = await new_key(services, "agreement", by="test")
        assert (successor.state, successor.not_before) == ("good", NOW), "it must sign the version that pins it"
        modes = {stat.S_IMODE(path.stat().st_mode) for path in services.settings.keys_path.iterdir()}
        assert modes == {0o400}


async def test_a_token_is_bound_and_short(tmp_path: Path) -> None:
    """It says app, organisation, tier and purpose, lives ten minutes, and only its digest is stored."""
    async with a_gateway(tmp_path, CHENGXIN_NOW="2026-06-01T00:00:00Z") as services:
        issued = await issue_token(services, app="try", org=CENTRE.lower(), tier="department", purpose="dept.supervision", by="test")
        held = await clients.find(services.store.reads, issued.token, NOW)
        assert held is not None
        assert (held.app, held.org, held.tier, held.purposes) == ("try", CENTRE, "department", ("dept.supervision",))
        assert held.jkt is None
        assert issued.expires_at == NOW + timedelta(minutes=10)
        assert await clients.find(services.store.reads, issued.token, issued.expires_at) is None
        rows = await audit.after(services.store.reads, 0, 100)
        assert [(row.act, row.target) for row in rows][-1] == ("token.issue", "app/try")
        assert all(issued.token not in str(row) for row in rows)
        assert issued.token.encode() not in (services.settings.data_path / "gateway.db").read_bytes()


@pytest.mark.parametrize(
    ("tier", "purpose", "org", "code"),
    [
        ("department", "no.such", CENTRE, "policy-S10"),
        ("nobody", "dept.supervision", CENTRE, "policy-S10"),
        ("partner", "dept.supervision", CENTRE, "policy-S10"),
        ("public", "open.read", CENTRE, "policy-S10"),
        ("department", "dept.supervision", CENTRE[:-1] + "2", "SUBJ_USCC"),
    ],
)
async def test_a_token_for_what_the_policies_do_not_join_is_refused(tmp_path: Path, tier: str, purpose: str, org: str, code: str) -> None:
    """Unknown tiers and purposes, a tier outside its purpose, the public and a wrong code get no token."""
    async with a_gateway(tmp_path) as services:
        with pytest.raises(GatewayError) as refused:
            await issue_token(services, app="try", org=org, tier=tier, purpose=purpose, by="test")
        assert refused.value.code == code


def test_the_shipped_folder_has_no_fault() -> None:
    """What ships compiles today, and its digest is that of its files."""
    report = check_folder(shipped_policies(), datetime.now(UTC))
    assert report.errors == ()
    assert report.ok
    assert report.digest


def _spoilt(tmp_path: Path, file: str, text: bytes) -> Path:
    folder = tmp_path / "rules"
    for name, content in read_folder(shipped_policies()).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text)
    return folder


def test_one_line_that_is_wrong_in_six_cells_is_told_once(tmp_path: Path) -> None:
    """The same words of the same line for each kind and tier would hide the next fault."""
    file = "datasets/administrative-penalties.toml"
    text = (shipped_policies() / file).read_text(encoding="utf-8")
    wrong = text.replace('{ do = "keep", first = 6 }', '{ do = "keep", first = 10, last = 4 }', 1)
    assert wrong != text
    report = check_folder(_spoilt(tmp_path, file, wrong.encode()), NOW)
    windows = [error for error in report.errors if "window" in error.message]
    assert [(error.code, error.file) for error in windows] == [("policy-S10", file)]
    assert len(report.errors) == len(set(report.errors))


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("tiers.toml", b"order = ["),
        ("tiers.toml", b"\xff\xfe"),
        ("purposes.toml", b"[purposes.x]\nunknown = 1\n"),
        ("notes.txt", b"remember"),
        ("datasets/more.toml", b'[dataset]\nid = "honours"\n'),
        ("periods.toml", b"#" + b"x" * FILE_LIMIT),
    ],
)
def test_a_spoilt_folder_is_named(tmp_path: Path, file: str, text: bytes) -> None:
    """Broken TOML, wrong encoding, unknown keys, unknown files, doubled ids and huge files are findings with file and code."""
    report = check_folder(_spoilt(tmp_path, file, text), NOW)
    assert not report.ok
    assert report.errors[0].code.startswith("policy-")
    assert report.errors[0].file is not None
    assert file in report.errors[0].file


def test_links_and_missing_folders_are_refused(tmp_path: Path) -> None:
    """A policy is made of plain files: a link could be pointed elsewhere after the check."""
    folder = _spoilt(tmp_path, "tiers.toml", b"")
    (folder / "tiers.toml").unlink()
    (folder / "tiers.toml").symlink_to(shipped_policies() / "tiers.toml")
    with pytest.raises(PolicyError, match="no link"):
        read_folder(folder)
    with pytest.raises(PolicyError, match="no such folder"):
        read_folder(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(PolicyError, match="no policy file"):
        read_folder(tmp_path / "empty")


def test_readmes_and_agreements_are_no_rules(tmp_path: Path) -> None:
    """Pages to read and agreements stand in the folder, but change no digest; the policy tests belong to the version."""
    folder = _spoilt(tmp_path, "README.md", b"# rules")
    before = check_folder(folder, NOW).digest
    (folder / "agreements").mkdir(exist_ok=True)
    (folder / "agreements/a.toml").write_text("x = 1")
    assert check_folder(folder, NOW).digest == before is not None
    (folder / "tests").mkdir(exist_ok=True)
    (folder / "tests/more.toml").write_text("cases = []")
    assert check_folder(folder, NOW).digest not in (None, before)
    (folder / "tests/more.toml").write_text("case = []")
    assert [(error.code, error.file) for error in check_folder(folder, NOW).errors] == [("policy-parse", "tests/more.toml")]


AGREEMENT = "agreements/tonghua-baishan-2026.toml"


@pytest.mark.parametrize(
    ("old", "new", "code", "said", "on"),
    [
        ("fields = [", 'fields = [\n{ name = "BZ", type = "text", length = 5, required = false },', "SCOPE_FIELD", "not show BZ", '"BZ"'),
        ("fields = [", 'fields = [\n{ name = "XX", type = "date", required = false },', "SCOPE_FIELD", "no field XX", '"XX"'),
        ('dataset = "honours"\nfrom', 'dataset = "honors"\nfrom', "SCOPE_AGREEMENT", "no such dataset", "[[streams]]"),
        ('["220500"]', '["229999"]', "SCOPE_REGION", "division table", "scope = "),
        ("skew_s = 300", "skew_s = 300\nunheard = 1", "policy-parse", "SCHEMA_UNKNOWN", "unheard"),
        ("skew_s = 300", "skew_s = [", "policy-parse", "no TOML", "retention"),
    ],
)
def test_what_policies_do_not_cover_of_agreements_is_told(tmp_path: Path, old: str, new: str, code: str, said: str, on: str) -> None:
    """A field that no plan shows or has, an unknown dataset, a place or key that is none, broken TOML: with file and line."""
    folder = _spoilt(tmp_path, "README.md", b"")
    (folder / "agreements").mkdir()
    text = (shipped_policies() / AGREEMENT).read_text(encoding="utf-8").replace(old, new, 1)
    (folder / AGREEMENT).write_text(text, encoding="utf-8")
    report = check_folder(folder, NOW, ours="credit.tonghua.example")
    (told,) = (each for each in (*report.errors, *report.warnings) if each.file == AGREEMENT)
    assert (told.code, said in told.message) == (code, True)
    assert on in text.splitlines()[(told.line or 1) - 1]
    assert report.ok is (code in ("SCOPE_FIELD", "SCOPE_AGREEMENT"))


async def test_status_tells_a_folder_that_differs(tmp_path: Path) -> None:
    """The store decides; a folder with another content is only a proposal."""
    folder = _spoilt(tmp_path, "README.md", b"")
    settings = settings_of(write_settings(tmp_path, policies=folder))
    await set_up(settings, by="test")
    async with open_services(settings) as services:
        same = await status(services)
        assert (same.version, same.digest) == (1, same.folder_digest)
        tiers = folder / "tiers.toml"
        tiers.write_bytes(tiers.read_bytes() + b"\n# changed\n")
        differs = await status(services)
        assert differs.version == 1
        assert differs.folder_digest not in (None, differs.digest)
        tiers.unlink()
        tiers.mkdir()
        (tiers / "x").touch()
        assert (await status(services)).folder_digest is None


async def test_explain_tells_rules_and_no_values(tmp_path: Path) -> None:
    """For each field and kind there is one explanation; unknown names are refused with the known ones."""
    async with a_gateway(tmp_path) as services:
        policies = services.policies.current()
        whole = explain_cells(policies, dataset="administrative-penalties", tier="public", purpose="open.read", kind=None, field=None)
        assert len(whole) == 3 * len(policies.catalogue.datasets["administrative-penalties"].fields)  # type: ignore[index]  # an id as text
        one = explain_cells(policies, dataset="administrative-penalties", tier="public", purpose="open.read", kind="natural", field="id_no")
        assert len(one) == 1
        for wrong in ({"dataset": "x"}, {"kind": "x"}, {"field": "x"}):
            words: dict[str, str | None] = {"dataset": "honours", "tier": "public", "purpose": "open.read", "kind": None, "field": None}
            with pytest.raises(PolicyError, match="policy-S10"):
                explain_cells(policies, **(words | wrong))  # type: ignore[arg-type]  # one word of each is wrong on purpose
