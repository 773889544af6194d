"""Commands of reviewers: `review list`, `show`, `approve`, `edit`, `refuse`.

They go through the reference client, as an application of the department whose record it is: an administrator has no data tier.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import msgspec
import rich_click as click

from gateway.commands.office import FILE, Office, as_json, office
from gateway.console import show, table
from gateway.core.errors import GatewayError

if TYPE_CHECKING:
    from gateway.reference_client import Refused

PURPOSE = "dept.supervision"


@click.group()
def review() -> None:
    """Held texts of a department's own records: what waits, release, cover, refuse."""


def _as_app(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every command here."""
    for option in (
        click.option("--url", default=None, help="Origin of the gateway; else `public_origin` of the settings."),
        click.option("--key", "key_file", required=True, type=FILE, metavar="FILE", help="The application's private key, PEM."),
        click.option("--case-ref", default=None, metavar="REF", help="Case reference, which the policy asks of whoever looks at records."),
        click.option("--app", required=True, help="Id of an application of the department."),
    ):
        command = option(command)
    return command


def _told(refused: "Refused") -> GatewayError:
    return GatewayError(refused.text, code=refused.code, place=refused.place)


def _asked(
    office: Office, method: str, path: str, app: str, key_file: Path, case_ref: str | None, url: str | None, body: object = None
) -> dict[str, Any]:
    """The answer of the gateway.

    Raises GatewayError with the problem's own code, place and words.
    """
    from gateway.reference_client import Client, Key, Refused, Unreachable, refusal, unreachable

    origin = url or office.settings().public_origin
    headers = {"Accept": "application/json", "Purpose": PURPOSE}
    if body is not None:
        headers["Content-Type"] = "application/json"
    if case_ref is not None:
        headers["Case-Ref"] = case_ref
    try:
        client = Client(origin, app, Key.read(key_file))
        answer = client.request(method, f"{client.origin}{path}", headers, None if body is None else msgspec.json.encode(body))
    except Refused as error:
        raise _told(error) from None
    except Unreachable as error:
        raise _told(unreachable(origin, error)) from None
    if answer.is_error:
        raise _told(refusal(answer, f"{client.origin}{path}"))
    found: dict[str, Any] = answer.json()
    return found


@review.command("list")
@click.option("--dataset", default=None)
@click.option("--overdue", is_flag=True, help="Only what waits too long.")
@_as_app
@as_json
@office
def review_list(
    office: Office, dataset: str | None, overdue: bool, app: str, key_file: Path, case_ref: str | None, url: str | None, as_json: bool
) -> None:
    """Texts that wait, the oldest first."""
    items: list[dict[str, Any]] = []
    after: str | None = None
    while True:
        said = {"dataset": dataset, "overdue": "1" if overdue else None, "after": after}
        query = urlencode({name: value for name, value in said.items() if value is not None})
        page = _asked(office, "GET", f"/v1/reviews?{query}" if query else "/v1/reviews", app, key_file, case_ref, url)
        items += page["items"]
        after = page["next"]
        if after is None:
            break
    show(
        items,
        as_json=as_json,
        text=lambda: table(
            [(one["id"], one["dataset"], one["label"], str(one["residual"]), one["since"], str(one["overdue"])) for one in items],
            ("text", "dataset", "field", "doubts", "since", "overdue"),
        ),
    )


@review.command("show")
@click.argument("text")
@_as_app
@as_json
@office
def review_show(office: Office, text: str, app: str, key_file: Path, case_ref: str | None, url: str | None, as_json: bool) -> None:
    """One text as the redactor left it, with its suspicious places."""
    one = _asked(office, "GET", f"/v1/reviews/{quote(text)}", app, key_file, case_ref, url)
    places = [f"  {doubt['start']}-{doubt['end']}  {doubt['text']}" for doubt in one["doubts"]]
    show(one, as_json=as_json, text=lambda: [one["text"], *places, f"read exactly so: {one['same_text']} more"])


@review.command("approve")
@click.argument("text")
@click.option("--same-text", is_flag=True, help="Every text of the department that reads exactly so.")
@_as_app
@as_json
@office
def review_approve(
    office: Office, text: str, same_text: bool, app: str, key_file: Path, case_ref: str | None, url: str | None, as_json: bool
) -> None:
    """Release a text as it was shown."""
    _decided(_asked(office, "POST", f"/v1/reviews/{quote(text)}/approve", app, key_file, case_ref, url, {"same_text": same_text}), as_json)


@review.command("edit")
@click.argument("text")
@click.option("--span", "spans", multiple=True, required=True, metavar="A-B", help="A place to cover, as `show` counts; may be repeated.")
@_as_app
@as_json
@office
def review_edit(
    office: Office, text: str, spans: tuple[str, ...], app: str, key_file: Path, case_ref: str | None, url: str | None, as_json: bool
) -> None:
    """Cover places of a text, and release what is left."""
    places = [span.partition("-") for span in spans]
    if not all(start.isdecimal() and end.isdecimal() for start, _, end in places):
        raise click.UsageError("--span takes two numbers, such as 3-6")
    body = {"spans": [{"start": int(start), "end": int(end)} for start, _, end in places]}
    _decided(_asked(office, "POST", f"/v1/reviews/{quote(text)}/edit", app, key_file, case_ref, url, body), as_json)


@review.command("refuse")
@click.argument("text")
@click.option("--reason", required=True)
@_as_app
@as_json
@office
def review_refuse(
    office: Office, text: str, reason: str, app: str, key_file: Path, case_ref: str | None, url: str | None, as_json: bool
) -> None:
    """Keep a text held, and out of the queue."""
    _decided(_asked(office, "POST", f"/v1/reviews/{quote(text)}/refuse", app, key_file, case_ref, url, {"reason": reason}), as_json)


def _decided(done: dict[str, Any], as_json: bool) -> None:
    show(done, as_json=as_json, text=lambda: [f"{done['id']}: {done['decision']}, {done['decided']} in all"])
