"""What reads policies and changes nothing: cases run, versions compared in folder and store, the twin, and who may see what."""

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from gateway.cli import cli
from gateway.core.callers.caller import PUBLIC, Caller
from gateway.core.callers.grants import Grant
from gateway.core.disclosure.audiences import who_may_see
from gateway.core.errors import AdminError, GatewayError, InvalidParameter, PolicyError
from gateway.operations.apps_concerned import apps_concerned
from gateway.operations.change_policy import check_folder, read_folder
from gateway.operations.compare_policies import compare
from gateway.operations.explain_policy import explain_cells, matrix_for
from gateway.operations.ingest import ingest
from gateway.operations.preview_policy import preview
from gateway.operations.record_access import record_access
from gateway.operations.run_cases import run_cases
from gateway.operations.set_up import shipped_policies
from gateway.sample.generate import write_sample
from gateway.services import Services
from gateway.store import apps, grants
from tests.core.disclosure.small import small, small_files
from tests.house import CENTRE, a_gateway

NOW = datetime(2026, 6, 1, 4, tzinfo=UTC)
TODAY = date(2026, 6, 1)
PENALTIES = "administrative-penalties"
HOUSEHOLD_RULE = 'for = { tiers = ["public"], purposes = ["open.read"], kinds = ["individual_business"] }'


def written(folder: Path, files: Mapping[str, bytes]) -> Path:
    """These files in a folder."""
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def test_the_cases_of_a_folder(tmp_path: Path) -> None:
    """A folder whose cases hold and look at everything is proposable; without one of them it is not, and why is told."""
    folder = written(tmp_path / "rules", small_files())
    report = run_cases(folder, NOW)
    assert (report.ok, report.cases, report.failed) == (True, 5, ())
    cases = folder / "tests" / "notices.toml"
    cases.write_text(cases.read_text(encoding="utf-8").replace('name = "张示例"', 'name = "ABSENT"'), encoding="utf-8")
    worse = run_cases(folder, NOW)
    assert not worse.ok
    assert worse.failed[0].failures == ("name: expected ABSENT, shown 张示例",)
    assert worse.digest != report.digest


async def test_two_folders_are_compared_without_a_store(tmp_path: Path) -> None:
    """The effect, its digest, and the synthetic record that shows it; rows are not counted."""
    one = written(tmp_path / "one", small_files())
    two = written(tmp_path / "two", small_files())
    rules = two / "datasets" / "notices.toml"
    text = rules.read_text(encoding="utf-8")
    rules.write_text(text.replace('first = 6 }, allow = ["lookup"] }', 'first = 8 }, allow = ["lookup"] }'), encoding="utf-8")
    found = await compare(None, str(one), str(two), today=TODAY)
    assert (found.widens, found.personal, found.redlines, found.rows) == (True, True, False, None)
    assert [(cell.field, cell.before, cell.after) for cell in found.cells] == [("uscc", "keep(6,0)", "keep(8,0)")]
    assert found.by_class == {"P2": {"widened": 1, "narrowed": 0}}
    sample = next(each for each in found.samples if each.tier == "public")
    assert (sample.before["uscc"], sample.after["uscc"]) == ("922205**********", "92220502**********")
    back = await compare(None, str(two), str(one), today=TODAY)
    assert not back.widens
    assert back.effect_digest != found.effect_digest
    assert (await compare(None, str(one), str(one), today=TODAY)).empty
    with pytest.raises(PolicyError, match="versions stand in the store"):
        await compare(None, "active", str(one), today=TODAY)
    assert msgspec.json.decode(msgspec.json.encode(found))["widens"] is True


@pytest.fixture
async def town(tmp_path: Path, store_url: str) -> AsyncIterator[Services]:
    """A gateway with the market authority's penalties of a small sample; on SQLite and on PostgreSQL."""
    async with a_gateway(tmp_path, database=store_url, CHENGXIN_NOW="2026-06-02T02:30:00Z") as services:
        files = write_sample(tmp_path / "files", seed=1, subjects=60)
        file = next(file for file in files if file.dataset == PENALTIES and file.encoding == "gb18030")
        await ingest(
            services,
            dataset=file.dataset,
            path=file.path,
            authority=file.authority,
            officer=file.officer,
            encoding=file.encoding,
            progress=None,
        )
        yield services


