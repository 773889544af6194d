"""A whole gateway in a folder of one test: settings file, keys, tables, the shipped policies in force."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gateway import settings as settings_room
from gateway.operations.set_up import set_up, shipped_policies
from gateway.sample.people import authorities
from gateway.services import Services, open_services
from gateway.settings import Settings

TONGHUA = "credit.tonghua.example"
CENTRE = "11220500XXT0001181"

SETTINGS = """\
party = "{party}"
region = "220500"
org = "11220500XXT0001181"
data_dir = "data"
policies = "{policies}"
database = "{database}"
public_origin = "http://127.0.0.1:{port}"
port = {port}
demo = true
quota_factor = 100000
security_contact = "mailto:security@credit.tonghua.example"
{more}
"""


def write_settings(
    folder: Path, *, database: str = "", port: int = 8000, more: str = "", party: str = TONGHUA, policies: Path | None = None
) -> Path:
    """A settings file of Tonghua in this folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "chengxin.toml"
    policies = policies or shipped_policies()
    text = SETTINGS.format(party=party, policies=policies, database=database, port=port, more=more)
    for one in authorities("220500"):
        text += f'\n[[authorities]]\nuscc = "{one.uscc}"\nname = "{one.name}"\nregion = "{one.region}"\ncovers = {list(one.covers)}\n'
    path.write_text(text, encoding="utf-8")
    return path


def settings_of(path: Path, **environment: str) -> Settings:
    """The settings as a process with just these variables would read them."""
    return settings_room.load(path, environment)


@asynccontextmanager
async def a_gateway(folder: Path, *, database: str = "", **environment: str) -> AsyncIterator[Services]:
    """An open gateway with keys, tables and the shipped policies in force."""
    settings = settings_of(write_settings(folder, database=database), **environment)
    await set_up(settings, by="test")
    async with open_services(settings) as services:
        yield services
