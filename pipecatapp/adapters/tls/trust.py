"""TLS contexts of clients: which certificate authority they trust.

Not here: making certificates (`local_ca`), and serving with them (`web/serving`).
"""

from __future__ import annotations

import ssl
from pathlib import Path

from pipecatapp.errors import ConfigError

CLUSTER_CA_HINT = "Name the file of the house's authority, such as /etc/nomad.d/tls/ca.pem."


def client_context(ca: Path | None, *, hint: str = CLUSTER_CA_HINT) -> ssl.SSLContext:
    """Return who is trusted: the authority in `ca` (PEM) alone, or the system's when None.

    Args:
        ca: Its file.
        hint: What to do when it cannot be used.

    Raises:
        ConfigError: `ca-unreadable`: the file cannot be read or is no certificate.
    """
    try:
        return ssl.create_default_context(cafile=str(ca) if ca else None)
    except OSError as exc:
        raise ConfigError(
            "ca-unreadable",
            f"The certificate authority {ca} cannot be used ({exc.strerror or exc}).",
            hint=hint,
        ) from exc
