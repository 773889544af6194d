"""Keys and signatures: Ed25519 under C2SP signed-note names, digests of both suites, HKDF (exchange.md §2.1, §2.3).

Rules: an algorithm belongs to the key, never to the message; a small-order or non-canonical public key and an Ed25519 signature
with S ≥ L are refused; one key pair serves one use. `Signer` and `Verifier` are protocols, so that a hardware module or a
签名验签服务器, and SM2, plug in here and nowhere else.

JOSE keys of callers (P-256, Ed25519, RSA) verify here too, each with its one algorithm.

This is the only file of the core that imports cryptography and joserfc. It must not read files, draw randomness or decide whom to trust.
"""

import hashlib
import re
from base64 import b64decode, b64encode, urlsafe_b64decode
from binascii import Error as BinasciiError
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from cryptography.exceptions import InvalidSignature, InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from joserfc.errors import JoseError
from joserfc.util import urlsafe_b64decode as urlsafe_decode
from msgspec import Struct

from gateway.core.errors import ExchangeError, SettingsError

if TYPE_CHECKING:
    from joserfc.jwk import Key

Algorithm = Literal["ed25519", "sm2"]
KeyUse = Literal["exchange", "http", "agreement", "log", "witness", "export", "audit", "receipt"]

NAME_OF_USE: dict[str, str] = {
    "exchange": "x", "http": "http", "agreement": "agreement", "witness": "witness", "export": "export", "audit": "audit",
    "receipt": "receipt",
}  # fmt: skip
"""Last part of a key's name: party `/` this. Log keys are named `/log/{year}`."""

ED25519_TYPE = b"\x01"
SM2_TYPE = b"\xffgm/sm2sm3/1"
COSIGNATURE_TYPE = b"\x04"
KEY_NAME = re.compile(r"[^\s+\x00-\x1f\x7f]{1,200}\Z")

SM2_N = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFF7203DF6B21C6052B53BBF40939D54123
"""Order of the curve of GB/T 32918.5."""
SM2_IDENTITY = b"1234567812345678"
"""Always given: without it the library would leave Z out of what is signed."""

_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_Y8 = 2707385501144840649318225287225658788936804267575313519463743609750303402022
SMALL_ORDER_Y = frozenset({0, 1, _P - 1, _Y8, _P - _Y8})
"""The y coordinates of the eight points whose order divides 8 (a test derives them from the curve equation)."""


class Signer(Protocol):
    """A private key that never shows itself."""

    @property
    def name(self) -> str:
        """Key name, for example `credit.tonghua.example/x`."""
        ...

    @property
    def algorithm(self) -> Algorithm:
        """What it signs with."""
        ...

    @property
    def key_id(self) -> bytes:
        """Four bytes that stand before each signature."""
        ...

    @property
    def vkey(self) -> str:
        """Its verifier key, to be published."""
        ...

    def sign(self, message: bytes) -> bytes:
        """The signature over exactly these bytes."""
        ...


class Verifier(Protocol):
    """A public key with its name and algorithm."""

    @property
    def name(self) -> str:
        """Key name."""
        ...

    @property
    def algorithm(self) -> Algorithm:
        """The only algorithm it verifies."""
        ...

    @property
    def key_id(self) -> bytes:
        """Four bytes that stand before each signature."""
        ...

    @property
    def vkey(self) -> str:
        """The text form."""
        ...

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Whether this key made the signature over exactly these bytes."""
        ...


def key_id(name: str, typed_key: bytes) -> bytes:
    """First four bytes of SHA-256(name ‖ LF ‖ type ‖ public key)."""
    return hashlib.sha256(name.encode() + b"\n" + typed_key).digest()[:4]


def _vkey(name: str, typed_key: bytes) -> str:
    return f"{name}+{key_id(name, typed_key).hex()}+{b64encode(typed_key).decode()}"


class Ed25519Verifier:
    """An Ed25519 public key (RFC 8032, pure)."""

    __slots__ = ("_key", "key_id", "name", "public", "vkey")
    algorithm: Algorithm = "ed25519"

    def __init__(self, name: str, public: bytes) -> None:
        if len(public) != 32:
            raise ExchangeError("an Ed25519 public key has 32 bytes", code="SIG_FORMAT")
        y = int.from_bytes(public, "little") & (2**255 - 1)
        if y >= _P or y in SMALL_ORDER_Y:
            raise ExchangeError("a small-order or non-canonical Ed25519 public key is refused", code="SIG_FORMAT")
        try:
            self._key = Ed25519PublicKey.from_public_bytes(public)
        except ValueError as error:
            raise ExchangeError("no Ed25519 public key", code="SIG_FORMAT") from error
        self.name = name
        self.public = public
        self.key_id = key_id(name, ED25519_TYPE + public)
        self.vkey = _vkey(name, ED25519_TYPE + public)

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Whether this key made the signature; 64 bytes, S below the group order."""
        if len(signature) != 64 or int.from_bytes(signature[32:], "little") >= _L:
            return False
        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            return False
        return True

    def __repr__(self) -> str:
        return f"<Ed25519Verifier {self.name}+{self.key_id.hex()}>"


