#!/usr/bin/env bash
# Summary: What this machine becomes: standalone or part of a cluster, kept running by systemd or supervisord.
# Usage: sourced by bootstrap.sh
# shellcheck disable=SC2034,SC2153,SC2154 # variables are bootstrap.sh's
set -euo pipefail

is_alone() { # whether the inventory names no machine yet but this one
  awk '/^[a-z]/ {group = $1} group == "controller_nodes:" && /^    [a-z0-9-]+:/ {found = 1; if ($1 != "localhost:") other = 1}
    END {exit !(found && !other)}' "$ROOT/inventory.yaml"
}

wanted_version() { # wanted_version PROGRAM: the version that the catalogue means by its name
  awk -v name="$1" '$2 == "name:" {on = ($3 == name)} on && $1 == "version:" {print $2; exit}' "$ROOT/group_vars/artifacts.yaml"
}

has_wanted() { # has_wanted PROGRAM: whether it is on PATH in the wanted version
  command -v "$1" >/dev/null && "$1" version 2>/dev/null | grep -qF "v$(wanted_version "$1")"
}

choose_mode() {
  if [[ -d "${SYSTEMD_FOLDER:-/run/systemd/system}" ]]; then init=systemd; fi
  if [[ -n "$standalone" ]]; then
    is_alone || die "inventory.yaml names the machines of a cluster, and --standalone is one without. Leave --standalone away."
    why="asked for by --standalone"
  elif [[ "$role" == controller ]]; then
    mode=cluster why="asked for by --role controller"
  elif ! is_alone; then
    mode=cluster why="inventory.yaml names its machines"
  elif [[ "$init" != systemd ]]; then
    why="a cluster needs systemd, which does not run here"
  elif has_wanted nomad && has_wanted consul; then
    mode=cluster why="Nomad and Consul are at hand"
  elif [[ -n "${TWIN_MIRROR_URL:-}" ]]; then
    mode=cluster why="the mirror $TWIN_MIRROR_URL has Nomad and Consul"
  else
    why="no cluster software (Nomad) is at hand; --role controller builds it (a quarter of an hour) and moves over, memory kept"
  fi
  [[ "$mode" == standalone || "$init" == systemd ]] || die "a cluster needs systemd, which does not run here. Without a cluster: --standalone"
}

check_machine() {
  step=check
  say "Looking at this machine"
  need_cmd apt-get "This runs on Debian 12 and 13."
  # shellcheck source=/dev/null
  . /etc/os-release
  case "${ID:-}-${VERSION_ID:-}" in
    debian-12 | debian-13) ;;
    *) warn "this is ${PRETTY_NAME:-no Debian}; it is tried on Debian 12 and 13." ;;
  esac
  if [[ -z "$user" && -f /etc/twin/twin.env ]]; then user="$(stat -c %U /etc/twin/twin.env)"; fi
  if [[ "$role" == worker ]]; then return; fi
  choose_mode
  say "Mode: $mode, because: $why. Services are kept running by $init."
  if [[ "$mode" == cluster ]]; then PACKAGES+=(sudo openssh-client); fi
  if [[ -n "$leave_running" ]]; then say "Services and their data are left as they are; that is always so, --leave-services-running or not."; fi
  if [[ -n "$deploy_docker" && "$mode" == standalone ]]; then warn "--deploy-docker is for a cluster; one machine alone runs the agent as a service."; fi
  if [[ -n "$home_assistant" ]]; then warn "--home-assistant-debug is handed on; this version has no Home Assistant tool yet that would log more."; fi
}

lan_address() { # this machine's address in the house's network
  ip -4 -o route get 192.0.2.1 2>/dev/null | awk '{for (i = 1; i < NF; i++) if ($i == "src") {print $(i + 1); exit}}' | grep . ||
    ip -4 -o addr show scope global 2>/dev/null | awk '{sub("/.*", "", $4); print $4; exit}'
}

name_this_machine() { # a cluster's inventory has names and addresses in place of `localhost`
  local name address
  [[ "$mode" == cluster ]] && is_alone || return 0
  name="$(hostname)"
  name="${name%%.*}"
  address="$(lan_address || true)"
  [[ "$name" =~ ^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$ && "$name" != localhost ]] ||
    die "this machine's name is '$name'; in a cluster it has small letters, digits and dashes. Give it one: hostnamectl set-hostname den"
  [[ -n "$address" ]] || die "this machine has no address in a network; see initial-setup/setup.conf."
  say "Inventory: this machine is the controller '$name' at $address"
  run env PYTHONPATH="$ROOT/ansible/module_utils" PYTHONDONTWRITEBYTECODE=1 "$PREFIX/bootstrap/bin/python" -m inventory_file \
    name-this "$ROOT/inventory.yaml" "$name" "ansible_host=$address" ansible_connection=local >/dev/null
}
