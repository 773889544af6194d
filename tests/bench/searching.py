"""How well names are found and matched, and how fast: golden queries by kind of disturbance, made at run time (api.md §8).

`python -m tests.bench.searching SETTINGS` asks the product's own stories over its real store and prints one JSON object: for each kind of
disturbance MRR@10 and recall@10, false positives of the match, names matched a second. The names are those of real companies where the
folder of shared data stands (`SHARED_DATA`, else `../shared/data` beside the checkout), invented ones elsewhere; queries and names are
written down nowhere but in the folder of the run.

Who counts as found: the firm whose name was disturbed, or another of the very same name. Of a brand alone all that bear it count, as many
as there are or ten.
"""

import asyncio
import csv
import itertools
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from gateway import garbage
from gateway.core.callers.caller import PUBLIC
from gateway.core.errors import RequestError
from gateway.core.publication.names import Name, readings, region_codes, split, units
from gateway.core.records.identifiers import check_uscc
from gateway.operations.answering import begin
from gateway.operations.asking import Ask, Position
from gateway.operations.find_subjects import find_subjects
from gateway.operations.match_names import Question, outcomes
from gateway.services import Services, open_services
from gateway.settings import load
from tests.bench import register

EACH: Final = 170
"""Queries of each kind."""
SEED: Final = 20261128
CITIES: Final[Mapping[str, str]] = {
    "通化": "220500", "长春": "220100", "吉林": "220200", "四平": "220300", "辽源": "220400", "白山": "220600", "松原": "220700",
    "白城": "220800", "延边州": "222400",
}  # fmt: skip
LOOK_ALIKES: Final = (
    "未末 土士 己已 大太 人入 日曰 千干 田由 甲申 晶品 鸟乌 折析 侯候 治冶 拔拨 泰秦 萧肃 瑞端 博搏 徽微 洒酒 天夫 王玉 贝见 丰韦 "
    "白百 木本 力刀 万方 今令 明朋 远运 达迖 盛盔 隆降 鑫森 宇字 宏宠 金全 永水 东车 昌晶 恒桓 佳住 城诚 洋样 科料 农衣 材村 业亚 "
    "利和 仁仨 庆床 祥样 顺须 发友 源原 兴关 龙尤 海悔 江汪 山仙 春舂 华毕 建健 安妥 云去 义叉 信位 成戊 光先 飞气 亿忆 嘉喜 丽两"
)
COLUMNS: Final = (
    "企业名称", "统一社会信用代码", "成立日期", "登记状态", "行政区划代码", "曾用名", "登记机关", "登记机关统一社会信用代码",
)  # fmt: skip
CHARACTERS: Final = 0x4E00, 0x9FA5


class Firm(Struct, frozen=True, kw_only=True):
    """One firm of the register under measurement."""

    name: str
    uscc: str
    region: str
    former: str = ""