class Ed25519Signer:
    """An Ed25519 private key in memory."""

    __slots__ = ("_key", "_seed", "key_id", "name", "verifier", "vkey")
    algorithm: Algorithm = "ed25519"

    def __init__(self, name: str, seed: bytes) -> None:
        if len(seed) != 32 or not KEY_NAME.match(name):
            raise SettingsError("an Ed25519 key needs a name and a seed of 32 bytes", code="key-invalid")
        self._seed = seed
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.name = name
        self.verifier = Ed25519Verifier(name, self._key.public_key().public_bytes_raw())
        self.key_id = self.verifier.key_id
        self.vkey = self.verifier.vkey

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature over exactly these bytes."""
        return self._key.sign(message)

    def private_text(self) -> str:
        """The C2SP form of the private key, for a key file of mode 0400."""
        return f"PRIVATE+KEY+{self.name}+{self.key_id.hex()}+{b64encode(ED25519_TYPE + self._seed).decode()}"

    def __repr__(self) -> str:
        return f"<Ed25519Signer {self.name}+{self.key_id.hex()}>"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a private key is neither pickled nor copied")


def sm2_is_here() -> bool:
    """Whether the extra `gm` is installed."""
    return find_spec("gmssl_pyx") is not None


def _gm() -> Any:
    """The library of the extra `gm`, loaded when a key of SM2 is first met; it says what fails on standard error (`Sm2Verifier.around`).

    Raises ExchangeError SIG_FORMAT where it is not installed.
    """
    try:
        return import_module("gmssl_pyx")
    except ImportError as error:
        raise ExchangeError("this gateway has no SM2", code="SIG_FORMAT", hint="install the extra `gm`") from error


class Sm2Verifier:
    """An SM2 public key (GB/T 32918) that verifies with SM3 in the name of `SM2_IDENTITY`."""

    __slots__ = ("_point", "key_id", "name", "vkey")
    algorithm: Algorithm = "sm2"
    around: ClassVar[Callable[[], AbstractContextManager[object]]] = nullcontext
    """What is entered around each call that may fail: the house silences what the library prints then, and the answer says it."""

    def __init__(self, name: str, public: bytes) -> None:
        gm = _gm()
        try:
            if len(public) != 65 or public[0] != 4:
                raise ValueError
            with Sm2Verifier.around():
                self._point: bytes = gm.normalize_sm2_public_key(public)  # on the curve; infinity has no such form
        except (ValueError, gm.InvalidValueError) as error:
            raise ExchangeError("an SM2 public key is 0x04, X and Y of a point of the curve", code="SIG_FORMAT", place=name) from error
        self.name = name
        self.key_id = key_id(name, SM2_TYPE + public)
        self.vkey = _vkey(name, SM2_TYPE + public)

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Whether this key made the signature: strict DER of r and s, both from 1 to below the order."""
        if not _strict_sequence(signature):
            return False
        with Sm2Verifier.around():
            return bool(_gm().sm2_verify(self._point, message, signature, SM2_IDENTITY))

    def __repr__(self) -> str:
        return f"<Sm2Verifier {self.name}+{self.key_id.hex()}>"


