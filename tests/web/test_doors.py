"""The doors over a real socket: right credentials get in; whatever is wrong about one is one and the same refusal, and is written down."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from gateway.core.callers import api_keys
from gateway.operations.manage_apps import list_apps
from gateway.store import apps, audit, clients
from gateway.store.tables import tokens
from gateway.web.api import oauth
from tests.callers import Key, assertion, proof
from tests.doors import ORIGIN, PENALTIES, REGISTRATIONS, Program, a_token, developer, register
from tests.web.city import NOW, City, Server, copied, served

AT = datetime.fromisoformat(NOW)
ME = "/v1/me"


@pytest.fixture(scope="module")
def city(sqlite_city: City, tmp_path_factory: pytest.TempPathFactory) -> City:
    """A copy of the city that the doors may write in."""
    return copied(sqlite_city, tmp_path_factory.mktemp("doors") / "gateway")


@pytest.fixture(scope="module")
def server(city: City) -> Iterator[Server]:
    """Its server."""
    with served(city) as running:
        yield running


@pytest.fixture(scope="module")
def key() -> Key:
    """The key of the module's app."""
    return Key("ES256", seed=11)


@pytest.fixture(scope="module")
def app(city: City, key: Key) -> str:
    """A department's app with two grants."""
    found: str = city.run(lambda services: register(services, key, datasets=(PENALTIES, REGISTRATIONS)))
    return found


@pytest.fixture
def program(server: Server, app: str, key: Key) -> Program:
    """Its program."""
    return Program(client=server.client, app=app, key=key, now=AT)


def refused(answer: httpx.Response) -> dict[str, Any]:
    """The one answer to every credential that fails; what differs between two is taken out."""
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    challenge = answer.headers["www-authenticate"]
    assert 'error="invalid_token"' in challenge
    assert f'resource_metadata="{ORIGIN}/.well-known/oauth-protected-resource"' in challenge
    assert 'algs="ES256 Ed25519"' in challenge
    body: dict[str, Any] = answer.json()
    assert body["code"] == "credentials-invalid"
    return {name: value for name, value in body.items() if name not in ("instance", "trace_id")}


# --- in by the right way ----------------------------------------------------------------------------------------------


def test_a_department_gets_in(program: Program, key: Key) -> None:
    """Assertion, proof and nonce give a token; token and proof give a caller with the tier of its app and a purpose."""
    answer = program.ask_token()
    assert answer.status_code == 200
    body = answer.json()
    assert (body["token_type"], body["expires_in"]) == ("DPoP", 600)
    assert body["authorization_details"] == [
        {"type": "credit-data", "dataset": dataset, "purpose": "dept.supervision"} for dataset in sorted((PENALTIES, REGISTRATIONS))
    ]
    assert answer.headers["cache-control"] == "no-store"
    assert "refresh_token" not in body
    me = program.get(ME)
    assert me.status_code == 200
    assert {name: me.json()[name] for name in ("tier", "purpose", "credential", "app")} == {
        "tier": "department",
        "purpose": "dept.supervision",
        "credential": "token",
        "app": program.app,
    }


def test_every_key_type_gets_in(server: Server, city: City) -> None:
    """RSA for the assertion with a P-256 key for the proof; Ed25519 for both."""
    for first, second in ((Key("PS256"), Key("ES256", seed=21)), (Key("Ed25519", seed=22), Key("Ed25519", seed=22))):
        app = city.run(lambda services, first=first: register(services, first))
        program = Program(client=server.client, app=app, key=first, now=AT)
        program.post("/oauth/token", program.form(), DPoP=proof(second, "POST", ORIGIN + "/oauth/token", AT))
        answer = program.post("/oauth/token", program.form(), DPoP=proof(second, "POST", ORIGIN + "/oauth/token", AT, nonce=program.nonce))
        assert answer.status_code == 200
        program.key, program.token = second, answer.json()["access_token"]
        assert program.get(ME).json()["tier"] == "department"