async def test_how_many_candidates_must_remain_is_a_setting(town: Services, tmp_path: Path) -> None:
    """A house that asks for more than the shipped windows leave is told so by check, cases and comparison alike."""
    folder, few = shipped_policies(), 30_000_000
    assert check_folder(folder, NOW).ok
    assert {error.code for error in check_folder(folder, NOW, residual_k=few).errors} == {"policy-S6"}
    strict = msgspec.structs.replace(town, settings=msgspec.structs.replace(town.settings, residual_k=few))
    with pytest.raises(PolicyError) as refused:
        run_cases(folder, NOW, residual_k=few)
    assert refused.value.code == "policy-S6"
    with pytest.raises(PolicyError) as refused:
        await compare(strict, "active", str(folder), today=TODAY)
    assert refused.value.code == "policy-S6"
    set_up = ["--settings", str(tmp_path / "house.toml")]
    (tmp_path / "house.toml").write_text(
        f'party = "a.example"\nregion = "220500"\norg = "{town.settings.org}"\nresidual_k = {few}\n', encoding="utf-8"
    )
    for command in ("check", "test"):
        told = CliRunner().invoke(cli, [*set_up, "policy", command, str(folder), "--at", "2026-06-01"])
        assert (told.exit_code, "policy-S6" in f"{told.output}{told.exception}") == (1, True)
        assert "policy-S6" not in CliRunner().invoke(cli, ["policy", command, str(folder), "--at", "2026-06-01"]).output


async def test_rows_of_the_store_are_counted(town: Services, tmp_path: Path) -> None:
    """A public rule less hides as many rows as there were households; the way back shows them again."""
    files = read_folder(shipped_policies())
    path = f"datasets/{PENALTIES}.toml"
    text = files[path].decode()
    assert text.count(HOUSEHOLD_RULE) == 1
    before, _, rest = text.partition(HOUSEHOLD_RULE)
    start = before.rindex("[[rules]]")
    _, marker, following = rest.partition("[[rules]]")
    kept = {name: content for name, content in files.items() if not name.startswith("tests/")}
    folder = written(tmp_path / "narrow", kept | {path: (text[:start] + marker + following).encode()})
    found = await compare(town, "active", str(folder), today=TODAY)
    assert found.a.version == 1
    assert not found.widens
    assert found.rows is not None
    public = next(row for row in found.rows if (row.dataset, row.tier) == (PENALTIES, "public"))
    assert public.newly_hidden > 0
    assert (public.newly_visible, public.visible_before - public.visible_after) == (0, public.newly_hidden)
    back = await compare(town, str(folder), "1", today=TODAY)
    assert back.widens
    assert back.rows is not None
    again = next(row for row in back.rows if (row.dataset, row.tier) == (PENALTIES, "public"))
    assert again.newly_visible == public.newly_hidden
    with pytest.raises(GatewayError) as unknown:
        await compare(town, "7", "active", today=TODAY)
    assert unknown.value.code == "policy-unknown"