class Sm2Signer:
    """An SM2 private key in memory."""

    __slots__ = ("_private", "_public", "key_id", "name", "verifier", "vkey")
    algorithm: Algorithm = "sm2"

    def __init__(self, name: str, private: bytes, public: bytes) -> None:
        if len(private) != 32 or not 1 <= int.from_bytes(private, "big") < SM2_N - 1 or not KEY_NAME.match(name):
            raise SettingsError("an SM2 key needs a name and a number below the order of the curve", code="key-invalid")
        self._private, self._public = private, public
        self.name = name
        self.verifier = Sm2Verifier(name, b"\x04" + public)
        self.key_id, self.vkey = self.verifier.key_id, self.verifier.vkey

    @classmethod
    def new(cls, name: str) -> "Sm2Signer":
        """A key drawn by the library from the system.

        Raises ExchangeError SIG_FORMAT where the extra `gm` is not installed.
        """
        public, private = _gm().sm2_key_generate()
        return cls(name, private, public)

    def sign(self, message: bytes) -> bytes:
        """The signature over exactly these bytes, in DER."""
        signature: bytes = _gm().sm2_sign(self._private, self._public, message, SM2_IDENTITY)
        return signature

    def private_text(self) -> str:
        """The private key for a key file of mode 0400: the form of C2SP, with the public half behind the private one."""
        return f"PRIVATE+KEY+{self.name}+{self.key_id.hex()}+{b64encode(SM2_TYPE + self._private + self._public).decode()}"

    def __repr__(self) -> str:
        return f"<Sm2Signer {self.name}+{self.key_id.hex()}>"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a private key is neither pickled nor copied")


def _strict_sequence(der: bytes) -> bool:
    """Whether these bytes are DER of a sequence of two integers from 1 to below the order, and nothing else."""
    if not 8 <= len(der) <= 72 or der[0] != 0x30 or der[1] != len(der) - 2:
        return False
    at = 2
    for _ in range(2):
        if at + 2 > len(der) or der[at] != 2 or not 1 <= der[at + 1] <= 33 or at + 2 + der[at + 1] > len(der):
            return False
        number = der[at + 2 : at + 2 + der[at + 1]]
        if number[0] & 0x80 or (len(number) > 1 and number[0] == 0 and not number[1] & 0x80):
            return False
        if not 1 <= int.from_bytes(number, "big") < SM2_N:
            return False
        at += 2 + len(number)
    return at == len(der)


class CosignatureVerifier:
    """A witness's Ed25519 key: signs a time and a checkpoint (c2sp.org/tlog-cosignature), never a note as such."""

    __slots__ = ("_verifier", "key_id", "name", "vkey")

    def __init__(self, name: str, public: bytes) -> None:
        self._verifier = Ed25519Verifier(name, public)
        self.name = name
        self.key_id = key_id(name, COSIGNATURE_TYPE + public)
        self.vkey = _vkey(name, COSIGNATURE_TYPE + public)

    def verify(self, text: bytes, signature: bytes) -> bool:
        """Whether this key signed the checkpoint's text at the time that stands before the signature."""
        return len(signature) == 72 and self._verifier.verify(_cosigned(signature[:8], text), signature[8:])

    def __repr__(self) -> str:
        return f"<CosignatureVerifier {self.name}+{self.key_id.hex()}>"


class CosignatureSigner:
    """A witness's private key over the Ed25519 key that it is."""

    __slots__ = ("_signer", "key_id", "name", "vkey")

    def __init__(self, signer: "Ed25519Signer") -> None:
        verifier = CosignatureVerifier(signer.name, signer.verifier.public)
        self._signer = signer
        self.name, self.key_id, self.vkey = verifier.name, verifier.key_id, verifier.vkey

    def sign(self, text: bytes, time: int) -> bytes:
        """Time (seconds since 1970, eight bytes) and signature over the checkpoint's text."""
        stamp = time.to_bytes(8, "big")
        return stamp + self._signer.sign(_cosigned(stamp, text))


def _cosigned(stamp: bytes, text: bytes) -> bytes:
    return b"cosignature/v1\ntime %d\n" % int.from_bytes(stamp, "big") + text


def parse_cosignature_vkey(text: str) -> CosignatureVerifier:
    """The verifier of a witness's vkey.

    Raises ExchangeError SIG_FORMAT.
    """
    name, given_id, data = _split_key(text)
    if data[:1] != COSIGNATURE_TYPE or key_id(name, data) != given_id:
        raise ExchangeError("no verifier key of a witness", code="SIG_FORMAT", place=name)
    return CosignatureVerifier(name, data[1:])


