"""The legality gate: no live basis, no publication."""

from datetime import date

import msgspec
import pytest

from gateway.core.records.basis import in_force, legality
from gateway.core.records.catalogue import Catalogue, read_catalogue
from gateway.core.records.model import BasisRef, DatasetId

TODAY = date(2026, 6, 1)
PENALTIES, TAX = DatasetId("administrative-penalties"), DatasetId("tax-violations")


def test_every_shipped_dataset_has_a_live_basis(catalogue: Catalogue) -> None:
    """All datasets as shipped may be published today, each on a named law."""
    for dataset in catalogue.datasets.values():
        found = legality(dataset, catalogue, TODAY)
        assert found.live, dataset.id
        assert found.code is None
        assert all(ground.text.startswith("《") for ground in found.basis)


def test_superseded_edition(policy_files: dict[str, bytes]) -> None:
    """When an edition has ended, its last day is the last day on which its items carry a dataset."""
    text = policy_files["catalogue.toml"].replace(b"from = 2024-01-01\nflags", b"from = 2024-01-01\nuntil = 2026-05-31\nflags")
    catalogue = read_catalogue(policy_files | {"catalogue.toml": text})
    dataset = catalogue.datasets[PENALTIES]
    assert legality(dataset, catalogue, date(2026, 5, 31)).live
    after = legality(dataset, catalogue, TODAY)
    assert (after.live, after.code, after.basis) == (False, "LAW_CATALOGUE", ())
    assert legality(dataset, catalogue, date(2023, 12, 31)).code == "LAW_CATALOGUE"


def test_vanished_item(policy_files: dict[str, bytes]) -> None:
    """A dataset whose item the edition no longer has is held, not refused."""
    text = policy_files["catalogue.toml"].replace('item = "行政处罚"'.encode(), 'item = "别的"'.encode())
    catalogue = read_catalogue(policy_files | {"catalogue.toml": text})
    assert legality(catalogue.datasets[PENALTIES], catalogue, TODAY).code == "LAW_CATALOGUE"


def test_item_of_another_category(policy_files: dict[str, bytes]) -> None:
    """An item for another kind of information does not carry a dataset."""
    text = policy_files["catalogue.toml"].replace(b'category = "penalty"', b'category = "abnormal"')
    catalogue = read_catalogue(policy_files | {"catalogue.toml": text})
    assert legality(catalogue.datasets[PENALTIES], catalogue, TODAY).code == "LAW_CATALOGUE"


@pytest.mark.parametrize("file", ["catalogue.toml", "lists/tax-violations.toml"])
def test_law_that_ended(policy_files: dict[str, bytes], file: str) -> None:
    """With the law of the item, or of the list, the publication ends."""
    law = '{ law = "重大税收违法失信主体信息公布管理办法", article = "十一", from = 2022-02-01'.encode()
    assert law in policy_files[file]
    catalogue = read_catalogue(policy_files | {file: policy_files[file].replace(law, law + b", until = 2026-05-31")})
    dataset = catalogue.datasets[TAX]
    assert legality(dataset, catalogue, date(2026, 5, 31)).live
    assert legality(dataset, catalogue, TODAY).code == "LAW_BASIS"


def test_grounds_in_force() -> None:
    """A ground counts from its first to its last day."""
    old = BasisRef(law="甲", from_=date(2020, 1, 1), until=date(2025, 12, 31))
    new = msgspec.structs.replace(old, law="乙", from_=date(2026, 1, 1), until=None)
    assert in_force((old, new), date(2025, 12, 31)) == (old,)
    assert in_force((old, new), TODAY) == (new,)
    assert in_force((BasisRef(law="丙"),), TODAY) == (BasisRef(law="丙"),)