def test_purposes_are_asked_for_by_details(program: Program) -> None:
    """A part of what is granted; more than that, another type, or anything malformed is refused; a scope is no way to ask."""
    one = [{"type": "credit-data", "dataset": PENALTIES, "purpose": "dept.supervision"}]
    assert program.ask_token(authorization_details=json.dumps(one)).json()["authorization_details"] == one
    both = program.ask_token(authorization_details='[{"type":"credit-data","purpose":"dept.supervision"}]')
    assert len(both.json()["authorization_details"]) == 2
    for details in (
        [{**one[0], "purpose": "exchange.batch"}],
        [{**one[0], "dataset": "tax-violations"}],
        [*one, {**one[0], "dataset": "nothing"}],
        [{**one[0], "type": "payment"}],
        [{**one[0], "actions": ["read"]}],
        [{**one[0], "dataset": None}],
        [{**one[0], "purpose": 1}],
        [{"type": "credit-data"}],
        [],
        {},
        one * 65,
    ):
        answer = program.ask_token(authorization_details=json.dumps(details))
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_authorization_details")
    for text in ("[", "nothing", '[{"type":"credit-data","purpose":"dept.supervision","purpose":"x"}]', "]", f'{json.dumps(one)},"b":1'):
        assert program.ask_token(authorization_details=text).json()["error"] == "invalid_authorization_details"
    assert program.ask_token(scope="read").json()["error"] == "invalid_scope"


def test_an_app_without_grants_gets_no_token(server: Server, city: City) -> None:
    """It is believed, and there is nothing to be given."""
    key = Key("ES256", seed=31)
    app = city.run(lambda services: register(services, key, datasets=()))
    answer = Program(client=server.client, app=app, key=key, now=AT).ask_token()
    assert (answer.status_code, answer.json()["error"]) == (400, "unauthorized_client")


# --- the token endpoint refuses ---------------------------------------------------------------------------------------


def test_every_wrong_assertion_reads_alike(program: Program, city: City, server: Server) -> None:
    """Unknown app, other app's key, expired, another audience, replayed, a second method beside it: one body."""
    program.ask_token()
    stranger = Key("ES256", seed=41)
    other = Key("ES256", seed=42)
    other_app = city.run(lambda services: register(services, other))
    good = assertion(program.app, program.key, ORIGIN, AT)
    spent = program.post("/oauth/token", program.form(client_assertion=good), DPoP=program.prove("POST", "/oauth/token"))
    assert spent.status_code == 200
    attempts: list[dict[str, str | None]] = [
        {"client_assertion": good},
        {"client_assertion": assertion("app_nobody", program.key, ORIGIN, AT)},
        {"client_assertion": assertion(program.app, stranger, ORIGIN, AT)},
        {"client_assertion": assertion(other_app, program.key, ORIGIN, AT)},
        {"client_assertion": assertion(program.app, other, ORIGIN, AT)},
        {"client_assertion": assertion(program.app, program.key, ORIGIN + "/oauth/token", AT)},
        {"client_assertion": assertion(program.app, program.key, ORIGIN, AT - timedelta(seconds=80))},
        {"client_assertion": program.token},
        {"client_assertion": program.prove("POST", "/oauth/token")},
        {"client_assertion": "x.y.z"},
        {"client_assertion": None},
        {"client_assertion_type": None},
        {"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"},
        {"client_secret": "secret"},
        {"client_id": other_app},
        {"assertion": good},
    ]
    bodies = set()
    for attempt in attempts:
        answer = program.post("/oauth/token", program.form(**attempt), DPoP=program.prove("POST", "/oauth/token"))
        assert answer.status_code == 400, attempt
        bodies.add(answer.text)
    basic = program.post("/oauth/token", program.form(), DPoP=program.prove("POST", "/oauth/token"), Authorization="Basic eDp5")
    bodies.add(basic.text)
    assert len(bodies) == 1
    assert json.loads(bodies.pop()) == {"error": "invalid_client"}


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"grant_type=client_credentials&grant_type=client_credentials", "application/x-www-form-urlencoded"),
        (b"a=" + b"x" * 17_000, "application/x-www-form-urlencoded"),
        (b"&".join(b"a%d=1" % n for n in range(40)), "application/x-www-form-urlencoded"),
        (b"grant_type=%FF", "application/x-www-form-urlencoded"),
        (b"grant_type=\xff", "application/x-www-form-urlencoded"),
        (b"grant_type", "application/x-www-form-urlencoded"),
        (b"grant_type=a%00b", "application/x-www-form-urlencoded"),
        (b"", "application/x-www-form-urlencoded"),
        (b'{"grant_type":"client_credentials"}', "application/json"),
        (b"grant_type=client_credentials", "text/plain"),
        (b"grant_type=client_credentials", "application/x-www-form-urlencoded; charset=gbk"),
        (b"grant_type=client_credentials", ""),
    ],
)
@pytest.mark.parametrize("path", ["/oauth/token", "/oauth/revoke", "/oauth/introspect"])
def test_what_is_no_plain_form_is_refused(server: Server, path: str, body: bytes, kind: str) -> None:
    """A name twice, too large, too many names, broken encoding, another type: `invalid_request`, before anything is looked up."""
    answer = server.client.post(path, content=body, headers={"Content-Type": kind} if kind else {})
    assert (answer.status_code, answer.json()) == (400, {"error": "invalid_request"})


