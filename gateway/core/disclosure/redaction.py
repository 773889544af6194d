"""Free text: what is personal is found at intake and replaced, what is doubtful is held for a person (policy.md §13).

Rules:
1. Structured values (citizen numbers, telephones, bank cards, plates, e-mail, accounts behind a cue) become typed placeholders
   〔证件号1〕, however they are written: full width, spaced, dotted, in Chinese numerals. A checksum raises confidence, never gates.
2. Values that the record itself gives for persons are found with blanks and · between their characters. `third_parties` leaves the
   names of the record's own subject in, and no number of anybody.
3. Codes of organisations, document and licence numbers, amounts, quantities, dates and law citations stay.
4. Whatever looks personal and was not replaced counts: runs of seven digits and more that nothing explains, names and contacts
   behind a cue, a name before a deed, a home. A residual score above zero holds the text.
5. Every quantifier is bounded and every pass is linear; harmless text costs one look.

The text is compared in a copy of the same length (one character for one), so that places need no map. This room must not be asked
at request time: its results are stored.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from gateway.core.disclosure.digit_runs import CUE_REACH, LICENCE_CUE, RUN, Place, Span, exact_number, mask_of, read_run
from gateway.core.disclosure.hinted import hinted
from gateway.core.disclosure.homes import dwellings
from gateway.core.disclosure.late import Late
from gateway.core.disclosure.likeness import likely
from gateway.core.disclosure.named import named
from gateway.core.disclosure.redactor import REDACTOR
from gateway.core.disclosure.shapes import uscc_is_valid
from gateway.core.disclosure.spelling import GAP, HIDDEN, LOOSE, copy_of, places_of, squeeze, squeezed
from gateway.core.disclosure.told import told
from gateway.core.records.model import Redaction


class Numbering:
    """Numbers of placeholders through the texts of one record: the same value gets the same number."""

    __slots__ = ("_numbers",)

    def __init__(self) -> None:
        self._numbers: dict[str, dict[str, int]] = {}

    def label(self, kind: str, said: str) -> str:
        """A placeholder such as 〔姓名1〕 or 〔证件号2〕."""
        numbers = self._numbers.setdefault(kind, {})
        return f"〔{kind}{numbers.setdefault(said, len(numbers) + 1)}〕"


# --- patterns (all over the copy: ASCII digits, capital letters) -------------------------------------------------------

_COMMA_RUN: Final = Late(r"(?<![0-9.])(?<![0-9],)[0-9]{1,8}(?:[,;、][ ]?[0-9]{1,8}(?![0-9])){2,19}(?![0-9])")
_THOUSANDS: Final = Late(r"[0-9]{1,3}(?:,[0-9]{3}){1,4}(?:\.[0-9]{1,6})?[ ]?(?:元|圆|万|亿|美元|港元|欧元|人民币|[^0-9,]|$)")
_CARD_BLOCKS: Final = Late("[3-9][0-9]{3}(?:[,、][ ]?[0-9]{4}){3}(?:[,、][ ]?[0-9]{1,3})?")
_PLATE_HEAD: Final = "[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼][·•.・ ]{0,2}[A-HJ-NP-Z]"
_CAPITALS: Final = re.compile("[A-Z]")
_COMMAS: Final = re.compile("[0-9][,;、][ ]?[0-9]{1,8}[,;、]")
"""Without this no number is written with commas."""
_TOKENISH: Final = re.compile("[A-Z*(\\[【〔扣微威薇加支抖快护通居回台军]")
"""Without one of these there is none of the following."""
_TOKENS: Final = (
    # kind, the signs without one of which there is none, pattern
    # plates: province, letter, five or six signs with a digit among them; not the numbers of lifts and boilers, 梯11吉E…
    (
        "车牌",
        _CAPITALS,
        Late(
            rf"(?<![梯起容锅车索管][0-9]{{2}}){_PLATE_HEAD}(?=[^。,;]{{0,10}}[0-9])"
            r"(?:[·•.・/|\- ]{0,2}[A-HJ-NP-Z0-9]){4,5}[·•.・/|\- ]{0,2}[A-HJ-NP-Z0-9学警港澳挂领使试超](?![A-Z0-9])"
        ),
    ),
    (
        "社交账号",
        re.compile("[Q扣微威薇V加W支抖快]"),
        Late(
            r"(?:Q[ ]?Q|扣扣|[微威薇][ ]{0,2}信|V信|加V|WECHAT|WEIXIN|支付宝|抖音|快手|VX)"
            r"(?!公众|小程序|支付|平台|商城|群发)[ ]{0,2}(?:号码?|ID|群|账号|帐号)?[:为是\"“ ]{0,3}[A-Z0-9_\-]{5,30}"
        ),
    ),
    # numbers of which a part is masked
    ("电话", re.compile("[X*]"), Late(r"(?<![A-Z0-9])1[3-9][0-9][X*]{3,5}[0-9]{2,4}(?![A-Z0-9])")),
    ("证件号", re.compile("[X*]"), Late(r"(?<![A-Z0-9])[1-8][0-9]{2,9}[X*]{4,12}[0-9]{1,4}[0-9X](?![A-Z0-9])")),
    (
        "账号",
        re.compile("[*]"),
        Late(r"(?<![A-Z0-9])[1-9][0-9]{3}[ ]?(?:[0-9]{2}[*]{2}|[*]{4})[ ]?(?:[0-9*]{4}[ ]?){0,2}[0-9]{3,4}(?![A-Z0-9])"),
    ),
    (
        "证件号",
        re.compile("[护通居回台军]"),
        Late(r"(?:护照|通行证|居留证|回乡证|台胞证|军官证)(?:号码?)?[:为是 ]{0,3}[A-Z]{0,3}[0-9]{5,12}(?![0-9])"),
    ),
    ("电话", re.compile("[(\\[【〔]"), Late(r"[(\[【〔]0[1-9][0-9]{1,2}[)\]】〕][ ]?-?[ ]?[1-9][0-9]{6,7}(?![0-9])")),
)
_MAIL_LOCAL: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._%+-")
_HIDDEN_SIGN: Final = Late(f"[{HIDDEN}]")
_MAIL_AT: Final = Late(rf"@[{HIDDEN}]{{0,2}}[A-Z0-9\-]{{1,63}}(?:[{HIDDEN}]?\.[{HIDDEN}]?[A-Z0-9\-]{{1,63}}){{1,5}}")
_MAIL_HOST: Final = Late(r"(?:QQ|163|126|GMAIL|SINA|FOXMAIL|HOTMAIL|OUTLOOK|SOHU|YEAH|189|139|ALIYUN)[ ]{0,2}[.点。][ ]{0,2}(?:COM|CN|NET)")
_MAIL_SPELLED: Final = Late(
    r"[A-Z0-9][A-Z0-9._\-]{1,40}[ ]?(?:#|[\[(【 ]{0,2}(?:AT|艾特|圈A)[\])】 ]{0,2})"
    r"[A-Z0-9][A-Z0-9\-]{0,30}[ ]?(?:[.点。]|DOT)[ ]{0,2}(?:COM|CN|NET|ORG)"
)
_PASSPORT: Final = Late(r"(?<![A-Z0-9])(?:[EGDSPK][0-9]{8}|E[A-HJ-NP-Z][0-9]{7}|[CHMW][0-9]{8}(?:[0-9]{2})?)(?![A-Z0-9])")
_LOOKALIKE: Final = Late(r"(?<![A-Z0-9])[0-9OILZSBQ]{11,18}X?(?![A-Z0-9])")
_LOOKS_LIKE: Final = str.maketrans("OQILZSB", "0011258")
_CONTACT_CUE: Final = Late(
    r"(?:联系电话|联系方式|电话号码|手机号码?|身份证号码?|公民身份号码|证件号码?|银行账号|银行卡号|账号|帐号|卡号|车牌号码?|邮箱|电子邮件|微信号?|QQ号?|"
    r"尾[号数]|[前后末][两0-9]位(?:数字?)?)"
    r"[:为是系 ]{0,3}(?=[A-Z0-9]{4}(?!元|[0-9.]{0,4}元))"
)
_HANDLE: Final = Late(
    r"(?:[微薇威](?:[ ]?[信讯]|[^\w，。；、,;:：()（）]{1,2}(?=[A-Z0-9]))|加我?[微薇威]"
    r"|泡泡|主页|私人|个人|V[^A-Z0-9]{1,2}|V信|(?<![A-Z])(?:WX|VX)(?=号|ID|[:搜])|钉钉|陌陌|探探"
    r"|小红书|旺旺|闲鱼|微博|B站|知乎|快手|抖音|视频号|淘宝|飞书|企鹅|TELEGRAM|WHATSAPP|INSTAGRAM|FACEBOOK|(?<![A-Z])LINE|SKYPE|电报|飞机|纸飞机)"
    r"(?!公众|小程序|支付|平台|商城)(?:号码?|ID|群|账[号户]|帐号|昵称|搜索?|添加|加|用户名?|名|联系)?[:为是\"“ +]{0,3}(?=@?[A-Z0-9_\-]{5})"
    r"|(?:[微薇]信|闲鱼|快手|抖音|小红书|淘宝|陌陌|QQ)(?:号|ID|账[号户]|昵称|名|网名)[:为是]{0,2}[\"“](?![^”\"]{0,12}(?:店|公司|旗舰|官方|药|厂|馆|堂|中心|医院|学校|超市))[^”\"]{2,14}[”\"]"
)
_VEHICLE: Final = Late(
    "(?:吉林|辽宁|黑龙江|河北|山西|江苏|浙江|安徽|福建|江西|山东|河南|湖北|湖南|广东|海南|四川|贵州|云南|陕西|甘肃|青海|内蒙古|北京|天津|上海|重庆)"
    "(?:省|市)?[ ]?[A-HJ-NP-Z][· ]?牌?[A-Z0-9]{5,6}(?![A-Z0-9])|(?:车架号?|发动机号|车辆识别代号|VIN码?)[:为是 ]{0,3}[A-Z0-9]{6,17}"
    f"|{_PLATE_HEAD}[\u3400-\u9fff]{{1,6}}(?=[A-Z0-9]{{0,4}}[0-9])[A-Z0-9]{{5}}(?![A-Z0-9])"
)
_HOME_CUE: Final = Late(r"(?:家庭住址|家庭地址|现住址?|户籍地址?|户籍所在地|居住地|暂住地?|住址)[:为是在于 ]{1,3}[^,。;、]{4}")

_OF_LETTERS: Final = frozenset({_PASSPORT, _MAIL_SPELLED, _MAIL_HOST})
"""What has a letter in it always."""

_CUED: Final = re.compile(
    "联系电话|联系方式|电话号码|手机号|身份证号|公民身份号码|证件号|账号|帐号|卡号|车牌号|邮箱|电子邮件|尾[号数]|位(?<=[前后末][两0-9]位)"
    "|微(?:[ ]?[信讯]|(?=[^\\w，。；、,;:：()（）]))|加我?[微薇威]|薇[ ]?[信讯]|威[ ]?[信讯]"
    "|泡泡|主页|私人|个人|钉钉|陌陌|探探|小红书|旺旺|闲鱼|微博|知乎|快手|抖音|视频号|淘宝|飞书|企鹅|电报|飞机|车架|发动机号|识别代号|家庭[住地]址|现住|户籍|居住地|暂住|住址"
)
"""Without one of these, and without a letter, nothing stands behind a cue."""

_DIGITS_DOUBT: Final = re.compile(
    rf"[0-9](?:(?:{GAP}[0-9]){{4}}|[,;、][ ]?(?:[0-9][,;、][ ]?){{8}}|[0-9]{{2}}[,;、][ ]?[0-9]{{4,8}}[,;、])"
)
_WORDS_DOUBT: Final = re.compile(
    "扣扣|抖音|快手|加我?[微薇威]|微[ ]{0,2}信|威[ ]{0,2}信|薇[ ]{0,2}信"
    "|支付宝|账号|帐号|卡号|尾[号数]|泡泡|微讯|钉钉|陌陌|探探|小红书|旺旺|闲鱼|微博|知乎|视频号|淘宝|飞书|企鹅|电报|飞机"
    "|车架|发动机号|识别代号|位(?<=[前后末][0-9两]位)|住址|住在|现住|家庭地址|户籍|居住地|暂住|邮箱"
)
_LETTERLIKE: Final = re.compile("[A-Z@*]")
_LETTERS_DOUBT: Final = Late(
    rf"@|{_PLATE_HEAD}|Q[ ]?Q|VX|V信|加V|WECHAT|[*X]{{3}}|主页ID|V[^A-Z0-9]{{1,2}}号|B站|TELEGRAM|WHATSAPP|INSTAGRAM|FACEBOOK|LINE|SKYPE|WX"
    r"|[A-HJ-NP-Z]牌?[A-Z0-9]{5}|VIN|(?:[点.。]|DOT)[ ]{0,2}(?:COM|CN|NET)|[0-9OILZSBQ]{11}"
)
"""Without one of these a text holds no number, address or account worth a look."""


_REMEMBERED: Final = 8192
_LONGEST_REMEMBERED: Final = 200
_harmless: set[int] = set()
"""Texts that held nothing, though no name of an organisation excused anything in them: laws and kinds of offence are cited by thousands.
Only their hashes under this process's secret: no text stays in memory for having been read."""


