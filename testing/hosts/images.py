"""Base images of the machines that tests boot: made once by debootstrap, then only read.

It owns the images' folder and what is in an image; booting one is `machines`'.

Usage: python -m testing.hosts.images
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

COMMON_PACKAGES = ("ca-certificates", "git", "openssl")
"""What a newcomer's machine has beside a minimal Debian: git, to clone with."""
SYSTEMD_PACKAGES = ("systemd", "systemd-sysv", "dbus", "iproute2", "procps", "sudo")
NODE_PACKAGES = ("openssh-server", "python3", "python3-apt", "nftables", "curl", "iputils-ping")
"""What a node of a cluster has before Ansible comes: Debian's installer with the task "SSH server"."""


@dataclass(frozen=True, slots=True)
class Image:
    """One kind of machine."""

    suite: str
    packages: tuple[str, ...]
    has_systemd: bool


IMAGES = {
    "trixie": Image(
        "trixie",
        (*COMMON_PACKAGES, *SYSTEMD_PACKAGES),
        has_systemd=True,
    ),
    "bookworm": Image("bookworm", COMMON_PACKAGES, has_systemd=False),
    "node": Image("trixie", (*COMMON_PACKAGES, *SYSTEMD_PACKAGES, *NODE_PACKAGES), has_systemd=True),
}
"""`trixie` and `bookworm` are a newcomer's; `node` is one that Ansible reaches by ssh."""


def hosts_folder() -> Path:
    """Where images and running hosts are."""
    cache = os.environ.get("TWIN_CACHE_DIR", "")
    return (Path(cache) if cache else Path.home() / ".cache" / "twin") / "hosts"


def is_complete(root: Path) -> bool:
    """Whether debootstrap has ended in `root`: it removes its own folder last."""
    return (root / "var/lib/dpkg/status").is_file() and not (root / "debootstrap").exists()


def mirror() -> list[str]:
    """The Debian mirror that this machine is set up for, as debootstrap's argument; [] for its default."""
    for source in [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]:
        if not source.is_file():
            continue
        for line in source.read_text(encoding="utf-8").splitlines():
            words = line.split()
            if words[:1] == ["URIs:"] and words[1].rstrip("/").endswith("/debian"):
                return [words[1]]
            if words[:1] == ["deb"]:
                address = next((word for word in words if word.rstrip("/").endswith("/debian")), "")
                if address:
                    return [address]
    return []


def ensure_image(name: str) -> Path:
    """Make the image when it is not there; return its root.

    Raises:
        KeyError: No image has this name.
        subprocess.CalledProcessError: debootstrap failed; its output says why.
    """
    image = IMAGES[name]
    root = hosts_folder() / name
    if is_complete(root):
        return root
    shutil.rmtree(root, ignore_errors=True)
    root.parent.mkdir(parents=True, exist_ok=True)
    include = ",".join(image.packages)
    subprocess.run(
        ["debootstrap", "--variant=minbase", f"--include={include}", image.suite, str(root), *mirror()],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return root


def main() -> None:
    """Make every image that is missing."""
    for name in IMAGES:
        ensure_image(name)


if __name__ == "__main__":
    main()
