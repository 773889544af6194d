"""How the demo shows one record as the public and as a department get it over HTTP, with the reason for each difference.

Rules: both answers are fetched from the running gateway; reasons come from the compiled plan (`explain`), never from a value. This
room must not open a record.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx

from gateway.console import table
from gateway.core.disclosure.explain import hidden_fields
from gateway.core.errors import GatewayError
from gateway.core.records.model import DatasetId
from gateway.demo import department
from gateway.demo.cities import City
from gateway.sample.generate import Showcase
from gateway.services import Services

PENALTIES = "administrative-penalties"
PURPOSE = "dept.supervision"
WIDTH = 34
"""Longest value shown; a longer one is cut here, not in the answer."""
SENTENCE = 60


class DemoFailed(GatewayError):
    """Something that the demo shows is not there."""

    code = "demo-failed"


async def ask(client: httpx.AsyncClient, path: str, **headers: str) -> Any:
    """One JSON answer.

    Raises DemoFailed with the status and the problem's code.
    """
    answer = await client.get(path, headers=headers)
    if answer.status_code != httpx.codes.OK:
        code = answer.json().get("code") if "json" in answer.headers.get("content-type", "") else None
        raise DemoFailed(f"{answer.status_code} {code or answer.reason_phrase}", place=f"GET {str(client.base_url).rstrip('/')}{path}")
    return answer.json()


async def records_of(client: httpx.AsyncClient, uscc: str, dataset: str) -> list[Any]:
    """What the public sees of a subject in one dataset."""
    found: list[Any] = (await ask(client, f"/v1/subjects/{uscc}/records?dataset={dataset}"))["items"]
    return found


async def side_by_side(services: Services, city: City, sample: Showcase) -> list[str]:
    """A household's penalty, both views beside each other, and why they differ."""
    program = await department.program(services, city, PENALTIES, PURPOSE)
    async with httpx.AsyncClient(base_url=city.origin, timeout=30) as client:
        penalty = (await records_of(client, sample.household.uscc, PENALTIES))[0]
        path = f"/v1/records/{penalty['id']}"
        public = await ask(client, path)
        answer = await asyncio.to_thread(program.request, "GET", f"{city.origin}{path}", {"Purpose": PURPOSE, "Case-Ref": "demo-1"})
        if answer.status_code != httpx.codes.OK:
            raise DemoFailed(f"{answer.status_code} {answer.reason_phrase}", place=f"GET {path}")
        office = answer.json()
        program.http.close()
    policies = services.policies.current()
    dataset = policies.catalogue.datasets[DatasetId(PENALTIES)]
    plans = policies.public(DatasetId(PENALTIES))
    if plans is None:
        raise DemoFailed("the policies show penalties to nobody", place=PENALTIES)
    hidden = hidden_fields(plans.plans["individual_business"])
    rows, reasons = [], []
    for name, field in dataset.fields.items():
        shown, full = _value(public, name), _value(office, name)
        if shown is None and full is None:
            continue
        differs = name in hidden and shown != full
        rows.append((field.label, _cut(shown), _cut(full), hidden[name].treatment if differs else ""))
        if differs:
            reasons.append(hidden[name].reason)
    return [
        f"GET {city.origin}{path}",
        f"a penalty of an individual household, as everybody gets it, and as a department gets it for {PURPOSE}",
        f"(app {program.app}: registered, key and grant approved by a second person, token with DPoP by the reference client)",
        "",
        *table(rows, ("", "public", "department", "treatment")),
        "",
        "why:",
        *(f"  {reason}" for reason in dict.fromkeys(reasons)),
        f"  {public['notice']['text']}" if isinstance(public.get("notice"), dict) and "text" in public["notice"] else "  示例数据。",
    ]


def _value(answer: Mapping[str, Any], name: str) -> Any:
    """A field wherever the envelope of a record has it."""
    places: tuple[Mapping[str, Any], ...] = (answer.get("fields", {}), answer, answer.get("subject", {}))
    named = {"source_unit": ("source", "name"), "source_unit_code": ("source", "uscc")}
    if name in named:
        part, member = named[name]
        return (answer.get(part) or {}).get(member)
    return next((place[name] for place in places if place.get(name) is not None), None)


def _cut(value: Any) -> str:
    text = "-" if value is None else "、".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= WIDTH else text[: WIDTH - 1] + "…"
