"""Names normalised, taken apart, cut into tokens and ranked; the vectors of api.md §7.11."""

from unicodedata import category, normalize

import opencc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.publication import names
from gateway.core.publication.names import index_tokens, normalise, pairs, readings, said_regions, split, variants, without_note
from gateway.core.publication.rendering import name_of
from gateway.core.publication.searching import (
    ALL_PAIRS,
    EXACT_CORE,
    EXACT_NAME,
    MOST_PAIRS,
    PHRASE,
    PREFIX,
    Candidate,
    certain,
    highlight,
    matched,
    rank,
    read_query,
    route,
)

readings("长")  # the table of readings is read once, in no test's time


def test_readings_are_the_librarys() -> None:
    """The table that is read without the library is the one that the library itself has."""
    from pypinyin.constants import PINYIN_DICT

    assert names._readings() == PINYIN_DICT
    assert names._readings() is not PINYIN_DICT


def test_what_somebody_asked_for_is_remembered_nowhere() -> None:
    """No text, bracket or run of letters of a query stays in memory, but single characters and what regions are called."""
    kept = [each for each in vars(names).values() if hasattr(each, "cache_info")]
    for text in ("公司（通化市）", "abc", *"公司龘靐爨癵"):  # tables are read, and these characters
        assert read_query(text).asked
        assert readings(text[0])
    before = [each.cache_info().currsize for each in kept]
    for text in ("公司（龘爨）", "（靐癵）龘靐", "qzxvkwj", "qzxvkwj爨癵", "22059919850615爨癵", "爨癵（qzx爨）公司"):
        assert read_query(text).near is not None
    assert [each.cache_info().currsize for each in kept] == before


HAN = st.text(st.characters(min_codepoint=0x4E00, max_codepoint=0x9FA5), min_size=1, max_size=20)
NAMES = (
    "通化市示例药业有限公司",
    "通化市示例商贸有限公司",
    "示例药业集团股份有限公司",
    "吉林省宝药药材有限公司",
    "通化市长青人参种植专业合作社",
    "ＡＢＣ示例〔通化〕有限公司",
)


def candidate(shown: str, subject: str = "sub_a", role: str = "name", *, cancelled: bool = False) -> Candidate:
    """A name as the index would give it."""
    return name_of(subject, role, shown, cancelled=cancelled)


def found(query: str, *shown: str) -> list[str]:
    """Names that a query finds among these, best first."""
    by_subject = {f"sub_{number}": name for number, name in enumerate(shown)}
    hits = rank(read_query(query), (candidate(name, subject) for subject, name in by_subject.items()))
    return [by_subject[hit.subject_id] for hit in hits]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("91220500XXT000011D", "91220500xxt000011d"),
        ("通化市示例药业（集团）有限公司", "通化市示例药业集团有限公司"),
        ("通化市示例藥業（集團） 有限公司", "通化市示例药业集团有限公司"),
        ("ＡＢＣ示例〔通化〕有限公司", "abc示例通化有限公司"),
        ("𠮷田·示例药业", "𠮷田示例药业"),
        ("𠮷田·示例\u200b药业", "𠮷田示例药业"),
        ("  \u3000", ""),
    ],
)
def test_vectors_of_the_normaliser(text: str, expected: str) -> None:
    """cx-name/1: compatibility forms, case, variants and punctuation fold; nothing else does."""
    assert normalise(text) == expected


def test_common_characters_take_a_short_cut_to_the_same_form() -> None:
    """A text of common characters stays as it is exactly where the rules would leave it so."""
    for point in (*range(0x20, 0x250), *range(0x2E80, 0xA000), *range(0xF900, 0xFB00), *range(0xFE00, 0xFFF0)):
        character = chr(point)
        alone = normalize("NFKC", normalize("NFKC", character).casefold().translate(variants()))
        assert normalise(f"示例{character}1") == "示例" + "".join(each for each in alone if category(each)[0] in "LMN") + "1"


@given(st.text(st.one_of(st.characters(min_codepoint=0x4E00, max_codepoint=0x9FA5), st.sampled_from("ＡＢｃ1２（）·  -éÉ")), max_size=40))
def test_normalising_is_stable(text: str) -> None:
    """What is normalised stays as it is, for everything that stands in names."""
    once = normalise(text)
    assert normalise(once) == once


def test_the_variant_table_agrees_with_its_source() -> None:
    """Every row is what OpenCC makes of that one character, and no row's result has a row of its own but a chain that ends."""
    convert = opencc.OpenCC("t2s").convert
    table = variants()
    assert len(table) > 4000
    assert all(convert(chr(point)) == simple for point, simple in table.items())


