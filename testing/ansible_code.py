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
SHARED = ("hashi_api",)
"""Files of `ansible/module_utils` that modules import."""


def module_files() -> list[Path]:
    """Return every module of ours, of `ansible/library` and of the roles, sorted."""
    ansible = ROOT / "ansible"
    return sorted([*ansible.glob("library/*.py"), *ansible.glob("roles/*/library/*.py")])


def load_package(folder: str, name: str = "") -> ModuleType:
    """Import the package in `folder` (below the checkout) under its own name or another; once."""
    path = ROOT / folder
    return _load(name or path.name, path / "__init__.py", [str(path)])


def load_module(folder: str, name: str) -> ModuleType:
    """Import one module of such a package."""
    package = load_package(folder)
    return importlib.import_module(f"{package.__name__}.{name}")


def load_library(name: str) -> ModuleType:
    """Import a module of `ansible/library` or of a role, or the code they share, by Ansible's name."""
    if name in SHARED:
        return load_file(f"ansible.module_utils.{name}", ROOT / f"ansible/module_utils/{name}.py")
    for shared in SHARED:
        load_library(shared)
    load_package("ansible/module_utils/inventory_file", "ansible.module_utils.inventory_file")
    [path] = [path for path in module_files() if path.stem == name]
    return load_file(name, path)


def load_file(name: str, path: Path) -> ModuleType:
    """Import one file under a name of its own; once."""
    return _load(name, path, None)


def _load(name: str, path: Path, folders: list[str] | None) -> ModuleType:
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=folders)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]
