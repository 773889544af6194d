"""Measures that a partner says it takes on account of records of ours (联合奖惩反馈): which of its lines are believed, and what is kept.

Rules: a partner may tell of a measure only about a record that we told it of under that agreement (else SCOPE_OWNER), and only of that
record's subject (else SUBJ_CONFLICT). How a measure stands that we hold already may always be told, also when our record is gone. What is
believed is a record of its own like any other, and shown beside ours. This story must not change the record that a measure is about.
"""

from collections.abc import Sequence

import msgspec

from gateway.core.exchange.judging import Finding
from gateway.core.exchange.wire import split_stream
from gateway.core.records.model import Value
from gateway.operations.judged import JudgedLine
from gateway.operations.partners import Stream
from gateway.store import measures
from gateway.store.measures import Taken
from gateway.store.store import Source, Transaction
from gateway.store.subjects import subject_by_key

_ABOUT, _VERSION, _CODE, _OUTCOME = "about_rid", "about_v", "measure_code", "outcome"
_STANDINGS = frozenset({"in_effect", "suspended", "lifted"})


async def believed(source: Source, stream: Stream, lines: Sequence[JudgedLine]) -> tuple[JudgedLine, ...]:
    """The lines of a stream of measures, those about what is none of the partner's business refused."""
    about = {line.index: _text(line, _ABOUT) for line in lines if line.judged.action == "store"}
    rids = sorted({rid for rid in about.values() if rid is not None})
    told = await measures.told_to(source, rids)
    known = await measures.measures_about(source, rids)
    held = {(each.record_id, each.about) for each in known if each.partner == stream.sender}
    agreement = split_stream(stream.name)[0]
    out = []
    for line in lines:
        code = None
        if line.index in about and (line.judged.rid, about[line.index]) not in held:
            subject, streams = told.get(about[line.index] or "", ("", frozenset[str]()))
            if not any(split_stream(each)[0] == agreement for each in streams):
                code = "SCOPE_OWNER"
            elif not await _is_of(source, line, subject):
                code = "SUBJ_CONFLICT"
        out.append(line if code is None else _refused(line, code))
    return tuple(out)


async def _is_of(source: Source, line: JudgedLine, subject_id: str) -> bool:
    """Whether one of the line's keys is of this subject."""
    if line.admitted is None:
        return True  # it is refused already
    for key_type, value in line.admitted.subject_keys:
        subject = await subject_by_key(source, key_type, value, line.admitted.kind)
        if subject is not None and subject.subject_id == subject_id:
            return True
    return False


def _refused(line: JudgedLine, code: str) -> JudgedLine:
    finding = Finding(severity="reject", code=code, field=_ABOUT, disclosure=line.judged.digest_of(_ABOUT), retry=code != "SCOPE_OWNER")
    judged = msgspec.structs.replace(line.judged, action="reject")
    return msgspec.structs.replace(line, judged=judged, admitted=None, findings=(*line.findings, finding))


def _value(line: JudgedLine, name: str) -> Value:
    opened = line.judged.opened
    return next((value for each, value in zip(opened.names, opened.values, strict=True) if each == name), None)


def _text(line: JudgedLine, name: str) -> str | None:
    value = _value(line, name)
    return value if isinstance(value, str) else None


async def keep(tx: Transaction, stream: Stream, lines: Sequence[JudgedLine]) -> None:
    """Remember which record of ours each believed measure is about; of what was taken back nothing."""
    kept, gone = list[Taken](), list[str]()
    for line in lines:
        rid, v = line.judged.rid, _value(line, _VERSION)
        about, code, standing = _text(line, _ABOUT), _text(line, _CODE), _text(line, _OUTCOME)
        if rid is None:
            continue
        if line.judged.action == "withdraw":
            gone.append(rid)
        elif line.judged.action == "store" and about and code and standing in _STANDINGS and line.admitted is not None:
            kept.append(
                Taken(
                    record_id=rid,
                    about=about,
                    v=v if isinstance(v, int) else 0,
                    partner=stream.sender,
                    ours=False,
                    code=code,
                    authority=line.admitted.authority_code or "",
                    standing=standing,  # type: ignore[arg-type]  # one of the three
                    since=tx.now_text,
                )
            )
    await measures.drop_measures(tx, gone)
    await measures.put_measures(tx, kept)