@pytest.mark.parametrize(
    "note", ["（已注销）", "(吊销，未注销)", "（吊销）", " [存续]", "（原通化示例制药厂）", "（曾用名：示例制药厂）", "【在业】 "]
)
def test_notes_behind_a_name_are_no_part_of_it(note: str) -> None:
    """How a firm stands or was called before, as tables write it; any other bracket stays, and a note alone is a text."""
    assert without_note("通化市示例药业有限公司" + note) == "通化市示例药业有限公司"
    for name in ("示例药业（集团）", "示例合作社（普通合伙）", "示例小吃店（原野）", "示例（通化）药业有限公司", "（已注销）", note):
        assert without_note(name) == name


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("通化市示例药业有限公司", ("通化市", "示例", "药业", "有限公司")),
        ("吉林省通化市东昌区示例商贸有限责任公司", ("吉林省通化市东昌区", "示例", "商贸", "有限责任公司")),
        ("示例（通化）药业股份有限公司", ("通化", "示例", "药业", "股份有限公司")),
        ("通化市示例药业（集团）有限公司", ("通化市", "示例", "药业", "集团有限公司")),
        ("通化市示例药业责任有限公司", ("通化市", "示例", "药业", "责任有限公司")),
        ("通化公司", ("", "通化", "", "公司")),
        ("药业有限公司", ("", "药业", "", "有限公司")),
        ("", ("", "", "", "")),
    ],
)
def test_a_name_is_taken_apart(name: str, parts: tuple[str, str, str, str]) -> None:
    """Region, brand, trade and form; at least two characters stay for the brand."""
    split_name = split(name)
    assert (split_name.region, split_name.brand, split_name.trade, split_name.form) == parts


@given(HAN)
def test_nothing_of_a_name_is_lost(name: str) -> None:
    """Region, brand, trade and form together are the normalised name."""
    parts = split(name)
    assert parts.region + parts.brand + parts.trade + parts.form == parts.norm == normalise(name)


@given(st.text(max_size=30))
def test_tokens_are_words_for_any_tokenizer(text: str) -> None:
    """No token is empty, and each pair of neighbours is there."""
    tokens = index_tokens(split(text)).split(" ")
    norm = normalise(text)
    assert all(tokens) or not norm
    assert set(pairs(norm)) <= set(tokens)


@pytest.mark.parametrize(
    ("text", "way"),
    [
        ("91220502XXT00002X2", "uscc"),
        ("９１２２０５０２ＸＸＴ００００２Ｘ２", "uscc"),
        ("220500000012345", "reg_no"),
        ("XXT00002X", "org_code"),
        ("示", "character"),
        ("示例", "pairs"),
        ("示例药业", "pairs"),
        ("shili", "spoken"),
        ("·（）", "nothing"),
        ("3M中国", "pairs"),
    ],
)
def test_a_query_goes_its_way_by_shape(text: str, way: str) -> None:
    """Codes by length, Latin letters as pinyin, one character to the beginning of brands, the rest by pairs."""
    assert route(text) == way


@pytest.mark.parametrize(
    ("query", "tier"),
    [
        ("通化市示例药业有限公司", EXACT_NAME),
        ("示例药业", EXACT_CORE),
        ("示例药业有限公司", EXACT_CORE),
        ("通化市示例", PREFIX),
        ("例药业", PHRASE),
        ("示例", PREFIX),
        ("示", PREFIX),
        ("药", PHRASE),
        ("shiliyaoye", ALL_PAIRS),
        ("slyy", MOST_PAIRS),
        ("通化示例药业", EXACT_CORE),
        ("通化市示例药业科技有限公司", MOST_PAIRS),
        ("例示", None),
        ("业示", None),
        ("公", None),
    ],
)
def test_a_candidate_is_looked_at_again(query: str, tier: int | None) -> None:
    """The text decides how well a name fits, whatever tokens it shares."""
    it = candidate("通化市示例药业有限公司")
    assert matched(read_query(query), it.name_norm, it.core, it.tokens) == tier


def test_pairs_apart_are_no_phrase() -> None:
    """宝药 and 药业 apart is not 宝药业."""
    assert found("宝药业", "吉林省宝药堂药业有限公司") == []
    assert found("宝药业", "吉林省宝药业有限公司") == ["吉林省宝药业有限公司"]


