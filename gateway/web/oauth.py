"""OAuth's grammar at our endpoints for apps, by Authlib: what a request must say, and in which words it is answered (policy.md §14.2).

Authlib's hooks are synchronous, so a request arrives here loaded: `operations/issue_token` has found the app and believed it, or not.
Rules: against Authlib's defaults only `private_key_jwt` is a way to say who one is, at every endpoint; a token is of type DPoP, lives as
long as the settings say and has no refresh token; scopes are refused; revoking another app's token is a success that does nothing;
introspection tells registered resource servers alone. This room must not verify anything itself.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from authlib.oauth2 import rfc6749, rfc7009, rfc7662, rfc8414
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload

from gateway.core.callers import assertion, proof
from gateway.core.callers.authorization_details import TYPE, Access, DetailsRefused, told, wanted
from gateway.operations.issue_token import Believed, Looked

METHOD: Final = "private_key_jwt"
ISSUE: Final = "/oauth/token"
REVOKE: Final = "/oauth/revoke"
INTROSPECT: Final = "/oauth/introspect"


class Answer(NamedTuple):
    """What Authlib decided: status and members of the JSON answer."""

    status: int
    body: Mapping[str, Any]


class Loaded(rfc6749.OAuth2Request):
    """A request with everything that Authlib's hooks need, found beforehand."""

    def __init__(
        self, origin: str, path: str, form: Mapping[str, str], *, believed: Believed | None, token: str = "", looked: Looked | None = None
    ) -> None:
        super().__init__("POST", origin + path, headers={})
        self.origin = origin
        self.payload = BasicOAuth2Payload(dict(form))
        self.believed = believed
        self.token = token
        """Drawn for this request; worth something only when it has been committed."""
        self.looked = looked
        self.access: Access | None = None
        """What the token was decided to allow; None: none was."""
        self.revoked = False

    @property
    def form(self) -> Mapping[str, str]:
        """The form, each name once."""
        found: Mapping[str, str] = self.payload.data
        return found


class _Client(rfc6749.ClientMixin):
    """The app as Authlib asks about it."""

    def __init__(self, request: Loaded, believed: Believed) -> None:
        self.request = request
        self.believed = believed

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        """One way only, at every endpoint."""
        return method == METHOD

    def check_grant_type(self, grant_type: str) -> bool:
        """An app to which nothing is granted gets no token, but for sending records where it was registered to."""
        return grant_type == "client_credentials" and (bool(self.believed.access) or self.believed.app.uploads)

    def check_client(self, looked: Looked) -> bool:
        """Whether a token is this app's."""
        return looked.app == self.believed.app.app


class InvalidAuthorizationDetails(rfc6749.OAuth2Error):
    """RFC 9396 §5."""

    error = "invalid_authorization_details"


