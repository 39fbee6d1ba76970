#!/usr/bin/env bash
# Summary: Make this machine a worker: open it to the controller by a one-time token, and watch it being set up.
# Usage: sourced by bootstrap.sh
# shellcheck disable=SC2034,SC2153,SC2154 # variables are bootstrap.sh's
set -euo pipefail

join_port() { awk '$1 == "join:" {print $2; exit}' "$ROOT/group_vars/all.yaml"; }

join_cluster() {
  [[ -d "${SYSTEMD_FOLDER:-/run/systemd/system}" ]] || die "a worker needs systemd, which does not run here."
  [[ ! -e /etc/systemd/system/twin-agent@.service ]] ||
    die "Twin runs here alone, with a memory of its own. Remove it first (scripts/uninstall keeps the memory), then join."
  ! keeps_secrets ||
    die "This machine is or was a controller of a cluster of its own. Remove that first (scripts/uninstall --purge-data, which deletes its memory too), then join."
  PACKAGES=(python3 python3-apt ca-certificates iproute2 openssh-server sudo)
  install_packages
  run systemctl enable --quiet --now ssh
  step=joining
  say "Joining the cluster of $controller_ip"
  run env PYTHONPATH="$ROOT/ansible/roles/join/files" PYTHONDONTWRITEBYTECODE=1 \
    python3 -m twin_join worker --controller "$controller_ip" --port "$(join_port)" ||
    die "this machine is not part of the cluster. When it is put right: twin join-token create on the controller, and this command again with the new token."
  say "Done. This machine needs nothing more; the controller keeps it up to date."
}
