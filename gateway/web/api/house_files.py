"""The files that every house on the web keeps (api.md §7.19)."""

from typing import Final

from gateway.operations import house_files
from gateway.web.asked import begin
from gateway.web.describe import AnyRequest, Described, path
from gateway.web.replies import Reply

_TEXT: Final = "text/plain"
_XML: Final = "application/xml"

SECURITY_TXT = Described(
    operation_id="getSecurityTxt",
    tag="接口",
    summary="安全联系人",
    description="Who is told of a weakness (RFC 9116); 404 where the operator names nobody.",
    media=(_TEXT,),
    one_format=True,
    problems=("not-found",),
    example="Contact: mailto:security@h\nExpires: 2026-09-01T00:00:00Z\n",
)


@path("/.well-known/security.txt", SECURITY_TXT)
async def security_txt(request: AnyRequest) -> Reply:
    """Who is told of a weakness."""
    asked = await begin(request, SECURITY_TXT)
    return asked.reply(await house_files.security_txt(asked.services), names_subjects=False)


ROBOTS_TXT = Described(
    operation_id="getRobotsTxt",
    tag="接口",
    summary="搜索引擎规则",
    description="Where robots may go: not through the API. Pages that name somebody say `noindex` themselves.",
    media=(_TEXT,),
    one_format=True,
    example="User-agent: *\nDisallow: /v1/\n",
)


@path("/robots.txt", ROBOTS_TXT)
async def robots_txt(request: AnyRequest) -> Reply:
    """Where robots may go."""
    asked = await begin(request, ROBOTS_TXT)
    return asked.reply(await house_files.robots_txt(asked.services), names_subjects=False)


SITEMAP = Described(
    operation_id="getSitemap",
    tag="接口",
    summary="站点地图",
    description="Datasets, lists and policies with the time of their last change, and the help; never a subject.",
    media=(_XML,),
    one_format=True,
    example='<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"><url><loc>https://h/v1/datasets</loc></url></urlset>',
)


@path("/sitemap.xml", SITEMAP)
async def sitemap(request: AnyRequest) -> Reply:
    """Datasets, lists and policies."""
    asked = await begin(request, SITEMAP)
    return asked.reply(await house_files.sitemap(asked.services), names_subjects=False)


HANDLERS: Final = (security_txt, robots_txt, sitemap)
