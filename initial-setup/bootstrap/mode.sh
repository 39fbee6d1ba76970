#!/usr/bin/env bash
# Summary: What this machine becomes: standalone or part of a cluster, kept running by systemd or supervisord.
# Usage: sourced by bootstrap.sh
# shellcheck disable=SC2034,SC2153,SC2154 # variables are bootstrap.sh's
set -euo pipefail

is_alone() { # whether the inventory names no machine yet but this one: nothing but groups and `localhost`, in YAML or INI
  awk '{sub(/\r$/, "")} /^ *(#|;|---|$)/ {next} {match($0, /^ */); indent = RLENGTH}
    inside && indent > depth {next} # variables, of the machine or of a group
    {inside = 0}
    /^\[.*:vars\]/ {ini = "vars"; next} /^\[.*:children\]/ {ini = "children"; next} /^\[.*\]/ {ini = "hosts"; next}
    ini == "vars" || ini == "children" {next}
    $1 ~ /^(all|children|hosts|controller_nodes|worker_nodes|pxe_server):$/ {if ($0 ~ /[{].*[a-z]/) other = 1; next}
    $1 == "vars:" || $1 ~ /^localhost:?$/ {if ($1 != "vars:") found = 1; inside = 1; depth = indent; next}
    {other = 1} END {exit !(found && !other)}' "$ROOT/inventory.yaml"
}

catalogue() { # catalogue PROGRAM version|mirror-path|release-url: nothing where there is no such thing
  command -v python3 >/dev/null || return 1 # a dry run on a bare machine
  python3 -I -S -B "$ROOT/pipecatapp/artifacts/artifact_key.py" "$ROOT/group_vars/artifacts.yaml" "$@"
}

has_wanted() { # has_wanted PROGRAM: whether it is on PATH in the wanted version
  local version
  command -v "$1" >/dev/null && version="$(catalogue "$1" version)" && "$1" version 2>/dev/null | grep -qF "v$version"
}

answers() { # answers URL: whether it can be had; a host that says nothing is waited for for five seconds
  if command -v curl >/dev/null; then
    curl -fsIL --max-time 5 -o /dev/null -- "$1" 2>/dev/null
  elif command -v wget >/dev/null; then
    wget -q --spider --tries=1 --timeout=5 -- "$1" 2>/dev/null
  else
    python3 -c 'import sys, urllib.request as r; r.urlopen(r.Request(sys.argv[1], method="HEAD"), timeout=5)' "$1" 2>/dev/null
  fi
}

can_ask() { # python3 reads the catalogue, and is needed anyway; a bare Debian may have none
  command -v python3 >/dev/null || install_packages
}

quick_source() { # where Nomad and Consul come from within minutes, in words; fails when from nowhere
  local mirror="${TWIN_MIRROR_URL:-}"
  mirror="${mirror%/}"
  if has_wanted nomad && has_wanted consul; then
    printf 'Nomad and Consul are at hand'
  elif [[ -n "$mirror" ]] && answers "$mirror/$(catalogue nomad mirror-path)" && answers "$mirror/$(catalogue consul mirror-path)"; then
    printf 'the mirror %s has Nomad and Consul' "$mirror"
  elif answers "$(catalogue nomad release-url)" && answers "$(catalogue consul release-url)"; then
    printf "the vendor's releases of Nomad and Consul can be had"
  else
    return 1
  fi
}

machine_name() { # this machine's name without the house's
  local name
  name="$(hostname)"
  printf '%s' "${name%%.*}"
}

can_be_named() { # whether a cluster's inventory takes this machine's name
  [[ "$1" =~ ^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$ && ! "$1" =~ ^[0-9]+$ && "$1" != localhost ]]
}

runs_alone() { # whether this machine is set up already, without a cluster
  [[ -f "$CONFIG/twin.env" && ! -e "$CONFIG/../nomad.d" ]]
}

keeps_secrets() { # whether this machine is or was a controller
  local folder
  folder="$(awk '$1 == "twin_secrets_dir:" {print $2; exit}' "$ROOT/group_vars/all.yaml")"
  [[ -e "${TWIN_SECRETS:-$folder}/ca.key" ]]
}
is_node() { [[ -e "$CONFIG/../nomad.d/tls/ca.pem" ]]; } # whether a cluster runs here

refuse_second_life() { # a node of a cluster is not set up as another one beside it
  is_node && is_alone || return 0
  keeps_secrets ||
    die "this machine is a worker of a cluster; its controller sets it up. To make it something else: playbooks/remove_node.yaml there, then scripts/uninstall here."
  [[ -z "$standalone" ]] ||
    die "this machine is a controller of a cluster, and --standalone is one without. Leave --standalone away, or scripts/uninstall first."
}

choose_mode() {
  if [[ -d "${SYSTEMD_FOLDER:-/run/systemd/system}" ]]; then init=systemd; fi
  local source
  refuse_second_life
  if [[ -n "$standalone" ]]; then
    if keeps_secrets; then warn "this machine was a cluster's controller; what the cluster remembered is in Consul's store and is not seen standalone."; fi
    is_alone || die "inventory.yaml names the machines of a cluster, and --standalone is one without. Leave --standalone away."
    why="asked for by --standalone"
  elif [[ "$role" == controller ]]; then
    mode=cluster why="asked for by --role controller"
  elif ! is_alone; then
    mode=cluster why="inventory.yaml names its machines"
  elif [[ "$init" == systemd ]] && keeps_secrets; then
    mode=cluster why="this machine is a cluster's controller already"
  elif [[ "$init" != systemd ]]; then
    why="a cluster needs systemd, which does not run here"
  elif runs_alone; then
    why="it is set up so already; --role controller moves it over to a cluster, memory kept"
  elif ! can_be_named "$(machine_name)"; then
    why="a cluster needs a name of small letters, digits and dashes, and this machine's is '$(machine_name)'"
  elif can_ask && source="$(quick_source)"; then
    mode=cluster why="$source"
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
  if [[ -z "$user" && -f "$CONFIG/twin.env" ]]; then user="$(stat -c %U "$CONFIG/twin.env")"; fi
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

inventory_program() { # inventory_program ACTION ARG...: the editor that knows what an inventory may say
  run env PYTHONPATH="$ROOT/ansible/module_utils" PYTHONDONTWRITEBYTECODE=1 "$PREFIX/bootstrap/bin/python" -m inventory_file "$1" \
    "$ROOT/inventory.yaml" "${@:2}" >/dev/null
}

check_inventory() { # before Ansible says the same in more words
  inventory_program check || die "inventory.yaml is not right, and no machine was spoken to; the line above says what to write there."
}

name_this_machine() { # a cluster's inventory has names and addresses in place of `localhost`
  local name address
  [[ "$mode" == cluster ]] && is_alone || return 0
  name="$(machine_name)"
  address="$(lan_address || true)"
  can_be_named "$name" ||
    die "this machine's name is '$name'; in a cluster it has small letters, digits and dashes, not digits alone. Give it one: hostnamectl set-hostname den"
  [[ -n "$address" ]] || die "this machine has no address in a network; see initial-setup/setup.conf."
  say "Inventory: this machine is the controller '$name' at $address"
  inventory_program name-this "$name" "ansible_host=$address" ansible_connection=local ||
    die "the inventory was not changed; the line above says why."
}
