"""Every error has one published code, one status, and words that tell nothing that was sent."""

import ast
import inspect
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from litestar import Request
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotAuthorizedException, NotFoundException, ValidationException

from gateway.core import errors
from gateway.core.errors import ErrorItem
from gateway.web import in_english, problems
from gateway.web.negotiation import LANGUAGES
from gateway.web.problems import KINDS, Problem, Refusal, headers_of, problem_of

API = {
    400: (
        "bad-request",
        "unknown-parameter",
        "repeated-parameter",
        "invalid-parameter",
        "bad-cursor",
        "uscc-invalid",
        "body-invalid",
        "purpose-missing",
        "case-ref-missing",
    ),
    401: ("credentials-invalid",),
    403: ("not-permitted",),
    404: ("not-found",),
    405: ("method-not-allowed",),
    406: ("not-acceptable",),
    409: ("idempotency-in-progress", "conflict"),
    410: ("cursor-expired", "since-too-old", "delta-window", "job-expired", "version-reissued", "version-withdrawn"),
    412: ("precondition-failed",),
    413: ("body-too-large",),
    414: ("uri-too-long",),
    415: ("unsupported-media-type",),
    416: ("range-not-satisfiable",),
    422: ("idempotency-mismatch", "too-many-rows-for-format", "text-too-long-for-format", "file-refused"),
    429: ("quota-exceeded", "lookup-budget-spent", "too-many-exports", "too-many-streams"),
    431: ("headers-too-large",),
    500: ("internal",),
    503: (
        "unavailable",
        "overloaded",
        "query-timeout",
        "version-reissuing",
        "audit-unavailable",
        "obligation-failed",
        "policy-expired",
        "no-active-policy",
    ),
}


def told(error: Exception, language: str = "zh-CN") -> Problem:
    """The problem an exception becomes."""
    return problem_of(error, origin="https://h", request_id="r" * 32, trace_id="t" * 32, language=language)  # type: ignore[arg-type]  # a Language


def test_table_is_the_published_one() -> None:
    """Codes and statuses are those of the specification, in order of status."""
    assert {kind.code: kind.status for kind in KINDS.values()} == {code: status for status, codes in API.items() for code in codes}
    assert [kind.status for kind in KINDS.values()] == sorted(kind.status for kind in KINDS.values())


def test_every_request_error_has_its_place_in_the_table() -> None:
    """No error of the core lacks a status."""
    ours = [each for _, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, errors.RequestError)]
    assert len(ours) > 15
    for each in ours:
        assert each.code in KINDS, each.__name__
        assert told(each()).status == KINDS[each.code].status


@pytest.mark.parametrize("code", list(KINDS))
def test_every_code_speaks_both_languages(code: str) -> None:
    """Title and detail exist in Chinese and English, and are not the same words."""
    kind = KINDS[code]
    assert set(kind.title) == set(kind.detail) == set(LANGUAGES)
    assert kind.title["zh-CN"] != kind.title["en"]
    assert kind.detail["zh-CN"] != kind.detail["en"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotFoundException(), "not-found"),
        (MethodNotAllowedException(headers={"allow": "GET"}), "method-not-allowed"),
        (ValidationException("secret-value"), "body-invalid"),
        (HTTPException(status_code=413), "body-too-large"),
        (NotAuthorizedException(), "credentials-invalid"),
        (HTTPException(status_code=400, detail="secret-value"), "bad-request"),
        (RecursionError("secret-value"), "bad-request"),
        (b"\xb0\xa1".decode, "bad-request"),
        (msgspec.DecodeError("secret-value"), "bad-request"),
        (msgspec.ValidationError("secret-value"), "body-invalid"),
        (ZeroDivisionError("secret-value"), "internal"),
        (errors.StoreError("secret-value", code="store-locked"), "unavailable"),
        (errors.SettingsError("secret-value"), "internal"),
        (errors.PolicyError("secret-value"), "internal"),
        (errors.NotFound("secret-value", place="secret-value"), "not-found"),
        (errors.NotFound(errors=(errors.ErrorItem("hidden", "secret-value"),)), "not-found"),
        (Refusal("uri-too-long"), "uri-too-long"),
        (Refusal("no-such-code"), "internal"),
        (KeyError("secret-value"), "internal"),
    ],
)
def test_any_exception_becomes_a_problem_without_its_words(error: object, code: str) -> None:
    """What the framework, a decoder or nobody foresaw is told by its code alone."""
    if callable(error):
        with pytest.raises(UnicodeDecodeError) as caught:
            error()
        error = caught.value
    assert isinstance(error, Exception)
    problem = told(error)
    assert problem.code == code
    assert problem.type == f"https://h/problems/{code}"
    assert b"secret-value" not in problems.encode(problem)


def test_a_gbk_body_is_told_as_the_honest_mistake_it_is() -> None:
    """The text names GBK, also when the framework has wrapped the decoder's error."""
    wrapped = ValidationException("x")
    wrapped.__cause__ = UnicodeDecodeError("utf-8", b"\xb0", 0, 1, "invalid start byte")
    assert "GBK" in told(wrapped).detail
    assert "GBK" in told(wrapped, "en").detail