def test_forms_of_another_kind(program: Program, server: Server) -> None:
    """A query string, another grant type, another method."""
    assert program.post("/oauth/token?a=1", program.form()).json()["error"] == "invalid_request"
    for grant in ("authorization_code", "password", "refresh_token", "urn:ietf:params:oauth:grant-type:token-exchange"):
        assert program.ask_token(grant_type=grant).json()["error"] == "unsupported_grant_type"
    assert server.get("/oauth/token").status_code == 405
    assert server.get("/oauth/authorize").status_code == 404


def test_a_proof_is_needed_and_its_nonce(program: Program) -> None:
    """None, two, another address, replayed: `invalid_dpop_proof`; without the nonce one is given; neither spends the assertion."""
    form = program.form()
    first = program.post("/oauth/token", form, DPoP=program.prove("POST", "/oauth/token", nonce=None))
    assert (first.status_code, first.json()) == (400, {"error": "use_dpop_nonce"})
    assert first.headers["dpop-nonce"] == program.nonce
    used = program.prove("POST", "/oauth/token")
    assert program.post("/oauth/token", program.form(), DPoP=used).status_code == 200
    for wrong in (None, "x", program.prove("GET", "/oauth/token"), program.prove("POST", "/oauth/revoke"), f"{used}, {used}"):
        answer = program.post("/oauth/token", form, **({} if wrong is None else {"DPoP": wrong}))
        assert (answer.status_code, answer.json()) == (400, {"error": "invalid_dpop_proof"})
    assert program.post("/oauth/token", form, DPoP=used).json()["error"] == "invalid_client"  # both ids in one: which one is not told
    assert program.post("/oauth/token", form, DPoP=program.prove("POST", "/oauth/token")).status_code == 200


# --- the API refuses --------------------------------------------------------------------------------------------------