class _Hunted(NamedTuple):
    """A value that the record gives, as it is looked for; `leave`: a name of its own subject."""

    needle: str
    kind: str
    leave: bool


# --- the redactor -----------------------------------------------------------------------------------------------------


def redact(
    text: str, known: Iterable[str], own: Iterable[str] = (), *, keep: Iterable[str] = (), numbering: Numbering | None = None
) -> Redaction:
    """A text as it may leave, in two profiles, with the score of what is left to doubt."""
    return redact_all({"": text}, known, own, keep=keep, numbering=numbering)[""]


def redact_all(
    texts: Mapping[str, str], known: Iterable[str], own: Iterable[str] = (), *, keep: Iterable[str] = (), numbering: Numbering | None = None
) -> dict[str, Redaction]:
    """The same of every text of one record, by name.

    `known`: values of persons that the record gives elsewhere; `own`: what names the record's own subject, where that is a person;
    `keep`: names of organisations, in which a person's name may stand. `numbering` goes through all of them.
    """
    values = [*_hunted(known, own=False)]
    if own:
        values += _hunted(own, own=True)
    names = [copy_of(name) for name in keep if len(name) > 1]
    numbering = numbering if numbering is not None else Numbering()
    return {name: _redacted(text, values, names, numbering) for name, text in texts.items()}


