"""Signed requests, section 10 of the wire specification: RFC 9421 with RFC 9530, as a partner makes and believes them."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.exchange.stranger.formats import SigningKey, VerifierKey, b64, b64u, demand, sha256, unb64, unb64u

JSON = "application/json"
TAGS = {"GET": ("cx-read",), "PUT": ("cx-write",), "POST": ("cx-write", "cx-query")}


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of a problem."""
        return str(self.json["code"])


def _base(covered: Mapping[str, str], parameters: str) -> bytes:
    return ("".join(f'"{name}": {value}\n' for name, value in covered.items()) + f'"@signature-params": {parameters}').encode()


def signature(key: SigningKey, method: str, url: str, tag: str, body: bytes, media: str, created: datetime, nonce: bytes) -> dict[str, str]:
    """The headers that sign a request."""
    covered = {"@method": method, "@target-uri": url}
    headers = {}
    if method != "GET":
        headers = {"Content-Type": media, "Content-Digest": f"sha-256=:{b64(sha256(body))}:"}
        covered |= {"content-type": media, "content-digest": headers["Content-Digest"]}
    at = int(created.timestamp())
    names = " ".join(f'"{name}"' for name in covered)
    parameters = f'({names});created={at};expires={at + 60};nonce="{b64u(nonce)}";keyid="{key.key.keyid}";alg="ed25519";tag="{tag}"'
    signed_by = b64(key.private.sign(_base(covered, parameters)))
    return headers | {"Signature-Input": f"cx={parameters}", "Signature": f"cx=:{signed_by}:"}


class Believer:
    """Believes requests, each once."""

    def __init__(self) -> None:
        self.spent: set[tuple[str, str]] = set()

    def believe(self, method: str, url: str, headers: Mapping[str, str], body: bytes, keys: Sequence[VerifierKey], now: datetime) -> None:
        """Refuse what none of these keys signed for this target, these bytes and this moment."""
        given = {name.lower(): value for name, value in headers.items()}
        found = re.fullmatch(r'cx=(\(([^)]*)\)((?:;[a-z]+=(?:[0-9]+|"[^"]*"))+))', given.get("signature-input", ""))
        demand(found is not None, "SIG_HTTP", "no signature")
        parameters, names, rest = found.groups()  # type: ignore[union-attr]  # it was demanded
        said = {name: value.strip('"') for name, value in re.findall(r';([a-z]+)=([0-9]+|"[^"]*")', rest)}
        wanted = ["@method", "@target-uri", *(["content-type", "content-digest"] if method != "GET" else [])]
        demand(sorted(names.split()) == sorted(f'"{name}"' for name in wanted), "SIG_HTTP", names)
        demand(set(said) == {"created", "expires", "nonce", "keyid", "alg", "tag"}, "SIG_HTTP", rest)
        demand(said["alg"] == "ed25519" and said["tag"] in TAGS[method], "SIG_HTTP", rest)
        at, created, expires = now.timestamp(), int(said["created"]), int(said["expires"])
        demand(at - 120 <= created <= at + 60 and at - 60 <= expires <= created + 60, "TIME_EXPIRED", rest)
        values = {"@method": method, "@target-uri": url, **given}
        covered = {name: values[name] for name in names.replace('"', "").split()}
        key = next((each for each in keys if each.keyid == said["keyid"]), None)
        demand(key is not None, "SIG_UNKNOWN_KEY", said["keyid"])
        proof = re.fullmatch(r"cx=:([A-Za-z0-9+/=]+):", given.get("signature", ""))
        demand(proof is not None, "SIG_HTTP", "no signature")
        good = key.verifies(unb64(proof[1], "SIG_HTTP"), _base(covered, parameters))  # type: ignore[union-attr, index]
        demand(good, "SIG_HTTP", "not signed so")
        nonce = said["keyid"], said["nonce"]
        demand(len(unb64u(nonce[1], "SIG_HTTP")) == 16 and nonce not in self.spent, "TIME_REPLAY")
        self.spent.add(nonce)
        demand(method == "GET" or given["content-digest"] == f"sha-256=:{b64(sha256(body))}:", "SIG_CONTENT_DIGEST")