def test_the_order_of_hits() -> None:
    """Exact name, exact core, prefix, phrase; cancelled after active; ties by id."""
    assert found("示例药业", "新示例药业有限公司", "示例药业研究有限公司", "通化市示例药业有限公司", "示例药业")[0] == "示例药业"
    hits = rank(
        read_query("示例药业有限公司"),
        [
            candidate("通化市示例药业有限公司", "sub_b"),
            candidate("通化市示例药业有限公司", "sub_a"),
            candidate("通化市示例药业有限公司", "sub_0", cancelled=True),
        ],
    )
    assert [hit.subject_id for hit in hits] == ["sub_a", "sub_b", "sub_0"]


def test_who_holds_the_text_itself_stands_by_length() -> None:
    """Short cores before long ones, then short names; likeness decides only where the text is not there as it was typed."""
    names = "通化市新示例药业有限公司", "新示例药业有限责任公司", "新示例药业研究有限公司", "新示例药业有限公司"
    assert found("例药业", *names) == [names[3], names[1], names[0], names[2]]


def test_a_subject_is_found_once() -> None:
    """By its name and a former name: one hit, by the better one."""
    hits = rank(
        read_query("示例药业"), [candidate("通化县示例制药厂", "sub_a", "former_name"), candidate("通化市示例药业有限公司", "sub_a")]
    )
    assert [(hit.subject_id, hit.matched_on) for hit in hits] == [("sub_a", "name")]


@given(st.lists(st.tuples(st.text("示例药业商贸人", min_size=2, max_size=7), st.booleans()), min_size=1, max_size=40), st.data())
def test_what_is_certain_is_the_beginning_of_all(names: list[tuple[str, bool]], data: st.DataObject) -> None:
    """However little of each step is read, what nothing unread can come before is what the whole ranking begins with."""
    held = [candidate(f"通化市{text}有限公司", f"sub_{number:06}", cancelled=gone) for number, (text, gone) in enumerate(names)]
    held.sort(key=lambda each: each.place)
    query = read_query(data.draw(st.sampled_from(["示例", "药业", "例", "示例药", "通化市示例", "人示例药", "slyy"])))
    most = data.draw(st.integers(1, 5))
    (steps, *_) = query.asked
    whole: list[Candidate] = []
    read: list[Candidate] = []
    edges = []
    for step in steps:
        for tier, tokens in ((step.tier, step.tokens), (PREFIX, (step.begun, *step.tokens)))[: 1 + bool(step.begun)]:
            rows = [each for each in held if set(tokens) <= set(each.tokens.split(" "))]
            whole += rows
            read += rows[:most]
            if len(rows) > most:
                edges.append((tier, rows[most - 1].place))
    if edges:
        cores = [each for each in held if each.core == query.core]
        expected = rank(query, whole + cores)
        first = certain(rank(query, read + cores), edges)
        assert list(first) == expected[: len(first)]


@given(st.sampled_from(NAMES), st.data())
def test_every_substring_of_two_units_or_more_is_a_candidate(name: str, data: st.DataObject) -> None:
    """Recall of exact substrings is 1: what stands in a name shares all of the asked tokens, and fits."""
    norm = normalise(name)
    start = data.draw(st.integers(0, len(norm) - 2))
    end = data.draw(st.integers(start + 2, len(norm)))
    query = read_query(norm[start:end])
    if query.route != "pairs":
        return
    it = candidate(name)
    held = set(it.tokens.split(" "))
    whole_runs = norm[start:end] in "".join(pairs(norm)) or not norm[start:end].isascii()
    if all(character >= "⺀" for character in norm[start:end]) and whole_runs:
        assert all(set(step.tokens) <= held for step in query.asked[0])
        assert (matched(query, it.name_norm, it.core, it.tokens) != PREFIX) or query.asked[0][0].begun in held
        assert matched(query, it.name_norm, it.core, it.tokens) is not None


def test_highlights_are_places_in_the_shown_text() -> None:
    """Half-open ranges of code points, also where the shown form is wider than the normalised one."""
    assert highlight(read_query("示例"), "通化市示例药业") == [[3, 5]]
    assert highlight(read_query("abc示例"), "ＡＢＣ·示例（通化）") == [[0, 3], [4, 6]]
    assert highlight(read_query("示例药业"), "通化市示例藥業") == [[3, 7]]
    assert highlight(read_query("示示"), "示示示") == [[0, 3]], "they overlap"
    assert highlight(read_query("示示"), "示示通化示示") == [[0, 2], [4, 6]]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("示力药业", "通化市示例药业有限公司"),  # not the same sound, one character wrong
        ("试例药业", "通化市示例药业有限公司"),
        ("通化市试例药业有限公司", "通化市示例药业有限公司"),
        ("例示药业", "通化市示例药业有限公司"),
        ("通化示例药业", "通化市示例药业有限公司"),
        ("掌青人参种植", "通化市长青人参种植专业合作社"),
        ("试例", "通化市示例药业有限公司"),
    ],
)
def test_what_is_typed_wrong_is_found(typed: str, meant: str) -> None:
    """A wrong homophone, two characters swapped, one character wrong, a region written shorter: some group of tokens leads there."""
    query = read_query(typed)
    held = set(index_tokens(split(meant)).split(" "))
    assert any(held.issuperset(group) for group in (*(step.tokens for way in query.asked for step in way), *query.near))
    assert not held.isdisjoint(query.loose) or query.near
    assert meant in found(typed, *NAMES)


