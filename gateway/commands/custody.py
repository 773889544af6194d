"""Commands of key custodians: `key rotate-kek`, `key renew-deks`, `key reencrypt`, `key rotate-label`, `erase` and `shred`."""

from typing import Any

import rich_click as click

from gateway.commands.office import Hand, Office, as_json, office, signed
from gateway.console import show


@click.command("rotate-kek")
@signed
@as_json
@office
def key_rotate_kek(office: Office, hand: Hand, as_json: bool) -> None:
    """A new key-encryption key, and every data key wrapped under it; give it again when it was cut off."""
    from gateway.operations.rotate_keys import rotate_kek

    done = office.act(hand, "key.rotate-kek", {}, lambda services, by: rotate_kek(services, by=by))
    show(
        done,
        as_json=as_json,
        text=lambda: [f"version {done.version}: {done.done} data keys", f"to be destroyed when no backup needs it: {done.old_file}"],
    )


@click.command("renew-deks")
@click.option("--scope", "prefix", default="", metavar="PREFIX", help="`org:`, `subject:` or `house:`; else all.")
@signed
@as_json
@office
def key_renew_deks(office: Office, hand: Hand, prefix: str, as_json: bool) -> None:
    """New data keys, and whatever the old ones sealed sealed anew."""
    from gateway.operations.rotate_keys import renew_deks

    done = office.act(hand, "key.renew-deks", {"scope": prefix}, lambda services, by: renew_deks(services, prefix=prefix, by=by))
    show(done, as_json=as_json, text=lambda: [f"{done.done} values sealed anew"])


@click.command("reencrypt")
@signed
@as_json
@office
def key_reencrypt(office: Office, hand: Hand, as_json: bool) -> None:
    """Seal anew what stands under a retired key or another suite; goes on where it was cut off."""
    from gateway.operations.rotate_keys import reencrypt

    done = office.act(hand, "key.reencrypt", {}, lambda services, by: reencrypt(services, by=by))
    show(done, as_json=as_json, text=lambda: [f"{done.done} values sealed anew"])


@click.command("rotate-label")
@click.argument("label")
@signed
@as_json
@office
def key_rotate_label(office: Office, hand: Hand, label: str, as_json: bool) -> None:
    """A new key for one label; a blind index is written under both keys, filled up and cut over."""
    from gateway.operations.rotate_keys import rotate_label

    done = office.act(hand, "key.rotate-label", {"label": label}, lambda services, by: rotate_label(services, label, by=by))
    show(done, as_json=as_json, text=lambda: [f"{done.what}: version {done.version}, {done.done} indexed anew"])


@click.command("shred")
@click.argument("subject")
@click.option("--reason", required=True, type=click.Choice(["request", "period-over", "court-order", "error"]))
@signed
@as_json
@office
def shred(office: Office, hand: Hand, subject: str, reason: Any, as_json: bool) -> None:
    """Destroy the data key and every index of a person or household, with all that it sealed; there is no way back."""
    from gateway.operations.shred import shred as story

    arguments = {"subject": subject, "reason": reason}
    done = office.act(hand, "subject.shred", arguments, lambda services, by: story(services, subject, reason=reason, by=by))
    show(done, as_json=as_json, text=lambda: [f"{done.subject}: {done.records} records erased, key destroyed"])


@click.command("erase")
@click.argument("target", metavar="TARGET")
@click.option("--reason", required=True, type=click.Choice(["request", "period-over", "court-order", "error"]))
@signed
@as_json
@office
def erase(office: Office, hand: Hand, target: str, reason: Any, as_json: bool) -> None:
    """Erase a record (rec_…) or every record of a subject (sub_…), here and at every partner that got it; there is no way back."""
    from gateway.operations.erase import erase as story

    arguments = {"target": target, "reason": reason}
    done = office.act(hand, "record.erase", arguments, lambda services, by: story(services, target, reason=reason, by=by))
    show(done, as_json=as_json, text=lambda: [f"{done.target}: {done.records} records erased; partners are told, see `exchange overdue`"])


COMMANDS = (key_rotate_kek, key_renew_deks, key_reencrypt, key_rotate_label)
"""Of the group `key`."""