def test_the_preview_is_synthetic() -> None:
    """Every kind and case of what the tier reads, through its views; names that stand nowhere are refused."""
    shown = preview(small(), tier="public", dataset=None, purpose=None, at=TODAY)
    assert {(one.dataset, one.kind) for one in shown} == {("notices", "legal"), ("notices", "individual_business")}
    ordinary = next(one for one in shown if (one.kind, one.case) == ("individual_business", "ordinary"))
    assert ordinary.fields["uscc"] == "922205**********"
    assert next(one for one in shown if one.case == "day_after").closed == "publication"
    assert preview(small(), tier="developer", dataset=None, purpose=None, at=TODAY) == shown
    assert preview(small(), tier="pboc", dataset=None, purpose=None, at=TODAY) == []
    assert preview(small(), tier="department", dataset=None, purpose="open.read", at=TODAY) == shown
    assert preview(small(), tier="department", dataset=None, purpose="open.read", at=TODAY, granted=[]) == shown
    assert preview(small(), tier="public", dataset=None, purpose=None, at=date(1950, 1, 1))
    assert preview(small(), tier="public", dataset=None, purpose=None, at=date(2199, 12, 31))
    no_day = ({"at": date.min}, {"at": date(1949, 12, 31)}, {"at": date(2200, 1, 1)}, {"at": date.max})
    for wrong in ({"tier": "king"}, {"dataset": "fines"}, {"purpose": "curiosity"}, *no_day):
        with pytest.raises(PolicyError, match="policy-S10"):
            preview(small(), **({"tier": "public", "dataset": None, "purpose": None, "at": TODAY} | wrong))  # type: ignore[arg-type]


def test_a_caller_reads_his_own_rows() -> None:
    """Only fields that he is shown, under the treatments of his plans; a dataset he cannot see is as one that is not there."""
    rows, plan = matrix_for(small(), PUBLIC, None)
    assert plan == small().hash_of("public", "open.read")
    assert {row.tier for row in rows} == {"public"}
    assert not {"id_no", "remark", "phone"} & {row.field for row in rows}
    region = next(row for row in rows if (row.field, row.subject_kind) == ("region", "legal"))
    assert (region.treatment, region.capabilities) == ("generalise(4)", ())
    refusals = []
    for name in ("registrations", "no-such-dataset"):
        with pytest.raises(InvalidParameter) as refused:
            matrix_for(small(), PUBLIC, name)
        refusals.append((refused.value.detail, refused.value.place))
    assert refusals[0] == refusals[1]


def test_the_person_concerned_reads_who_may_see_what() -> None:
    """Field by field: tier, purpose in plain words, form and law; an unclassified field is not named."""
    fields = {one.field: one for one in who_may_see(small(), dataset="notices", kind="natural")}
    assert "remark" not in fields
    assert fields["phone"].seen_by == ()
    (seen,) = fields["id_no"].seen_by
    assert (seen.tier, seen.treatment) == ("department", "keep(6,0)")
    assert seen.purpose_label == small().purposes["dept.supervision"].subject_label
    assert "前6位" in seen.form
    assert seen.basis
    for wrong in ({"dataset": "fines"}, {"kind": "cat"}):
        with pytest.raises(PolicyError, match="policy-S10"):
            who_may_see(small(), **({"dataset": "notices", "kind": "natural"} | wrong))


def test_an_administrator_reads_obligations_and_what_would_show_more() -> None:
    """Beside rule and steps: what is owed, which rows are reached, and the smallest change that shows more."""
    (public,) = explain_cells(small(), dataset="notices", tier="public", purpose="open.read", kind="individual_business", field="uscc")
    assert public.obligations is not None
    assert public.obligations.min_k == 5
    assert [(one.change, one.tier, one.treatment) for one in public.reveals] == [("tier", "department", "clear")]
    (office,) = explain_cells(small(), dataset="notices", tier="department", purpose="dept.supervision", kind="natural", field="id_no")
    assert office.rows is not None
    assert "$grant.regions" in office.rows


