"""Range look-ups: is this one listed, asked without saying who; and the normaliser of names (api.md §7.11).

Rules: a well-formed question is always 200 with a body whose length says nothing but how many rows it has: range answers are never
compressed, or their size on the wire would tell a listener which prefix was asked.
"""

import re
from collections.abc import Sequence
from typing import Final, TypeVar

from litestar.params import FromPath

from gateway.core.errors import ErrorItem, InvalidParameter
from gateway.core.publication.ranges import ALGORITHMS, MAX_PREFIX, MIN_PREFIX, ON
from gateway.operations import range_lookup
from gateway.web.api import proof_shapes
from gateway.web.asked import begin
from gateway.web.describe import AnyRequest, Described, Parameter, path
from gateway.web.replies import Reply

_PREFIX: Final = re.compile(rf"[0-9a-f]{{{MIN_PREFIX},{MAX_PREFIX}}}\Z")
_Text = TypeVar("_Text", bound=str)
_ROW: Final = "1a36cccb775e36e5e2a4d1f6a7f3b9c0d1e2f3a4b5c6d7e8f90a1b2c3d4e5f60"

RANGE = Described(
    operation_id="describeRange",
    tag="名单",
    summary="区间查询的说明",
    description="Algorithms, lengths of prefixes, the normaliser of names, and which bit is which list.",
    gives=proof_shapes.RangeGuide,
    example={
        "algorithms": ["sha256", "sm3"],
        "on": ["uscc", "name"],
        "prefix_length": {"min": 2, "max": 5, "recommended": 2},
        "register_size": 100000,
        "normaliser": "cx-name/1",
        "lists": [{"bit": 3, "list": "tax-violations"}],
        "links": {"normaliser": "https://h/v1/normaliser", "lists": "https://h/v1/lists"},
        "dataset_version": "20261104010000-88213",
        "policy_version": 42,
    },
)


@path("/v1/range", RANGE)
async def guide(request: AnyRequest) -> Reply:
    """What a client has to know to ask."""
    asked = await begin(request, RANGE)
    return asked.reply(await range_lookup.describe(asked.services, asked.language), names_subjects=False)


RANGE_ROWS = Described(
    operation_id="lookUpRange",
    tag="名单",
    summary="区间查询：不说明查谁",
    description="Rows of a prefix of a digest, `REST:BITS`, sorted: bit n stands for the list whose `range_bit` is n. Always at least "
    "64 rows; drop those of zero bits, they are padding. Organisations alone; former names are rows too.",
    takes=(
        Parameter(
            name="alg", where="path", text="摘要算法。Digest.", schema={"type": "string", "enum": list(ALGORITHMS)}, example="sha256"
        ),
        Parameter(
            name="prefix",
            where="path",
            text="摘要的前 2 至 5 位，小写十六进制。First digits of the digest, lower-case hexadecimal.",
            schema={"type": "string", "pattern": "^[0-9a-f]{2,5}$"},
            example="63",
        ),
        Parameter(
            name="on",
            text="摘要的内容：代码或规范化的名称。What was digested.",
            schema={"type": "string", "enum": list(ON)},
            required=True,
            example="name",
        ),
    ),
    media=("text/plain",),
    problems=("invalid-parameter",),
    example=f"{_ROW[2:]}:00000008\n",
)


@path("/v1/range/{alg:str}/{prefix:str}", RANGE_ROWS)
async def rows(request: AnyRequest, alg: FromPath[str], prefix: FromPath[str]) -> Reply:
    """The rows of a prefix."""
    asked = await begin(request, RANGE_ROWS)
    algorithm, on = _one_of(ALGORITHMS, alg, "alg"), _one_of(ON, asked.params.get("on"), "on")
    if _PREFIX.match(prefix) is None:
        raise InvalidParameter(errors=(ErrorItem("format", "应为 2 至 5 位小写十六进制数字", parameter="prefix"),))
    return asked.reply(await range_lookup.look_up(asked.services, algorithm, on, prefix, asked.language), plain_length=True)


def _one_of(allowed: Sequence[_Text], given: str | None, name: str) -> _Text:
    """Raises InvalidParameter."""
    found = next((each for each in allowed if each == given), None)
    if found is None:
        code, words = ("required", "必须给出") if given is None else ("enum", "不是允许的取值")
        raise InvalidParameter(errors=(ErrorItem(code, words, parameter=name),))
    return found


NORMALISER = Described(
    operation_id="getNormaliser",
    tag="名单",
    summary="名称的规范化",
    description="Steps, table of variant characters (TSV) and test vectors: what it takes to compute digests of names as we do.",
    gives=proof_shapes.Normaliser,
    example={
        "name": "cx-name/1",
        "encoding": "UTF-8",
        "steps": [{"step": "nfkc", "text": "Unicode NFKC"}],
        "table": {"sha256": "0" * 64, "tsv": "藥\t药\n"},
        "vectors": [
            {
                "input": "91220500XXT000011D",
                "normalised": "91220500XXT000011D",
                "sha256": "91399faf494453fc8ba020410e9b839d8d12630d11e528ee5433624b99535e4d",
                "sm3": "d3a54b2dce9cfae0ecc2d6bfaa70e69834b8418aae628112effdabfea49a5973",
            }
        ],
    },
)


@path("/v1/normaliser", NORMALISER)
async def normaliser(request: AnyRequest) -> Reply:
    """The normaliser of names."""
    asked = await begin(request, NORMALISER)
    return asked.reply(await range_lookup.describe_normaliser(asked.services, asked.language), names_subjects=False)


HANDLERS: Final = (guide, rows, normaliser)
