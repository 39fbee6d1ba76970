"""The modules of the roles `nomad_job` and `expert`, loaded as Ansible loads them.

It owns the loading only.
"""

from __future__ import annotations

from testing.ansible_code import load_library

hashi_api = load_library("hashi_api")
nomad_job = load_library("nomad_job")
expert_order = load_library("expert_order")
expert_report = load_library("expert_report")
