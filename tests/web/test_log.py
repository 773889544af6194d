"""The transparency log over a real socket, on both databases: read whole by a stranger, and proven record by record."""

import asyncio
import hashlib
import json
from base64 import b64decode
from pathlib import Path
from urllib.parse import quote

import pytest

from gateway.commands.log import promised
from gateway.core.callers.caller import PUBLIC
from gateway.core.errors import ExchangeError
from gateway.core.exchange import notes
from gateway.core.signing import Ed25519Signer, parse_vkey
from gateway.core.transparency import tiles
from gateway.core.transparency.monitoring import Memory
from gateway.core.transparency.witnessing import read_policy, write_ask
from gateway.log_client import fetching
from gateway.operations.answer_lists import listings
from gateway.operations.erase import erase
from gateway.operations.read_log import merge_delay_s
from gateway.operations.verify_log import VerifiedLog, verify_proof, verify_served
from gateway.operations.withdraw import withdraw
from gateway.operations.witness_log import LOGS_FILE
from gateway.services import open_services
from tests.administrators import enrolled
from tests.commands import chengxin
from tests.core.transparency.test_witnessing import head, proof
from tests.operations.publishing import ask
from tests.region import followed
from tests.web.city import City, Server, copied, served
from tests.web.test_api import problem, walk

PARTY = "credit.tonghua.example"


def verified(
    server: Server,
    kept: dict[str, str] | None = None,
    memory: Memory | None = None,
    asked: list[str] | None = None,
    years: list[int] | None = None,
) -> tuple[VerifiedLog, dict[str, str]]:
    """The log as a stranger reads it, whole or from where it was; `asked` for these paths. `years`: in place of those that are listed."""

    async def story() -> tuple[VerifiedLog, dict[str, str]]:
        async with fetching(str(server.client.base_url).rstrip("/")) as get:

            async def fetch(path: str) -> bytes:
                if asked is not None:
                    asked.append(path)
                return await get(path)

            policy = read_policy((await fetch("/log/policy")).decode())
            said = [each["year"] for each in json.loads(await fetch("/v1/log"))["items"]]
            return await verify_served(fetch, said if years is None else years, PARTY, policy, kept=kept, memory=memory)

    return asyncio.run(story())


def test_a_stranger_verifies_it_whole(server: Server) -> None:
    """From keys and tiles alone: every entry, tile and root, and every public listing both ways; a head kept before is continued."""
    done, heads = verified(server)
    lists = [each["id"] for each in server.get("/v1/lists").json()["items"]]
    listed = {row["id"] for each in lists for row in walk(server, f"/v1/lists/{each}/listings?limit=100")}
    assert done.differences == ()
    assert done.listings == len(listed) > 5
    assert done.entries >= done.listings
    assert verified(server, heads)[0] == done
    (origin,) = heads
    forged = {origin: notes.sign(f"{origin}\n1\n{'A' * 43}=\n", [Ed25519Signer(origin, b"\x07" * 32)])}
    with pytest.raises(ExchangeError):
        verified(server, forged)


def test_a_stranger_reads_on_from_where_it_was(sqlite_server: Server) -> None:
    """With what was verified before no bundle of entries is fetched again, and every listing is compared all the same."""
    memory, asked = Memory(), list[str]()
    first, heads = verified(sqlite_server, memory=memory)
    again, _ = verified(sqlite_server, heads, memory, asked)
    assert (again.read, again.entries, again.listings, again.differences) == (0, first.read, first.listings, ())
    assert not any("/tile/entries/" in path for path in asked)
    assert any("/tile/0/" in path for path in asked), "the right edge is compared"


