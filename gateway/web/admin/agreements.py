"""Agreements over the administrators' API: what `chengxin agreement …` does.

Our own file comes as its text, as a grant does; what either office has signed travels as `{"body":…,"note":…}`, here as between cities, so
that an answer can be handed to the other office as it is.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from gateway.core.exchange.notes import SignedDocument
from gateway.operations import agree_wider, check_agreement, end_agreement, manage_agreements, take_documents, tell_partners, withdraw_offer
from gateway.web.admin.desk import Act, Route

_Reason = Annotated[str, Meta(min_length=1, max_length=500)]
_Text = Annotated[str, Meta(min_length=1, max_length=1_048_576)]


class Document(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A signed document: the bytes that were signed, as text, and the note with the signatures."""

    body: Annotated[str, Meta(min_length=1, max_length=2_097_152)]
    note: Annotated[str, Meta(min_length=1, max_length=16_384)]

    def signed(self) -> SignedDocument:
        """As the stories take it."""
        return SignedDocument(self.body.encode(), self.note)


class AgreementBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Our agreement, as the text of its file."""

    text: _Text


class Countersigning(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Our own text, and what the other office offered; without it, what it has offered over the line."""

    text: _Text
    offered: Document | None = None


class AgreementApproval(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which text is approved."""

    digest: Annotated[str, Meta(min_length=1, max_length=128)]


class Withdrawing(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why an offer is taken back."""

    reason: _Reason


class Taking(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the other office has signed."""

    document: Document


class State(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Suspend, resume or end; the reason is read by the other office."""

    state: Literal["suspended", "active", "terminated"]
    reason: _Reason


class Letters(Struct, frozen=True, kw_only=True):
    """What partners made of our letters, and what went wrong with those we fetch from, by partner and agreement."""

    told: list[tell_partners.Told]
    troubles: dict[str, str]


def _document(signed: SignedDocument) -> Document:
    return Document(body=signed.body.decode(), note=signed.note)


async def listed(act: Act) -> object:
    """Every version, how it stands, and what waits for whom."""
    return await manage_agreements.agreements(act.services)


async def checked(act: Act) -> object:
    """Every fault of a text, and what it widens."""
    body: AgreementBody = act.body
    return await check_agreement.check_agreement(act.services, body.text.encode())


async def offered(act: Act) -> object:
    """Sign our text first."""
    body: AgreementBody = act.body
    return _document(await manage_agreements.offer(act.services, body.text.encode(), by=act.by))


async def countersigned(act: Act) -> object:
    """Sign what the other office offered."""
    body: Countersigning = act.body
    theirs = None if body.offered is None else body.offered.signed()
    return _document(await manage_agreements.countersign(act.services, theirs, body.text.encode(), by=act.by))


async def approved(act: Act) -> object:
    """The second person's yes to a wider version."""
    body: AgreementApproval = act.body
    return await agree_wider.approve_wider(act.services, act.path["agreement"], act.number("version"), digest=body.digest, by=act.by)


async def withdrawn(act: Act) -> object:
    """Take back an offer of ours."""
    body: Withdrawing = act.body
    return await withdraw_offer.withdraw_offer(act.services, act.path["agreement"], act.number("version"), reason=body.reason, by=act.by)


async def taken(act: Act) -> object:
    """Keep what the other office has signed."""
    body: Taking = act.body
    done = await take_documents.take_document(act.services, body.document.signed(), by=act.by)
    await end_agreement.end_agreements(act.services)
    return done


async def sent(act: Act) -> object:
    """Bring partners what they have not taken yet, and hear what they keep for us."""
    told, troubles = await tell_partners.send_letters(act.services, by=act.by)
    return Letters(told=told, troubles=troubles)


async def inventory(act: Act) -> object:
    """What both sides have done with each other's records at the end."""
    return await end_agreement.show_end(act.services, act.path["agreement"])


async def stated(act: Act) -> object:
    """Suspend, resume or end."""
    body: State = act.body
    document = await manage_agreements.change_state(act.services, act.path["agreement"], body.state, reason=body.reason, by=act.by)
    await end_agreement.end_agreements(act.services)
    return _document(document)


_ALL = "/admin/v1/agreements"
_ONE = f"{_ALL}/{{agreement}}"
_VERSION = f"{_ONE}/versions/{{version}}"

ROUTES: tuple[Route, ...] = (
    Route(method="GET", path=_ALL, command="agreement list", summary="Agreements, and what waits for whom", handler=listed,
          gives=list[manage_agreements.AgreementStatus]),
    Route(method="POST", path=_ALL, command="agreement offer", summary="Sign our agreement first", handler=offered, takes=AgreementBody,
          gives=Document),
    Route(method="POST", path="/admin/v1/agreement-checks", command="agreement check",
          summary="Faults of an agreement, and what it widens", handler=checked, takes=AgreementBody, gives=check_agreement.Checked),
    Route(method="POST", path="/admin/v1/agreement-countersignatures", command="agreement countersign",
          summary="Sign what the other office offered", handler=countersigned, takes=Countersigning, gives=Document),
    Route(method="POST", path="/admin/v1/agreement-documents", command="agreement take",
          summary="Keep what the other office has signed", handler=taken, takes=Taking, gives=take_documents.Taken),
    Route(method="POST", path="/admin/v1/agreement-letters", command="agreement send",
          summary="Bring partners what they have not taken yet", handler=sent, gives=Letters),
    Route(method="POST", path=f"{_VERSION}/approve", command="agreement approve", summary="The second yes to a wider version",
          handler=approved, takes=AgreementApproval, gives=agree_wider.Approved),
    Route(method="POST", path=f"{_VERSION}/withdraw", command="agreement withdraw", summary="Take back an offer of ours",
          handler=withdrawn, takes=Withdrawing, gives=withdraw_offer.WithdrawnOffer),
    Route(method="POST", path=f"{_ONE}/state", command="agreement state", summary="Suspend, resume or end an agreement", handler=stated,
          takes=State, gives=Document),
    Route(method="GET", path=f"{_ONE}/inventory", command="agreement inventory",
          summary="What both sides did with each other's records at the end", handler=inventory, gives=end_agreement.Ended),
)  # fmt: skip
