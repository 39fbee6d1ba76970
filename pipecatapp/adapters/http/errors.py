"""Maps what httpx raises to our errors, alike for every system that is asked over HTTP.

It owns the kinds of faults, and the words for Consul and Nomad, which speak alike; the words for another
system, and what an answer means, are its adapter's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum

import httpx

from pipecatapp.errors import AdapterError


class HttpFault(StrEnum):
    """Why there is no answer."""

    UNTRUSTED = "untrusted"
    """Its certificate is not one of an authority that is trusted."""
    UNREACHABLE = "unreachable"
    """Nothing listens there, or no way leads there."""
    CONNECT_TIMEOUT = "connect-timeout"
    """The machine does not accept in time."""
    TIMEOUT = "timeout"
    """It accepted and does not answer in time."""
    BROKEN = "broken"
    """It broke the connection, or speaks something else."""

    @property
    def is_timeout(self) -> bool:
        """Whether it was waited for in vain."""
        return self in (HttpFault.CONNECT_TIMEOUT, HttpFault.TIMEOUT)


ErrorOf = Callable[[HttpFault, str], AdapterError]
"""Returns a system's error for a fault, whose reason is in httpx's words."""


def fault_of(exc: httpx.HTTPError | httpx.InvalidURL) -> HttpFault:
    """Return which kind of fault an exception of httpx is."""
    match exc:
        case httpx.ConnectError():
            is_untrusted = "CERTIFICATE_VERIFY_FAILED" in str(exc)
            return HttpFault.UNTRUSTED if is_untrusted else HttpFault.UNREACHABLE
        case httpx.ConnectTimeout():
            return HttpFault.CONNECT_TIMEOUT
        case httpx.TimeoutException():
            return HttpFault.TIMEOUT
    return HttpFault.BROKEN


@contextmanager
def map_http_errors(error_of: ErrorOf) -> Iterator[None]:
    """Turn what httpx raises in the body into a system's own errors.

    Args:
        error_of: Says which, such as `agent_errors("Consul", url)`.

    Raises:
        AdapterError: What `error_of` returned.
    """
    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        raise error_of(fault_of(exc), str(exc)) from exc


def agent_errors(system: str, url: str) -> ErrorOf:
    """Return the errors of an agent of Consul or Nomad, which name it and the next step.

    Args:
        system: Its name, such as Consul; settings, units and folders are called after it.
        url: Where it is asked.
    """
    name = system.lower()

    def error_of(fault: HttpFault, reason: str) -> AdapterError:
        match fault:
            case HttpFault.UNTRUSTED:
                return AdapterError(
                    f"{name}-untrusted",
                    f"The certificate of {system} at {url} is not trusted ({reason}).",
                    hint=f"Set {name.upper()}_CACERT to the house's authority: /etc/{name}.d/tls/ca.pem",
                )
            case HttpFault.UNREACHABLE | HttpFault.CONNECT_TIMEOUT:
                return AdapterError(
                    f"{name}-unreachable",
                    f"There is no {system} at {url}.",
                    hint=f"On a node of the cluster: systemctl status {name}",
                    retryable=True,
                )
            case HttpFault.TIMEOUT:
                return AdapterError(
                    f"{name}-timeout", f"{system} at {url} takes calls but does not answer.", retryable=True
                )
            case HttpFault.BROKEN:
                return AdapterError(
                    f"{name}-unreachable",
                    f"{system} at {url} broke the connection ({reason}).",
                    retryable=True,
                )

    return error_of