def test_a_served_log_that_is_gone_is_a_fork(sqlite_server: Server) -> None:
    """A year that was read, or whose head was kept, must be listed again: none of them is forgotten because nobody names it any more."""
    memory = Memory()
    _, heads = verified(sqlite_server, memory=memory)
    (note,) = heads.values()
    older = heads | {f"{PARTY}/log/2025": note}
    for years, kept, again in (([], {}, memory), ([], heads, None), (None, older, None)):
        with pytest.raises(ExchangeError) as caught:
            verified(sqlite_server, kept, again, years=years)
        assert caught.value.code == "SEQ_FORK"


def test_a_log_says_within_what_time_it_takes_in_what_happens(server: Server) -> None:
    """Its pause and a minute for the round itself; nothing where somebody signs by hand, for nobody promises it there."""
    (log,) = server.get("/v1/log").json()["items"]
    assert log["merge_delay_s"] == 120
    assert [merge_delay_s(poll) for poll in (0, 0.5, 60, 600)] == [None, 61, 120, 660]


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ([{"merge_delay_s": 120}, {"merge_delay_s": 660}], 660),
        ([{"merge_delay_s": 10**30}], 3600),
        ([{"merge_delay_s": None}], 180),
        ([{}], 180),
        ([{"merge_delay_s": -1}, {"merge_delay_s": "60"}, {"merge_delay_s": True}], 180),
        ([], 180),
    ],
)
def test_a_monitor_waits_as_long_as_a_log_promises(said: list[dict[str, object]], seconds: float) -> None:
    """Of several years the longest, never more than an hour, and three minutes where nothing is promised that can be read."""
    assert promised(said) == seconds


def test_every_listing_is_proven_by_itself(server: Server) -> None:
    """A page's listing bears its salt; its proof leads to the signed head, and holds for this row alone."""
    (log,) = server.get("/v1/log").json()["items"]
    keys = [parse_vkey(each) for each in log["vkeys"]]
    for each in server.get("/v1/lists").json()["items"]:
        for row in server.get(f"/v1/lists/{each['id']}/listings?limit=3").json()["items"]:
            answer = server.get(row["links"]["proof"].removeprefix("http://127.0.0.1:8000"))
            assert answer.status_code == 200, answer.text
            said = answer.json()
            assert verify_proof(said, keys, row=said["row"].encode()).entry.rid == row["id"]
            assert json.loads(said["row"])["salt"] == row["salt"]
            entry = server.get(f"/v1/log/entries/{said['index']}?year={said['year']}").json()
            assert entry["entry"] == said["entry"]
            by_commitment = server.get(f"/v1/log/proof?commitment={quote(entry['commitment'], safe='')}").json()
            assert by_commitment == said | {"row": None}
            as_manifests_write_it = b64decode(entry["commitment"]).hex()
            assert server.get(f"/v1/log/proof?commitment={as_manifests_write_it}").json() == by_commitment


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1/log/proof", "invalid-parameter"),
        ("/v1/log/proof?record=rec_aaaqeayeaudaocajbifqydiob4&commitment=x", "invalid-parameter"),
        ("/v1/log/proof?record=x", "invalid-parameter"),
        ("/v1/log/proof?commitment=AAAA", "invalid-parameter"),
        ("/v1/log/proof?record=rec_aaaqeayeaudaocajbifqydiob4", "not-found"),
        ("/v1/log/entries/0", "invalid-parameter"),
        ("/v1/log/entries/00?year=2026", "not-found"),
        ("/v1/log/entries/999999?year=2026", "not-found"),
        ("/log/2026/tile/0/999", "not-found"),
        ("/log/2026/tile/9/000", "not-found"),
        ("/log/1999/checkpoint", "not-found"),
        ("/log/x/checkpoint", "not-found"),
    ],
)
def test_malformed_questions(sqlite_server: Server, path: str, code: str) -> None:
    """Each has its problem."""
    problem(sqlite_server.get(path), {"invalid-parameter": 400, "not-found": 404}[code], code)


