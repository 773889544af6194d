"""Pseudonyms as recipients read them, and what is told when a treatment breaks."""

from pathlib import Path

from gateway.core.disclosure.policy import compile_policies
from gateway.core.disclosure.pseudonyms import pseudonym
from gateway.core.records.periods import legal_day
from gateway.operations import alarms
from gateway.operations.answer_query import record
from gateway.operations.change_policy import read_folder
from gateway.operations.render_public import settle
from gateway.operations.set_up import shipped_policies
from tests.operations.publishing import (
    PENALTIES,
    SUPERVISION,
    a_house,
    at,
    department,
    granted,
    ids,
    person_number,
    person_penalty,
    put,
    read,
)

ANOTHER = "11220500XXT0002281"
LINE = b'field.id_no = { treatment = { do = "keep", first = 6 }, allow = ["lookup"], budget = "200/day" }'


async def test_each_recipient_has_names_of_its_own(tmp_path: Path) -> None:
    """One value: one name for one recipient in a year, another for others; what breaks is one alarm."""
    files = read_folder(shipped_policies())
    path = f"datasets/{PENALTIES}.toml"
    assert files[path].count(LINE) == 1
    files[path] = files[path].replace(LINE, b'field.id_no = { treatment = "pseudonym" }')
    async with a_house(tmp_path, "") as services:
        services.policies._value = compile_policies(files, version=1, today=legal_day(services.clock()))
        rows = [person_penalty("测试甲某", person_number(7), f"通市监罚〔2026〕{n}号") for n in (1, 2)]
        one, two = ids(await put(services, PENALTIES, *rows))
        await settle(services)

        async def shown(record_id: str, org: str, now: str | None = None) -> str | None:
            caller = department(granted(PENALTIES, org=org), org=org)
            async with at(services, now or services.clock().isoformat()) as then:
                found: str | None = read(await record(then, record_id, caller, "zh-CN"))["fields"].get("id_no")
                return found

        ours = await shown(one, "11220500XXT0001181")
        key = services.store.vault.key(f"pseudonym/11220500XXT0001181/{SUPERVISION}/2026")
        assert ours == pseudonym(key, "id_no", person_number(7))
        assert await shown(two, "11220500XXT0001181") == ours
        theirs = await shown(one, ANOTHER)
        assert theirs not in (None, ours)
        assert await shown(two, ANOTHER) == theirs
        assert await shown(one, "11220500XXT0001181", "2026-12-31T15:59:59Z") == ours
        assert await shown(one, "11220500XXT0001181", "2026-12-31T16:00:00Z") not in (None, ours, theirs)

        assert await alarms.tell_failures(services) == 0
        for times in (2, 1):
            services.policies.current().failures[PENALTIES, "department", SUPERVISION, "natural", "id_no"] = times
            assert await alarms.tell_failures(services) == times
        assert await alarms.tell_failures(services) == 0
        (alarm,) = await alarms.standing(services)
        assert (alarm.kind, alarm.target) == ("treatment-failed", f"{PENALTIES}/department/{SUPERVISION}/natural/id_no")
