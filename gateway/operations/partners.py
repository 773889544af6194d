"""What the exchange stories share: which agreement governs a stream, whose keys we trust, and the line to a partner.

Rules: agreements and keys are read from the store and verified again each time; nothing is remembered between stories. An adapter is
given its own settings and the partner's address, never a key. This file tells no story.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from gateway.adapter_contract import AdapterError, PartnerAdapter
from gateway.core import message_signing
from gateway.core.errors import ExchangeError, SettingsError
from gateway.core.exchange import documents, sealed_files
from gateway.core.exchange.agreements import Held, StreamRules, in_force, rules_of
from gateway.core.exchange.documents import PartnerKeys
from gateway.core.exchange.notes import KeyRing, SignedDocument
from gateway.core.exchange.wire import SUITES, Suite, b64u, split_stream
from gateway.core.signing import Algorithm, Ed25519Signer, Signer
from gateway.operations.apart import PATIENCE
from gateway.services import Services
from gateway.store import held_agreements
from gateway.store.store import Source, moment

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
"""In test mode a partner may be on this machine; nowhere else without `allow_private`."""


LONGEST_CODE = 32
"""Characters of a code in every column that keeps one."""
NONCE_BYTES = 16
BODIES: Final = 2
"""So many bodies of ours a partner takes at a time (exchange.md §6)."""
LONGEST_CALL: Final = timedelta(minutes=10)
"""How long a guest may take over what carries no batch."""
LONGEST_LOOK: Final = timedelta(hours=1)
"""And to look for what a partner has for us; it is cut off then, and the partner waits like one that does not answer."""
LETTING_GO: Final = timedelta(minutes=2)
"""And to let go of its line."""
ED25519: frozenset[Algorithm] = frozenset({"ed25519"})


class Stream(Struct, frozen=True, kw_only=True):
    """One stream in one direction, with the agreement that governs it at a moment."""

    name: str
    sender: str
    receiver: str
    versions: tuple[Held, ...]
    governing: Held
    rules: StreamRules

    @property
    def suite(self) -> Suite:
        """Hash and signatures that were agreed for it."""
        return SUITES[self.rules.terms.wire.suite]

    def partner(self, ours: str) -> str:
        """The side that is not ours."""
        return self.receiver if self.sender == ours else self.sender


async def stream_at(source: Source, stream: str, sender: str, at: datetime) -> Stream | None:
    """A stream as governed at a moment; None when no agreement that both have signed ever covered it."""
    name, dataset = split_stream(stream)
    versions = (await held_agreements.held_agreements(source, name)).get(name, [])
    governing = in_force(versions, at) or next((held for held in versions if held.complete), None)
    if governing is None:
        return None
    try:
        rules = rules_of(governing.agreement, dataset, sender)
    except ExchangeError:
        return None
    return Stream(
        name=stream,
        sender=sender,
        receiver=rules.terms.to,
        versions=tuple(versions),
        governing=governing,
        rules=rules,
    )


async def streams_from(source: Source, sender: str, at: datetime) -> list[Stream]:
    """Every stream that a party sends under an agreement that both have signed, in order of name."""
    found: list[Stream] = []
    for name, versions in (await held_agreements.held_agreements(source)).items():
        governing = in_force(versions, at)
        if governing is None:
            continue
        for terms in governing.agreement.terms.streams:
            if terms.from_ == sender:
                stream = await stream_at(source, f"{name}.{terms.dataset}", sender, at)
                if stream is not None:
                    found.append(stream)
    return sorted(found, key=lambda stream: stream.name)


async def streams_beside(source: Source, stream: Stream) -> list[str]:
    """Streams of the same dataset between the same two under other agreements, over or not: what was told in them counts for versions."""
    own, dataset = split_stream(stream.name)
    return [
        f"{name}.{dataset}"
        for name, versions in (await held_agreements.held_agreements(source)).items()
        if name != own
        and any(
            (terms.dataset, terms.from_, terms.to) == (dataset, stream.sender, stream.receiver)
            for held in versions
            if held.complete
            for terms in held.agreement.terms.streams
        )
    ]


async def streams_of(source: Source, name: str | None = None) -> list[tuple[str, str]]:
    """(sender, receiver) of every stream of every agreement, or of those with this name."""
    found = []
    for agreement_id, versions in (await held_agreements.held_agreements(source)).items():
        told = {(f"{agreement_id}.{each.dataset}", each.from_, each.to) for held in versions for each in held.agreement.terms.streams}
        found += [(sender, receiver) for stream, sender, receiver in sorted(told) if name in (None, stream)]
    return found


async def agreed_lines(services: Services) -> list[tuple[Held, str]]:
    """Every agreement that governs something between a partner and us, as it governs now, with the partner; each has a line of its own.

    It is in force, to come, or over while withdrawals still travel. In order of name.
    """
    now, ours = services.clock(), services.signers.party
    found: list[tuple[Held, str]] = []
    for versions in (await held_agreements.held_agreements(services.store.reads)).values():
        held = in_force(versions, now) or next((held for held in versions if held.complete), None)
        if held is not None and ours in held.agreement.parties and (not held.standing(now).ended or held.takes_withdrawals(now)):
            found.append((held, held.agreement.other(ours)))
    return found


def line_name(held: Held, partner: str) -> str:
    """What the line of an agreement is called where somebody is told of it: partner and agreement."""
    return f"{partner}/{held.agreement.id}"


async def trusted_keys(source: Source, held: Held, party: str) -> tuple[KeyRing, PartnerKeys | None]:
    """The keys of a party that we trust for new artefacts, and the document that lists them (None: none is held).

    Raises ExchangeError when what is stored does not verify any more.
    """
    pins = held.agreement.pins(party)
    keys = await held_agreements.partner_keys_of(source, held.agreement, party)
    return documents.ring(pins, [keys] if keys is not None else []), keys


async def every_key(source: Source, held: Held, party: str) -> KeyRing:
    """Every key of a party that any of its documents ever listed: for verifying again what was admitted long ago."""
    versions = (await held_agreements.held_agreements(source, held.agreement.id)).get(held.agreement.id, [held])
    keys = {ref: key for version in versions for ref, key in version.agreement.pins(party).keys.items()}
    pins = KeyRing(party=party, keys=keys)  # a key that only an older version pins has signed older documents
    rows = await held_agreements.all_keys(source, party)
    read = [
        documents.read_keys(SignedDocument(row.body, row.note), pins, first_seen=moment(row.first_seen), skew=held.agreement.skew)
        for row in rows
    ]
    return documents.ring(pins, read)


class LineTools:
    """What is lent to an adapter: requests signed for its partner's address, files sealed for its line; the keys stay here."""

    __slots__ = ("_base", "_file_key", "_services")

    def __init__(self, services: Services, base_url: str, file_key: Mapping[str, str] | None = None) -> None:
        self._services = services
        self._base = base_url.rstrip("/")
        self._file_key = file_key

    def sign_request(self, method: str, url: str, content_type: str | None, body: bytes | None) -> Mapping[str, str]:
        """The header fields of exchange.md §10 for a request under the partner's base URL; a new nonce each time.

        Raises AdapterError CONFIG for any other address, and when we have no `http` key that is good now.
        """
        if not url.startswith((self._base + "/", self._base + "?")):
            raise AdapterError("CONFIG", "只为对方在协议中的地址签名", transient=False)
        now = self._services.clock()
        try:
            signer = self._services.signers.signing("http", now)
        except SettingsError as error:
            raise AdapterError("CONFIG", "本机没有可用的 http 密钥", transient=False) from error
        assert isinstance(signer, Ed25519Signer)  # noqa: S101  # `http` keys are of no other kind
        path = url[len(self._base) :].partition("?")[0]
        tag = "cx-read" if method == "GET" else "cx-query" if path == "/query" else "cx-write"
        headers = message_signing.sign_request(
            signer,
            method=method,
            url=url,
            body=body or b"",
            content_type=content_type or "application/octet-stream",
            tag=tag,
            now=now,
            nonce=b64u(self._services.random(NONCE_BYTES)),
        )
        return {name.lower(): value for name, value in headers}  # in one spelling: an adapter may have set the type already

    def seal_file(self, name: str, data: bytes) -> bytes:
        """A file of the line, sealed under its name with the key that `[local] file_key` names.

        Raises AdapterError CONFIG without such a key, SIZE_BYTES.
        """
        return self._with_key(sealed_files.seal_file, name, data)

    def open_file(self, name: str, data: bytes) -> bytes:
        """What was sealed under this name with the line's key.

        Raises AdapterError FILE_SEALED, SIZE_BYTES, CONFIG.
        """
        return self._with_key(sealed_files.open_file, name, data)

    def _with_key(self, story: Callable[[bytes, str, bytes], bytes], name: str, data: bytes) -> bytes:
        """The key is read for each file and forgotten: it may be exchanged while the process runs."""
        if self._file_key is None:
            raise AdapterError("CONFIG", "此线路没有设置文件密钥（[local] file_key）", transient=False, place=name)
        try:
            secret = self._services.adapters.secret(self._file_key, "file_key")
            return story(sealed_files.read_file_key(secret.reveal(), place="file_key"), name, data)
        except SettingsError as error:
            raise AdapterError("CONFIG", "文件密钥无法读取", transient=False, place=name) from error
        except ExchangeError as error:
            raise AdapterError(error.code, "文件无法封装或者打开", transient=False, place=name) from error


