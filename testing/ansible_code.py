"""Load Python code that Ansible or a role brings, which is on no import path here.

It owns the loading only; nothing of the import path is changed.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]
SHARED = ("control_plane", "nomad_api")
"""Files of `ansible/module_utils` that modules import."""


def load_package(folder: str) -> ModuleType:
    """Import the package in `folder` (below the checkout) under its own name; once."""
    path = ROOT / folder
    name = path.name
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            name, path / "__init__.py", submodule_search_locations=[str(path)]
        )
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


def load_module(folder: str, name: str) -> ModuleType:
    """Import one module of such a package."""
    package = load_package(folder)
    return importlib.import_module(f"{package.__name__}.{name}")


def load_library(name: str) -> ModuleType:
    """Import a module of `ansible/library`, or the code they share, by Ansible's name."""
    if name in SHARED:
        return load_file(f"ansible.module_utils.{name}", ROOT / f"ansible/module_utils/{name}.py")
    for shared in SHARED:
        load_library(shared)
    return load_file(name, ROOT / "ansible" / "library" / f"{name}.py")


def load_file(name: str, path: Path) -> ModuleType:
    """Import one file under a name of its own; once."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]
