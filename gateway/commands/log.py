"""Commands about the transparency log: `log show`, `log sign`, `verify log`, `verify proof`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import rich_click as click

from gateway.commands.audits import verify
from gateway.commands.office import FILE, Office, as_json, office
from gateway.console import note, say, show, table

if TYPE_CHECKING:
    from gateway.core.transparency.monitoring import Memory, State
    from gateway.operations.verify_log import VerifiedLog
    from gateway.services import Services

NEW_FILE = click.Path(dir_okay=False, path_type=Path)
PATIENCE_S: Final = 180.0
LONGEST_PATIENCE_S: Final = 3600.0


@click.group()
def log() -> None:
    """The transparency log of public listings."""


@log.command("show")
@as_json
@office
def log_show(office: Office, as_json: bool) -> None:
    """The logs of all years: size, signed head, and who witnessed it."""
    from gateway.operations.keep_log import show_logs

    lines = office.run(show_logs)
    show(
        lines,
        as_json=as_json,
        text=lambda: table(
            [
                (each.origin, each.size, each.signed_size, each.signed_at, ", ".join(each.witnesses), "yes" if each.witnessed else "no")
                for each in lines
            ],
            ("log", "entries", "signed", "at", "witnesses", "witnessed"),
        ),
    )


@log.command("sign")
@office
def log_sign(office: Office) -> None:
    """Enter what happened, sign the head and ask the witnesses; a server does so by itself."""
    from gateway.log_client import ask_witness
    from gateway.operations.keep_log import enter, have_witnessed, sign_heads

    async def story(services: "Services") -> list[str]:
        count = 0
        while (done := await enter(services)) is not None:
            count += done.entries
        signed = await sign_heads(services)
        witnessed = await have_witnessed(services, ask_witness)
        return [
            f"{count} entries",
            *(f"{each.origin}: head of {each.size} signed" for each in signed),
            *(f"{each.origin}: witnessed by {', '.join(each.witnesses) or 'nobody'}" for each in witnessed),
        ]

    for line in office.run(story):
        say(line)


@verify.command("log")
@click.argument("origin", required=False, metavar="[URL]")
@click.option("--policy", type=FILE, help="For a URL: the log policy to believe (keys, quorum); else the one it serves.")
@click.option("--state", type=NEW_FILE, help="Keeps what was verified, and reads on from there the next time; once a day it reads all.")
@click.option("--full", is_flag=True, help="Read the log from its beginning, whatever the state says.")
@click.option(
    "--patience",
    type=click.FloatRange(0, LONGEST_PATIENCE_S),
    help="For a URL: seconds after which what differs is looked at again; else what the log promises (`merge_delay_s`), or 180.",
)
@as_json
@office
def verify_log(
    office: Office, origin: str | None, policy: Path | None, state: Path | None, full: bool, patience: float | None, as_json: bool
) -> None:
    """Read a log whole, ours or a served one, and hold what is public against it; names every record that was changed behind its back."""
    from msgspec.structs import replace

    from gateway.core.errors import StoreError
    from gateway.core.transparency.monitoring import Memory, State, read_state, state_bytes
    from gateway.operations import verify_log as story

    before = read_state(state.read_bytes()) if state is not None and state.exists() else State(heads={})
    memory = Memory(before.reading)
    if origin is None:
        after = before.of(office.settings().party, ())
        done = office.run(lambda services: story.verify_store(services, memory, whole=full))
    else:
        done, after = _from_anywhere(origin.rstrip("/"), policy, before, memory, whole=full, patience=patience)
    if state is not None:
        draft = state.with_name(f"{state.name}.part")
        draft.write_bytes(state_bytes(replace(after, reading=memory.kept)))
        draft.replace(state)
    show(
        done,
        as_json=as_json,
        text=lambda: [
            *(f"{name}: {size} entries verified" for name, size in done.logs.items()),
            f"{done.read} of them read now",
            f"{done.listings} public listings compared",
            *(f"{name}: not witnessed by a quorum" for name in done.unwitnessed),
            *(f"{each.kind}: {each.rid}" for each in done.differences),
        ],
    )
    if done.differences:
        raise StoreError("what is public is not what was entered", code="log-differs", place=done.differences[0].rid)


def promised(logs: Sequence[Mapping[str, Any]]) -> float:
    """Seconds within which a served log says that it takes in what happens: of its years the longest, an hour at most.

    Where it says nothing that is a number of seconds, or promises nothing, three minutes.
    """
    said = [each.get("merge_delay_s") for each in logs]
    seconds = [float(each) for each in said if isinstance(each, int | float) and not isinstance(each, bool) and each >= 0]
    return min(max(seconds, default=PATIENCE_S), LONGEST_PATIENCE_S)


def _from_anywhere(
    origin: str, policy: Path | None, before: "State", memory: "Memory", *, whole: bool, patience: float | None
) -> "tuple[VerifiedLog, State]":
    """A served log; what differs counts only when it still does after a while."""
    import asyncio

    import msgspec

    from gateway.core.transparency.witnessing import lines_of, read_policy
    from gateway.log_client import fetching
    from gateway.operations.verify_log import verify_served

    given = None if policy is None else policy.read_text(encoding="utf-8")

    async def story() -> "tuple[VerifiedLog, State]":
        async with fetching(origin) as fetch:
            text = given if given is not None else (await fetch("/log/policy")).decode()
            said = msgspec.json.decode(await fetch("/v1/log"))["items"]
            party = said[0]["origin"].partition("/")[0] if said else before.party
            after = before.of(party, lines_of(text))
            years = [each["year"] for each in said]
            done, heads = await verify_served(fetch, years, party, read_policy(text), kept=before.heads, memory=memory, whole=whole)
            wait = promised(said) if patience is None else patience
            if done.differences and wait:  # what has just left, or come, is entered with the next head
                note(f"{len(done.differences)} differences: looking again in {wait:g} s")
                await asyncio.sleep(wait)
                first, read = done.differences, done.read
                done, heads = await verify_served(fetch, years, party, read_policy(text), kept=heads, memory=memory)
                still = tuple(each for each in done.differences if each in first)
                done = msgspec.structs.replace(done, differences=still, read=read + done.read)
            return done, msgspec.structs.replace(after, heads=heads)

    return asyncio.run(story())


@verify.command("proof")
@click.argument("file", type=FILE)
@click.option("--row", type=FILE, help="The listing with its salt, as JSON: shows that it is the one that was entered.")
@click.option("--vkey", "vkeys", multiple=True, metavar="KEY", help="The log's verifier key to believe, from `/v1/log`; else our own.")
@as_json
@office
def verify_proof(office: Office, file: Path, row: Path | None, vkeys: tuple[str, ...], as_json: bool) -> None:
    """Check an answer of `/v1/log/proof` offline: signature, inclusion, and that a listing is the one entered; needs no store."""
    from gateway.core.errors import ExchangeError
    from gateway.core.exchange.wire import strict_json
    from gateway.core.signing import parse_vkey
    from gateway.operations import verify_log as story
    from gateway.services import load_signers

    believed = vkeys or [key.signer.vkey for key in load_signers(office.settings()).keys if key.use == "log"]
    try:
        said = strict_json(file.read_bytes())
    except ExchangeError as error:
        raise ExchangeError("this is no proof of a log", code="SCHEMA_JSON", place=str(file)) from error
    done = story.verify_proof(said, [parse_vkey(each) for each in believed], row=None if row is None else row.read_bytes())
    show(
        done,
        as_json=as_json,
        text=lambda: [
            f"{done.origin}: entry {done.index} of {done.size}, {done.entry.op} of {done.entry.rid} at {done.entry.at}",
            "the row is the one that was entered" if done.row else "no row was compared: the answer has none (--row FILE)",
        ],
    )
