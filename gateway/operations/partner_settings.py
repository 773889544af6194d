"""What `[[partners]]` of our settings says, held against what is installed, agreed and approved: nothing there is passed over in silence.

An entry serves the lines of partners that sign nothing. A partner that signs agreements has its adapter in `[local]` of the agreement's
file; what stands about it in the settings would be used by nobody. This story changes nothing.
"""

from collections.abc import AsyncIterator, Iterator

from msgspec import Struct

from gateway.core.errors import SettingsError
from gateway.operations.findings import Finding, finding
from gateway.services import Services
from gateway.settings import PartnerSetting
from gateway.store import held_agreements, lines


class Unusable(Struct, frozen=True, kw_only=True):
    """Of one entry what makes it useless, with the words of whoever found it."""

    error: SettingsError
    zh: str

    def finding(self) -> Finding:
        """The same for a doctor."""
        place, said = str(self.error.place), f"{self.error.detail} ({self.error.hint})" if self.error.hint else self.error.detail
        return finding(self.error.code, place, self.zh, said, otherwise="partner-setting")


async def refuse_unusable(services: Services) -> None:
    """Let a server start only when every entry could be used.

    Raises SettingsError, with the entry's place and what to do.
    """
    async for each in _unusable(services):
        raise each.error


async def partner_findings(services: Services) -> list[Finding]:
    """What a doctor says of the entries: those that cannot be used, and those of a partner with whom there is nothing yet."""
    found = [each.finding() async for each in _unusable(services)]
    proposed = {row.terms.partner for row in await lines.everything(services.store.reads)}
    signing = await _signing(services)
    for number, setting in _named(services):
        if setting.party not in proposed | signing:
            zh = "没有此对方的线路或协议：名称有误，或线路尚未提出"
            en = "no line and no agreement is with this partner: its name is wrong, or the line is not proposed yet"
            found.append(finding("partner-unknown", f"partners[{number}].party", zh, en))
    return found


async def _unusable(services: Services) -> AsyncIterator[Unusable]:
    signing = await _signing(services) if any(_named(services)) else frozenset[str]()
    approved = {line.terms.partner for line in (await lines.approved(services.store.reads)).values()} if signing else set()
    for number, setting in _named(services):
        place = f"partners[{number}]"
        if setting.party in signing - approved:
            detail = "this partner signs agreements: adapter and settings that stand here are used by nobody"
            hint = "move them to [local] of the agreement's file, and offer that again (`chengxin agreement offer`)"
            error = SettingsError(detail, code="partner-setting", place=place, hint=hint)
            yield Unusable(error=error, zh="此对方以协议交换：这里写的适配器和设置不起作用")
            continue
        try:
            _check_adapter(services, setting, place)
        except SettingsError as error:
            yield Unusable(error=error, zh=f"适配器 {setting.adapter} 不能这样使用")


def _named(services: Services) -> Iterator[tuple[int, PartnerSetting]]:
    """Entries that name an adapter, with their numbers; one that names none says nothing (`settings` sees to that)."""
    return ((number, each) for number, each in enumerate(services.settings.partners) if each.adapter is not None)


async def _signing(services: Services) -> frozenset[str]:
    """Partners with whom there are agreements, as far as they go by now."""
    held = await held_agreements.held_agreements(services.store.reads)
    return frozenset(versions[0].agreement.other(services.signers.party) for versions in held.values())


def _check_adapter(services: Services, setting: PartnerSetting, place: str) -> None:
    """Raises SettingsError for an adapter that is not there, one of partners that sign, settings that it does not take, or no file key."""
    name = setting.adapter or ""
    try:
        adapter = services.adapters.load(name)
    except SettingsError as error:
        raise SettingsError(error.detail, code=error.code, place=f"{place}.adapter", hint=error.hint) from error
    capabilities = getattr(adapter, "capabilities", None)
    if isinstance(capabilities, frozenset) and "native" in capabilities:
        detail = "this adapter carries signed batches: its partners sign agreements"
        hint = "put it into [local] of the agreement's file; a partner that signs nothing needs an adapter with a format of its own"
        raise SettingsError(detail, code="adapter-contract", place=f"{place}.adapter", hint=hint)
    try:
        services.adapters.settings(name, setting.config)
    except SettingsError as error:
        raise SettingsError(error.detail, code=error.code, place=f"{place}.config", hint=error.hint) from error
    if setting.file_key is not None:
        services.adapters.secret(setting.file_key, f"{place}.file_key")
