"""The modules of the roles `nomad_job` and `expert`, loaded as Ansible loads them.

It owns the loading only.
"""

from __future__ import annotations

from testing.ansible_code import ROOT, load_file, load_library

ROLES = ROOT / "ansible" / "roles"

nomad_api = load_library("nomad_api")
nomad_job = load_file("nomad_job", ROLES / "nomad_job/library/nomad_job.py")
expert_order = load_file("expert_order", ROLES / "expert/library/expert_order.py")
expert_report = load_file("expert_report", ROLES / "expert/library/expert_report.py")
