"""The demo's two invented cities: their folders, settings files and what the demo remembers of them.

Rules: everything stands in one folder that may be deleted; settings are written anew at each start, keys and data never; a folder
that was made for other ports or another sample is refused instead of being mixed. This room must not start anything.
"""

from datetime import date
from pathlib import Path

import msgspec
from msgspec import Struct

from gateway import settings as settings_room
from gateway.core.errors import SettingsError
from gateway.operations.set_up import copy_policies
from gateway.sample.people import Authority, authorities
from gateway.settings import Settings


class City(Struct, frozen=True, kw_only=True):
    """One gateway of the demo."""

    key: str
    name: str
    party: str
    region: str
    portal: str
    port: int
    folder: Path

    @property
    def origin(self) -> str:
        """Where its API is."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def settings_file(self) -> Path:
        """Its settings."""
        return self.folder / "chengxin.toml"

    @property
    def authorities(self) -> tuple[Authority, ...]:
        """The departments that may upload, the operating body first."""
        return authorities(self.region)

    def settings(self) -> Settings:
        """Its settings, read as every command reads them; the test clock and seed come from the environment."""
        return settings_room.load(self.settings_file)


class Memory(Struct, kw_only=True):
    """What the demo did once and does not do again; `state.json` in its folder."""

    ports: tuple[int, int]
    seed: int
    subjects: int
    today: date
    ingested: bool = False
    agreed: bool = False
    repaired: str | None = None


def two_cities(folder: Path, ports: tuple[int, int]) -> tuple[City, City]:
    """Tonghua and its neighbour Baishan."""
    return (
        City(
            key="tonghua",
            name="通化市",
            party="credit.tonghua.example",
            region="220500",
            portal="诚信通化网",
            port=ports[0],
            folder=folder / "tonghua",
        ),
        City(
            key="baishan",
            name="白山市",
            party="credit.baishan.example",
            region="220600",
            portal="信用白山",
            port=ports[1],
            folder=folder / "baishan",
        ),
    )


def recall(folder: Path, *, ports: tuple[int, int], seed: int, subjects: int, today: date) -> Memory:
    """What the demo remembers in this folder, or a fresh memory.

    Raises SettingsError demo-folder when the folder was made for other ports or another sample.
    """
    path = folder / "state.json"
    if not path.is_file():
        return Memory(ports=ports, seed=seed, subjects=subjects, today=today)
    try:
        memory = msgspec.json.decode(path.read_bytes(), type=Memory)
    except msgspec.DecodeError as error:
        raise SettingsError(
            "the demo's memory is damaged", code="demo-folder", place=str(path), hint=f"delete {folder} and begin anew"
        ) from error
    if (memory.ports, memory.seed, memory.subjects) != (ports, seed, subjects):
        raise SettingsError(
            f"this folder was made for the ports {memory.ports[0]} and {memory.ports[1]}, seed {memory.seed}, {memory.subjects} subjects",
            code="demo-folder",
            place=str(folder),
            hint="give the same again, or another folder with --data",
        )
    return memory


def remember(folder: Path, memory: Memory) -> None:
    """Write the memory down, whole or not at all."""
    draft = folder / "state.json.part"
    draft.write_bytes(msgspec.json.encode(memory))
    draft.replace(folder / "state.json")


def write_settings(city: City) -> None:
    """The settings file of one city; its policies are a copy of the shipped ones, made once."""
    city.folder.mkdir(parents=True, exist_ok=True)
    copy_policies(city.folder / "policies")
    lines = [
        f"# {city.name}, an invented gateway of the demo: written by `chengxin demo`, which overwrites it at each start.",
        f'party = "{city.party}"',
        f'region = "{city.region}"',
        f'org = "{city.authorities[0].uscc}"',
        f'city = "{city.name}"',
        f'portal = "{city.portal}"',
        'data_dir = "data"',
        'policies = "policies"',
        f'public_origin = "{city.origin}"',
        f"port = {city.port}",
        "demo = true",
        "quota_factor = 1000",  # link checkers and fuzzers may run against the demo
        "exchange_poll_s = 0",
    ]
    for one in city.authorities:
        covers = ", ".join(f'"{code}"' for code in one.covers)
        lines += ["", "[[authorities]]", f'uscc = "{one.uscc}"', f'name = "{one.name}"', f'region = "{one.region}"', f"covers = [{covers}]"]
    city.settings_file.write_text("\n".join(lines) + "\n", encoding="utf-8")