def _redacted(text: str, values: Sequence[_Hunted], names: Sequence[str], numbering: Numbering) -> Redaction:
    copy = copy_of(text)
    if len(copy) != len(text):
        raise ValueError("the copy must have the length of the text")
    spans = list(_valued(copy, values)) if values else []
    kept = [place for name in names if name in copy for place in places_of(copy, name)]
    if hash(text) in _harmless and not spans and not kept:
        return Redaction(strict=text, third_parties=text, residual=0, redactor=REDACTOR)
    doubts: list[Place] = []
    if _doubtful(copy):
        found, doubts = _structured(copy)
        spans += found
    public = mask_of(len(copy), kept)
    spans += told(copy)
    covered = bytearray()
    if spans:
        spans = _merge([span for span in spans if not public or not all(public[span.start : span.end])])
        covered = mask_of(len(copy), [(span.start, span.end) for span in spans])
    sure, seeming = named(text, covered, public)
    doubts += [*seeming, *dwellings(copy, covered, public), *hinted(copy, text, covered, public, sure)]
    if sure:
        spans = _merge([*spans, *(Span(start, end, "姓名", squeeze(copy[start:end])) for start, end in sure)])
        covered = mask_of(len(copy), [(span.start, span.end) for span in spans])
    if not doubts:
        doubts += likely(copy, covered, public)
    if not spans and not doubts:
        if not kept and len(text) <= _LONGEST_REMEMBERED:
            if len(_harmless) >= _REMEMBERED:
                _harmless.clear()
            _harmless.add(hash(text))
        return Redaction(strict=text, third_parties=text, residual=0, redactor=REDACTOR)
    labels = [(span, numbering.label(span.kind, span.said)) for span in spans]
    return Redaction(
        strict=_replace(text, labels),
        third_parties=_replace(text, [(span, label) for span, label in labels if not span.own]),
        residual=len(doubts),
        redactor=REDACTOR,
        doubts=_moved(doubts, labels),
    )


