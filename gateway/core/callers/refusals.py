"""Why a credential is not believed: one answer for all causes, and a cause for the log.

Rules: the caller is told `credentials-invalid` (OAuth: `invalid_client`, `invalid_dpop_proof`), never the cause; the cause is a short word
of ours that names no value. This room must not decide what is told.
"""

from gateway.core.errors import CredentialsInvalid


class CredentialRefused(CredentialsInvalid):
    """A credential that is malformed, unknown, expired, revoked, suspended or not the sender's."""

    def __init__(self, cause: str) -> None:
        super().__init__()
        self.cause = cause
        """For the audit and the meter: `key-unknown`, `proof-htu` …"""


class AssertionRefused(CredentialRefused):
    """A client assertion that breaks one of its rules (policy.md §14.3)."""


class ProofRefused(CredentialRefused):
    """A DPoP proof that breaks one of its rules (policy.md §14.4)."""


class NonceWanted(ProofRefused):
    """A proof that is right but for the server's nonce: the sender is given one and tries again. Nothing is audited."""

    def __init__(self, nonce: str) -> None:
        super().__init__("nonce-wanted")
        self.nonce = nonce
