"""Be a witness of partners' logs: sign a head only if it continues the one signed before (c2sp.org/tlog-witness).

Rules: which logs are known stands in `<data_dir>/witnessed-logs`, a log policy file with `log` lines and `quorum none`; check and store
are one transaction, so that two requests at once never get two heads of one size signed. What is refused says why by its status. This
story must not sign for our own log.
"""

from typing import Final

from gateway.core.errors import ExchangeError, SettingsError
from gateway.core.exchange.notes import KeyRing
from gateway.core.exchange.wire import b64
from gateway.core.signing import CosignatureSigner, Ed25519Signer
from gateway.core.transparency.witnessing import Held, WitnessRefused, judge, origin_asked, read_ask, read_policy, ring_of
from gateway.services import Services
from gateway.store import transparency

LOGS_FILE: Final = "witnessed-logs"


def logs_of(services: Services) -> dict[str, KeyRing]:
    """By origin the keys of the logs that we witness.

    Raises SettingsError `log-policy` for a file that is none.
    """
    path = services.settings.data_path / LOGS_FILE
    try:
        policy = read_policy(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, ExchangeError) as error:
        raise SettingsError(
            "the file of witnessed logs cannot be read", code="log-policy", place=str(path), hint="`log VKEY` lines and `quorum none`"
        ) from error
    own = f"{services.settings.party}/log/"
    return {each.name: ring_of(each.name, policy.logs) for each in policy.logs if not each.name.startswith(own)}


def witness_key(services: Services) -> CosignatureSigner | None:
    """Our key as a witness; None when we are none."""
    now = services.clock()
    for key in services.signers.keys:
        if key.use == "witness" and key.good(now) and isinstance(key.signer, Ed25519Signer):
            return CosignatureSigner(key.signer)
    return None


async def add_checkpoint(services: Services, body: bytes) -> str:
    """Our cosignature line over the head that is asked for.

    Raises WitnessRefused.
    """
    key = witness_key(services)
    if key is None:
        raise WitnessRefused(404, "this gateway is no witness")
    ask = read_ask(body)
    origin, logs = origin_asked(ask), logs_of(services)
    known = await transparency.witnessed(services.store.reads, origin)
    judge(ask, logs, None if known is None else Held(known.size, known.root))  # nobody takes the writer's turn without a good signature
    async with services.store.transaction() as tx:
        held = await transparency.witnessed(tx, origin)
        head = judge(ask, logs, None if held is None else Held(held.size, held.root))
        line = f"— {key.name} {b64(key.key_id + key.sign(head.text.encode(), int(tx.now.timestamp())))}\n"
        await transparency.put_witnessed(tx, origin, head.size, head.root, f"{head.text}\n{line}")
    return line


async def latest(services: Services, digest: str) -> str | None:
    """The newest head of a log that we signed, by the SHA-256 of its origin in hex; None for none."""
    held = await transparency.witnessed_by_digest(services.store.reads, digest)
    return None if held is None else held.note