def _moved(doubts: Iterable[Place], labels: list[tuple[Span, str]]) -> tuple[Place, ...]:
    """Where doubts stand once the spans are replaced: in order, none in a placeholder, none twice."""
    moved: list[Place] = []
    shift = at = 0
    for start, end in sorted(set(doubts)):
        while at < len(labels) and labels[at][0].end <= start:
            shift += len(labels[at][1]) - (labels[at][0].end - labels[at][0].start)
            at += 1
        if at < len(labels) and labels[at][0].start < end:
            end = labels[at][0].start
        if start < end and not (moved and start + shift < moved[-1][1]):
            moved.append((start + shift, end + shift))
    return tuple(moved)


def _replace(text: str, labels: list[tuple[Span, str]]) -> str:
    pieces: list[str] = []
    at = 0
    for span, label in labels:
        pieces += text[at : span.start], label
        at = span.end
    return "".join((*pieces, text[at:]))


def _merge(spans: list[Span]) -> list[Span]:
    """Spans in order, overlapping ones joined under the longest of them."""
    merged: list[Span] = []
    for span in sorted(spans, key=lambda each: (each.start, -each.end)):
        last = merged[-1] if merged else None
        if last is None or span.start >= last.end:
            merged.append(span)
        elif span.end > last.end or not span.own:
            longest = max(last, span, key=lambda each: each.end - each.start)
            merged[-1] = Span(last.start, max(last.end, span.end), longest.kind, longest.said, last.own and span.own)
    return merged


