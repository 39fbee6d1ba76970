"""What makes a fresh machine a strange one: a Python of its owner's, a hostile shell, a proxy.

It owns the preparation only; what must hold all the same, the tests say.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from testing.hosts.machines import Machine
from testing.hosts.network import GATEWAY, Network

ROOT = Path(__file__).resolve().parents[2]
CLOSED = "/root/.pyenv"
"""Folder of an interpreter that only root gets to."""
STRANGE = "/root/strange"
"""Folder of what the hostile shell names."""
PACKAGES_TIMEOUT_S = 300.0
PROXY_PORT = 3128
PLANT = r"""
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq install --no-install-recommends python3-venv >/dev/null
binary="$(readlink -f /usr/bin/python3)"
version="${binary##*/}"
install -d -m 0700 "$0" "$0/bin" "$0/lib"
cp "$binary" "$0/bin/$version"
ln -s "$version" "$0/bin/python3"
cp -r "/usr/lib/$version" "$0/lib/"
# The machine itself is as it was, without any Python; the libraries stay, which the copy needs.
apt-get -qq remove "$version" "$version-minimal" >/dev/null
! test -e /usr/bin/python3
"$0/bin/python3" -c 'import ssl, sys; assert sys.prefix == sys.argv[1], sys.prefix' "$0"
"""
HOSTILE = r"""
set -eu
mkdir -p "$0/modules" "$0/noexec" "$0/conda/bin" /root/.config/pip
for name in json ssl encodings; do echo 'raise SystemExit("a planted module")' >"$0/modules/$name.py"; done
mount -t tmpfs -o noexec,mode=1777 tmpfs "$0/noexec"
for name in python3 pip pip3 curl openssl ssh tar uv ansible-playbook; do
  printf '#!/bin/sh\necho "a planted $0" >&2\nexit 97\n' >"$0/conda/bin/$name"
  chmod +x "$0/conda/bin/$name"
done
cp /etc/ssl/certs/ca-certificates.crt "$0/conda/cacert.pem"
chmod -R go= "$0"
cat >/root/.config/pip/pip.conf <<TEXT
[global]
require-virtualenv = true
[install]
user = true
target = $0/by-file
TEXT
cat >"$0/bash_env" <<'TEXT'
grep() { echo "a planted grep" >&2; return 96; }
mkdir() { echo "a planted mkdir" >&2; return 96; }
alias cp=false
shopt -s expand_aliases
TEXT
"""
SHELL = {
    # A Python that is its owner's alone, with modules that are none; conda's base before all programs.
    "PATH": f"{STRANGE}/conda/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "PYTHONPATH": f"{STRANGE}/modules",
    "PYTHONHOME": f"{STRANGE}/modules",
    "PYTHONSTARTUP": f"{STRANGE}/modules/json.py",
    "VIRTUAL_ENV": f"{STRANGE}/conda",
    "CONDA_PREFIX": f"{STRANGE}/conda",
    "CONDA_DEFAULT_ENV": "base",
    "SSL_CERT_FILE": f"{STRANGE}/conda/cacert.pem",
    "LD_LIBRARY_PATH": f"{STRANGE}/conda/lib",
    # Where packages go, and what of them may be taken.
    "PIP_TARGET": f"{STRANGE}/by-variable",
    "PIP_PREFIX": f"{STRANGE}/by-variable",
    "PIP_USER": "1",
    "PIP_REQUIRE_VIRTUALENV": "1",
    "PIP_NO_BINARY": ":all:",
    "UV_PYTHON": "3.8",
    "UV_SYSTEM_PYTHON": "1",
    "UV_PROJECT_ENVIRONMENT": f"{STRANGE}/by-variable",
    "UV_CACHE_DIR": f"{STRANGE}/by-variable",
    "UV_OFFLINE": "1",
    "UV_NO_BINARY": "1",
    # Folders that will not do, a locale that is not there, settings of other programs.
    "HOME": "/proc",
    "TMPDIR": f"{STRANGE}/noexec",
    "LC_ALL": "xx_XX.UTF-8",
    "LANGUAGE": "xx",
    "CDPATH": "/",
    "BASH_ENV": f"{STRANGE}/bash_env",
    "POSIXLY_CORRECT": "1",
    "ANSIBLE_CONFIG": "/dev/null",
    "ANSIBLE_ROLES_PATH": STRANGE,
    "ANSIBLE_STDOUT_CALLBACK": "json",
    "TWIN_DATA_DIR": f"{STRANGE}/by-variable",
    "TWIN_CACHE_DIR": f"{STRANGE}/by-variable",
}
"""A shell that brings all that could matter."""


def plant_interpreter(machine: Machine, folder: str = CLOSED) -> str:
    """Give the machine an interpreter of root's own, as pyenv makes one; return its folder of programs."""
    machine.run("bash", "-c", PLANT, folder, timeout_s=PACKAGES_TIMEOUT_S)
    return f"{folder}/bin"


def plant_hostile_files(machine: Machine) -> None:
    """Put on the machine what the variables of `SHELL` name."""
    machine.run("bash", "-c", HOSTILE, STRANGE)


@contextlib.contextmanager
def proxy(network: Network, log: Path) -> Iterator[str]:
    """A proxy on the bridge that fetches from outside and refuses what is inside; its address."""
    address = f"{network.prefix}.{GATEWAY}"
    command = network.command(sys.executable, "-m", "testing.hosts.proxy", address, str(PROXY_PORT))
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT)
        try:
            subprocess.run(
                ["timeout", "20", "bash", "-c", 'until grep -q ready "$0"; do sleep 0.1; done', log],
                check=True,
            )
            yield f"http://{address}:{PROXY_PORT}"
        finally:
            process.terminate()
            process.wait()