def fetched_from(held: Held, partner: str) -> tuple[str, ...]:
    """The streams of a partner that nobody brings us: the agreement says `pull`."""
    terms = held.agreement.terms.streams
    return tuple(f"{held.agreement.id}.{stream.dataset}" for stream in terms if stream.from_ == partner and stream.wire.delivery == "pull")


@asynccontextmanager
async def line_to(services: Services, held: Held, partner: str) -> AsyncIterator[PartnerAdapter]:
    """The adapter that carries batches to a partner, as our `[local]` part says; closed at the end.

    What the agreement says is put into those settings that the adapter has.

    Raises SettingsError for an adapter that is not installed or settings that it does not take.
    """
    local = held.local
    address = held.agreement.party(partner).identity.base_url
    private = local.allow_private or (services.settings.demo and urlsplit(address).hostname in LOOPBACK)
    facts: dict[str, object] = {
        "base_url": address,
        "allow_private": private,
        "ours": services.signers.party,
        "partner": partner,
        "streams": fetched_from(held, partner),
        "agreed": {f"{held.agreement.id}/{held.agreement.version}": held.agreement.digest},
        "incoming": tuple(f"{held.agreement.id}.{one.dataset}" for one in held.agreement.terms.streams if one.from_ == partner),
    }
    takes = services.adapters.load(local.adapter).Config.__struct_fields__
    config = {name: value for name, value in facts.items() if name in takes} | local.config
    line = services.adapters.partner(local.adapter, config, LineTools(services, address, local.file_key))
    try:
        yield line
    except AdapterError as error:
        error.code = code_of(error)
        raise
    except SystemExit as error:  # a guest that means to leave leaves its own line
        raise AdapterError("ADAPTER_FAILED", "适配器异常: SystemExit", transient=False) from error
    finally:
        with suppress(TimeoutError):
            async with asyncio.timeout(LETTING_GO.total_seconds()):
                await line.close()


@asynccontextmanager
async def one_of_two(services: Services, partner: str) -> AsyncIterator[None]:
    """A place for a body that is brought to a partner, under whichever agreement: it refuses a third while two are on their way.

    Whoever has waited ten seconds goes without: those before it may be silent lines, and the partner says for itself what is too much.
    """
    places = services.bodies.setdefault(partner, asyncio.Semaphore(BODIES))
    try:
        async with asyncio.timeout(PATIENCE.total_seconds()):
            await places.acquire()
    except TimeoutError:
        yield
        return
    try:
        yield
    finally:
        places.release()


def code_of(error: AdapterError) -> str:
    """A guest's code as it is kept and shown: it may be a partner's own word, as long and as odd as that partner likes."""
    code: object = error.code
    return code[:LONGEST_CODE] if isinstance(code, str) and code and code.isprintable() else "ADAPTER_FAILED"


def exchange_signers(services: Services, now: datetime, algorithms: frozenset[Algorithm] = ED25519) -> list[Signer]:
    """The keys with which our artefacts of a stream are signed, one of each algorithm that it needs.

    Raises SettingsError key-missing.
    """
    return [services.signers.signing("exchange", now, algorithm) for algorithm in sorted(algorithms)]