def test_heads_and_tiles_are_kept_as_long_as_they_are_true(sqlite_server: Server) -> None:
    """A tile never changes, so it may be kept for ever; a head is asked for again each time, and a validator spares its bytes."""
    size = notes.read_checkpoint(notes.parse(sqlite_server.get("/log/2026/checkpoint").text).text).size
    tile = sqlite_server.get(f"/log/2026/tile/0/000.p/{size}" if size < 256 else "/log/2026/tile/0/000")
    assert "immutable" in tile.headers["cache-control"]
    assert len(tile.content) == 32 * min(size, 256)
    first = sqlite_server.get("/log/2026/checkpoint")
    assert first.headers["cache-control"] == "no-cache"
    assert sqlite_server.get("/log/2026/checkpoint", if_none_match=first.headers["etag"]).status_code == 304


def test_commands_verify_it_from_outside(sqlite_city: City, sqlite_server: Server, tmp_path: Path) -> None:
    """`verify log URL` keeps the heads it saw and compares them; `verify proof` checks a kept proof with its row, and no other."""
    url, settings = str(sqlite_server.client.base_url).rstrip("/"), ["--settings", str(sqlite_city.settings_file)]
    for _ in range(2):
        done = chengxin(tmp_path, *settings, "verify", "log", url, "--state", "heads")
        assert done.returncode == 0, done.stderr
        assert f"{PARTY}/log/2026: " in done.stdout
    again = [*settings, "verify", "log", url, "--state", "heads", "--json"]
    said = [json.loads(chengxin(tmp_path, *again, *more).stdout) for more in ([], ["--full"])]
    assert [each["read"] for each in said] == [0, said[0]["entries"]], "it reads on from where it was, and all of it when asked"
    kept = json.loads((tmp_path / "heads").read_text())
    for changed in (kept["reading"] | {"tree": kept["reading"]["tree"][::-1]}, kept["reading"] | {"size": 1}):
        (tmp_path / "heads").write_text(json.dumps(kept | {"reading": changed}))
        assert chengxin(tmp_path, *settings, "verify", "log", url, "--state", "heads").returncode == 1
    (tmp_path / "heads").write_text(json.dumps(kept["heads"]))
    assert chengxin(tmp_path, *settings, "verify", "log", url, "--state", "heads").returncode == 0, "heads alone, as they once were written"
    done = chengxin(tmp_path, *settings, "verify", "log")
    assert f"{PARTY}/log/2026: not witnessed by a quorum" in done.stdout
    (tmp_path / "policy").write_text(sqlite_server.get("/log/policy").text.replace("log ", "# ", 1))
    for more in (["--policy", "policy"], None):
        done = chengxin(tmp_path, *settings, "verify", "log", *([] if more is None else [url, *more]), "--state", "heads")
        assert (done.returncode, "SIG_CONTEXT at state" in done.stderr) == (1, True), "a state goes with its log and policy"
    (tmp_path / "heads").write_text(json.dumps({f"{PARTY}/log/2026": "nonsense"}))
    assert chengxin(tmp_path, *settings, "verify", "log", url, "--state", "heads").returncode == 1
    rows = sqlite_server.get("/v1/lists/tax-violations/listings?limit=2").json()["items"]
    for row in rows:
        said = sqlite_server.get(f"/v1/log/proof?record={row['id']}")
        (tmp_path / f"{row['id']}.proof").write_bytes(said.content)
        (tmp_path / f"{row['id']}.row").write_text(said.json()["row"])
    one, two = (row["id"] for row in rows)
    done = chengxin(tmp_path, *settings, "verify", "proof", f"{one}.proof", "--row", f"{one}.row")
    assert (done.returncode, "the one that was entered" in done.stdout) == (0, True), done.stderr
    assert "SIG_PART_DIGEST" in chengxin(tmp_path, *settings, "verify", "proof", f"{one}.proof", "--row", f"{two}.row").stderr
    done = chengxin(tmp_path, *settings, "log", "show", "--json")
    (shown,) = json.loads(done.stdout)
    assert (shown["origin"], shown["witnessed"]) == (f"{PARTY}/log/2026", False)
    (served_as,) = sqlite_server.get("/v1/log").json()["items"]
    assert served_as["witnessed"] is False, "the same everywhere: no quorum is asked for"


