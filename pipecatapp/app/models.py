"""This machine's models.

It owns how settings become a model store; what is in it is `artifacts`'s.
"""

from __future__ import annotations

from pipecatapp.artifacts.catalogue import load_catalogue
from pipecatapp.artifacts.model_store import ModelStore
from pipecatapp.settings import Settings


def model_store(settings: Settings) -> ModelStore:
    """Return the store of this machine's models.

    Raises:
        ConfigError: The catalogue is wrong.
    """
    return ModelStore(
        settings.models_path, load_catalogue(settings.catalogue_dir), mirror_url=settings.mirror_url
    )