def test_every_wrong_credential_reads_alike(program: Program, city: City) -> None:
    """Whatever is wrong with token, proof or key, and whatever is used as something else: one problem, never the public."""
    program.ask_token()
    program.get(ME)
    token, other = program.token, Key("ES256", seed=51)
    _, api_key = city.run(developer)
    ended = city.run(lambda services: a_token(services, program.app, program.key), "2026-06-01T02:00:00Z")
    good = program.prove("GET", ME, token)
    assert program.client.get(ME, headers={"Authorization": f"DPoP {token}", "DPoP": good}).status_code == 200

    def shown(said: str, *proofs: str) -> list[tuple[str, str]]:
        return [("Authorization", said), *(("DPoP", one) for one in proofs)]

    fresh = lambda **other: program.prove("GET", ME, token, **other)  # noqa: E731 - said a dozen times below
    attempts = {
        "replayed proof": shown(f"DPoP {token}", good),
        "no proof": shown(f"DPoP {token}"),
        "two proofs": shown(f"DPoP {token}", fresh(), fresh()),
        "bound token as bearer": shown(f"Bearer {token}"),
        "bound token as bearer, with proof": shown(f"Bearer {token}", fresh()),
        "other key": shown(f"DPoP {token}", proof(other, "GET", ORIGIN + ME, AT, token, nonce=program.nonce)),
        "other token": shown(f"DPoP {clients.draw(lambda n: b'x' * n)}", fresh()),
        "ended token": shown(f"DPoP {ended}", program.prove("GET", ME, ended)),
        "proof of another token": shown(f"DPoP {token}", program.prove("GET", ME, ended)),
        "proof without token digest": shown(f"DPoP {token}", program.prove("GET", ME)),
        "other method": shown(f"DPoP {token}", program.prove("HEAD", ME, token)),
        "other path": shown(f"DPoP {token}", program.prove("GET", "/v1", token)),
        "address with query": shown(f"DPoP {token}", fresh(htu=ORIGIN + ME + "?")),
        "where it really listens": shown(f"DPoP {token}", fresh(htu=str(program.client.base_url).rstrip("/") + ME)),
        "old proof": shown(f"DPoP {token}", fresh(iat=int(AT.timestamp()) - 31)),
        "assertion as token": shown(f"DPoP {assertion(program.app, program.key, ORIGIN, AT)}", fresh()),
        "assertion as bearer": shown(f"Bearer {assertion(program.app, program.key, ORIGIN, AT)[:250]}"),
        "id token as bearer": shown(f"Bearer {program.key.sign({'alg': 'ES256', 'typ': 'JWT'}, {'sub': 'x'})}"),
        "proof as token": shown(f"DPoP {fresh()[:250]}", fresh()),
        "api key as bound token": shown(f"DPoP {api_key}", fresh()),
        "api key with proof": shown(f"Bearer {api_key}", fresh()),
        "api key, one character off": shown(f"Bearer {api_key[:20]}{'A' if api_key[20] != 'A' else 'B'}{api_key[21:]}"),
        "api key that nobody has": shown(f"Bearer {api_keys.make_key('test', b'z' * 38)}"),
        "api key of live": shown(f"Bearer {api_keys.make_key('live', b'z' * 38)}"),
        "basic": shown("Basic eDp5"),
        "empty": shown(""),
        "scheme alone": shown("DPoP"),
        "oversized": shown("Bearer " + "x" * 4000),
        "two credentials": [("Authorization", f"DPoP {token}"), ("Authorization", f"DPoP {token}"), ("DPoP", fresh())],
        "proof alone": [("DPoP", fresh())],
        "not ascii": [("Authorization", "Bearer ключ".encode().decode("latin-1"))],
    }
    answers = {}
    for name, headers in attempts.items():
        raw = [(field.encode(), value.encode("latin-1")) for field, value in headers]
        answers[name] = json.dumps(refused(program.client.get(ME, headers=raw)), sort_keys=True)  # type: ignore[arg-type]  # pairs of bytes are taken
    assert len(set(answers.values())) == 1, answers
    for name in ("X-Tier", "X-Forwarded-User", "X-App"):
        assert program.client.get(ME, headers={name: "pboc"}).json()["tier"] == "public"


def test_a_nonce_is_wanted_of_whoever_reaches_persons(program: Program) -> None:
    """401 with the name of the reason and the nonce; with it the same request is answered."""
    program.ask_token()
    answer = program.client.get(
        ME, headers={"Authorization": f"DPoP {program.token}", "DPoP": program.prove("GET", ME, program.token, nonce=None)}
    )
    assert answer.status_code == 401
    assert 'DPoP realm="chengxin", error="use_dpop_nonce"' in answer.headers["www-authenticate"]
    assert answer.headers["request-cost"] == "1", "its app is known"
    program.nonce = answer.headers["dpop-nonce"]
    assert program.get(ME).status_code == 200


def test_a_proven_request_pays_for_what_is_refused_before_it_is_read(program: Program) -> None:
    """Also when its app was known already: an unknown parameter, and a path that is none, cost it one each time."""
    program.ask_token()
    assert program.get(ME).status_code == 200
    for path, status in ((f"{ME}?no=1", 400), ("/v1/nothing", 404)) * 2:
        answer = program.get(path)
        assert (answer.status_code, answer.headers["request-cost"]) == (status, "1")