@pytest.fixture
def own_city(sqlite_city: City, tmp_path: Path) -> City:
    """A copy of the city, to be a witness."""
    return copied(sqlite_city, tmp_path / "witness")


def test_witness_over_http(own_city: City) -> None:
    """As a witness: a head that continues gets our line, another size is told in its media type, the newest head is read by its hash."""
    origin = "credit.baishan.example/log/2026"
    other = Ed25519Signer(origin, b"\x21" * 32)
    (own_city.folder / "data" / LOGS_FILE).write_text(f"log {other.vkey}\nquorum none\n")
    with served(own_city) as server:
        for place, body in (
            ("/witness", write_ask(0, [], head(5, other, origin))),
            ("/x/v1/witness", write_ask(5, proof(5, 20), head(20, other, origin))),
        ):
            answer = server.client.post(f"{place}/add-checkpoint", content=body)
            assert answer.status_code == 200, answer.text
            assert answer.text.startswith(f"— {PARTY}/witness ")
        again = server.client.post("/witness/add-checkpoint", content=write_ask(0, [], head(5, other, origin)))
        assert (again.status_code, again.text, again.headers["content-type"]) == (409, "20\n", "text/x.tlog.size")
        assert server.client.post("/witness/add-checkpoint", content=b"x").status_code == 400
        assert server.client.post("/witness/add-checkpoint", content=b"x" * 40_000).status_code == 413
        kept = server.get(f"/witness/{hashlib.sha256(origin.encode()).hexdigest()}/checkpoint")
        assert kept.text.startswith(f"{origin}\n20\n")
        problem(server.get(f"/witness/{'0' * 64}/checkpoint"), 404, "not-found")


def test_an_erasure_stands_in_the_served_log(sqlite_city: City, tmp_path: Path) -> None:
    """Read as a stranger reads it: erased while it was listed, and withdrawn first; each has its last, opaque word, and all verifies."""
    city = copied(sqlite_city, tmp_path / "house")
    gone: list[str] = []

    async def acts() -> None:
        async with open_services(city.settings()) as services:
            await services.policies.refresh()
            page = json.loads((await listings(services, "tax-violations", PUBLIC, ask())).body)
            gone.extend(item["id"] for item in page["items"][:2])
            await withdraw(services, gone[1], reason="revoked", actor="test")
            await followed(services)
            admin = await enrolled(services, "kang", "key-custodian")
            for record_id in gone:
                await erase(services, record_id, reason="request", by=await admin.acts("record.erase", target=record_id, reason="request"))
            await followed(services)

    asyncio.run(acts())
    with served(city) as server:
        done, _ = verified(server)
        assert done.differences == ()
        size = notes.read_checkpoint(notes.parse(server.get("/log/2026/checkpoint").text).text).size
        entries = []
        for name in tiles.bundles_of(size):
            bundle = server.get(f"/log/2026/tile/{tiles.tile_path(name)}").content
            entries += [json.loads(body) for body in tiles.read_bundle(bundle, name.width)]
        said = [[(each["op"], each["c"] is None, each["reason"]) for each in entries if each["rid"] == record_id] for record_id in gone]
        assert said == [
            [("list", False, None), ("erase", True, "removed")],
            [("list", False, None), ("remove", True, "removed"), ("erase", True, "removed")],
        ]
        for record_id in gone:
            assert server.get(f"/v1/log/proof?record={record_id}").status_code == 404
            index = max(place for place, each in enumerate(entries) if each["rid"] == record_id)
            shown = server.get(f"/v1/log/entries/{index}?year=2026").json()
            assert (shown["op"], shown["commitment"]) == ("erase", None)
