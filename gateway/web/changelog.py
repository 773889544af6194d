"""What changes in this API, for those who built on it: told by `/v1/feeds/changelog.atom`, the newest first.

Rules: an entry is written with the change that it tells of, and never changed afterwards; its instant is the day of the change. What
will go is told here when its `Deprecation` begins (api.md §9), at least six months before it goes.
"""

from typing import Final, Literal

from msgspec import Struct


class Change(Struct, frozen=True, kw_only=True):
    """One change."""

    id: str
    """For ever."""
    at: str
    kind: Literal["added", "deprecated", "removed"]
    title_zh: str
    title_en: str
    text_zh: str
    text_en: str


CHANGELOG: Final[tuple[Change, ...]] = (
    Change(
        id="0.1.0-feeds",
        at="2026-11-28T00:00:00Z",
        kind="added",
        title_zh="事件流、订阅源与三种新格式",
        title_en="Event stream, feeds, and three more formats",
        text_zh=(
            "新增 /v1/changes/stream（Server-Sent Events）、/v1/feeds/{名单}.atom 与 .json、/v1/feeds/datasets.atom；"
            "所有列表另有 XLSX、Parquet 与 MessagePack 格式；回答可用 zstd 压缩。"
        ),
        text_en=(
            "/v1/changes/stream (server-sent events), /v1/feeds/{list}.atom and .json, /v1/feeds/datasets.atom; every list also in XLSX, "
            "Parquet and MessagePack; answers in zstd."
        ),
    ),
)
"""The newest first."""
