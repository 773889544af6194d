"""Describe the CSV file of a version as others read tables: CSV on the Web, and Frictionless (api.md §7.14).

Rules: a description goes with the present issue of its version, and is given when that may be given; of rows that were shown under
other plans, or that are not of organisations alone, it claims only what holds for all of them. This story must not read a row.
"""

from typing import Literal

from gateway.core.publication import tables
from gateway.core.publication.documents import notice
from gateway.core.records.model import DatasetId
from gateway.operations.answering import ENCODER
from gateway.operations.asking import Answer
from gateway.operations.describe_data import terms_document
from gateway.operations.reaching import licence_of
from gateway.operations.read_versions import Shown, shown
from gateway.operations.version_files import files_of
from gateway.services import Services

Words = Literal["csvw", "frictionless"]


async def describe_version(services: Services, collection_id: str, name: str, words: Words) -> Answer:
    """The CSV file of a version, or of the latest, in the words of one of the two.

    Raises NotFound, VersionWithdrawn, VersionReissuing.
    """
    version = await shown(services, collection_id, name)
    table = await _table(services, version)
    if words == "csvw":
        return version.answer(ENCODER.encode(tables.csvw(table)))  # without a notice, as `describe_catalogue.csv_metadata`
    said = {"notice": notice("zh-CN")} if services.settings.demo else {}
    return version.answer(ENCODER.encode(tables.data_package(table) | said))


async def _table(services: Services, found: Shown) -> tables.Table:
    room, version = found.room, found.version
    scene, collection, listing = room.scene, room.collection, room.collection.listing
    held = scene.policies.catalogue.datasets[DatasetId(collection.dataset)]
    organisations = listing is None or not listing.households
    file = (await files_of(services, collection, version))["csv"]
    return tables.Table(
        name=collection.what,
        about=found.address,
        title=collection.title,
        description=held.about.zh if listing is None else None,
        publisher=services.settings.portal,
        version=version.name,
        columns=tables.columns_of_version(
            scene.forms.plan_sets[held.id],
            version.columns,
            held.category,
            sure=organisations and version.policy_version == scene.forms.version,
        ),
        download=f"{found.address}.r{version.issue}.csv",
        keywords=held.about.keywords,
        licence=licence_of(scene.forms, (held.id,)),
        terms=terms_document(scene, held.id),
        size=file.size,
        sha256=file.sha256,
    )
