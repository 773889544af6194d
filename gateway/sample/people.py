"""Who there is in the invented sample: authorities, firms, households and people, each with numbers that check.

Rules: organisation bodies begin `XXT`, a series that is not issued; people are of division 220599, which does not exist; every authority
carries （示例）. A city's numbers are its own: two cities never share a subject unless the sample says so.
"""

import random
from collections.abc import Callable
from datetime import date, timedelta

from msgspec import Struct

from gateway.core.records.divisions import division
from gateway.core.records.identifiers import (
    TEST_DIVISION,
    USCC_ALPHABET,
    citizen_check_character,
    org_code_check_character,
    uscc_check_character,
)
from gateway.sample.words import BRAND_WORDS, FORMS, HOUSEHOLD_TRADES, STEMS, TAILS, TRADES

CITIES: dict[str, tuple[str, ...]] = {
    "220500": ("220502", "220503", "220521", "220523", "220524", "220581", "220582"),
    "220600": ("220602", "220605", "220621", "220622", "220623", "220681"),
}
"""The two invented platforms, with the counties in which their subjects live."""


class Authority(Struct, frozen=True, kw_only=True):
    """A department that sends files; the settings of a gateway name it with the same words."""

    uscc: str
    name: str
    region: str
    covers: tuple[str, ...] = ()


class Firm(Struct, frozen=True, kw_only=True):
    """An organisation or an individual household."""

    uscc: str
    name: str
    region: str
    trade: str
    scope: str
    form: str
    founded: date
    representative: str

    @property
    def household(self) -> bool:
        """Whether it is an individual household."""
        return self.uscc.startswith("92")

    @property
    def category(self) -> str:
        """行政相对人类别."""
        return "个体工商户" if self.household else "法人及非法人组织"


class Person(Struct, frozen=True, kw_only=True):
    """A placeholder natural person."""

    name: str
    id_no: str
    born: date

    @property
    def category(self) -> str:
        """行政相对人类别."""
        return "自然人"


def code(prefix: str, region: str, serial: int) -> str:
    """A USCC that checks: body `XXT` and the serial number in five characters."""
    body = ""
    for _ in range(5):
        serial, digit = divmod(serial, len(USCC_ALPHABET))
        body = USCC_ALPHABET[digit] + body
    start = prefix + region + "XXT" + body
    start += org_code_check_character("XXT" + body)
    return start + uscc_check_character(start)


def citizen(born: date, sequence: int) -> str:
    """A citizen number that checks, of the division that does not exist."""
    start = f"{TEST_DIVISION}{born:%Y%m%d}{sequence:03}"
    return start + citizen_check_character(start)


def city_name(city: str) -> str:
    """通化市."""
    found = division(city)
    return found.name if found is not None else city


def authorities(city: str) -> tuple[Authority, ...]:
    """The departments of a city that send files: market, service, tax, environment, emergencies, transport, a county's market, labour."""
    name = city_name(city)
    county = CITIES[city][0]
    county_name = city_name(county)
    serials = range(32, 40)  # XXT00011 and on: the first is the authority of the published vectors
    named = (
        (f"{name}市场监督管理局（示例）", city, ()),
        (f"{name}政务服务和数字化建设管理局（示例）", city, ("*",)),
        (f"国家税务总局{name}税务局（示例）", city, ()),
        (f"{name}生态环境局（示例）", city, ()),
        (f"{name}应急管理局（示例）", city, ()),
        (f"{name}交通运输局（示例）", city, ()),
        (f"{name}{county_name}市场监督管理局（示例）", county, ()),
        (f"{name}人力资源和社会保障局（示例）", city, ()),
    )
    return tuple(
        Authority(uscc=code("11", region, serial), name=text, region=region, covers=covers)
        for serial, (text, region, covers) in zip(serials, named, strict=True)
    )


