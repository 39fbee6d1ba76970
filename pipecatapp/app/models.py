"""This machine's models.

It owns how settings become a model store; what is in it is the supply's.
"""

from __future__ import annotations

from pipecatapp.settings import Settings
from pipecatapp.supply.catalogue import load_catalogue
from pipecatapp.supply.store import ModelStore


def model_store(settings: Settings) -> ModelStore:
    """Return the store of this machine's models.

    Raises:
        ConfigError: The catalogue is wrong.
    """
    return ModelStore(
        settings.models_path, load_catalogue(settings.catalogue_dir), mirror_url=settings.mirror_url
    )
