"""`[[partners]]` of the settings: what could not be used is named with its place, and a server does not start over it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec import structs

from gateway.adapter_loading import installed_adapters
from gateway.core.errors import SettingsError
from gateway.operations.doctor import examine
from gateway.operations.partner_settings import partner_findings, refuse_unusable
from gateway.services import Services
from gateway.settings import PartnerSetting
from tests.operations.line_partner import PROVINCE
from tests.operations.test_lines import Office, an_office
from tests.region import BAISHAN, Cities, two_cities

SERVICE = {"path": "/cf", "namespace": "urn:x", "operation": "putCf", "columns": ["CF_WSH"], "key": ["CF_WSH"], "status": "CF_ZT"}
HTTPS = {"base_url": "https://x.example"}
SOAP = {
    "base_url": "https://sgs.example.cn/services",
    "token": {"env": "HOME"},
    "services": {"administrative-penalties": SERVICE},
}


@pytest.fixture
async def office(tmp_path: Path, store_url: str) -> AsyncIterator[Office]:
    """An office with an approved line to the province."""
    async with an_office(tmp_path, store_url) as found:
        yield found


@pytest.fixture
async def cities(tmp_path: Path) -> AsyncIterator[Cities]:
    """Two cities that have agreed."""
    async with two_cities(tmp_path) as both:
        yield both


def saying(services: Services, *partners: PartnerSetting) -> Services:
    """The same house with these entries, and the adapters that are installed."""
    return structs.replace(services, settings=structs.replace(services.settings, partners=partners), adapters=installed_adapters())


@pytest.mark.parametrize(
    ("entry", "code", "place"),
    [
        (PartnerSetting(party=PROVINCE, adapter="province_sope"), "adapter-unknown", "partners[1].adapter"),
        (PartnerSetting(party=PROVINCE, adapter="https_partner", config=HTTPS), "adapter-contract", "partners[1].adapter"),
        (PartnerSetting(party=PROVINCE, adapter="file_drop"), "adapter-contract", "partners[1].adapter"),
        (PartnerSetting(party=PROVINCE, adapter="province_soap", config=SOAP | {"timeout": 3}), "adapter-config", "partners[1].config"),
        (
            PartnerSetting(party=PROVINCE, adapter="province_soap", config=SOAP | {"token": {"file": "/nowhere"}}),
            "adapter-config",
            "partners[1].config",
        ),
        (
            PartnerSetting(party=PROVINCE, adapter="province_soap", config=SOAP, file_key={"env": "NOWHERE_KEY"}),
            "adapter-config",
            "partners[1].file_key",
        ),
    ],
)
async def test_an_entry_that_no_line_could_use_is_refused(office: Office, entry: PartnerSetting, code: str, place: str) -> None:
    """Adapter, settings or key that are not there, or an adapter of partners that sign: by code and place, with what to do."""
    services = saying(office.services, PartnerSetting(party="credit.other.example"), entry)
    with pytest.raises(SettingsError) as caught:
        await refuse_unusable(services)
    assert (caught.value.code, caught.value.place) == (code, place)
    assert caught.value.hint
    (found,) = [each for each in await examine(services, lines=False) if each.where.startswith("partners[")]
    assert (found.code, found.where, found.ok) == (code, place, False)
    assert found.remedy_zh
    assert found.remedy_en


async def test_an_entry_that_a_line_uses_is_fine(office: Office) -> None:
    """What an approved line needs, and an entry that says nothing, stop nobody; one about nobody is told, and stops nobody either."""
    good = PartnerSetting(party=PROVINCE, adapter="province_soap", config=SOAP)
    services = saying(office.services, good, PartnerSetting(party="credit.other.example"))
    await refuse_unusable(services)
    assert await partner_findings(services) == []
    early = saying(office.services, good, structs.replace(good, party="credit.jl.exmaple"))
    await refuse_unusable(early)
    assert [(each.code, each.where) for each in await partner_findings(early)] == [("partner-unknown", "partners[1].party")]


async def test_of_a_partner_that_signs_agreements_it_stands_in_its_file(cities: Cities) -> None:
    """An entry with an adapter about a city that we have agreed with would be used by nobody: refused, and named by the doctor."""
    services = saying(cities.tonghua, PartnerSetting(party=BAISHAN, adapter="province_soap", config=SOAP))
    with pytest.raises(SettingsError) as caught:
        await refuse_unusable(services)
    assert (caught.value.code, caught.value.place) == ("partner-setting", "partners[0]")
    assert "[local]" in str(caught.value.hint)
    assert [(each.code, each.where) for each in await partner_findings(services)] == [("partner-setting", "partners[0]")]
    await refuse_unusable(saying(cities.tonghua, PartnerSetting(party=BAISHAN)))
