"""The modules of the roles `nomad_job` and `expert`, loaded as Ansible loads them.

It owns the loading only.
"""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

from testing.ansible_code import ROOT

ROLES = ROOT / "ansible" / "roles"


def _load(name: str, path: str) -> ModuleType:
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, ROLES / path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


nomad_api = _load("ansible.module_utils.nomad_api", "../module_utils/nomad_api.py")
nomad_job = _load("nomad_job", "nomad_job/library/nomad_job.py")
expert_order = _load("expert_order", "expert/library/expert_order.py")
expert_report = _load("expert_report", "expert/library/expert_report.py")
