"""What is wrong with the exchange, for whoever operates it: every finding in Chinese and English, with what to do.

Rules: our own keys and disk first, then each partner: agreement, keys, maintenance, streams of both directions, and the line itself as its
adapter checks it. Numbers and codes only, no record. Nothing is sent but what a line's check asks. This story must not mend anything.
"""

import shutil
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Final

from gateway.adapter_contract import AdapterError
from gateway.core.errors import GatewayError
from gateway.core.exchange.agreements import Held, Standing, in_force
from gateway.core.exchange.documents import PartnerKeys
from gateway.core.exchange.notes import key_fault
from gateway.operations.backing_off import due
from gateway.operations.begin_anew import awaits_anew
from gateway.operations.findings import Finding, checked, finding, stream_held
from gateway.operations.held_overdue import held_overdue
from gateway.operations.lines import told_by
from gateway.operations.partner_settings import partner_findings
from gateway.operations.partners import agreed_lines, fetched_from, line_name, line_to, stream_at, trusted_keys
from gateway.services import PARTY_KEY_USES, Services
from gateway.store import debts, fetch_tries, held_agreements, holds, inbox, outbox, told_documents
from gateway.store.inbox import InStream
from gateway.store.store import Source, moment

SOON: Final = timedelta(days=14)
LITTLE_DISK: Final = 2**30
"""Bytes below which batches soon cannot be taken."""
GAP_OPEN: Final = timedelta(hours=1)
ANOTHER_TEXT: Final = frozenset({"SCOPE_DIGEST", "agreement-differs"})
"""How a partner refuses a version of which it holds another text."""
MAINTENANCE: Final = "partner-maintenance"
AHEAD: Final = timedelta(seconds=60)
"""A signed time this far from now in the future tells of clocks, whatever the line."""


async def examine(services: Services, *, lines: bool = True) -> list[Finding]:
    """Everything that was looked at, our own house first; `lines`: ask each partner's line too.

    Raises StoreError.
    """
    found = [each async for each in _own(services)] + await partner_findings(services)
    ours, now = services.signers.party, services.clock()
    known = await held_agreements.held_agreements(services.store.reads)
    fetched = {held.agreement.id for held, partner in await agreed_lines(services) if fetched_from(held, partner)}
    tried = await fetch_tries.failing(services.store.reads)
    if not known:
        found.append(finding("agreement-none", "gateway", "没有任何协议", "there is no agreement"))
    for name, versions in known.items():
        partner = versions[0].agreement.other(ours)
        found += [each async for each in _agreed(services, name, versions, partner, now)]
        held = in_force(versions, now)
        if held is not None:
            found += [each async for each in _streams(services, held, partner, now)]
            last = tried.get(name)
            if last is not None and name in fetched:
                again = now if due(last.next_attempt_at, now) else last.next_attempt_at
                zh = f"取批次已连续失败 {last.attempts} 次（{last.code}），{again:%Y-%m-%dT%H:%M:%SZ} 再试"
                en = f"fetching has failed {last.attempts} times ({last.code}); next attempt at {again:%Y-%m-%dT%H:%M:%SZ}"
                found.append(finding("fetch-failing", line_name(held, partner), zh, en))
            if lines:
                told = any((each.code, each.where) == (MAINTENANCE, line_name(held, partner)) for each in found)  # by the keys that we hold
                found += [each for each in await _line(services, held, partner) if not (told and each.code == MAINTENANCE)]
    return found


async def _own(services: Services) -> AsyncIterator[Finding]:
    now = services.clock()
    for use in PARTY_KEY_USES:
        good = [key for key in services.signers.keys if key.use == use and key.good(now)]
        if not good:
            yield finding("key-missing", "gateway", f"没有可用的 {use} 密钥", f"no `{use}` key is good now")
            continue
        until = max(key.not_after for key in good)
        if until - now < SOON:
            yield finding("key-ending", "gateway", f"{use} 密钥 {until:%Y-%m-%d} 到期", f"the `{use}` key ends on {until:%Y-%m-%d}")
        else:
            yield Finding(code="key", ok=True, where="gateway", zh=f"{use} 密钥有效", en=f"`{use}` key is good until {until:%Y-%m-%d}")
    free = shutil.disk_usage(services.settings.data_path).free
    if free < LITTLE_DISK:
        yield finding("disk-full", "gateway", f"磁盘只剩 {free // 2**20} MB", f"{free // 2**20} MB of disk are left")
    else:
        yield Finding(code="disk", ok=True, where="gateway", zh="磁盘空间充足", en=f"{free // 2**30} GB of disk are free")


