"""Lines over the administrators' API: what `chengxin line …` does. A line comes as the text of its file, as a grant does."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from gateway.operations import compare_counts, line_reports, manage_lines
from gateway.web.admin.desk import Act, Route


class LineBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A line, as the text of its file."""

    text: Annotated[str, Meta(min_length=1, max_length=65_536)]


class LineApproval(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which text is approved."""

    digest: Annotated[str, Meta(min_length=1, max_length=128)]


class Verdict(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A person's word about a batch that waits for one."""

    verdict: Literal["go", "arrived", "again"]
    reason: Annotated[str, Meta(min_length=1, max_length=500)]


async def listed(act: Act) -> object:
    """Every version of every line."""
    return await manage_lines.list_lines(act.services)


async def proposed(act: Act) -> object:
    """Take a line in."""
    body: LineBody = act.body
    return await manage_lines.propose_line(act.services, body.text.encode(), by=act.by)


async def approved(act: Act) -> object:
    """The second person's yes to this very text."""
    body: LineApproval = act.body
    return await manage_lines.approve_line(act.services, act.path["line"], digest=body.digest, by=act.by)


async def ended(act: Act) -> object:
    """End a line."""
    return await manage_lines.end_line(act.services, act.path["line"], by=act.by)


async def reported(act: Act) -> object:
    """What partners made of rows."""
    return await line_reports.line_report(act.services, act.query.get("line"))


async def reconciled(act: Act) -> object:
    """Compare counts now."""
    return await line_reports.reconcile_line(act.services, act.path["line"])


async def decided(act: Act) -> object:
    """A person's word about a batch."""
    body: Verdict = act.body
    return await manage_lines.decide_batch(act.services, act.path["stream"], body.verdict, reason=body.reason, by=act.by)


_LINES = "/admin/v1/lines"

ROUTES: tuple[Route, ...] = (
    Route(method="GET", path=_LINES, command="line list", summary="Lines", handler=listed, gives=list[manage_lines.LineFile]),
    Route(method="POST", path=_LINES, command="line propose", summary="Take a line in", handler=proposed, takes=LineBody,
          gives=manage_lines.LineFile),
    Route(method="POST", path=f"{_LINES}/{{line}}/approve", command="line approve", summary="The second yes to a line", handler=approved,
          takes=LineApproval, gives=manage_lines.LineFile),
    Route(method="POST", path=f"{_LINES}/{{line}}/end", command="line end", summary="End a line", handler=ended,
          gives=manage_lines.LineFile),
    Route(method="GET", path="/admin/v1/line-rows", command="line report", summary="What became of rows", handler=reported, query=("line",),
          gives=list[line_reports.LineReport]),
    Route(method="POST", path=f"{_LINES}/{{line}}/reconcile", command="line reconcile", summary="Compare counts now", handler=reconciled,
          gives=list[compare_counts.Comparison]),
    Route(method="POST", path="/admin/v1/line-streams/{stream}/decide", command="line decide", summary="A person's word about a batch",
          handler=decided, takes=Verdict, gives=manage_lines.Decided),
)  # fmt: skip
