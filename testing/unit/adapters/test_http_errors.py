"""What an exception of httpx means, and the words for it."""

from __future__ import annotations

import httpx
import pytest

from pipecatapp.adapters.http.errors import HttpFault, agent_errors, fault_of, map_http_errors
from pipecatapp.errors import AdapterError

pytestmark = pytest.mark.unit

FAULTS = [
    (httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed"), HttpFault.UNTRUSTED, "untrusted"),
    (httpx.ConnectError("refused"), HttpFault.UNREACHABLE, "unreachable"),
    (httpx.ConnectTimeout("slow"), HttpFault.CONNECT_TIMEOUT, "unreachable"),
    (httpx.ReadTimeout("slow"), HttpFault.TIMEOUT, "timeout"),
    (httpx.PoolTimeout("slow"), HttpFault.TIMEOUT, "timeout"),
    (httpx.RemoteProtocolError("nonsense"), HttpFault.BROKEN, "unreachable"),
    (httpx.InvalidURL("no port"), HttpFault.BROKEN, "unreachable"),
]


@pytest.mark.parametrize(("raised", "fault", "code"), FAULTS)
def test_each_exception_is_one_fault_and_one_error(
    raised: httpx.HTTPError | httpx.InvalidURL, fault: HttpFault, code: str
) -> None:
    assert fault_of(raised) is fault
    with pytest.raises(AdapterError) as caught, map_http_errors(agent_errors("Consul", "http://there")):
        raise raised
    assert caught.value.code == f"consul-{code}"
    assert "http://there" in caught.value.message
    assert caught.value.__cause__ is raised


def test_only_a_certificate_is_not_worth_another_try() -> None:
    errors = agent_errors("Nomad", "https://there")
    assert [fault for fault in HttpFault if not errors(fault, "why").retryable] == [HttpFault.UNTRUSTED]


def test_a_system_may_have_its_own_words() -> None:
    def error_of(fault: HttpFault, reason: str) -> AdapterError:
        return AdapterError("mine", f"{fault}: {reason}")

    with pytest.raises(AdapterError, match="timeout: slow"), map_http_errors(error_of):
        raise httpx.ReadTimeout("slow")


def test_other_exceptions_pass() -> None:
    with pytest.raises(ValueError, match="ours"), map_http_errors(agent_errors("Consul", "")):
        raise ValueError("ours")
