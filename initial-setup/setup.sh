#!/usr/bin/env bash
# Summary: Make a freshly installed Debian machine ready for ./bootstrap.sh or for another machine's Ansible.
#
# Usage: initial-setup/setup.sh [--dry-run] [--config FILE] [--only NN]
#
#   --dry-run      say what would be done, do nothing; needs no root
#   --config FILE  settings (default: initial-setup/setup.conf)
#   --only NN      only the module with this number, such as 10
#   --help         this text
#
# Runs modules/NN-name.sh in order, each idempotent: what is in order is left alone. A module defines
# `check_NAME` (is there anything to do? 0 means yes) and `apply_NAME`, with dashes of its name as underscores.
#
# Variables:
#   SETUP_ROOT  folder that stands for / (default: empty); tests set it
set -euo pipefail

HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
readonly HERE
SETUP_ROOT="${SETUP_ROOT:-}"
dry_run="" config="$HERE/setup.conf" only=""

say() { printf '%s\n' "$*" >&2; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }
run() { if [[ -n "$dry_run" ]]; then printf '  would run: %s\n' "$*" >&2; else "$@"; fi; }

write_file() { # write_file PATH TEXT: when it differs; mode 0644
  local path="$SETUP_ROOT$1" text="$2"
  if [[ -f "$path" && "$(<"$path")" == "$text" ]]; then return; fi
  if [[ -n "$dry_run" ]]; then printf '  would write %s:\n%s\n' "$1" "${text//$'\n'/$'\n'    }" >&2; return; fi
  mkdir -p "$(dirname "$path")"
  printf '%s\n' "$text" >"$path"
}

usage() { sed -n '2,/^set -e/{/^set -e/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; }

parse() {
  while (($#)); do
    case "$1" in
      --dry-run) dry_run=yes ;;
      --config) config="${2:-}"; shift ;;
      --only) only="${2:-}"; shift ;;
      -h | --help) usage; exit 0 ;;
      *) die "unknown option '$1'; known: --dry-run --config --only --help" ;;
    esac
    shift
  done
  [[ -r "$config" ]] || die "the settings '$config' cannot be read."
}

check_settings() {
  [[ -z "${SETUP_HOSTNAME:-}" || "$SETUP_HOSTNAME" =~ ^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$ ]] ||
    die "SETUP_HOSTNAME is '$SETUP_HOSTNAME'; a name has letters, digits and dashes."
  [[ -z "${SETUP_ADMIN:-}" || "$SETUP_ADMIN" =~ ^[a-z_][a-z0-9_-]*$ ]] || die "SETUP_ADMIN is no name of a user."
  [[ -z "${CONTROL_NODE_IP:-}" || "$CONTROL_NODE_IP" =~ ^([0-9]{1,3}\.){3}[0-9]{1,3}$ ]] ||
    die "CONTROL_NODE_IP is '$CONTROL_NODE_IP'; it is an address like 192.168.1.20, or empty."
  [[ "$SETUP_ADDRESS" == dhcp ]] && return
  [[ "$SETUP_ADDRESS" =~ ^([0-9]{1,3}\.){3}[0-9]{1,3}/[0-9]{1,2}$ ]] ||
    die "SETUP_ADDRESS is '$SETUP_ADDRESS'; it is dhcp, or like 192.168.1.20/24."
  [[ -n "$SETUP_GATEWAY" && -n "$SETUP_DNS" ]] || die "a fixed address needs SETUP_GATEWAY and SETUP_DNS."
}

main() {
  local module name
  parse "$@"
  # shellcheck source=/dev/null
  source "$config"
  check_settings
  ((EUID == 0)) || [[ -n "$dry_run" ]] || die "this needs root: sudo $0"
  for module in "$HERE"/modules/[0-9][0-9]-*.sh; do
    name="$(basename "$module" .sh)"
    if [[ -n "$only" && "${name%%-*}" != "$only" ]]; then continue; fi
    # shellcheck source=/dev/null
    source "$module"
    name="${name#*-}"
    if "check_${name//-/_}"; then
      say "$name:"
      "apply_${name//-/_}"
    else
      say "$name: in order"
    fi
  done
}

if [[ "${BASH_SOURCE[0]}" == "$0" ]]; then main "$@"; fi