def test_a_head_is_proven_as_a_head(program: Program) -> None:
    """The method is the one that was sent."""
    program.ask_token()
    program.get(ME)
    said = {"Authorization": f"DPoP {program.token}"}
    assert program.client.head(ME, headers=said | {"DPoP": program.prove("HEAD", ME, program.token)}).status_code == 200
    assert program.client.head(ME, headers=said | {"DPoP": program.prove("GET", ME, program.token)}).status_code == 401


def test_a_purpose_that_was_not_granted_is_not_permitted(program: Program) -> None:
    """403 for another purpose, whatever it is called; `open.read` is everybody's; twice is malformed."""
    program.ask_token()
    assert program.get(ME, Purpose="dept.supervision").json()["purpose"] == "dept.supervision"
    assert program.get(ME, Purpose="open.read").json()["purpose"] == "open.read"
    for purpose in ("dept.licensing", "exchange.batch", "no.such", "UPPER", "x" * 64):
        answer = program.get(ME, Purpose=purpose)
        assert (answer.status_code, answer.json()["code"]) == (403, "not-permitted")


# --- API keys ---------------------------------------------------------------------------------------------------------


def test_a_developer_sees_the_public_view(server: Server, city: City) -> None:
    """Tier developer, purpose open.read, the bytes of the public; and how long its key lasts."""
    app, key = city.run(developer)
    me = server.get(ME, Authorization=f"Bearer {key}").json()
    assert (me["tier"], me["purpose"], me["app"], me["credential"]) == ("developer", "open.read", app, "key")
    assert (me["key_expires_on"], server.get(ME).json()["key_expires_on"]) == ("2035-01-01", None)
    path = "/v1/records?dataset=registrations&limit=3"
    mine, everybody = server.get(path, Authorization=f"Bearer {key}"), server.get(path)
    assert mine.json()["items"] == everybody.json()["items"]
    assert "private" in mine.headers["cache-control"]
    assert server.get(ME, Authorization=f"Bearer {key}", Purpose="dept.supervision").status_code == 403


def test_a_key_is_kept_to_what_it_is_for(server: Server, city: City) -> None:
    """Networks, last day and the state of its app decide: the one refusal. Scopes only narrow: 403 outside them."""
    for words in ({"networks": ("203.0.113.0/24",)}, {"expires_on": date(2026, 5, 31)}, {"mode": "live"}):
        _, key = city.run(lambda services, words=words: developer(services, **words))
        refused(server.get(ME, Authorization=f"Bearer {key}"))
    _, key = city.run(lambda services: developer(services, networks=("127.0.0.0/8",), scopes=("lists",)))
    said = {"Authorization": f"Bearer {key}"}
    assert server.get(ME, **said).status_code == 200
    assert server.get("/v1/lists", **said).status_code == 200
    assert server.get("/v1/records", **said).json()["code"] == "not-permitted"


def test_a_key_in_a_url_is_refused_and_marked(server: Server, city: City) -> None:
    """Under any name, on any path: an unknown parameter, never echoed; the key is marked and warns its owner."""
    app, key = city.run(developer)
    said = {"Authorization": f"Bearer {key}"}
    assert "warning" not in server.get(ME, **said).json()
    made_up = api_keys.make_key("test", b"w" * 38)
    for path in (
        f"{ME}?api_key={made_up}",
        f"/v1/records?q={key}",
        f"{ME}?api_key={key}",
        f"/openapi.json?a={key}&b=1",
        f"/v1/x?key={key}",
    ):
        answer = server.get(path)
        assert (answer.status_code, answer.json()["code"]) == (400, "unknown-parameter")
        assert key not in answer.text
    assert server.get(ME, **said).json()["warning"] == "credential-exposed"
    (line,) = [one for one in city.run(list_apps) if one.app == app]
    assert line.api_keys[0].exposed_at is not None

    async def acts(services: Any) -> list[str]:
        return [row.act for row in await audit.after(services.store.reads, 0, 10_000) if row.target == f"app/{app}"]

    assert city.run(acts) == ["api-key.exposed"]