async def _agreed(services: Services, name: str, versions: list[Held], partner: str, now: datetime) -> AsyncIterator[Finding]:
    where = f"{partner}/{name}"
    held = in_force(versions, now)
    signed = [version for version in versions if version.complete]
    newest = max(signed, key=lambda version: (not version.standing(now).ended, version.agreement.version), default=None)
    standing = newest.standing(now) if newest is not None else None
    if newest is None or standing is None:
        yield finding("agreement-none", where, "协议尚未由双方签署", "no version is signed by both")
    elif standing.ended:
        zh, en = _dated_back(newest, standing)
        yield finding("agreement-ended", where, "协议已到期或终止" + zh, "the agreement has ended" + en)
    elif standing.state == "suspended":
        zh, en = _dated_back(newest, standing)
        yield finding("agreement-suspended", where, "协议已中止" + zh, "the agreement is suspended" + en)
    elif held is None:
        yield finding("agreement-none", where, "协议尚未生效", "the agreement is not in force yet")
    elif held.last_month(now):
        day = held.agreement.terms.expires
        yield finding("agreement-ending", where, f"协议 {day} 到期", f"the agreement ends on {day}")
    else:
        version = held.agreement.terms.version
        yield Finding(code="agreement", ok=True, where=where, zh=f"协议第 {version} 版生效", en=f"version {version} is in force")
    if newest is None:
        return
    told = await told_documents.everything(services.store.reads)
    for offered in versions:
        number, digest = offered.agreement.version, offered.agreement.digest
        row = told.get((partner, f"agreement/{name}/{number}"))
        if not offered.complete and row is not None and row.told_at is None and row.code in ANOTHER_TEXT:
            zh, en = f"双方各提出了不同的第 {number} 版（本方 {digest}）", f"each side offers another version {number} (ours: {digest})"
            yield finding("agreement-crossed", where, zh, en)
    _, keys = await trusted_keys(services.store.reads, held or newest, partner)
    if keys is None:
        yield finding("partner-keys-none", where, "没有对方的密钥文件", "no keys document of the partner is held")
    elif not keys.fresh(now):
        yield finding(
            "partner-keys-expired", where, "对方密钥文件已过期", f"its keys document expired at {keys.valid_until:%Y-%m-%dT%H:%M:%SZ}"
        )
    elif keys.maintenance is not None and moment(keys.maintenance.from_) <= now < moment(keys.maintenance.until):
        until = keys.maintenance.until
        yield finding(MAINTENANCE, where, f"对方维护至 {until}", f"in maintenance until {until}")
    elif gone := _without_key(keys, now):
        uses = "、".join(gone)
        en = f"no key of it for {' or '.join(gone)} is good now: all have expired or were revoked"
        yield finding("partner-key-expired", where, f"对方没有可用的 {uses} 密钥（均已过期或吊销）", en)
    else:
        yield Finding(code="partner-keys", ok=True, where=where, zh="对方密钥文件有效", en="its keys document is good")


def _without_key(keys: PartnerKeys, now: datetime) -> list[str]:
    """Uses for which a partner lists keys, none of them good now; without one for batches nothing of it can be believed."""
    uses = [use for use in ("exchange", "http") if use == "exchange" or any(key.use == use for key in keys.keys)]
    good = {key.use for key in keys.keys if key_fault(key, key.use, now, None, timedelta()) is None}
    return [use for use in uses if use not in good]


def _dated_back(held: Held, standing: Standing) -> tuple[str, str]:
    """That the notice by which it stands so says an earlier date than it counts from; else nothing."""
    for notice in held.notices:
        if (notice.state, notice.counts_from) == (standing.state, standing.since) and notice.behind(held.agreement.skew):
            said, seen = f"{notice.from_at:%Y-%m-%dT%H:%M:%SZ}", f"{notice.first_seen:%Y-%m-%dT%H:%M:%SZ}"
            return f"；通知自称自 {said} 起，自知悉时 {seen} 起算", f"; the notice says from {said}, it counts from {seen}"
    return "", ""