def test_exchange_codes_have_the_statuses_of_their_binding() -> None:
    """An exchange error keeps its own code, in lower case, and a status by its group."""
    for code, status in (
        ("SIG_HTTP", 401),
        ("SIG_UNKNOWN_KEY", 401),
        ("SIG_PART_DIGEST", 422),
        ("SCOPE_DATASET", 403),
        ("SCHEMA_JSON", 400),
        ("SIZE_PART", 413),
        ("TIME_FUTURE", 422),
        ("TIME_REPLAY", 401),
        ("SEQ_CLOSED", 410),
        ("SEQ_GAP", 404),
    ):
        problem = told(errors.ExchangeError("", code=code))
        assert (problem.code, problem.status) == (code.lower().replace("_", "-"), status)


async def test_a_body_that_breaks_off_is_no_fault_of_ours() -> None:
    """Bad chunks and clients that go away in the middle are told by the framework as a fault of its own: here it is a bad request."""

    async def gone() -> Any:
        return {"type": "http.disconnect"}

    handler = SimpleNamespace(resolve_request_max_body_size=lambda: 1000)
    scope: Any = {"type": "http", "headers": [], "state": {}, "route_handler": handler}
    request: Request[Any, Any, Any] = Request(scope, gone)
    with pytest.raises(HTTPException) as caught:
        [chunk async for chunk in request.stream()]
    assert told(caught.value).code == "bad-request"
    assert told(HTTPException(detail="anything else", status_code=500)).code == "internal"


def test_words_of_the_other_language_give_way_to_the_table() -> None:
    """An English sentence of a room below is not shown to Chinese readers, and the other way round."""
    english = errors.NotPermitted("this credential does not allow the stated purpose")
    assert told(english).detail == KINDS["not-permitted"].detail["zh-CN"]
    assert told(english, "en").detail == "this credential does not allow the stated purpose"
    pointed = errors.UnknownParameter(errors=(errors.ErrorItem("unknown", "未知参数", parameter="id_no"),))
    assert told(pointed).errors[0].detail == "未知参数"
    assert told(pointed, "en").errors[0].detail == "unknown parameter"
    assert told(pointed, "en").errors[0].parameter == "id_no"


_SAYS_A_FAULT = {"invalid", "_invalid", "_fault", "_unfit", "ErrorItem", "InvalidParameter", "BodyInvalid", "BadRequest", "NotPermitted"}


def _sentences() -> set[str]:
    """Every Chinese sentence of a fault in the source of what is served, with `{}` for what stands in it."""
    found = set()
    for path in Path(problems.__file__).parents[1].rglob("*.py"):
        if {"sample", "demo", "commands"} & set(path.parts):
            continue
        for call in (each for each in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(each, ast.Call)):
            name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            for said in (*call.args, *(each.value for each in call.keywords)) if name in _SAYS_A_FAULT else ():
                for text in (said.body, said.orelse) if isinstance(said, ast.IfExp) else (said,):
                    parts = text.values if isinstance(text, ast.JoinedStr) else [text]
                    whole = "".join(str(each.value) if isinstance(each, ast.Constant) else "{}" for each in parts)
                    if re.search("[\u4e00-\u9fff]", whole):
                        found.add(whole)
    return found


def test_every_sentence_of_a_fault_has_its_english() -> None:
    """Whoever reads English is told the same as who reads Chinese: each sentence has a line, and each line its sentence."""
    said = {re.split(r" {3,}", line)[0] for line in in_english._SENTENCES.strip().splitlines()}
    assert said == _sentences()
    for sentence in said:
        english = in_english.in_english(sentence.format(20, 100))
        assert english, sentence
        assert english.isascii(), sentence
        assert "{" not in english, sentence
    bound = ErrorItem("invalid", "应为 1 至 100 的整数，或者 all。", parameter="limit")
    problem = told(errors.InvalidParameter("应为 1 至 100 的整数，或者 all。", errors=(bound,)), "en")
    assert (problem.detail, problem.errors[0].detail) == ("A whole number from 1 to 100, or all.", "a whole number from 1 to 100, or all")
    adapters = told(errors.FileUnfit("文件未被接收。", errors=(ErrorItem("FILE_NUL", "文件含有空字符（NUL），可能已损坏"),)), "en")
    assert adapters.errors[0].detail == "the file holds NUL characters and may be damaged"


def test_problems_leave_out_what_is_not_there() -> None:
    """No member of a problem is null."""
    assert b"null" not in problems.encode(told(errors.BadRequest()))
    assert b'"next":"https://h/x"' in problems.encode(told(errors.CursorExpired(next_url="https://h/x")))


def test_headers_that_belong_to_a_status() -> None:
    """401 names the scheme, 503 says when to come back, 405 says what is allowed."""
    assert headers_of(errors.CredentialsInvalid(), "credentials-invalid", 401, origin="https://h")["WWW-Authenticate"].startswith(
        'DPoP realm="chengxin", error="invalid_token"'
    )
    assert all(
        "Retry-After" in headers_of(errors.Unavailable(), code, 503, origin="https://h")
        for code, kind in KINDS.items()
        if kind.status == 503
    )
    assert headers_of(MethodNotAllowedException(headers={"allow": "GET"}), "method-not-allowed", 405, origin="https://h")["Allow"] == "GET"