# --- revocation and introspection -------------------------------------------------------------------------------------


def test_a_token_ends_when_its_app_says_so(program: Program, server: Server, city: City) -> None:
    """Revoked by its own app it is dead at once in this process; another app's revocation is a success that does nothing."""
    program.ask_token()
    assert program.get(ME).status_code == 200
    other_key = Key("ES256", seed=61)
    other = Program(client=server.client, app=city.run(lambda services: register(services, other_key)), key=other_key, now=AT)
    for named in (program.token, "cxt_" + "A" * 43, "x"):
        form = {name: value for name, value in other.form(token=named, token_type_hint="refresh_token").items() if name != "grant_type"}
        assert (other.post("/oauth/revoke", form).status_code, program.get(ME).status_code) == (200, 200)
    assert program.post("/oauth/revoke", program.form(token=None)).json()["error"] == "invalid_request"
    assert program.post("/oauth/revoke", {"token": program.token}).json()["error"] == "invalid_client"
    under_condition = program.post("/oauth/revoke", program.form(token=program.token), **{"If-Match": "*"})
    assert (under_condition.status_code, program.get(ME).status_code) == (412, 200), "nothing is done where the condition cannot hold"
    assert program.post("/oauth/revoke", program.form(token=program.token)).status_code == 200
    refused(program.get(ME))


def test_introspection_is_for_registered_servers(program: Program, server: Server, city: City) -> None:
    """They learn app, key, time and details; to all others every token is inactive, like one that never was."""
    program.ask_token()
    key = Key("Ed25519", seed=71)
    app = city.run(lambda services: register(services, key, datasets=(), introspects=True))
    resource = Program(client=server.client, app=app, key=key, now=AT)
    seen = resource.post("/oauth/introspect", resource.form(token=program.token)).json()
    assert (seen["active"], seen["client_id"], seen["cnf"]) == (True, program.app, {"jkt": program.key.thumbprint})
    assert seen["exp"] - seen["iat"] == 600
    for asker, token in ((resource, "cxt_" + "A" * 43), (program, program.token)):
        assert asker.post("/oauth/introspect", asker.form(token=token)).json() == {"active": False}
    assert resource.post("/oauth/introspect", {"token": program.token}).json()["error"] == "invalid_client"


def test_metadata_say_what_there_is(server: Server) -> None:
    """One grant, one method, no response types, no authorization endpoint; the resource names its server."""
    told = server.get("/.well-known/oauth-authorization-server").json()
    assert told["issuer"] == ORIGIN
    assert told["response_types_supported"] == []
    assert told["grant_types_supported"] == ["client_credentials"]
    for endpoint in ("token", "revocation", "introspection"):
        assert told[f"{endpoint}_endpoint"].startswith(ORIGIN + "/oauth/")
        assert told[f"{endpoint}_endpoint_auth_methods_supported"] == ["private_key_jwt"]
        assert told[f"{endpoint}_endpoint_auth_signing_alg_values_supported"] == ["PS256", "ES256", "Ed25519"]
    assert told["dpop_signing_alg_values_supported"] == ["ES256", "Ed25519"]
    assert not {"authorization_endpoint", "jwks_uri", "registration_endpoint"} & set(told)
    resource = server.get("/.well-known/oauth-protected-resource").json()
    assert (resource["resource"], resource["authorization_servers"]) == (ORIGIN, [ORIGIN])


def test_an_issued_token_is_in_the_audit_and_not_in_the_database(program: Program, city: City) -> None:
    """Who, with which keys, for what; never the token."""
    program.ask_token()

    async def rows(services: Any) -> list[Any]:
        return [row for row in await audit.after(services.store.reads, 0, 10_000) if row.act == "token.issue"]

    last = city.run(rows)[-1]
    assert last.actor == program.app
    assert last.detail["key"] == last.detail["jkt"] == program.key.thumbprint
    database = b"".join(path.read_bytes() for path in (city.folder / "data").glob("gateway.db*"))
    assert program.token.encode() not in database


