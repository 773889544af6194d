"""Whether a text seems to tell where somebody lives: for the residual score, nothing is replaced by it.

Rules: a dwelling counts from its unit or its residents; the rooms of offices, markets and factories do not. Every quantifier is bounded.
This room must not look at names.
"""

import re
from typing import Final

from gateway.core.disclosure.digit_runs import Place

_ROOM: Final = "[0-9十百]{1,4}"
_RESIDENT: Final = "居民|住户|村民|家中|家里|家门|自家|住宅|住处|民房|租住|居住|户主|一户|[0-9A-Z]户|业主"
_ESTATE: Final = "小区|花园|家园|新村|新城|公寓|宿舍|家属楼|家属院|家属区|佳苑|嘉园|名苑|雅苑|华府|社区|棚户区"
_HOME: Final = re.compile(
    rf"(?:{_ROOM}(?:号楼|栋|幢|座|号|#)?[^,。;:、\n0-9]{{0,6}}{_ROOM}单元"
    rf"|{_ROOM}单元[^,。;、\n]{{0,6}}(?:{_ROOM}(?:室|号|户|门)|{_RESIDENT}|[0-9]{{3,4}})"
    rf"|{_ROOM}(?:号楼|栋|幢)[^,。;、\n]{{0,6}}[0-9]{{1,4}}(?:室|户|号房)"
    rf"|{_ROOM}(?:号楼|栋|幢)[^,。;、\n]{{0,8}}(?:{_RESIDENT})"
    rf"|(?:{_ESTATE})[^,。;、\n]{{0,8}}[0-9]{{1,4}}(?:室|户|号房)"
    rf"|(?:{_ESTATE})[^,。;、\n0-9]{{0,8}}[0-9]{{1,3}}(?:号楼?|栋|幢|#)?-[0-9]{{1,4}}"
    rf"|[路街巷弄里道同屯组村院]{_ROOM}(?:-{_ROOM})?号[^,。;、\n]{{0,8}}(?:{_RESIDENT})"
    rf"|[路街巷弄同屯村院]{_ROOM}号(?:院|楼)?[^,。;、\n]{{0,4}}[0-9]{{2,4}}室"
    rf"|[村屯社][^,。;、\n]{{0,4}}{_ROOM}[组社队][^,。;、\n]{{0,8}}(?:家中|家里|自家|住宅|住处|租住|居住))"
)
_HOMELIKE: Final = re.compile("单元|号楼|栋|幢|室|户|居民|村民|居住|住宅|住处|租住|民房|业主|自家|家[中里门]|-[0-9]")
"""Without one of these a copy tells no home."""
_OFFICE: Final = re.compile("大厦|写字楼|产业园|工业园|科技园|创业园|商务|办公|广场|中心|教学楼|实验楼|门诊楼|住院楼|市场|厂区|园区|商场")


def dwellings(copy: str, covered: bytearray, public: bytearray) -> list[Place]:
    """Where a copy seems to tell a home: by unit or room, or by the number of a house with its residents."""
    doubts: list[Place] = []
    if _HOMELIKE.search(copy) is None:
        return doubts
    for found in _HOME.finditer(copy):
        start, end = found.span()
        if any(covered[start:end]) or (public and all(public[start:end])):
            continue
        if "单元" not in found[0] and "家" not in found[0] and "住" not in found[0] and _OFFICE.search(copy, max(0, start - 12), end):
            continue
        doubts.append((start, end))
    return doubts