class _ClientCredentials(rfc6749.ClientCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = (METHOD,)

    def validate_token_request(self) -> None:
        super().validate_token_request()
        try:
            self.request.access = wanted(self.request.form.get("authorization_details"), self.request.client.believed.access)
        except DetailsRefused as error:
            raise InvalidAuthorizationDetails from error
        if not self.request.access and not self.request.client.believed.app.uploads:
            raise InvalidAuthorizationDetails


def _require_token(request: Loaded) -> None:
    """A token is there; hints about its type are ignored, for there is one type."""
    if "token" not in request.form:
        raise rfc6749.InvalidRequestError


class _Revocation(rfc7009.RevocationEndpoint):
    CLIENT_AUTH_METHODS = (METHOD,)

    def check_params(self, request: Loaded, client: _Client) -> None:
        _require_token(request)

    def authenticate_token(self, request: Loaded, client: _Client) -> Looked | None:
        self.check_params(request, client)
        return request.looked if request.looked is not None and client.check_client(request.looked) else None

    def revoke_token(self, token: Looked, request: Loaded) -> None:
        request.revoked = True


class _Introspection(rfc7662.IntrospectionEndpoint):
    CLIENT_AUTH_METHODS = (METHOD,)

    def check_params(self, request: Loaded, client: _Client) -> None:
        _require_token(request)

    def authenticate_token(self, request: Loaded, client: _Client) -> Looked | None:
        self.check_params(request, client)
        return request.looked if client.believed.app.introspects else None

    def create_introspection_payload(self, token: Looked | None) -> dict[str, Any]:
        if token is None or not (token.access or token.sends):
            return {"active": False}
        return {
            "active": True,
            "client_id": token.app,
            "token_type": "DPoP",
            "iat": int(token.issued_at.timestamp()),
            "exp": int(token.expires_at.timestamp()),
            "cnf": {"jkt": token.jkt},
            "authorization_details": told(token.access),
        }


class Authority(rfc6749.AuthorizationServer):
    """The authorization server of one process; it holds nothing of a request."""

    def __init__(self, lifetime_s: int) -> None:
        super().__init__()
        self._lifetime_s = lifetime_s
        self.register_client_auth_method(METHOD, self._believed)
        self.register_token_generator("default", self._token)
        self.register_grant(_ClientCredentials)
        self.register_endpoint(_Revocation)
        self.register_endpoint(_Introspection)

    # --- what Authlib calls

    @staticmethod
    def _believed(_query: object, request: Loaded) -> _Client | None:
        """The loaded app, and only if its assertion was believed."""
        return None if request.believed is None else _Client(request, request.believed)

    def _token(self, *, client: _Client, **_: Any) -> dict[str, Any]:
        return {
            "access_token": client.request.token,
            "token_type": "DPoP",
            "expires_in": self._lifetime_s,
            "authorization_details": told(client.request.access or ()),
        }

    def query_client(self, client_id: str) -> None:
        """Nobody is looked up here."""

    def save_token(self, token: Mapping[str, Any], request: Loaded) -> None:
        """Kept by the story that commits."""

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Nobody listens."""

    def validate_requested_scope(self, scope: str | None) -> None:
        """Purposes are asked for by `authorization_details`."""
        if scope is not None:
            raise rfc6749.InvalidScopeError

    def create_oauth2_request(self, request: Loaded) -> Loaded:
        """It is one already."""
        return request

    def handle_response(self, status: int, body: Mapping[str, Any], headers: object) -> Answer:
        """Kept as data; the handler makes the bytes."""
        one = body.get("error") == rfc6749.InvalidClientError.error  # and says nothing more
        return Answer(status, {"error": body["error"]} if one else body)

    # --- what our handlers call

    def decide(self, request: Loaded) -> Answer:
        """What a loaded request to one of the three endpoints is answered."""
        path = request.uri.removeprefix(request.origin)
        answer: Answer
        if path == ISSUE:
            answer = self.create_token_response(request)
        else:
            answer = self.create_endpoint_response("revocation" if path == REVOKE else "introspection", request)
        return answer


class _Metadata(rfc8414.AuthorizationServerMetadata):
    """Authlib's validation, but for one thing: there is no authorization endpoint, so there are no response types."""

    def validate_response_types_supported(self) -> None:
        """An empty list is right here."""
        if self.get("response_types_supported") != []:
            raise ValueError("there is no authorization endpoint")


def server_metadata(issuer: str, origin: str) -> dict[str, Any]:
    """What RFC 8414 publishes of this server, validated."""
    methods = {"endpoint_auth_methods_supported": [METHOD], "endpoint_auth_signing_alg_values_supported": list(assertion.ALGORITHMS)}
    made: dict[str, Any] = {
        "issuer": issuer,
        "token_endpoint": origin + ISSUE,
        "revocation_endpoint": origin + REVOKE,
        "introspection_endpoint": origin + INTROSPECT,
        "response_types_supported": [],
        "grant_types_supported": ["client_credentials"],
        **{f"{endpoint}_{name}": value for endpoint in ("token", "revocation", "introspection") for name, value in methods.items()},
        "dpop_signing_alg_values_supported": list(proof.ALGORITHMS),
        "authorization_details_types_supported": [TYPE],
        "service_documentation": origin + "/docs",
    }
    _Metadata(made).validate()
    return made


def resource_metadata(issuer: str, origin: str) -> dict[str, Any]:
    """What RFC 9728 publishes of this resource."""
    return {
        "resource": origin,
        "authorization_servers": [issuer],
        "bearer_methods_supported": ["header"],
        "dpop_signing_alg_values_supported": list(proof.ALGORITHMS),
        "authorization_details_types_supported": [TYPE],
        "resource_documentation": origin + "/docs",
    }