def _split_key(text: str) -> tuple[str, bytes, bytes]:
    name, _, rest = text.partition("+")
    hex_id, _, encoded = rest.partition("+")
    if not KEY_NAME.match(name) or not re.fullmatch(r"[0-9a-f]{8}", hex_id):
        raise ExchangeError("a verifier key is name+hex+base64", code="SIG_FORMAT")
    try:
        data = b64decode(encoded, validate=True)
    except (BinasciiError, ValueError) as error:
        raise ExchangeError("a verifier key is name+hex+base64", code="SIG_FORMAT") from error
    if b64encode(data).decode() != encoded or not data:
        raise ExchangeError("the base64 of a verifier key is not canonical", code="SIG_FORMAT")
    return name, bytes.fromhex(hex_id), data


def parse_vkey(text: str) -> Verifier:
    """The verifier of a C2SP vkey.

    Raises ExchangeError SIG_FORMAT for a malformed key, a key id that does not fit, or an algorithm this gateway lacks.
    """
    name, given_id, data = _split_key(text)
    if key_id(name, data) != given_id:
        raise ExchangeError("the key id does not belong to this key", code="SIG_FORMAT", place=name)
    if data[:1] == ED25519_TYPE:
        return Ed25519Verifier(name, data[1:])
    if data.startswith(SM2_TYPE):
        return Sm2Verifier(name, data[len(SM2_TYPE) :])
    raise ExchangeError("this gateway has no verifier for the key's algorithm", code="SIG_FORMAT", place=name)


def parse_private_key(text: str) -> "Ed25519Signer | Sm2Signer":
    """The signer of a key file.

    Raises SettingsError key-invalid when the file is not what `private_text` writes.
    """
    prefix = "PRIVATE+KEY+"
    try:
        if not text.startswith(prefix):
            raise ExchangeError("no private key", code="SIG_FORMAT")
        name, given_id, data = _split_key(text[len(prefix) :].strip())
        sm2 = data.startswith(SM2_TYPE) and len(data) == len(SM2_TYPE) + 96
        if not sm2 and (data[:1] != ED25519_TYPE or len(data) != 33):
            raise ExchangeError("no private key of Ed25519 or SM2", code="SIG_FORMAT")
    except ExchangeError as error:
        raise SettingsError(
            "the key file is damaged", code="key-invalid", hint="restore it from your backup, or make a new key with `chengxin key new`"
        ) from error
    signer: Ed25519Signer | Sm2Signer
    if sm2:
        if not sm2_is_here():
            raise SettingsError("a key of SM2, and this gateway has no SM2", code="key-invalid", place=name, hint="install the extra `gm`")
        private = data[len(SM2_TYPE) :]
        signer = Sm2Signer(name, private[:32], private[32:])
    else:
        signer = Ed25519Signer(name, data[1:])
    if signer.key_id != given_id:
        raise SettingsError("the key file is damaged: name and key do not belong together", code="key-invalid")
    return signer