class Town:
    """Draws the subjects of one city, always the same for one seed."""

    __slots__ = ("_names", "_random", "_sequence", "_serial", "_today", "_words", "city", "counties")

    def __init__(self, city: str, rng: random.Random, today: date) -> None:
        self.city = city
        self.counties = CITIES[city]
        self._random = rng
        self._today = today
        # a range of serials and words of its own for each city; the serials stand above those of authorities and of the published vectors
        place = list(CITIES).index(city)
        self._serial = (place + 1) * len(USCC_ALPHABET) ** 4
        self._words = BRAND_WORDS[place :: len(CITIES)]
        self._sequence = 0
        self._names: set[str] = set()

    def firm(self) -> Firm:
        """The next organisation: companies, some cooperatives, few institutions and associations."""
        rng = self._random
        region = rng.choice((self.city, *self.counties, *self.counties))
        trade, scope = rng.choice(list(TRADES.items()))
        kind = rng.random()
        place = rng.choice(("", "吉林省", city_name(self.city), city_name(self.city), city_name(region)))
        if kind < 0.92:
            prefix, form = "91", rng.choice(FORMS)
            name = self._unique(lambda brand: f"{place}{brand}{trade}{form}")
        elif kind < 0.96:
            prefix, form, trade, scope = "93", "农民专业合作社", "种植", "农作物种植、销售。"
            name = self._unique(lambda brand: f"{city_name(region)}{brand}{trade}农民专业合作社")
        elif kind < 0.98:
            prefix, form, trade, scope = "51", "社会团体", "行业协会", "行业自律、业务培训。"
            name = self._unique(lambda brand: f"{city_name(self.city)}{brand}行业协会")
        else:
            prefix, form, trade, scope = "52", "民办非企业单位", "培训", "职业技能培训。"
            name = self._unique(lambda brand: f"{city_name(self.city)}{brand}职业培训学校")
        return Firm(uscc=self._code(prefix, region), name=name, region=region, trade=trade, scope=scope, form=form,
                    founded=self._day(365 * 30, 400), representative=self.placeholder())

    def agency(self) -> Firm:
        """The next agency that offers credit services."""
        region = self._random.choice(self.counties)
        name = self._unique(lambda brand: f"{city_name(self.city)}{brand}信用服务有限公司")
        return Firm(uscc=self._code("91", region), name=name, region=region, trade="信用服务", scope="企业信用管理咨询服务。",
                    form="有限责任公司", founded=self._day(365 * 12, 400), representative=self.placeholder())

    def household(self) -> Firm:
        """The next individual household; its trade name may hold its operator's name, as real ones do."""
        rng = self._random
        region = rng.choice(self.counties)
        trade, scope = rng.choice(list(HOUSEHOLD_TRADES.items()))
        operator = self.placeholder()
        if rng.random() < 0.5:
            name = self._unique(lambda brand: f"{city_name(region)}{operator}{brand}{trade}")
        else:
            name = self._unique(lambda brand: f"{city_name(region)}{brand}{trade}")
        return Firm(uscc=self._code("92", region), name=name, region=region, trade=trade, scope=scope, form="个体工商户",
                    founded=self._day(365 * 15, 200), representative=operator)

    def person(self, *, age: int | None = None) -> Person:
        """The next natural person; grown up unless an age is given."""
        years = age if age is not None else self._random.randint(19, 70)
        born = self._today - timedelta(days=years * 365 + years // 4 + self._random.randint(1, 300))
        self._sequence = self._sequence % 997 + 1
        return Person(name=self.placeholder(), id_no=citizen(born, self._sequence), born=born)

    def placeholder(self) -> str:
        """A name that nobody bears: 测试甲某, 测试乙丙某."""
        stems = "".join(self._random.choice(STEMS) for _ in range(self._random.choice((1, 1, 2))))
        return f"测试{stems}某"

    def _code(self, prefix: str, region: str) -> str:
        self._serial += 1
        return code(prefix, region, self._serial)

    def _unique(self, named: Callable[[str], str]) -> str:
        """A name not given before; when the simple brands are used up they grow by a character."""
        rng = self._random
        for attempt in range(200):
            brand = rng.choice(self._words) + "".join(rng.choice(TAILS) for _ in range(1 + attempt // 20))
            name = named(brand)
            if name not in self._names:
                self._names.add(name)
                return name
        raise ValueError("the invented words are used up")

    def _day(self, back: int, until: int) -> date:
        return self._today - timedelta(days=self._random.randint(until, back))