async def test_apps_concerned_are_named_with_their_calls(town: Services) -> None:
    """A department's app by its live grant and a developer's by the public plans; calls come from the trail."""
    grant = msgspec.convert(
        {
            "id": "market-2026",
            "org": CENTRE,
            "app": "app_of_nobody",
            "dataset": PENALTIES,
            "purposes": ["dept.supervision"],
            "regions": ["220500"],
            "from": date(2026, 1, 1),
            "until": date(2026, 12, 31),
            "basis": {"document": "测试函〔2026〕3号", "sha256": "0" * 64},
        },
        Grant,
    )
    async with town.store.transaction() as tx:
        await apps.add_organisation(tx, apps.Organisation(org=CENTRE, name="测试局", kind="department", region="220500"), "test")
        office = await apps.add_app(tx, org=CENTRE, name="监管平台", unit=None, tier="department", introspects=False, by="test")
        reader = await apps.add_app(tx, org=CENTRE, name="开放应用", unit=None, tier="developer", introspects=False, by="test")
        await apps.add_app(tx, org=CENTRE, name="无授权", unit=None, tier="department", introspects=False, by="test")
        await grants.propose(tx, msgspec.structs.replace(grant, app=office), personal=False, by="test")
    policies = town.policies.current()
    why = "dept.supervision"
    caller = Caller(tier="department", purpose=why, purposes=(why,), credential_kind="token", app=office, org=CENTRE)
    held = policies.plan_set(PENALTIES, "department", "dept.supervision")
    assert held is not None
    for _ in range(3):
        await record_access(town, town.policies.current(), caller, [held], "", 0, [])
    changed = {(PENALTIES, "department", "dept.supervision"), (PENALTIES, "public", "open.read")}
    found = await apps_concerned(town, changed)
    assert [(one.app, one.tier, one.datasets, one.calls_30d) for one in found] == [
        (office, "department", (PENALTIES,), 3),
        (reader, "developer", (PENALTIES,), 0),
    ]
    assert await apps_concerned(town, {("honours", "department", "dept.supervision")}) == ()


CEILED = msgspec.convert(
    {
        "id": "narrow-2026",
        "org": CENTRE,
        "app": "app_of_nobody",
        "dataset": "notices",
        "purposes": ["dept.supervision"],
        "regions": ["220500"],
        "from": date(2026, 1, 1),
        "until": date(2026, 12, 31),
        "basis": {"document": "测试函〔2026〕4号", "sha256": "1" * 64},
        "ceilings": {"name": "surname"},
    },
    Grant,
)


def test_a_grant_narrows_what_is_explained_and_previewed() -> None:
    """The ceiling stands among the steps, and that another grant would show more is said; without a grant nothing is seen."""
    where = {"dataset": "notices", "tier": "department", "purpose": "dept.supervision", "kind": "natural", "field": "name"}
    (cell,) = explain_cells(small(), **where, granted=[CEILED])  # type: ignore[arg-type]  # words of the names above
    assert (cell.grant, cell.treatment) == ("narrow-2026", "surname")
    assert "narrow-2026" in cell.steps[-1]
    assert (cell.reveals[0].change, cell.reveals[0].treatment) == ("grant", "clear")
    other = msgspec.structs.replace(CEILED, purposes=("dept.licensing",))
    with pytest.raises(AdminError, match="grant-unknown"):
        explain_cells(small(), **where, granted=[other])  # type: ignore[arg-type]  # the same
    (public,) = explain_cells(small(), **(where | {"tier": "public", "purpose": "open.read"}), granted=[])  # type: ignore[arg-type]
    assert public.grant is None
    shown = preview(small(), tier="department", dataset=None, purpose=None, at=TODAY, granted=[CEILED])
    ordinary = next(one for one in shown if (one.kind, one.case) == ("natural", "ordinary"))
    assert (ordinary.grant, ordinary.fields["name"]) == ("narrow-2026", "欧阳某某")
    assert preview(small(), tier="department", dataset=None, purpose=None, at=TODAY, granted=[]) == []


def test_a_granted_caller_reads_his_narrowed_rows() -> None:
    """Each grant's rows, as its ceilings leave them; a bound caller without a grant reads nothing."""
    why = "dept.supervision"
    caller = Caller(tier="department", purpose=why, purposes=(why,), credential_kind="token", app=CEILED.app, org=CENTRE, grants=(CEILED,))
    rows, plan = matrix_for(small(), caller, "notices")
    name = next(row for row in rows if (row.field, row.subject_kind) == ("name", "natural"))
    assert name.treatment == "surname"
    assert plan != small().hash_of("department", why)
    with pytest.raises(InvalidParameter):
        matrix_for(small(), msgspec.structs.replace(caller, grants=()), "notices")
