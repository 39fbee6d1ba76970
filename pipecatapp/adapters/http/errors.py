"""Maps what httpx raises to our errors, alike for every system that is asked over HTTP.

It owns the codes and the words for a system that cannot be asked; what an answer means is its adapter's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from pipecatapp.errors import AdapterError


@contextmanager
def map_http_errors(system: str, url: str) -> Iterator[None]:
    """Turn what httpx raises in the body into errors that name the system and the next step.

    Args:
        system: Its name, such as Consul; settings, units and folders are called after it.
        url: Where it is asked.

    Raises:
        AdapterError: There is none, it is not trusted, does not answer, or broke the connection.
    """
    name = system.lower()
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout) as exc:
        if "CERTIFICATE_VERIFY_FAILED" in str(exc):
            raise AdapterError(
                f"{name}-untrusted",
                f"The certificate of {system} at {url} is not trusted ({exc}).",
                hint=f"Set {name.upper()}_CACERT to the house's authority: /etc/{name}.d/tls/ca.pem",
            ) from exc
        raise AdapterError(
            f"{name}-unreachable",
            f"There is no {system} at {url}.",
            hint=f"On a node of the cluster: systemctl status {name}",
            retryable=True,
        ) from exc
    except httpx.TimeoutException as exc:
        raise AdapterError(
            f"{name}-timeout", f"{system} at {url} takes calls but does not answer.", retryable=True
        ) from exc
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        raise AdapterError(
            f"{name}-unreachable", f"{system} at {url} broke the connection ({exc}).", retryable=True
        ) from exc