async def _streams(services: Services, held: Held, partner: str, now: datetime) -> AsyncIterator[Finding]:
    reads, ours = services.store.reads, services.signers.party
    sla = held.agreement.terms.sla
    for terms in held.agreement.terms.streams:
        name = f"{held.agreement.id}.{terms.dataset}"
        where = f"{partner}/{name}"
        if await stream_at(reads, name, terms.from_, now) is None:
            continue
        hold = await holds.hold_on(reads, terms.from_, name)
        if hold is not None:
            yield stream_held(hold, where)
        if terms.from_ != ours:
            into = await inbox.in_stream(reads, terms.from_, name)
            stands = await _stands(reads, terms.from_, name, into)
            gap = await inbox.oldest_gap(reads, terms.from_, name)
            held_batch = await inbox.held_batch(reads, terms.from_, name)
            if into is not None and into.frozen is not None and into.released and held_batch is None:
                said = f"the stream to us, frozen by {into.frozen}, is released and waits for a new epoch"
                yield finding("epoch-awaited", where, f"来流的冻结（{into.frozen}）已解除，等待新一期", said)
            elif into is not None and into.frozen is not None and not into.released:
                yield finding(into.frozen, where, f"来流已冻结（{into.frozen}）", f"the stream to us is frozen ({into.frozen})")
            elif into is not None and into.asks is not None:
                said = f"this house came back from a copy ({into.asks}): nothing is taken until the sender has shown our last receipt"
                zh = f"本网关自备份恢复（{into.asks}），等待发送方出示本方最后一份回执，此前不收批次"
                yield finding("receipt-awaited", where, zh, said)
            elif into is not None and await awaits_anew(services, terms.from_, name, into.anew):
                said = f"what the stream told was purged, with an agreement or for a copy ({into.anew}); it waits for a new epoch"
                yield finding("epoch-awaited", where, f"来流的记录已随协议终止或备份恢复清除（{into.anew}），等待新一期", said)
            elif held_batch is not None and held_batch.code is None and hold is not None:
                pass  # told above
            elif held_batch is not None:
                why = held_batch.code or "HOLD_RATE"
                yield finding(why, where, f"批次 {held_batch.name} 等待处理", f"batch {held_batch.name} waits for a person")
            elif gap is not None and now - moment(gap) >= GAP_OPEN:
                yield finding("SEQ_GAP", where, f"自 {gap} 起缺批次", f"a batch is missing since {gap}")
            elif stands is not None:
                said = f"the stream to us stands at {stands}"
                yield finding(stands, where, f"来流停在 {stands}", said, stream="in", otherwise="epoch-awaited")
            elif hold is None:
                yield Finding(code="stream", ok=True, where=where, zh="来流正常", en="the stream to us is in order")
            overdue = await held_overdue(services, terms.from_, name)
            if overdue is not None:
                since = f"{overdue.since:%Y-%m-%dT%H:%M:%SZ}"
                said = f"batch {overdue.seq} is held since {since}, longer than agreed"
                yield finding("batch-held-overdue", where, f"第 {overdue.seq} 批自 {since} 暂存，已超过约定时限", said)
            if into is not None and into.created is not None and into.created - now > AHEAD:
                seconds = round((into.created - now).total_seconds())
                said = f"the partner's batches are {seconds} s ahead of us"
                yield finding("clock-skew", where, f"对方批次的时间比本机晚 {seconds} 秒", said)
            continue
        out = await outbox.out_stream(reads, name)
        waiting = await outbox.waiting_batches(reads, name)
        late = [each for each in waiting if each.published_at is not None and now - each.published_at >= timedelta(hours=sla.feedback_h)]
        code = (out.stopped if out is not None else None) or next((each.code for each in waiting if each.code), None)
        owed = await debts.debt(reads, name, "withdrawals", now - timedelta(hours=sla.withdraw_h))
        erasing = await debts.debt(reads, name, "erasures", now - timedelta(hours=sla.erase_h))
        if code is not None:
            said = f"the stream from us stands at {code}"
            otherwise = "stream-stopped" if out is not None and out.stopped else "answer-refused"
            yield finding(code, where, f"去流停在 {code}", said, stream="out", otherwise=otherwise)
        elif late:
            yield finding("receipt-overdue", where, f"{len(late)} 批没有回执", f"{len(late)} batches have no receipt")
        elif owed is None and erasing is None:
            yield Finding(code="stream", ok=True, where=where, zh="去流正常", en="the stream from us is in order")
        if owed is not None:
            since = f"{owed.since:%Y-%m-%dT%H:%M:%SZ}"
            said = f"{owed.lines} withdrawals are not acknowledged since {since}"
            yield finding("withdrawal-overdue", where, f"{owed.lines} 条撤下自 {since} 未确认", said)
        if erasing is not None:
            since = f"{erasing.since:%Y-%m-%dT%H:%M:%SZ}"
            said = f"{erasing.lines} erasures are not acknowledged since {since}"
            yield finding("erasure-overdue", where, f"{erasing.lines} 条删除自 {since} 未确认", said)


async def _stands(reads: Source, sender: str, stream: str, into: InStream | None) -> str | None:
    """Why the next batch of a stream to us is not taken, but for a predecessor that is missing."""
    epoch, seq = (into.head.epoch, into.head.seq + 1) if into is not None else (1, 1)
    for batch in await inbox.in_batches_at(reads, sender, stream, epoch, seq):
        if batch.code is not None and batch.code != "SEQ_GAP" and batch.state in ("rejected", "quarantined"):
            return batch.code
    return None


async def _line(services: Services, held: Held, partner: str) -> list[Finding]:
    """What the own check of an agreement's line says; a guest that raises is a finding."""
    where = line_name(held, partner)
    try:
        async with line_to(services, held, partner) as line:
            told = await told_by(line)
    except AdapterError as error:
        return [finding("line", where, f"线路检查出错：{error.message}", f"the line's check failed: {error.code}")]
    except GatewayError as error:
        return [finding(error.code, where, f"线路无法打开：{error.detail}", f"the line cannot be opened: {error.detail}")]
    except Exception as error:  # noqa: BLE001 - a guest may raise anything
        return [finding("line", where, f"线路检查出错：{type(error).__name__}", f"the line's check failed: {type(error).__name__}")]
    return [checked(each, where) for each in told]
