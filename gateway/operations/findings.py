"""What a doctor says: a finding with its place, in Chinese and English, and what to do, by its code.

Rules: every code that can be wrong has a remedy in both languages. This file tells no story.
"""

from collections.abc import Mapping
from typing import Final, Literal

from msgspec import Struct

from gateway.adapter_contract import Diagnostic
from gateway.store.holds import Hold


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that was looked at."""

    code: str
    """Stable: what a program may look for."""
    ok: bool
    where: str
    """`gateway`, partner/agreement, or partner/stream."""
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
    "agreement-ended": (
        "协议已到期或终止，不能再续版：与对方另签一份协议（新的 id）；已清除的记录届时由发送方自动重新报送",
        "no version follows an end: sign another agreement, under another id; what was purged then comes again by itself",
    ),
    "agreement-crossed": (
        "两边办公室商定采用哪份文本；让步一方运行 chengxin agreement withdraw，再收下并签署对方的文本；对方不得再签署被撤回的文本",
        "the offices choose one text; whose gives way runs `agreement withdraw`, then takes and signs the other; nobody signs the old",
    ),
    "agreement-ending": ("协议即将到期：尽快商定新版本", "it ends soon: agree on a new version"),
    "partner-keys-none": ("取对方密钥文件：chengxin exchange take-keys", "take the partner's keys document: `chengxin exchange take-keys`"),
    "partner-keys-expired": ("请对方发布新的密钥文件；在此之前其批次被隔离", "ask for a fresh keys document: batches wait until then"),
    "partner-key-expired": (
        "请对方用 chengxin key new 生成新密钥并公布；在此之前其批次一律被拒绝",
        "ask the partner to make and publish a new key (`key new`): what it signs is refused until then",
    ),
    "partner-maintenance": ("对方维护中，结束后自动继续", "the partner is in maintenance; it goes on by itself"),
    "SCOPE_DIGEST": ("双方所持协议文本不同：比对 chengxin agreement list 的摘要", "two texts: compare digests (`agreement list`)"),
    "SCOPE_AGREEMENT": ("对方没有生效的协议：核对版本与签署", "no agreement is in force over there: compare versions and signatures"),
    "SEQ_FORK": (
        "出现分叉：导出证据 chengxin exchange evidence，查明后由两人解除（release --what frozen）并开始新一期",
        "a fork: `chengxin exchange evidence`; once it is understood two persons `release --what frozen`, and a new epoch begins",
    ),
    "SEQ_PREVIOUS": ("同分叉处理：导出证据并查明", "as a fork: keep the evidence and find out why"),
    "SEQ_GAP": ("缺少前一批：chengxin exchange pull，或请对方重发", "`exchange pull`, or ask the sender"),
    "HOLD_RATE": (
        "拒收过多：核对后 chengxin exchange release --what batch --batch 期/号 或 refuse --batch 期/号",
        "look; `exchange release --what batch --batch EPOCH/SEQ` or `refuse --batch EPOCH/SEQ`",
    ),
    "HOLD_DROP": (
        "新一期少了太多记录：核对后 release --what batch --batch 期/号 或 refuse --batch 期/号",
        "look, then `exchange release --what batch --batch EPOCH/SEQ` or `refuse --batch EPOCH/SEQ`",
    ),
    "HOLD_REFUSED": ("对方拒绝了批次：更正后 chengxin exchange epoch", "correct what was refused, then `exchange epoch`"),
    "LAW_PERSON": ("批次含无依据的个人信息：更正后 chengxin exchange epoch", "persons without a basis: correct, then `exchange epoch`"),
    "LAW_MINOR": ("批次含未成年人信息：更正后 chengxin exchange epoch", "lines about minors: correct, then `exchange epoch`"),
    "batch-held-overdue": (
        "现在就决定：chengxin exchange release --what batch --batch 期/号 或 refuse --batch 期/号",
        "decide now: `exchange release --what batch --batch EPOCH/SEQ` or `refuse --batch EPOCH/SEQ`",
    ),
    "TIME_FUTURE": ("时钟不一致：检查两边的时间同步", "clocks differ: check time synchronisation on both sides"),
    "clock-skew": ("时钟不一致：两边都启用时间同步（chrony、NTP），再运行 doctor", "run time synchronisation (chrony, NTP) on both sides"),
    "dns": ("检查 base_url、DNS 与 allow_private 设置", "check base_url, DNS, and the line's `allow_private`"),
    "line-down": ("检查网络、证书与对方服务是否运行", "check network, certificates, and whether the partner's service runs"),
    "line-keys": ("请对方检查 /x/v1/keys 或交换目录中的 keys/", "ask the partner to look at its /x/v1/keys, or at keys/ of the folder"),
    "line-agreements": (
        "请对方核对协议与我们的密钥文件：对方运行 chengxin exchange take-keys",
        "ask the partner to look at its agreements, and to take our keys document (`exchange take-keys`)",
    ),
    "line-full": ("清理交换目录或扩容", "make room where the folder lies"),
    "line-rights": ("给网关账户读写交换目录的权限", "let the gateway's account read and write there"),
    "line-surplus": ("请对方清理；交换目录中只应有规定的文件", "ask the partner to clear what does not belong into the folder"),
    "line": ("按线路检查的提示处理", "as the line says"),
    "fetch-failing": ("看线路检查，修好后 chengxin exchange pull", "the line fails: see its check here; then `exchange pull`"),
    "stream-held": ("核查完后运行 chengxin exchange release --what hold", "`exchange release --what hold` once it is looked into"),
    "held": ("对方操作员暂停了此数据流：联系对方", "an operator over there holds the stream: ask the partner"),
    "HELD": (
        "本方操作员暂停了此数据流：chengxin exchange release --what hold",
        "an operator of ours holds the stream: `exchange release --what hold`",
    ),
    "MAINTENANCE": ("对方维护中，结束后自动继续", "it goes on by itself, or at once with `exchange retry`"),
    "UNAVAILABLE": ("看线路检查，修好后 chengxin exchange retry", "the line fails: see its check here; then `exchange retry`"),
    "DROP_MISSING": (
        "交换目录不存在或未挂载：挂载后 chengxin exchange retry",
        "the folder is not there, or not mounted: mount it, then `exchange retry`",
    ),
    "DROP_ODD": (
        "交换目录里该放文件的位置有链接或设备：与对方一起清除后 chengxin exchange retry",
        "a link or device lies in the folder where a file belongs: clear it with the partner, then `exchange retry`",
    ),
    "DROP_FULL": ("清理交换目录或扩容，然后 chengxin exchange retry", "make room where the folder lies, then `exchange retry`"),
    "DROP_RIGHTS": (
        "给网关账户读写交换目录的权限，然后 chengxin exchange retry",
        "let the gateway's account read and write in the folder, then `exchange retry`",
    ),
    "DROP_LOGIN": (
        "文件服务器拒绝登录：核对 user 与 key_file，然后 chengxin exchange retry",
        "the file server refuses our login: look at `user` and `key_file`, then `exchange retry`",
    ),
    "HOST_KEY": (
        "文件服务器的主机密钥与约定的不同：先与对方核实，再改 host_key",
        "the file server shows another host key than the pinned one: ask the other office before `host_key` is changed",
    ),
    "CONFIG": ("更正协议文件 [local] 中的线路设置", "correct the line's settings in [local] of the agreement's file"),
    "SIG_KEY_EXPIRED": ("签名密钥已过期：chengxin key new", "a signing key has expired: `chengxin key new`"),
    "SIG_KEY_REVOKED": ("签名密钥已吊销：换用新密钥", "a signing key was revoked: use another"),
    "SIG_UNKNOWN_KEY": ("对方不认识我们的密钥：请其取密钥文件", "the partner does not know our key: ask it to fetch our keys document"),
    "epoch-awaited": (
        "发送方须开始新一期：请其运行 chengxin exchange epoch，或用 chengxin exchange resync 请求",
        "its sender has to begin a new epoch: `exchange epoch` over there, or ask for it with `exchange resync`",
    ),
    "receipt-awaited": (
        "通常自动取得，久等不到看线路检查；对方程序过旧的请其升级，或经其确认无更新回执后 exchange came-back … --last 编号，否则另签协议",
        "by itself, else see the line's check; a program that cannot show it: `exchange came-back … --last NO`, or another agreement",
    ),
    "stream-stopped": (
        "查明原因并更正（代码见 gateway/README.md），然后 chengxin exchange epoch",
        "find out why and correct it (codes: gateway/README.md), then `exchange epoch`",
    ),
    "answer-refused": (
        "对方的回答无法采信：把代码告诉对方；期间自动重试",
        "what the partner answers is not to be believed: tell it the code; it is tried again meanwhile",
    ),
    "receipt-overdue": ("回执超时：检查线路，chengxin exchange send --now", "check the line, then `exchange send --now`"),
    "erasure-overdue": ("删除未获确认：按协议督促对方", "remind the partner of what is agreed"),
    "withdrawal-overdue": ("撤下未获确认：按协议督促对方", "remind the partner of what is agreed"),
}
_RESTORED: Final = (
    "；对方若由备份恢复，由其运行 chengxin exchange came-back，此后自动继续",
    "; if it was restored from a backup, it runs `exchange came-back`, and all goes on by itself",
)
_FROM_US: Mapping[str, tuple[str, str]] = {
    "TIME_FUTURE": (
        "两边时钟不一致：检查两边的时间同步；本机时钟曾超前时，批次到时自动送达，等不及则 chengxin exchange epoch",
        "check time synchronisation on both sides; what was made by a clock ahead is taken when its time has come, or `exchange epoch`",
    ),
    "TIME_ORDER": (
        "时钟曾倒退：检查时间同步，然后 chengxin exchange epoch",
        "a clock went back: check time synchronisation, then `exchange epoch`",
    ),
    "SEQ_FORK": (
        "同一编号有两份内容或两份回执：与对方核对证据（对方运行 exchange evidence，由两人解除冻结），然后本方 chengxin exchange epoch"
        + _RESTORED[0],
        "one number, two contents or two receipts: compare with the partner (evidence, release over there), then `exchange epoch` here"
        + _RESTORED[1],
    ),
    "SEQ_PREVIOUS": (
        "同分叉处理：与对方核对证据，然后 chengxin exchange epoch",
        "as a fork: compare with the partner, then `exchange epoch`",
    ),
    "SEQ_ROOT": (
        "对方持有的数据比本方多，或对方算出的根不同：本方可能由旧备份恢复；查明后 chengxin exchange epoch",
        "the partner holds more than we do, or another root: was an older backup restored here? then `exchange epoch`",
    ),
    "TIME_EXPIRED": (
        "两边时钟不一致，或批次已过有效期：检查两边的时间同步；数据流已停时再 chengxin exchange epoch",
        "clocks differ, or the batch is too old: check time synchronisation on both sides; `exchange epoch` if the stream has stopped",
    ),
    "NOT_FOUND": (
        "对方没有此数据流：请其核对协议（chengxin agreement list）；期间自动重试",
        "the partner knows no such stream: ask it to look at its agreement (`agreement list`); it is tried again meanwhile",
    ),
    "SEQ_GAP": ("对方缺少前一批：chengxin exchange send --now", "the partner lacks an earlier batch: `exchange send --now`"),
    "HOLD_RATE": ("对方拒收过多，等对方的人员决定：联系对方", "too much was rejected; a person over there decides: ask the partner"),
    "HOLD_DROP": (
        "新一期少了太多记录，等对方的人员决定：联系对方",
        "the new epoch leaves out much; a person over there decides: ask the partner",
    ),
}
"""Where it is the partner who has, or lacks, what the code speaks of."""
_TO_US: Mapping[str, tuple[str, str]] = {
    "SIG_KEY_EXPIRED": _REMEDIES["partner-keys-expired"],
    "SCOPE_AGREEMENT": (
        "协议未生效或已暂停：核对 chengxin agreement list；由暂停的一方恢复",
        "the agreement is not in force, or suspended: see `agreement list`; whoever suspended it resumes it",
    ),
    "HOLD_REFUSED": ("本方拒绝了批次：请对方更正后开始新一期", "we refused the batch: its sender corrects it and begins a new epoch"),
    "LAW_PERSON": (
        "对方批次含无依据的个人信息：请其更正后开始新一期",
        "persons without a basis in the partner's batch: it corrects it and begins a new epoch",
    ),
    "LAW_MINOR": ("对方批次含未成年人信息：请其更正后开始新一期", "minors in the partner's batch: it corrects it and begins a new epoch"),
}
"""Where it is the sender who has to act."""
_LINE_REMEDIES: Mapping[str, tuple[str, str]] = {
    "line-failing": (
        "按线路检查的提示处理，然后 chengxin exchange send --now；来路：exchange pull；批次本身不被接受：line decide --verdict again",
        "mend what the line says, then `exchange send --now`, or `exchange pull` if inward; a batch refused as it is: `line decide`",
    ),
    "partner-setting": (
        "更正设置文件 [[partners]] 的这一项；以协议交换的对方，适配器写在协议文件的 [local] 中",
        "correct this entry of [[partners]]; of a partner that signs agreements the adapter stands in [local] of the agreement's file",
    ),
    "partner-unknown": (
        "核对 party 的写法，或提出线路：chengxin line propose",
        "look at how `party` is written, or propose its line: `chengxin line propose`",
    ),
    "line-setting": ("在设置文件 [[partners]] 中写明适配器", "name its adapter in [[partners]] of the settings"),
    "feedback-overdue": (
        "请对方回写反馈；逐行情况见 chengxin line report；对方不再答复的，核实后 chengxin line decide … --verdict arrived 或 again",
        "ask for the answers (`line report`); where none come, find out and `line decide … --verdict arrived`, or `again`",
    ),
    "feedback-strange": ("请对方核对这些反馈对应的文件", "ask the partner which files these answers are about"),
    "line-undated": ("请对方补填时间列", "ask the partner to fill in the time column: rows without it are read by nobody"),
    "counts-differ": ("与对方核对当日数据：chengxin line reconcile", "compare the day with the partner: `chengxin line reconcile`"),
    "OUTCOME_UNKNOWN": (
        "向对方核实是否收到，然后 chengxin line decide … --verdict arrived 或 again",
        "find out whether it arrived, then `line decide … --verdict arrived`, or `again`",
    ),
    "NO_WITHDRAWALS": ("换用能撤下的配置", "set the adapter up so that it can withdraw"),
}
_OTHER: Final = ("见 gateway/README.md 中的代码说明", "see the code in gateway/README.md")


def finding(
    code: str, where: str, zh: str, en: str, *, stream: Literal["in", "out"] | None = None, otherwise: str | None = None
) -> Finding:
    """Something that is wrong, with what to do.

    `stream`: the code is that at which a stream of this direction stands; `otherwise`: what to do, by code, where this one has nothing of
    its own.
    """
    own = {"in": _TO_US, "out": _FROM_US}[stream] if stream is not None else {}
    remedy = own.get(code) or _REMEDIES.get(code) or _LINE_REMEDIES.get(code) or _REMEDIES.get(otherwise or "", _OTHER)
    return Finding(code=code, ok=False, where=where, zh=zh, en=en, remedy_zh=remedy[0], remedy_en=remedy[1])


def stream_held(hold: Hold, where: str) -> Finding:
    """That an operator of ours holds a stream."""
    since = f"{hold.since:%Y-%m-%dT%H:%M:%SZ}"
    return finding("stream-held", where, f"{hold.by} 自 {since} 暂停：{hold.reason}", f"held by {hold.by} since {since}")


_CHECKS: Mapping[str, tuple[str, str]] = {
    "域名解析": ("dns", "name resolution"), "连接": ("line-down", "connection"), "读取": ("line-down", "reading"),
    "密钥文件": ("line-keys", "keys document"), "时钟": ("clock-skew", "clock"), "空间": ("line-full", "free space"),
    "权限": ("line-rights", "rights"), "目录": ("line-rights", "folder"), "多余文件": ("line-surplus", "surplus files"),
    "文件": ("line", "files"), "文件密钥": ("line", "file key"), "表": ("line", "table"), "列": ("line", "columns"),
    "范围": ("line", "scope"), "对账": ("line", "counts"), "时间列": ("line-undated", "time column"),
    "反馈文件名": ("line-surplus", "names of feedback files"), "无法对应的反馈": ("feedback-strange", "feedback about no file of ours"),
    "放置中断": ("OUTCOME_UNKNOWN", "files put down half"), "服务": ("line-down", "service"),
    "维护": ("partner-maintenance", "maintenance"), "协议摘要": ("SCOPE_DIGEST", "text of agreement"),
    "协议版本": ("SCOPE_AGREEMENT", "version of agreement"), "协议清单": ("line-agreements", "list of agreements"),
}  # fmt: skip
_WRONG: Mapping[str, str] = {
    "维护": "the partner's keys document says that it is in maintenance",
    "协议摘要": "the partner holds another text of agreement",
    "协议版本": "the partner does not hold version of agreement",
    "协议清单": "the partner does not list its agreements",
}
"""What is not in order, where saying so of a name would say nothing."""


def checked(each: Diagnostic, where: str) -> Finding:
    """What a line's own check says, with the line's remedy where it has one."""
    what, _, which = each.what.partition(" ")  # `服务 administrative-penalties`: one of several alike
    code, en = _CHECKS.get(what, ("line", what))
    en = f"{en} {which}" if which else en
    if each.ok:
        return Finding(code="line", ok=True, where=where, zh=f"{each.what}：{each.message}", en=en)
    zh, remedy_en = _REMEDIES.get(code) or _LINE_REMEDIES[code]
    said = f"{_WRONG[what]} {which}".rstrip() if what in _WRONG else f"{en} is not in order"
    return Finding(
        code=code, ok=False, where=where, zh=f"{each.what}：{each.message}", en=said, remedy_zh=each.remedy or zh, remedy_en=remedy_en
    )