def seed_of_pem(text: bytes) -> bytes:
    """The seed of an unencrypted Ed25519 key in PEM (PKCS #8), as `openssl genpkey -algorithm ed25519` writes it.

    Raises SettingsError key-invalid for whatever else it may be.
    """
    try:
        key = load_pem_private_key(text, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SettingsError("no unencrypted private key in PEM", code="key-invalid") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingsError("an administrator signs with Ed25519 only", code="key-invalid")
    return key.private_bytes_raw()


class OwnKey(Struct, frozen=True, kw_only=True):
    """One of our own keys: what it is for and when it may be used."""

    signer: Signer
    use: KeyUse
    not_before: datetime
    not_after: datetime
    revoked_at: datetime | None = None
    reason: str | None = None

    def good(self, now: datetime) -> bool:
        """Whether it may sign now."""
        return self.not_before <= now < self.not_after and not self.revoked(now)

    def revoked(self, now: datetime) -> bool:
        """Whether we have said that it is not to be believed."""
        return self.revoked_at is not None and self.revoked_at <= now


class Signers(Struct, kw_only=True):
    """The keys with which this gateway speaks; whoever holds them may put newer ones in their place, all at once."""

    party: str
    keys: tuple[OwnKey, ...] = ()

    def signing(self, use: KeyUse, now: datetime, algorithm: Algorithm = "ed25519") -> Signer:
        """The newest key of this use and algorithm that is good now.

        Raises SettingsError key-missing when there is none.
        """
        good = [key for key in self.keys if key.use == use and key.signer.algorithm == algorithm and key.good(now)]
        if not good:
            what, how = (f"`{use}`", use) if algorithm == "ed25519" else (f"`{use}` ({algorithm})", f"{use} --algorithm {algorithm}")
            raise SettingsError(
                f"{self.party} has no {what} key that is good now", code="key-missing", hint=f"make one with `chengxin key new {how}`"
            )
        return max(good, key=lambda key: (key.not_before, key.signer.name)).signer


def sm3(data: bytes) -> bytes:
    """SM3 (GB/T 32905) of the bytes."""
    if "sm3" in hashlib.algorithms_available:
        return hashlib.new("sm3", data).digest()
    digest = hashes.Hash(hashes.SM3())
    digest.update(data)
    return digest.finalize()


def sm3_of_chunks(chunks: Iterable[bytes]) -> bytes:
    """SM3 of bytes that come in pieces."""
    digest: Any = hashlib.new("sm3") if "sm3" in hashlib.algorithms_available else hashes.Hash(hashes.SM3())
    for chunk in chunks:
        digest.update(chunk)
    done: bytes = digest.digest() if hasattr(digest, "digest") else digest.finalize()
    return done


INNER_PAD = bytes(byte ^ 0x36 for byte in range(256))
OUTER_PAD = bytes(byte ^ 0x5C for byte in range(256))
"""The two key blocks of HMAC (RFC 2104), as translation tables."""


def hmac_with(hash_of: Callable[[bytes], bytes], key: bytes, data: bytes) -> bytes:
    """HMAC (RFC 2104) over any hash with blocks of 64 bytes."""
    if len(key) > 64:
        key = hash_of(key)
    key = key.ljust(64, b"\0")
    return hash_of(key.translate(OUTER_PAD) + hash_of(key.translate(INNER_PAD) + data))


def aead_seal(key: bytes, nonce: bytes, data: bytes, associated: bytes) -> bytes:
    """AES-256-GCM: ciphertext and tag of 16 bytes."""
    return AESGCM(key).encrypt(nonce, data, associated)


def aead_open(key: bytes, nonce: bytes, data: bytes, associated: bytes) -> bytes | None:
    """What `aead_seal` sealed; None when key, nonce, bytes or associated data are others."""
    try:
        return AESGCM(key).decrypt(nonce, data, associated)
    except InvalidTag:
        return None


# --- JOSE: keys of callers --------------------------------------------------------------------------------------------

JoseAlgorithm = Literal["PS256", "ES256", "Ed25519"]
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+\Z")
_COORDINATE = 43
"""Characters of 32 bytes in base64url."""
RSA_BITS = (3072, 8192)


class JoseKeyRefused(ValueError):
    """A JSON Web Key that is none of ours: another type or curve, private, too short, or not in its one spelling."""


class JoseKey:
    """A caller's public key with the one algorithm that it verifies."""

    __slots__ = ("alg", "asked", "members", "thumbprint")

    def __init__(self, key: "Key", alg: JoseAlgorithm, members: Mapping[str, str]) -> None:
        from joserfc import jws  # it brings certificates; the first caller who proves something may wait for that, a start need not

        algorithm = jws.JWSRegistry(algorithms=[alg]).get_alg(alg)
        algorithm.check_key(key)
        self.asked: Callable[[bytes, bytes], Callable[[], bool]]
        """Of a message and a signature, what says whether this key made it: the arithmetic alone, of which many may be done in a row."""
        self.asked = _es256(key) if alg == "ES256" else partial(partial, _verified, partial(algorithm.verify, key=key))
        self.alg = alg
        self.members = members
        """Exactly the public members."""
        self.thumbprint = key.thumbprint()
        """RFC 7638, SHA-256, base64url."""

    def verify(self, compact: str) -> bool:
        """Whether this key, with its own algorithm, signed these segments; what they say, also about an algorithm, is not looked at."""
        message, _, signature = compact.encode("utf-8", "replace").rpartition(b".")
        try:
            return self.asked(message, urlsafe_decode(signature))()
        except ValueError:  # no base64url
            return False

    def __repr__(self) -> str:
        return f"<JoseKey {self.alg} {self.thumbprint}>"


def _no() -> bool:
    """No key made what is no signature."""
    return False


def _verified(verify: Callable[[bytes, bytes], bool], message: bytes, signature: bytes) -> bool:
    """What joserfc says of a signature; what it cannot read is none."""
    try:
        return verify(message, signature)
    except (JoseError, ValueError):
        return False


_ES256 = ECDSA(hashes.SHA256())


def _es256(key: "Key") -> Callable[[bytes, bytes], Callable[[], bool]]:
    """What joserfc does about a signature of ES256, with what is the same for all of a key done once: proofs come by the thousand."""
    public: Any = key.get_op_key("verify")
    verify = public.verify

    def asked(message: bytes, signature: bytes) -> Callable[[], bool]:
        if len(signature) != 64:
            return _no
        der = encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))

        def made() -> bool:
            try:
                verify(der, message, _ES256)
            except (InvalidSignature, ValueError):
                return False
            return True

        return made

    return asked