# --- values that the record gives -------------------------------------------------------------------------------------


def _hunted(values: Iterable[str], *, own: bool) -> Iterator[_Hunted]:
    for value in values:
        needle = squeeze(copy_of(value))
        if len(needle) < 2 or (needle.isdigit() and len(needle) < 4):
            continue
        kind = "证件号" if len(needle) > 5 and sum(map(str.isdigit, needle)) > 5 else "地址" if len(needle) > 12 else "姓名"
        yield _Hunted(needle, kind, own and kind == "姓名")


def _valued(copy: str, values: Iterable[_Hunted]) -> Iterator[Span]:
    tight: tuple[str, list[int]] | None = None
    for needle, kind, leave in values:
        if needle[0] not in copy:
            continue
        at = copy.find(needle)
        while at >= 0:
            yield Span(at, at + len(needle), kind, needle, leave)
            at = copy.find(needle, at + len(needle))
        if LOOSE.search(copy) is None:
            continue
        if tight is None:
            tight = squeezed(copy)
        plain, places = tight
        at = plain.find(needle)
        while at >= 0:
            yield Span(places[at], places[at + len(needle) - 1] + 1, kind, needle, leave)
            at = plain.find(needle, at + len(needle))


# --- structured detectors ---------------------------------------------------------------------------------------------


