"""Where the gateway's keys are kept on this machine.

It owns that choice: a file of this machine, or Consul where the house has one.
"""

from __future__ import annotations

from pipecatapp.adapters.key_file import KeyFile
from pipecatapp.gateway_ports import KeyStore
from pipecatapp.settings import Settings


async def open_keys(settings: Settings, *, as_admin: bool = False) -> KeyStore:
    """Return the keys.

    Args:
        settings: TWIN_DATA_DIR counts.
        as_admin: They are to be changed.
    """
    return KeyFile(settings.data_dir)