def shared_data() -> Path | None:
    """The folder of real company names, where there is one."""
    folder = Path(os.environ.get("SHARED_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
    return folder if (folder / "enterprises_tonghua.csv").is_file() else None


def firms(invented: int) -> list[Firm]:
    """Real firms with valid codes, or invented ones; every ninth had the name of a firm that is in no register."""
    folder = shared_data()
    found: dict[str, tuple[str, str]] = {}
    if folder is None:
        for number in range(invented):
            found[register.code(number)] = register.name(number), register.DIVISIONS[number % len(register.DIVISIONS)]
    else:
        for file in ("enterprises_tonghua.csv", "enterprises_jilin_other.csv"):
            with (folder / file).open(encoding="utf-8-sig", newline="") as lines:
                for row in csv.DictReader(lines):
                    code, name = row["统一社会信用代码"].strip(), row["企业名称"].strip()
                    region = CITIES.get((row.get("地区") or "").strip())
                    if region and check_uscc(code).valid and code.startswith("91") and 4 <= len(name) <= 60:
                        found.setdefault(code, (name, region))
    rows = sorted(found.items())
    random.Random(SEED).shuffle(rows)
    kept, spare = rows[len(rows) // 10 :], [name for _, (name, _) in rows[: len(rows) // 10]]
    taken = {name for _, (name, _) in kept}
    spare = [name for name in dict.fromkeys(spare) if name not in taken]
    return [
        Firm(name=name, uscc=code, region=region, former=spare[number // 9] if number % 9 == 0 and number // 9 < len(spare) else "")
        for number, (code, (name, region)) in enumerate(kept)
    ]


def write_register(path: Path, held: Iterable[Firm]) -> None:
    """The file that a department would send."""
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow(COLUMNS)
        out.writerows(
            [each.name, each.uscc, "2016-05-11", "存续", each.region, each.former, register.AUTHORITY_NAME, register.AUTHORITY]
            for each in held
        )


# --- disturbances ------------------------------------------------------------------------------------------------------


@cache
def _homophones() -> Mapping[str, str]:
    found: dict[str, list[str]] = {}
    for line in register.SYLLABLES, "".join(register.TRADES), COMMON:
        for character in line:
            found.setdefault(readings(character)[0], []).append(character)
    return {sound: "".join(dict.fromkeys(each)) for sound, each in found.items()}


COMMON: Final = (
    "安鞍氨宝保堡昌常长场城成诚程承达大答恩丰峰风锋广海孩吉极级集康利力立丽励明名铭宁凝鹏朋启起齐旗荣容融盛生胜圣声泰太台旺望王兴星"
    "新鑫永勇泳泽则正政争卓捉德得东冬动恒横衡宏洪鸿红华花化汇辉会惠佳家嘉加建健金今锦京晶精景俊君军凯开科可客坤昆兰蓝来莱乐联连良亮"
    "林临琳龙隆路绿禄美每民敏南能农诺派平苹普谦前强青清庆全泉仁人瑞睿润森山商尚绍世诗石时实士市顺思四松腾天添通同万网威微维为文闻稳"
    "沃吾西希喜夏先祥翔信心雄旭轩雅亚延阳洋业叶一亿艺易益银英盈友优有宇雨玉裕誉元源远悦越云运展战振真志智中众忠祖"
)
_TWINS: Final = {one: other for pair in LOOK_ALIKES.split() for one, other in (tuple(pair), tuple(pair)[::-1])}


def _put(text: str, core: str, changed: str) -> str | None:
    return text.replace(core, changed, 1) if core and core in text and changed != core else None


def _place(core: str, random_: random.Random, fits: Callable[[str], bool]) -> int | None:
    places = [place for place, character in enumerate(core) if fits(character)]
    return random_.choice(places) if places else None


def _other_sound(character: str) -> str:
    if not CHARACTERS[0] <= ord(character) <= CHARACTERS[1]:
        return ""
    return _homophones().get(readings(character)[0], "").replace(character, "")


def _homophone(name: Name, random_: random.Random) -> str | None:
    place = _place(name.core, random_, lambda character: bool(_other_sound(character)))
    if place is None:
        return None
    return name.core[:place] + random_.choice(_other_sound(name.core[place])) + name.core[place + 1 :]


def _look_alike(name: Name, random_: random.Random) -> str | None:
    place = _place(name.core, random_, _TWINS.__contains__)
    return None if place is None else name.core[:place] + _TWINS[name.core[place]] + name.core[place + 1 :]


def _swapped(name: Name, random_: random.Random) -> str | None:
    places = [place for place in range(len(name.core) - 1) if name.core[place] != name.core[place + 1]]
    if not places:
        return None
    place = random_.choice(places)
    return name.core[:place] + name.core[place + 1] + name.core[place] + name.core[place + 2 :]


def _spoken(core: str) -> list[str] | None:
    said = [readings(unit)[0] for unit in units(core) if readings(unit)]
    return said if len(said) == len(units(core)) and not core.isascii() else None


@cache
def _to_traditional() -> Callable[[str], str]:
    import opencc

    convert: Callable[[str], str] = opencc.OpenCC("s2t").convert
    return convert


def _traditional(text: str) -> str | None:
    changed = _to_traditional()(text)
    return changed if changed != text else None


def _brackets(text: str) -> str | None:
    if "（" in text or "(" in text:
        return text.translate(str.maketrans("（）()", "〔〕【】"))
    head = split(text)
    return f"{head.core}（{head.region}）{head.form}" if head.region and head.norm == head.region + head.core + head.form else None


def _wide(text: str) -> str:
    return "".join(chr(ord(each) + 0xFEE0) if "!" <= each <= "~" else each for each in text) + "\u3000"


def disturbances(firm: Firm, random_: random.Random) -> dict[str, str | None]:
    """What may be typed for a firm, by kind; None where a name has no room for it."""
    text, name = firm.name, split(firm.name)
    plain = name.norm == text.casefold()
    spoken = _spoken(name.core)
    homophone, alike, swapped = _homophone(name, random_), _look_alike(name, random_), _swapped(name, random_)
    form, region = (name.form, name.region) if plain else ("", "")
    return {
        "exact": text,
        "suffix dropped": text.removesuffix(form) if form and text.endswith(form) and name.core else None,
        "region dropped": text.removeprefix(region) if region and text.startswith(region) and name.core else None,
        "bracket style": _brackets(text),
        "traditional": _traditional(text),
        "full width": _wide(text),
        "blank": f"{text[: len(text) // 2]} {text[len(text) // 2 :]}",
        "homophone": _put(text, name.core, homophone) if homophone else None,
        "homophone, core alone": homophone if homophone and len(name.core) >= 3 else None,
        "look-alike": _put(text, name.core, alike) if alike else None,
        "look-alike, core alone": alike if alike and len(name.core) >= 4 else None,
        "swap": _put(text, name.core, swapped) if swapped else None,
        "swap, core alone": swapped if swapped and len(name.core) >= 3 else None,
        "truncation": text[: max(4, len(text) * 2 // 3)],
        "short name": name.core if name.region and name.brand and name.trade and plain else None,
        "two-character brand": name.brand if len(name.brand) == 2 and not name.brand.isascii() else None,
        "pinyin": "".join(spoken) if spoken and len(spoken) >= 3 else None,
        "initials": "".join(each[0] for each in spoken) if spoken and len(spoken) >= 4 else None,
        "former name": firm.former or None,
    }


BARS: Final[Mapping[str, tuple[str, float]]] = {
    "exact": ("MRR@10", 1.0),
    "suffix dropped": ("MRR@10", 0.97),
    "region dropped": ("MRR@10", 0.97),
    "homophone": ("MRR@10", 0.90),
    "two-character brand": ("recall@10", 0.95),
    "initials": ("recall@10", 0.85),
}


# --- asking ------------------------------------------------------------------------------------------------------------


class _NoPages:
    """Nobody turns a page here."""

    asked = ""

    def position(self, plan: str) -> Position | None:
        """The first page."""
        del plan

    def url(self, plan: str, position: Position | None) -> str:
        """No address."""
        del plan, position
        return ""


async def _asked(services: Services, text: str) -> list[dict[str, Any]]:
    answer = await find_subjects(services, PUBLIC, Ask(params={"q": text, "limit": "10"}, pages=_NoPages()))
    items: list[dict[str, Any]] = msgspec.json.decode(answer.body)["items"]
    return items


def golden(held: Sequence[Firm]) -> Iterator[tuple[str, str, Firm]]:
    """(kind, query, firm), each kind as often as there is room for it."""
    random_ = random.Random(SEED + 1)
    many: dict[str, int] = {}
    for firm in random_.sample(list(held), min(len(held), 12 * EACH)):
        for kind, text in disturbances(firm, random_).items():
            if text and many.get(kind, 0) < EACH:
                many[kind] = many.get(kind, 0) + 1
                yield kind, text, firm


async def quality(services: Services, held: Sequence[Firm]) -> dict[str, Any]:
    """MRR@10 and recall@10 of each kind, and how long a search takes."""
    branded: dict[str, set[str]] = {}
    for firm in held:
        branded.setdefault(split(firm.name).brand, set()).add(firm.name)
    ranks: dict[str, list[float]] = {}
    recalls: dict[str, list[float]] = {}
    seconds: list[float] = []
    missed: dict[str, list[tuple[str, str]]] = {}
    for kind, text, firm in golden(held):
        started = time.perf_counter()
        names = [each.get("name") for each in await _asked(services, text)]
        seconds.append(time.perf_counter() - started)
        rank = names.index(firm.name) + 1 if firm.name in names else 0
        meant = branded[text] if kind == "two-character brand" else {firm.name}
        found = len(meant.intersection(names)) / min(10, len(meant))
        ranks.setdefault(kind, []).append(1 / rank if rank else 0.0)
        recalls.setdefault(kind, []).append(found)
        if rank != 1:
            missed.setdefault(kind, []).append((text, firm.name))
    if "BENCH_MISSED" in os.environ:  # to look at, never to keep
        print(json.dumps(missed, ensure_ascii=False, indent=1), file=sys.stderr)
    return {
        "queries": sum(map(len, ranks.values())),
        "kinds": {
            kind: {"queries": len(found), "MRR@10": statistics.fmean(found), "recall@10": statistics.fmean(recalls[kind])}
            for kind, found in ranks.items()
        },
        "search_ms": {"p50": statistics.median(seconds) * 1000, "p99": statistics.quantiles(seconds, n=100)[98] * 1000},
    }


HOSTILE: Final = (
    '"', "'", "*", "(", ")", "NEAR(a b)", "a AND b", "a OR b", "NOT", "示例*", '示例" OR "a', "-示例", "+", "^示", "{a b}", "tokens:示",
    "%", "_", "\\", "'; DROP TABLE names;--", "ㄆshili", "ㄅ示", "\u0000", "\u200b", "\ufeff示", "\u202e示例", "e\u0301\u0327x", "\ud7ff",
    "𠮷" * 60, "示" * 128, "示" * 129, "a" * 128, "1" * 15, "1" * 18, "９１２２０５０２XXT00002X2", "🏭", "有限公司", "公司", "市", "\t\n",
    "示 例", "ﷺ", "ß" * 100, "İ", "0" * 9,
)  # fmt: skip
"""What breaks engines, encoders and splitters."""


async def hostile(services: Services) -> int:
    """How many hostile queries are no answer and no plain refusal."""
    random_ = random.Random(SEED + 2)
    texts = list(HOSTILE)
    texts += [
        "".join(chr(random_.choice((random_.randrange(32, 0xD7FF), random_.randrange(*CHARACTERS)))) for _ in range(9)) for _ in range(300)
    ]
    broken = 0
    for text in texts:
        try:
            await _asked(services, text)
        except RequestError:
            continue
        except Exception as error:  # noqa: BLE001 - counted, whatever it is
            print(f"{type(error).__name__} at {text!r}", file=sys.stderr)
            broken += 1
    return broken


# --- matching ----------------------------------------------------------------------------------------------------------


def _meant(name: Name) -> tuple[frozenset[str], str]:
    """A name however its region is written: 通化 is 通化市."""
    return region_codes(name.region), name.core


def negatives(held: Sequence[Firm], count: int) -> Iterator[str]:
    """Names of firms that do not exist: new brands, brands in another trade, firms in another city; real parts, none of the register."""
    random_ = random.Random(SEED + 3)
    apart = [name for name in (split(each.name) for each in held) if name.region and name.brand and name.trade and name.form]
    names = [split(text) for each in held for text in (each.name, each.former) if text]
    known = {name.norm for name in names} | {_meant(name) for name in names}
    short = [name.brand for name in apart if len(name.brand) <= 3] or [name.brand for name in apart]
    characters = "".join(short)
    made = 0
    for turn in itertools.count():  # a kind for which a register has no room is passed over
        one, other = random_.choice(apart), random_.choice(apart)
        brand = "".join(random_.choices(characters, k=random_.choice((2, 2, 2, 3, 4))))
        text = (
            one.region + brand + one.trade + other.form,
            one.region + one.brand + other.trade + one.form,
            other.region + one.core + one.form,
        )[turn % 3]
        if known.isdisjoint((split(text).norm, _meant(split(text)))):
            yield text
            made += 1
            if made == count:
                return


def positives(held: Sequence[Firm], count: int) -> Iterator[tuple[str, Firm]]:
    """Names as clerks have them: whole, without form or region."""
    random_ = random.Random(SEED + 4)
    for number, firm in enumerate(random_.sample(list(held), min(count, len(held)))):
        typed = disturbances(firm, random_)
        yield typed[("exact", "suffix dropped", "blank", "bracket style")[number % 4]] or firm.name, firm


async def _matched(services: Services, questions: Sequence[Question]) -> list[Any]:
    found: list[Any] = []
    for start in range(0, len(questions), 100):
        scene = await begin(services, PUBLIC, "zh-CN")
        found += await outcomes(scene, questions[start : start + 100])
    return found


async def matching(services: Services, held: Sequence[Firm], count: int = 2000) -> dict[str, Any]:
    """False positives on firms that do not exist, hits on those that do, names a second."""
    fake = list(negatives(held, count))
    real = list(positives(held, count))
    questions = [Question(name=text) for text in fake]
    await _matched(services, questions[:200])
    started = time.perf_counter()
    told = await _matched(services, questions)
    rate = len(questions) / (time.perf_counter() - started)
    certain = ("exact", "match")
    wrong = [(text, each.candidates[0].document.get("name")) for text, each in zip(fake, told, strict=True) if each.status in certain]
    if "BENCH_MISSED" in os.environ:
        print(json.dumps(wrong, ensure_ascii=False, indent=1), file=sys.stderr)
    started = time.perf_counter()
    told = await _matched(services, [Question(name=text) for text, _ in real])
    real_rate = len(real) / (time.perf_counter() - started)
    right = sum(
        each.status in certain and each.candidates[0].document.get("name") == firm.name for (_, firm), each in zip(real, told, strict=True)
    )
    said = sum(each.status in certain for each in told)
    return {
        "negatives": len(fake),
        "false_positives": len(wrong) / len(fake),
        "positives": len(real),
        "found": right / len(real),
        "precision": right / max(1, said),
        "names_s": min(rate, real_rate),
    }


async def main(settings: Path) -> None:
    """Ask everything; one JSON object."""
    held = firms(int(os.environ.get("BENCH_INVENTED", "10000")))
    async with open_services(load(settings)) as services:
        await services.policies.refresh()
        told = {"real": shared_data() is not None, "register": len(held), **await quality(services, held)}
        told |= {"hostile": await hostile(services), "match": await matching(services, held)}
    print(json.dumps(told, ensure_ascii=False))


if __name__ == "__main__":
    garbage.seldom()
    asyncio.run(main(Path(sys.argv[1])))
