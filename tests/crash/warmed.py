"""What the mother of dying processes knows before she has the first: the shipped policies compiled, as every house has them in force.

Only she imports this: her children have it from her, where each would compile it anew for half a second of a core.
"""

import gc
from datetime import date

from gateway.core.disclosure.policy import compile_policies
from gateway.operations.change_policy import read_folder
from gateway.operations.set_up import shipped_policies

compile_policies(read_folder(shipped_policies()), version=1, today=date(2026, 6, 1), in_force=True)
gc.freeze()
