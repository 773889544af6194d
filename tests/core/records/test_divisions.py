"""Divisions and the days on which their codes are valid."""

from datetime import date

import pytest
from gb2260.data import data as yearly

from gateway.core.records.divisions import covers, division, full_name, short_name

TONGHUA = {
    "220500": "通化市",
    "220501": "市辖区",
    "220502": "东昌区",
    "220503": "二道江区",
    "220521": "通化县",
    "220523": "辉南县",
    "220524": "柳河县",
    "220581": "梅河口市",
    "220582": "集安市",
    "220600": "白山市",
    "220200": "吉林市",
    "222400": "延边朝鲜族自治州",
    "210600": "丹东市",
}


@pytest.mark.parametrize(("code", "name"), TONGHUA.items())
def test_known_today(code: str, name: str) -> None:
    """Tonghua, its districts and its neighbours are in force."""
    found = division(code, date(2026, 6, 1))
    assert found is not None
    assert found.name == name
    assert short_name(code) == name


def test_full_names() -> None:
    """A full name runs from the province down and leaves grouping codes out."""
    assert full_name("220502") == "吉林省通化市东昌区"
    assert full_name("220501") == "吉林省通化市"
    assert full_name("110101") == "北京市东城区"
    assert full_name("429004") == "湖北省仙桃市"
    assert full_name("220000") == "吉林省"
    assert full_name("220599") is short_name("220599") is None


def test_test_people_live_nowhere() -> None:
    """220599 is no division on any day."""
    assert division("220599") is None
    assert division("220599", date(2026, 6, 1)) is None


def test_moved_city() -> None:
    """公主岭 had its old code until 2020, in that year perhaps both, and the new one since."""
    assert division("220381", date(2019, 6, 1)) is not None
    assert division("220184", date(2019, 6, 1)) is None
    assert division("220381", date(2020, 6, 19)) is not None
    assert division("220184", date(2020, 6, 19)) is not None
    assert division("220381", date(2021, 1, 1)) is None
    assert division("220184", date(2021, 1, 1)) is not None
    assert division("220381") is not None


def test_renamed_division_bears_the_name_of_the_day() -> None:
    """A code that changed its name is shown under the name of the day."""
    assert short_name("220602", date(2008, 6, 1)) == "八道江区"
    assert short_name("220602", date(2020, 6, 1)) == "浑江区"


@pytest.mark.parametrize("key", [key for key in yearly if key is not None])
def test_table_agrees_with_its_source(key: int) -> None:
    """On the day of each yearly table every code of it is valid, under its name or one that may have been given before the next table."""
    day = date(key, 12, 31) if key < 10_000 else date(key // 100, key % 100, 28)
    for code, name in yearly[key].items():
        found = division(str(code), day)
        assert found is not None, code
        if str(code).startswith("22"):
            assert found.name == name or short_name(str(code), day.replace(year=day.year + 1)) == found.name


def test_codes_without_a_table_row_are_unknown() -> None:
    """What no table has, half a code or something else altogether, is simply unknown."""
    for code in ("999999", "2205", "22050", "２２０５００", "", "通化市"):
        assert division(code) is None


@pytest.mark.parametrize(
    ("scope", "code", "expected"),
    [
        ("220000", "220502", True),
        ("220500", "220502", True),
        ("220500", "220500", True),
        ("220502", "220502", True),
        ("220500", "220599", True),
        ("220500", "220600", False),
        ("220502", "220503", False),
        ("220502", "220500", False),
        ("220500", "220000", False),
        ("2205", "220502", False),
        ("22050", "220502", False),
        ("220500", "2205", False),
        ("２２０５００", "220502", False),
        ("000000", "220502", False),
    ],
)
def test_covers(scope: str, code: str, expected: bool) -> None:
    """A province takes in its codes, a city its own, anything else only itself; what is no code never matches."""
    assert covers(scope, code) is expected