def _doubtful(copy: str) -> bool:
    """Whether a number, an address or an account may stand here that is worth a look."""
    if _DIGITS_DOUBT.search(copy) is not None or _WORDS_DOUBT.search(copy) is not None:
        return True
    return _LETTERLIKE.search(copy) is not None and _LETTERS_DOUBT.pattern.search(copy) is not None


def _structured(copy: str) -> tuple[list[Span], list[Place]]:
    spans: list[Span] = []
    doubts: list[Place] = []
    for kind, needed, pattern in _TOKENS if _TOKENISH.search(copy) is not None else ():
        if needed.search(copy) is not None:
            spans += [Span(found.start(), found.end(), kind, squeeze(found[0])) for found in pattern.finditer(copy)]
    lettered = _CAPITALS.search(copy) is not None
    _mails(copy, spans, doubts)
    if lettered:
        _misread(copy, spans)
    for listed in _COMMA_RUN.finditer(copy) if _COMMAS.search(copy) is not None else ():
        if _THOUSANDS.pattern.match(copy, listed.start()):
            continue
        digits = "".join(sign for sign in listed[0] if sign.isdigit())
        reads = exact_number(digits)
        if reads is not None:
            spans.append(Span(listed.start(), listed.end(), reads, digits))
        elif _CARD_BLOCKS.pattern.fullmatch(listed[0]):
            spans.append(Span(listed.start(), listed.end(), "账号", digits))
        elif len(digits) >= 10 and len(listed[0].replace(" ", "")) == 2 * len(digits) - 1:
            doubts.append(listed.span())
    covered = mask_of(len(copy), [(span.start, span.end) for span in spans]) if spans else bytearray()
    for run in RUN.finditer(copy):
        found, unexplained = read_run(copy, run.start(), run.end(), covered)
        spans += found
        doubts += unexplained
    if not lettered and _CUED.search(copy) is None:
        return spans, doubts
    covered = mask_of(len(copy), [(span.start, span.end) for span in spans])
    for pattern in (_CONTACT_CUE, _HOME_CUE, _PASSPORT, _MAIL_SPELLED, _MAIL_HOST, _HANDLE, _VEHICLE):
        if not lettered and pattern in _OF_LETTERS:
            continue
        for cue in pattern.finditer(copy):
            if any(covered[cue.start() : cue.end() + 4]):
                continue
            if pattern is _PASSPORT and LICENCE_CUE.search(copy, max(0, cue.start() - CUE_REACH), cue.start()):
                continue
            doubts.append((cue.start(), min(len(copy), cue.end() + (4 if pattern is _CONTACT_CUE else 0))))
    return spans, doubts


def _misread(copy: str, spans: list[Span]) -> None:
    """Numbers of persons in which letters stand for the digits that they look like."""
    for found in _LOOKALIKE.finditer(copy):
        said = found[0].translate(_LOOKS_LIKE)
        if said == found[0] or sum(map(str.isdigit, found[0])) < len(said) // 3 or uscc_is_valid(found[0]):
            continue
        reads = exact_number(said)
        if reads is not None:
            spans.append(Span(found.start(), found.end(), reads, said))


def _mails(copy: str, spans: list[Span], doubts: list[Place]) -> None:
    """E-mail addresses around each @, read from the @ to both sides; an @ without one is a doubt."""
    at = copy.find("@")
    while at >= 0:
        host = _MAIL_AT.pattern.match(copy, at, min(len(copy), at + 260))
        end = at
        while host is not None and end > max(0, at - 2) and _HIDDEN_SIGN.pattern.match(copy, end - 1):
            end -= 1
        start = end
        while host is not None and start > max(0, end - 64) and copy[start - 1] in _MAIL_LOCAL:
            start -= 1
        if host is not None and start < end:
            spans.append(Span(start, host.end(), "邮箱", squeeze(copy[start : host.end()])))
            at = copy.find("@", host.end())
        else:
            doubts.append((at, at + 1))
            at = copy.find("@", at + 1)
