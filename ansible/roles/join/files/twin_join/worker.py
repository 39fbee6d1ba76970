"""The joining machine's side: know the controller, let it in, ask to join, watch.

It owns the order of the steps and what is told meanwhile. The controller is known by the fingerprint in the
token: its certificate is fetched from whoever answers, and believed only when it is the one that the token
names.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import letin
from .tokens import JoinError, Parts, fingerprint_of, parse

CALL_TIMEOUT_S = 20.0
POLL_S = 2.0
SILENCE_S = 300.0
"""How long the controller may be out of reach while it provisions (seconds): it may restart its own network
rules."""
QUIET_S = {"waiting": 9000.0, "running": 3600.0}
"""How long nothing new may be heard of a request in each state (seconds). Another may be before it, for up to
two hours; at work, an old desktop builds for half an hour without a word."""
SSH_PORT = 22
MAX_ANSWER_BYTES = 1 << 20


def say(text: str) -> None:
    """Tell the person at the terminal."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


class Unreachable(JoinError):
    """Nobody answers at the controller's address."""


class Controller:
    """The service of the controller.

    Args:
        address: Its address or name.
        port: The service's port.
        token: The token's text; it goes to nobody else than who has the key of the certificate that it names.
    """

    def __init__(self, address: str, port: int, token: str) -> None:
        self._address, self._port, self._token = address, port, token
        self._context: ssl.SSLContext | None = None

    def pin(self, parts: Parts) -> None:
        """Fetch the house's authority and believe only what it has signed from now on.

        Raises:
            JoinError: The controller has another authority than the token names.
        """
        anyone = ssl.create_default_context()
        anyone.check_hostname = False
        anyone.verify_mode = ssl.CERT_NONE
        authority = str(self._ask(anyone, "GET", "/v1/authority").get("authority", ""))
        if fingerprint_of(authority) != parts.fingerprint:
            raise JoinError(
                f"Who answers at {self._address} is not the controller that made this token: its authority "
                "has another fingerprint. Check --controller-ip; if it is right, another machine may be "
                "answering in its place."
            )
        self._context = ssl.create_default_context(cadata=authority)

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask the pinned controller.

        Raises:
            Unreachable: Nobody answers.
            JoinError: It refuses, with its sentence.
        """
        assert self._context is not None
        return self._ask(self._context, method, path, body, {"Authorization": f"Bearer {self._token}"})

    def _ask(
        self,
        context: ssl.SSLContext,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        where = f"{self._address}, port {self._port}"
        connection = http.client.HTTPSConnection(
            self._address, self._port, timeout=CALL_TIMEOUT_S, context=context
        )
        try:
            data = None if body is None else json.dumps(body).encode()
            connection.request(method, path, data, headers or {})
            answer = connection.getresponse()
            content = json.loads(answer.read(MAX_ANSWER_BYTES))
        except ssl.SSLCertVerificationError as exc:
            raise JoinError(
                f"The certificate of {where} is not good for that address: {exc.verify_message}. "
                "Give --controller-ip as the address of the controller in the house's network."
            ) from exc
        except (OSError, http.client.HTTPException) as exc:
            raise Unreachable(
                f"Nobody answers at {where} ({exc or type(exc).__name__}). Is it the controller's address, "
                "and is its service up (systemctl status twin-join)?"
            ) from exc
        except ValueError as exc:
            raise JoinError(f"What answers at {where} is not the service that machines join by.") from exc
        finally:
            connection.close()
        if answer.status != 200:
            error = content.get("error", {}) if isinstance(content, dict) else {}
            raise JoinError(str(error.get("message", f"The controller answered {answer.status}.")))
        if not isinstance(content, dict):
            raise JoinError(f"What answers at {where} is not the service that machines join by.")
        return content


def own_address(controller: str, port: int) -> str:
    """The address that this machine has towards the controller; nothing is sent.

    Raises:
        JoinError: There is no way to it.
    """
    try:
        family, kind, _, _, target = socket.getaddrinfo(controller, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(target)
            return str(probe.getsockname()[0])
    except OSError as exc:
        raise JoinError(f"There is no way from here to {controller}: {exc.strerror or exc}.") from exc


def host_keys(folder: Path = Path("/etc/ssh")) -> list[str]:
    """This machine's ssh host keys, type and key.

    Raises:
        JoinError: There is none.
    """
    texts = [path.read_text(encoding="ascii").split() for path in sorted(folder.glob("ssh_host_*_key.pub"))]
    keys = [f"{words[0]} {words[1]}" for words in texts if len(words) >= 2 and words[0] != "ssh-dss"]
    if not keys:
        raise JoinError(
            "This machine has no ssh host key: apt-get install openssh-server, then ssh-keygen -A"
        )
    return keys


def check_ssh(address: str) -> None:
    """See that an ssh server answers here.

    Raises:
        JoinError: None does.
    """
    try:
        with socket.create_connection((address, SSH_PORT), timeout=CALL_TIMEOUT_S) as connection:
            connection.settimeout(CALL_TIMEOUT_S)
            greeting = connection.recv(4)
    except OSError:
        greeting = b""
    if greeting != b"SSH-":
        raise JoinError(
            f"No ssh server answers at {address}, port {SSH_PORT}, and the controller works through one: "
            "apt-get install openssh-server, systemctl enable --now ssh"
        )


def join(
    address: str,
    port: int,
    token: str,
    hostname: str,
    *,
    open_door: Callable[[dict[str, Any]], None] = letin.let_in,
    close_door: Callable[[], None] = letin.keep_out,
) -> None:
    """Join the cluster and wait until this machine is provisioned.

    Raises:
        JoinError: A step failed; with what to do.
    """
    own = own_address(address, port)
    check_ssh(own)
    parts = parse(token)
    controller = Controller(address, port, token.strip())
    controller.pin(parts)
    say(f"The controller at {address} is the one that made the token.")
    offer = controller.call("POST", "/v1/hello", {"token": token.strip()})
    open_door(offer)
    say(f"It may come in as {offer.get('user')}, with its key, from {', '.join(offer.get('from', []))} only.")
    request = {"token": token.strip(), "hostname": hostname, "address": own, "host_keys": host_keys()}
    try:
        controller.call("POST", "/v1/join", request)
    except JoinError:
        close_door()
        raise
    say(f"Asked to join as {hostname} ({own}). What the controller does now:")
    watch(controller, address)


def watch(
    controller: Controller,
    address: str,
    *,
    poll_s: float = POLL_S,
    silence_s: float = SILENCE_S,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Show the log until the controller is done.

    Raises:
        JoinError: It failed, or the controller is silent for `silence_s` (seconds), or says nothing new for
            as long as QUIET_S has it.
    """
    offset, state = 0, ""
    last_s = news_s = clock()
    while True:
        try:
            answer = controller.call("GET", f"/v1/progress?from={offset}")
        except Unreachable:
            if clock() - last_s > silence_s:
                raise JoinError(
                    f"The controller at {address} has not answered for {silence_s:.0f} seconds. It may "
                    "still be at work: journalctl -u twin-provision, there, tells."
                ) from None
        else:
            last_s = clock()
            for line in str(answer["log"]).splitlines():
                say(f"  {line}")
            moved, offset = int(answer["next"]) != offset, int(answer["next"])
            if moved or answer["state"] != state:
                news_s, state = last_s, str(answer["state"])
            if moved:
                continue
            if answer["state"] == "done":
                say(str(answer["sentence"]))
                return
            if answer["state"] == "failed":
                raise JoinError(str(answer["sentence"]))
            if last_s - news_s > QUIET_S.get(state, QUIET_S["running"]):
                raise JoinError(
                    f"Nothing new has come from the controller at {address} for {(last_s - news_s) / 60:.0f} "
                    "minutes, so this machine waits no longer. There, journalctl -u twin-provision tells; "
                    "then join again with a new token."
                )
        time.sleep(poll_s)
