"""What is wrong with the exchange, for whoever operates it: every finding in Chinese and English, with what to do.

Rules: our own keys and disk first, then each partner: agreement, keys, maintenance, streams of both directions, and the line itself as its
adapter checks it. Numbers and codes only, no record. Nothing is sent but what a line's check asks. This story must not mend anything.
"""

import shutil
from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct

from gateway.core.errors import GatewayError
from gateway.core.exchange.agreements import Held, in_force
from gateway.operations.partners import line_to, stream_at, trusted_keys
from gateway.services import PARTY_KEY_USES, Services
from gateway.store import debts, held_agreements, inbox, outbox
from gateway.store.store import moment

SOON: Final = timedelta(days=14)
LITTLE_DISK: Final = 2**30
"""Bytes below which batches soon cannot be taken."""
GAP_OPEN: Final = timedelta(hours=1)


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that was looked at."""

    code: str
    """Stable: what a program may look for."""
    ok: bool
    where: str
    """`gateway`, a partner, or partner/stream."""
    zh: str
    en: str
    remedy_zh: str | None = None
    remedy_en: str | None = None


_REMEDIES: Mapping[str, tuple[str, str]] = {
    "key-missing": ("运行 chengxin key new，并在启用前 24 小时公布", "run `chengxin key new`; it is published a day ahead"),
    "key-ending": ("现在就用 chengxin key new 生成后继密钥", "make a successor now with `chengxin key new`"),
    "disk-full": ("清理磁盘或扩容；在此之前收不了批次", "free or add disk: until then no batch can be taken"),
    "agreement-none": ("与对方签署协议：chengxin agreement offer", "agree with the partner: `agreement offer`"),
    "agreement-suspended": ("与对方核对原因，恢复用 chengxin agreement state … active", "ask why; resume with `agreement state … active`"),
    "agreement-ended": ("协议已到期或终止：签署新版本", "it has ended: sign a new version"),
    "agreement-ending": ("协议即将到期：尽快商定新版本", "it ends soon: agree on a new version"),
    "partner-keys-none": ("取对方密钥文件：chengxin exchange take-keys", "take the partner's keys document: `chengxin exchange take-keys`"),
    "partner-keys-expired": ("请对方发布新的密钥文件；在此之前其批次被隔离", "ask for a fresh keys document: batches wait until then"),
    "partner-maintenance": ("对方维护中，结束后自动继续", "the partner is in maintenance; it goes on by itself"),
    "SCOPE_DIGEST": ("双方所持协议文本不同：比对 chengxin agreement list 的摘要", "two texts: compare digests (`agreement list`)"),
    "SCOPE_AGREEMENT": ("对方没有生效的协议：核对版本与签署", "no agreement is in force over there: compare versions and signatures"),
    "SEQ_FORK": (
        "出现分叉：导出证据 chengxin exchange evidence，查明后由两人解除并开始新一期",
        "a fork: `chengxin exchange evidence`; once it is understood two persons release it, and a new epoch begins",
    ),
    "SEQ_PREVIOUS": ("同分叉处理：导出证据并查明", "as a fork: keep the evidence and find out why"),
    "SEQ_GAP": ("缺少前一批：chengxin exchange pull，或请对方重发", "`exchange pull`, or ask the sender"),
    "HOLD_RATE": ("拒收过多：核对反馈后 chengxin exchange release 或 refuse", "look, then `exchange release` or `refuse`"),
    "HOLD_DROP": ("新一期少了太多记录：核对后 release 或 refuse", "look, then `exchange release` or `refuse`"),
    "HOLD_REFUSED": ("对方拒绝了批次：更正后 chengxin exchange epoch", "correct what was refused, then `exchange epoch`"),
    "TIME_FUTURE": ("时钟不一致：检查两边的时间同步", "clocks differ: check time synchronisation on both sides"),
    "SIG_KEY_EXPIRED": ("签名密钥已过期：chengxin key new", "a signing key has expired: `chengxin key new`"),
    "SIG_KEY_REVOKED": ("签名密钥已吊销：换用新密钥", "a signing key was revoked: use another"),
    "SIG_UNKNOWN_KEY": ("对方不认识我们的密钥：请其取密钥文件", "the partner does not know our key: ask it to fetch our keys document"),
    "receipt-overdue": ("回执超时：检查线路，chengxin exchange send --now", "check the line, then `exchange send --now`"),
    "erasure-overdue": ("删除未获确认：按协议督促对方", "remind the partner of what is agreed"),
    "withdrawal-overdue": ("撤下未获确认：按协议督促对方", "remind the partner of what is agreed"),
}
_LINE_REMEDIES: Mapping[str, tuple[str, str]] = {
    "line-failing": ("按线路检查的提示处理，然后 chengxin exchange send --now", "mend what the line says, then `exchange send --now`"),
    "line-setting": ("在设置文件 [[partners]] 中写明适配器", "name its adapter in [[partners]] of the settings"),
    "feedback-overdue": ("请对方回写反馈；逐行情况见 chengxin line report", "ask for the answers; rows: `chengxin line report`"),
    "counts-differ": ("与对方核对当日数据：chengxin line reconcile", "compare the day with the partner: `chengxin line reconcile`"),
    "OUTCOME_UNKNOWN": (
        "向对方核实是否收到，然后 chengxin line decide … --arrived 或 --again",
        "find out whether it arrived, then `line decide … --arrived` or `--again`",
    ),
    "NO_WITHDRAWALS": ("换用能撤下的配置", "set the adapter up so that it can withdraw"),
}
_OTHER: Final = ("见 gateway/README.md 中的代码说明", "see the code in gateway/README.md")


def finding(code: str, where: str, zh: str, en: str) -> Finding:
    """Something that is wrong, with what to do."""
    return _bad(code, where, zh, en)


def _bad(code: str, where: str, zh: str, en: str) -> Finding:
    remedy = _REMEDIES.get(code) or _LINE_REMEDIES.get(code, _OTHER)
    return Finding(code=code, ok=False, where=where, zh=zh, en=en, remedy_zh=remedy[0], remedy_en=remedy[1])


async def examine(services: Services, *, lines: bool = True) -> list[Finding]:
    """Everything that was looked at, our own house first; `lines`: ask each partner's line too.

    Raises StoreError.
    """
    found = [each async for each in _own(services)]
    ours, now = services.signers.party, services.clock()
    known = await held_agreements.held_agreements(services.store.reads)
    if not known:
        found.append(_bad("agreement-none", "gateway", "没有任何协议", "there is no agreement"))
    for name, versions in known.items():
        partner = versions[0].agreement.other(ours)
        found += [each async for each in _agreed(services, name, versions, partner, now)]
        held = in_force(versions, now)
        if held is not None:
            found += [each async for each in _streams(services, held, partner, now)]
            if lines:
                found += await _line(services, held, partner)
    return found


async def _own(services: Services) -> AsyncIterator[Finding]:
    now = services.clock()
    for use in PARTY_KEY_USES:
        good = [key for key in services.signers.keys if key.use == use and key.revoked_at is None and key.not_before <= now < key.not_after]
        if not good:
            yield _bad("key-missing", "gateway", f"没有可用的 {use} 密钥", f"no `{use}` key is good now")
            continue
        until = max(key.not_after for key in good)
        if until - now < SOON:
            yield _bad("key-ending", "gateway", f"{use} 密钥 {until:%Y-%m-%d} 到期", f"the `{use}` key ends on {until:%Y-%m-%d}")
        else:
            yield Finding(code="key", ok=True, where="gateway", zh=f"{use} 密钥有效", en=f"`{use}` key is good until {until:%Y-%m-%d}")
    free = shutil.disk_usage(services.settings.data_path).free
    if free < LITTLE_DISK:
        yield _bad("disk-full", "gateway", f"磁盘只剩 {free // 2**20} MB", f"{free // 2**20} MB of disk are left")
    else:
        yield Finding(code="disk", ok=True, where="gateway", zh="磁盘空间充足", en=f"{free // 2**30} GB of disk are free")


async def _agreed(services: Services, name: str, versions: list[Held], partner: str, now: datetime) -> AsyncIterator[Finding]:
    where = f"{partner}/{name}"
    held = in_force(versions, now)
    newest = next((version for version in versions if version.complete), None)
    standing = newest.standing(now) if newest is not None else None
    if newest is None or standing is None:
        yield _bad("agreement-none", where, "协议尚未由双方签署", "no version is signed by both")
    elif standing.ended:
        yield _bad("agreement-ended", where, "协议已到期或终止", "the agreement has ended")
    elif standing.state == "suspended":
        yield _bad("agreement-suspended", where, "协议已中止", "the agreement is suspended")
    elif held is None:
        yield _bad("agreement-none", where, "协议尚未生效", "the agreement is not in force yet")
    elif held.agreement.ends - now < SOON:
        day = held.agreement.terms.expires
        yield _bad("agreement-ending", where, f"协议 {day} 到期", f"the agreement ends on {day}")
    else:
        version = held.agreement.terms.version
        yield Finding(code="agreement", ok=True, where=where, zh=f"协议第 {version} 版生效", en=f"version {version} is in force")
    if newest is None:
        return
    _, keys = await trusted_keys(services.store.reads, newest, partner)
    if keys is None:
        yield _bad("partner-keys-none", where, "没有对方的密钥文件", "no keys document of the partner is held")
    elif not keys.fresh(now):
        yield _bad(
            "partner-keys-expired", where, "对方密钥文件已过期", f"its keys document expired at {keys.valid_until:%Y-%m-%dT%H:%M:%SZ}"
        )
    elif keys.maintenance is not None and moment(keys.maintenance.from_) <= now < moment(keys.maintenance.until):
        yield _bad("partner-maintenance", where, f"对方维护至 {keys.maintenance.until}", f"in maintenance until {keys.maintenance.until}")
    else:
        yield Finding(code="partner-keys", ok=True, where=where, zh="对方密钥文件有效", en="its keys document is good")


async def _streams(services: Services, held: Held, partner: str, now: datetime) -> AsyncIterator[Finding]:
    reads, ours = services.store.reads, services.signers.party
    sla = held.agreement.terms.sla
    for terms in held.agreement.terms.streams:
        name = f"{held.agreement.id}.{terms.dataset}"
        where = f"{partner}/{name}"
        if await stream_at(reads, name, terms.from_, now) is None:
            continue
        if terms.from_ != ours:
            into = await inbox.in_stream(reads, terms.from_, name)
            gap = await inbox.oldest_gap(reads, terms.from_, name)
            held_batch = await inbox.held_batch(reads, terms.from_, name)
            if into is not None and into.frozen is not None:
                yield _bad(into.frozen, where, f"来流已冻结（{into.frozen}）", f"the stream to us is frozen ({into.frozen})")
            elif held_batch is not None:
                why = held_batch.code or "HOLD_RATE"
                yield _bad(why, where, f"第 {held_batch.seq} 批等待处理", f"batch {held_batch.seq} waits for a person")
            elif gap is not None and now - moment(gap) >= GAP_OPEN:
                yield _bad("SEQ_GAP", where, f"自 {gap} 起缺批次", f"a batch is missing since {gap}")
            else:
                yield Finding(code="stream", ok=True, where=where, zh="来流正常", en="the stream to us is in order")
            continue
        out = await outbox.out_stream(reads, name)
        waiting = await outbox.waiting_batches(reads, name)
        late = [each for each in waiting if each.published_at is not None and now - each.published_at >= timedelta(hours=sla.feedback_h)]
        code = (out.stopped if out is not None else None) or next((each.code for each in waiting if each.code), None)
        owed = await debts.debt(reads, name, "withdrawals", now - timedelta(hours=sla.withdraw_h))
        erasing = await debts.debt(reads, name, "erasures", now - timedelta(hours=sla.erase_h))
        if code is not None:
            yield _bad(code, where, f"去流停在 {code}", f"the stream from us stands at {code}")
        elif late:
            yield _bad("receipt-overdue", where, f"{len(late)} 批没有回执", f"{len(late)} batches have no receipt")
        elif owed is None and erasing is None:
            yield Finding(code="stream", ok=True, where=where, zh="去流正常", en="the stream from us is in order")
        if owed is not None:
            since = f"{owed.since:%Y-%m-%dT%H:%M:%SZ}"
            said = f"{owed.lines} withdrawals are not acknowledged since {since}"
            yield _bad("withdrawal-overdue", where, f"{owed.lines} 条撤下自 {since} 未确认", said)
        if erasing is not None:
            since = f"{erasing.since:%Y-%m-%dT%H:%M:%SZ}"
            said = f"{erasing.lines} erasures are not acknowledged since {since}"
            yield _bad("erasure-overdue", where, f"{erasing.lines} 条删除自 {since} 未确认", said)


async def _line(services: Services, held: Held, partner: str) -> list[Finding]:
    """What the line's own check says; a guest that raises is a finding."""
    try:
        async with line_to(services, held, partner) as line:
            checked = await line.check()
    except GatewayError as error:
        return [_bad(error.code, partner, f"线路无法打开：{error.detail}", f"the line cannot be opened: {error.detail}")]
    except Exception as error:  # noqa: BLE001 - a guest may raise anything
        return [_bad("line", partner, f"线路检查出错：{type(error).__name__}", f"the line's check failed: {type(error).__name__}")]
    return [
        Finding(
            code="line", ok=each.ok, where=partner, zh=f"{each.what}：{each.message}", en=_ENGLISH.get(each.what, each.what),
            remedy_zh=each.remedy, remedy_en=None if each.ok else "as the line says",
        )
        for each in checked
    ]  # fmt: skip


_ENGLISH: Mapping[str, str] = {
    "域名解析": "name resolution", "连接": "connection", "密钥文件": "keys document", "时钟": "clock",
    "空间": "free space", "权限": "rights", "读取": "reading", "多余文件": "surplus files",
}  # fmt: skip