def test_a_suspended_app_is_out(server: Server, city: City) -> None:
    """Its tokens within the seconds that a process may believe what it read, its assertions at once."""
    key = Key("ES256", seed=81)
    app = city.run(lambda services: register(services, key))
    program = Program(client=server.client, app=app, key=key, now=AT)
    program.ask_token()

    async def suspend(services: Any) -> None:
        async with services.store.transaction() as tx:
            await apps.set_state(tx, app, "suspended")

    city.run(suspend)
    refused(program.get(ME))  # this process had not read it yet
    assert program.ask_token().json()["error"] == "invalid_client"


@pytest.mark.parametrize("what", ["app", "key"])
def test_no_token_is_issued_across_an_end(what: str, server: Server, city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ends between the moment an assertion is believed and the one its token is kept gives no token."""
    key = Key("ES256", seed={"app": 83, "key": 84}[what])
    app = city.run(lambda services: register(services, key))
    program = Program(client=server.client, app=app, key=key, now=AT)
    entered = oauth.enter

    async def end(services: Any) -> None:
        async with services.store.transaction() as tx:
            if what == "app":
                await apps.set_state(tx, app, "suspended")
            else:
                await apps.end_key(tx, key.thumbprint)

    async def meanwhile(*given: Any) -> None:
        await asyncio.to_thread(city.run, end)
        await entered(*given)

    monkeypatch.setattr(oauth, "enter", meanwhile)
    answer = program.ask_token()
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client")
    assert city.run(lambda services: services.store.reads.all(sa.select(tokens).where(tokens.c.app == app))) == []


_ELSEWHERE = """
import sys
from pathlib import Path
from tests.web.city import City
from gateway.store import apps, clients, grants

city = City(folder=Path(sys.argv[1]), settings_file=Path(sys.argv[2]), database=sys.argv[3])
suspended, key, ungranted = sys.argv[4:]


async def act(services):
    print("ready", flush=True)
    sys.stdin.readline()
    async with services.store.transaction() as tx:
        await apps.set_state(tx, suspended, "suspended")
        await apps.end_key(tx, key)
        await clients.revoke_key(tx, key)
        for grant in await grants.active(tx, ungranted):
            await grants.end(tx, grant.id, "test")
    print("committed", flush=True)


city.run(act)
"""


def test_what_another_process_ends_is_over_within_five_seconds(fresh_city: City) -> None:
    """Tokens that a process has just believed are worth nothing five seconds after another one has ended what they rest on."""
    city, keys = fresh_city, [Key("ES256", seed=seed) for seed in (82, 83, 84)]  # a city of its own: no other test reads its files
    with served(city) as server:
        programs = [Program(client=server.client, app=city.run(lambda s, k=k: register(s, k)), key=k, now=AT) for k in keys]
        for program in programs:
            program.ask_token()

        def asked() -> list[int]:
            return [program.get(ME, Purpose="dept.supervision").status_code for program in programs]

        believed_s = city.settings().credential_cache_s
        words = [str(city.folder), str(city.settings_file), city.database, programs[0].app, keys[1].thumbprint, programs[2].app]
        command = [sys.executable, "-c", _ELSEWHERE, *words]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as elsewhere:
            assert elsewhere.stdin is not None
            assert elsewhere.stdout is not None
            assert elsewhere.stdout.readline() == "ready\n"
            assert asked() == [200, 200, 200]
            time.sleep(believed_s + 0.1)
            assert asked() == [200, 200, 200], "read anew: believed from this moment on"
            elsewhere.stdin.write("now\n")
            elsewhere.stdin.flush()
            assert elsewhere.stdout.readline() == "committed\n"
            committed, warm = time.monotonic(), 0
            while 200 in (answers := asked()):
                warm += answers == [200, 200, 200]
                assert time.monotonic() - committed <= believed_s + 1, "believed too long"
                time.sleep(0.1)
        assert answers == [401, 401, 403], "suspended; key ended; grants ended"
        assert warm > 0, "nothing was remembered, so nothing is shown"