def jose_key(given: Mapping[str, object], *, ignored: frozenset[str] = frozenset(), rsa: bool = False) -> JoseKey:
    """The key of a JWK: P-256 or Ed25519, with `rsa` also RSA of 3072 bits and more.

    Members beside the public ones are refused unless they are `ignored`. Raises JoseKeyRefused.
    """
    from joserfc import jwk

    kty = given.get("kty")
    names, alg = _JWK.get(str(kty), ((), "ES256"))
    members = {name: value for name, value in given.items() if name not in ignored}
    if not names or set(members) != {"kty", *names} or (kty == "RSA" and not rsa):
        raise JoseKeyRefused("not a public key of a known type")
    texts = {name: value for name, value in members.items() if isinstance(value, str)}
    if len(texts) != len(members):
        raise JoseKeyRefused("members of a key are texts")
    if kty == "RSA":
        _check_rsa(texts)
    else:
        if texts["crv"] != ("P-256" if kty == "EC" else "Ed25519"):
            raise JoseKeyRefused("another curve")
        if any(len(texts[name]) != _COORDINATE or not _BASE64URL.match(texts[name]) for name in names if name != "crv"):
            raise JoseKeyRefused("a coordinate has 32 bytes")
    try:
        key = jwk.import_key({**texts})
        if kty == "OKP":  # refuses points of small order, which would verify almost anything
            Ed25519Verifier("caller", urlsafe_b64decode(texts["x"] + "="))
        return JoseKey(key, alg, texts)
    except (JoseError, ValueError, TypeError, ExchangeError) as error:
        raise JoseKeyRefused("no point of its curve") from error


_JWK: dict[str, tuple[tuple[str, ...], JoseAlgorithm]] = {
    "EC": (("crv", "x", "y"), "ES256"),
    "OKP": (("crv", "x"), "Ed25519"),
    "RSA": (("n", "e"), "PS256"),
}


def _check_rsa(texts: Mapping[str, str]) -> None:
    modulus = texts["n"]
    if texts["e"] != "AQAB" or not _BASE64URL.match(modulus) or modulus.startswith("AA") or len(modulus) > RSA_BITS[1] // 6 + 1:
        raise JoseKeyRefused("an RSA key has the exponent 65537 and a modulus without leading zeros")
    try:
        bits = int.from_bytes(urlsafe_b64decode(modulus + "=" * (-len(modulus) % 4)), "big").bit_length()
    except (BinasciiError, ValueError) as error:
        raise JoseKeyRefused("no base64url") from error
    if not RSA_BITS[0] <= bits <= RSA_BITS[1]:
        raise JoseKeyRefused("an RSA key has 3072 to 8192 bits")


def jose_key_of_pem(pem: bytes) -> JoseKey:
    """The key of a PEM file with a public key.

    Raises JoseKeyRefused, also for a private one: it belongs to nobody but its owner.
    """
    from joserfc import jwk

    try:
        loaded = load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise JoseKeyRefused("no public key in PEM") from error
    for kty in ("EC", "OKP", "RSA"):
        try:
            members = jwk.import_key(pem, kty).as_dict(private=False)
        except (JoseError, ValueError, TypeError):
            continue
        return jose_key(dict(members), rsa=True)
    raise JoseKeyRefused(f"{type(loaded).__name__} is no key of ours")