def test_who_sounds_the_same_stands_behind_who_is_spelled_so() -> None:
    """And who is one character apart stands last."""
    assert found("示例药业", "示列药业", "示利要业", "试例药业", "示例药业", "澄泉药业") == ["示例药业", "试例药业", "示利要业", "示列药业"]
    assert found("宝药材", "宝药药材") == [], "what is short is not guessed at"


@pytest.mark.parametrize(
    ("letters", "meant"),
    [
        ("tonghuashishiliyaoyeyouxiangongsi", ["通化市示例药业有限公司", "示例药业集团股份有限公司"]),
        ("tonghuashiliyaoye", ["通化市示例药业有限公司", "示例药业集团股份有限公司"]),
        ("jilinshengbaoyaoyaocai", ["吉林省宝药药材有限公司"]),
        ("shiliyaoyejituangufenyouxiangongsi", ["通化市示例药业有限公司", "示例药业集团股份有限公司"]),
        ("shil", ["通化市示例药业有限公司", "通化市示例商贸有限公司", "示例药业集团股份有限公司"]),
        ("shiliyao", ["通化市示例药业有限公司", "示例药业集团股份有限公司"]),
        ("shiliyaoy", ["通化市示例药业有限公司", "示例药业集团股份有限公司"]),
        ("tonghuashishiliyaoy", ["通化市示例药业有限公司", "示例药业集团股份有限公司"]),
        ("baoy", ["吉林省宝药药材有限公司"]),
        ("zhangq", ["通化市长青人参种植专业合作社"]),
        ("changq", ["通化市长青人参种植专业合作社"]),
        ("sh", []),
        ("iliyaoye", []),
        ("shiliyaox", []),
    ],
)
def test_pinyin_is_found_written_out_and_while_it_is_typed(letters: str, meant: list[str]) -> None:
    """An official name with its region and form, and the first letters of a brand: the index leads there, and the text is looked at."""
    assert set(found(letters, *NAMES)) == set(meant)
    for name in meant:
        held = set(index_tokens(split(name)).split(" "))
        assert any(held.issuperset(step.tokens) for way in read_query(letters).asked for step in way), name
        hit = rank(read_query(letters), [candidate(name)])[0]
        assert (hit.matched_on, highlight(read_query(letters), name)) == ("pinyin", [])


def test_who_is_spoken_so_to_the_end_comes_first() -> None:
    """Of a brand typed to its end those who begin so follow; a region alone is no brand's beginning."""
    assert found("shili", "示例泰药业", "示例医疗器械") == ["示例医疗器械", "示例泰药业"]
    assert found("tonghuashi", *NAMES) == []


@pytest.mark.parametrize(
    ("letters", "meant"),
    [
        ("tonghua", ("通化",)),
        ("tonghuashi", ("通化市",)),
        ("jilinshengtonghuashi", ("吉林省通化市",)),
        ("lixian", ("澧县", "理县", "礼县", "蠡县")),
        ("tonghuacity", ("通化市",)),
        ("dongchangdistrict", ("东昌区",)),
        ("jilinprovince", ("吉林省",)),
        ("city", ()),
        ("shi", ()),
        ("tong", ()),
        ("tonghuashili", ()),
        ("jilin" * 25, ()),
    ],
)
def test_a_region_alone_is_read_out_of_its_pinyin(letters: str, meant: tuple[str, ...]) -> None:
    """All that are spoken so, and one within another; no text that says more."""
    assert said_regions(letters) == read_query(letters).regions == meant


def test_a_hit_says_whether_it_was_spelled_or_spoken() -> None:
    """Of a former name that it is one."""
    shown = "通化市示例药业有限公司"
    spelled, spoken = ("示例", "示列药业", "例示药业"), ("shiliyaoye", "视力药业")
    for typed, how in (*((each, "name") for each in spelled), *((each, "pinyin") for each in spoken), ("slyy", "pinyin_initials")):
        assert [hit.matched_on for hit in rank(read_query(typed), [candidate(shown)])] == [how], typed
    assert rank(read_query("slyy"), [candidate(shown, role="former_name")])[0].matched_on == "former_name"
