"""Set up a gateway's data directory: keys, tables, and the first policies in force.

Rules: every step may be repeated and changes nothing the second time; a policy folder that is not there yet is filled with the
shipped one, to be edited. This story must not touch a policy that is in force.
"""

import shutil
from pathlib import Path

from msgspec import Struct

from gateway.core.errors import SettingsError
from gateway.operations.change_policy import Activated, activate_initial, in_force
from gateway.operations.manage_keys import Created, create_keys
from gateway.operations.rescore_texts import rescore_texts
from gateway.operations.seal_withdrawn import seal_withdrawn
from gateway.services import open_services
from gateway.settings import Settings

_HERE = Path(__file__).resolve().parent.parent


class SetUp(Struct, frozen=True, kw_only=True):
    """What `chengxin init` made."""

    data_dir: str
    database: str
    keys: Created
    policies_folder: str
    policies_copied: bool
    policy: Activated


def shipped_policies() -> Path:
    """The policy folder that comes with the program: in a wheel inside the package, in a checkout beside it.

    Raises SettingsError when the installation holds neither.
    """
    for folder in (_HERE / "shipped_policies", _HERE.parent / "policies"):
        if (folder / "tiers.toml").is_file():
            return folder
    raise SettingsError(
        "this installation has no policy files", code="policies-missing", place=str(_HERE), hint="install the package again"
    )


def copy_policies(folder: Path) -> bool:
    """Fill a folder that does not exist yet with the shipped policies; false when it is there already."""
    if folder.exists():
        return False
    shutil.copytree(shipped_policies(), folder, ignore=shutil.ignore_patterns("agreements"))
    return True


async def set_up(settings: Settings, *, by: str) -> SetUp:
    """Keys, tables and a first policy for one gateway.

    Raises SettingsError, StoreError or PolicyError, each with what to do.
    """
    keys = create_keys(settings)
    folder = Path(settings.policies)
    copied = copy_policies(folder)
    async with open_services(settings, migrate=True) as services:
        policy = await in_force(services) or await activate_initial(services, folder, by=by)
        if policy.first:  # nothing stands here yet that earlier programs left: the first process need not look for it in a whole register
            await services.policies.refresh()
            await seal_withdrawn(services)
            await rescore_texts(services)
        dialect = services.store.dialect
    return SetUp(
        data_dir=str(settings.data_path), database=dialect, keys=keys, policies_folder=str(folder), policies_copied=copied, policy=policy
    )
