"""The administrators' API mirrors the command line: every command has its path, every option its parameter, and nothing stands beside."""

import re
from pathlib import Path

import pytest
import rich_click as click

from gateway.cli import cli
from gateway.web.admin.desk import Route
from gateway.web.admin.routes import ROUTES

MAP = (Path(__file__).resolve().parents[2] / "gateway" / "README.md").read_text(encoding="utf-8")
SIGNING = frozenset({"as", "key", "json"})
"""What signs the request over the API, and how the answer looks."""
OWN_KEY = frozenset({"key enrol-admin"})
"""Where `--key` is the thing itself."""
CALLED = {
    "folder": "files",
    "file": {"key add": "key", "grant propose": "text", "line propose": "text", "agreement check": "text",
             "agreement offer": "text", "agreement countersign": "text"},
    "jwk": {"key add": "key"},
    "at": {"policy approve": "activate_at"},
    "from": "from_day",
    "to": "to_day",
    "id": "grant",
    "role": "roles",
    "scope": {"key issue": "scopes"},
    "cidr": "networks",
}
"""Words of the command line that the API says otherwise: what was a file here is its text there, what may be repeated is a list."""
BEYOND = {"policy approve": {"approval", "signature"}}
"""What the command makes itself with `--key`, and a request has to bring."""


def every(group: click.Group, above: str = "") -> dict[str, click.Command]:
    """Every command of the program by its whole name."""
    found: dict[str, click.Command] = {}
    for name, command in group.commands.items():
        found |= every(command, f"{above}{name} ") if isinstance(command, click.Group) else {above + name: command}
    return found


def only_here() -> set[str]:
    """The exceptions that the code map names, each with its reason: groups, commands, `command --option` or `command ARGUMENT`."""
    section = MAP.split("Only on the command line")[1].split("\n## ")[0]
    rows = [line.split("|") for line in section.splitlines() if line.startswith("| `")]
    assert all(len(why.strip()) > 5 for _, _, why, _ in rows)
    names = {name for _, names, _, _ in rows for name in re.findall(r"`([^`]+)`", names)}
    return {re.sub(r" ([A-Z]+)$", lambda argument: f" --{argument[1].lower()}", name) for name in names}


def words_of(name: str, command: click.Command) -> set[str]:
    """What a command can be told, by the names on its command line."""
    said = set()
    for one in command.params:
        text = (one.make_metavar(click.Context(command)) if one.param_type_name == "argument" else one.opts[-1]).strip("-[]<>.").lower()
        said |= set(text.replace("-", "_").split("|")) if not text.startswith("{") else {str(one.name)}
    return said - (SIGNING - {"key"} if name in OWN_KEY else SIGNING) | ({"key"} if name == "key revoke" else set())


def mirrored(name: str, command: click.Command, excepted: set[str]) -> set[str]:
    """The same as the API calls it, without what is only here."""
    found = set()
    for word in words_of(name, command):
        if f"{name} --{word}" in excepted:
            continue
        called = CALLED.get(word, word)
        found.add(called.get(name, word) if isinstance(called, dict) else called)
    return found


def told(routes: list[Route]) -> set[str]:
    """What the paths of a command can be told."""
    found: set[str] = set()
    for route in routes:
        found |= {*route.query, *re.findall(r"{([a-z_]+)}", route.path)}
        found |= set(route.takes.__struct_fields__) if route.takes is not None else set()
    return found


COMMANDS = every(cli)
EXCEPTED = only_here()


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_command_has_its_path_or_its_reason(name: str) -> None:
    """A command is over the API what it is here, option for option, or the code map says why it, or its group, is here alone."""
    routes = [route for route in ROUTES if route.command == name]
    alone = name in EXCEPTED or (name.partition(" ")[0] in EXCEPTED and not routes)
    assert bool(routes) != alone or name == "openapi"  # this API has a document of its own
    if not alone:
        assert told(routes) - BEYOND.get(name, set()) == mirrored(name, COMMANDS[name], EXCEPTED)


def test_no_path_and_no_exception_is_left_over() -> None:
    """Every path mirrors a command that is there, and every exception is about one."""
    assert {route.command for route in ROUTES} <= set(COMMANDS)
    for name in EXCEPTED:
        command, _, option = name.partition(" --")
        assert command in COMMANDS or command in cli.commands, name
        assert not option or option in words_of(command, COMMANDS[command]), name


def test_an_option_that_is_left_out_is_noticed() -> None:
    """The comparison sees an option without its parameter, and a parameter without its option."""
    command = click.Command("suspend", params=[click.Argument(["app"]), click.Option(["--reason"])])
    routes = [route for route in ROUTES if route.command == "key suspend"]
    assert mirrored("key suspend", command, set()) - told(routes) == {"reason"}
    assert told(routes) - mirrored("key suspend", click.Command("suspend"), set()) == {"app"}
