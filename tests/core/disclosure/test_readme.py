"""The README of the policies names every key that the readers take, and every code that they refuse with."""

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from msgspec import Struct

from gateway.core.disclosure import checks, compiling, deciding, naming, obligations, policy, residual, row_rules, rules, tiers, treatments
from gateway.core.records import catalogue, model, periods
from tests.core.disclosure.making import POLICIES, shipped_files

README = (POLICIES / "README.md").read_text(encoding="utf-8")
CODED = (checks, compiling, deciding, naming, policy, residual, row_rules, rules, tiers, catalogue)
WORDS = set(re.findall(r"[a-z0-9_.$-]+", README)) | set(re.findall(r"[a-z0-9_]+", README))


def written(*modules: object) -> Iterator[type[Struct]]:
    """The Structs that are decoded from files: those that refuse unknown keys."""
    for module in modules:
        for name, found in vars(module).items():
            if (
                isinstance(found, type)
                and issubclass(found, Struct)
                and found is not Struct
                and found.__struct_config__.forbid_unknown_fields
            ):
                yield found
                assert name


@pytest.mark.parametrize(
    "struct",
    sorted(set(written(rules, tiers, obligations, treatments, catalogue, model, periods)), key=lambda each: each.__name__),
    ids=lambda each: each.__name__,
)
def test_every_key_is_documented(struct: type[Struct]) -> None:
    """Each key of each Struct that a policy file is decoded into."""
    assert {field.encode_name for field in msgspec.structs.fields(struct)} - WORDS == set()


def test_every_code_is_documented() -> None:
    """Each code that the checks give stands in the table."""
    source = "".join(Path(str(module.__file__)).read_text(encoding="utf-8") for module in CODED)
    assert set(re.findall(r"policy-(?:parse|S[0-9]+)", source)) <= set(re.findall(r"policy-(?:parse|S[0-9]+)", README))


def test_every_file_is_documented() -> None:
    """Each file of the folder is named, datasets and lists by their ids."""
    for path in shipped_files():
        assert Path(path).stem in README
