"""Names in memory find what all names find that are looked at one by one."""

from random import Random

import pytest

from gateway.core.publication.held_names import HeldNames
from gateway.core.publication.names import index_tokens, normalise, place_of, places_of, split
from gateway.core.publication.rendering import Name
from gateway.core.publication.searching import ALL_PAIRS, MAX_CANDIDATES, NameQuery, rank, read_query

REGIONS = ("", "通化市", "吉林省", "通化", "东昌区")
SYLLABLES = "安宝昌达恩丰广海"
TRADES = ("", "药业", "商贸", "科技", "人参", "3D打印")
FORMS = ("", "有限公司", "集团", "厂", "股份有限公司")


def shown_name(random: Random) -> str:
    """A name as somebody may be called: with its region before it, in brackets, or none; short brands and long ones."""
    brand, trade = "".join(random.choices(SYLLABLES, k=random.choice((1, 2, 2, 3, 4)))), random.choice(TRADES)
    region, form = random.choice(REGIONS), random.choice(FORMS)
    if region and random.random() < 0.2:
        return f"{brand}（{region}）{trade}{form}"
    return region + brand + trade + form


@pytest.fixture(scope="module")
def rows() -> list[Name]:
    """An index of a thousand names, some of them former ones of the same subjects, by place."""
    random = Random(17)
    found: dict[int, Name] = {}
    for number in range(900):
        subject_id = "sub_" + "".join(random.choices("234567abcdefghijklmnopqrstuvwxyz", k=26))
        for role in ("name", "former_name") if number % 7 == 0 else ("name",):
            shown = shown_name(random)
            name = split(shown)
            place = place_of(subject_id, name.norm, name.core, cancelled=number % 11 == 0)
            while place in found:
                place += 1
            found[place] = Name(
                place=place, subject_id=subject_id, role=role, shown=shown, name_norm=name.norm, core=name.core, tokens=index_tokens(name)
            )
    return [found[place] for place in sorted(found)]


@pytest.fixture(scope="module")
def held(rows: list[Name]) -> HeldNames:
    """All of them in memory."""
    names = HeldNames()
    for each in rows:
        names.add(each.place, each.subject_id, each.role, each.shown, each.name_norm, each.core, each.tokens)
    return names


def candidates(query: NameQuery, rows: list[Name]) -> list[Name]:
    """What an index gives: who is the text, has its core, or holds all tokens of it."""
    (step,) = query.asked[0]
    wanted = set(step.tokens)
    return [each for each in rows if query.text == each.name_norm or query.core == each.core or wanted.issubset(each.tokens.split(" "))]


def test_the_first_hits_are_those_of_all_names(rows: list[Name], held: HeldNames) -> None:
    """Of texts of every length out of names, or of two names: the same hits in the same order; the rest only shares characters."""
    random, told, texts = Random(3), 0, []
    for _ in range(150):
        one, other = (normalise(random.choice(rows).shown) for _ in range(2))
        at = random.randrange(len(one))
        texts += [one, one[at : at + random.choice((1, 2, 3, 4, 6))], one[at : at + 2] + other[:2], read_query(one).core]
    for text in dict.fromkeys(filter(None, texts)):
        query, most = read_query(text), random.choice((2, 5, 11, 51))
        if query.route not in ("pairs", "character") or len(query.asked[0]) > 1:
            continue
        first = held.first(query, most)
        if first is None:
            continue
        told += 1
        every = rank(query, candidates(query, rows))
        assert first == every[: len(first)], text
        assert len(first) == most or all(hit.order[0] >= ALL_PAIRS for hit in every[len(first) :]), text
    assert told > 300


def test_nothing_is_said_of_what_is_not_told_by_characters(held: HeldNames) -> None:
    """Letters and numbers, marks of tokens typed as text, texts that too many names hold."""
    for text in ("3d打印", "示3d", "ㄅ安", "ㄘ安", "安ㄑ安宝"):
        assert held.first(read_query(text), 5) is None, text
    many = HeldNames()
    for number in range(MAX_CANDIDATES + 1):
        many.add(number, "sub_" + "a" * 26, "name", "安宝", "安宝", "安宝", "安宝")
    assert many.first(read_query("安宝"), 5) is None


@pytest.mark.parametrize(("place", "subject_id"), [(1, "sub_a"), (0, "sub_" + "a" * 26)])
def test_what_cannot_be_held_is_refused(place: int, subject_id: str) -> None:
    """An id of another length, a name out of order."""
    names = HeldNames()
    names.add(0, "sub_" + "b" * 26, "name", "安宝", "安宝", "安宝", "安宝")
    with pytest.raises(ValueError, match="no id of ours, or out of order"):
        names.add(place, subject_id, "name", "安宝", "安宝", "安宝", "安宝")


def test_places_say_how_long_names_are(rows: list[Name]) -> None:
    """Every name stands where those of its lengths stand, and names of other lengths do not."""
    for each in rows:
        first, after = places_of(len(each.core), len(each.name_norm))
        assert first <= each.place < after
        first, after = places_of(len(each.core))
        assert first <= each.place < after
        first, after = places_of(len(each.core) + 1)
        assert not first <= each.place < after
