#!/usr/bin/env bash
# Summary: What Ansible needs before it can install the rest: Debian packages, and an environment with Ansible in it.
# Usage: sourced by bootstrap.sh
# shellcheck disable=SC2034,SC2153,SC2154 # variables are bootstrap.sh's
set -euo pipefail

APT_PATIENCE_S=300 # how long another program may hold the locks of apt and dpkg
IN_USE='Could not get lock|Unable to acquire the dpkg|lock was locked by'

when_free() { # when_free CMD...: into the log, and again while another program is installing packages
  local begun="$SECONDS" told="" end
  until logged "$@"; do
    end="$(last_words | grep -E "$IN_USE" | tail -n 1 || true)"
    [[ -n "$end" ]] || return 1
    ((SECONDS - begun < APT_PATIENCE_S)) ||
      die "another program has been installing packages for $APT_PATIENCE_S seconds (${end#*rror: }). When it has ended, run this again."
    [[ -n "$told" ]] || say "Waiting for another program that is installing packages (${end#E: })"
    told=yes
    sleep 2
  done
}

half_installed() { # packages that a dpkg which was interrupted has left in the middle, on one line
  { dpkg-query -W -f '${db:Status-Status} ${Package}\n' 2>/dev/null || true; } |
    awk '$1 ~ /^(half-installed|unpacked|half-configured|triggers-)/ {print $2}' | paste -sd ' '
}

mend_dpkg() { # go on with what it has left
  local names
  names="$(half_installed)"
  [[ -n "$names" ]] || compgen -G '/var/lib/dpkg/updates/[0-9]*' >/dev/null || return 0
  say "Debian packages: going on where dpkg was interrupted${names:+, with $names}"
  export DEBIAN_FRONTEND=noninteractive
  when_free dpkg --force-confold --configure -a || true # what it cannot, apt can
  if [[ -n "$dry_run" || -z "$(half_installed)" ]]; then return; fi
  patiently apt-get update
  patiently apt-get install -y --fix-broken --no-install-recommends
}

patiently() { when_free "$@" || fail_logged "$@"; }

install_packages() {
  step=packages
  local missing=() name
  mend_dpkg
  for name in "${PACKAGES[@]}"; do
    dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || missing+=("$name")
  done
  if ((${#missing[@]} == 0)); then say "Debian packages: in order"; return; fi
  say "Debian packages: installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  patiently apt-get update
  patiently apt-get install -y --no-install-recommends "${missing[@]}"
}

use_registry_of_pip() { # the registries of pip's files by variables; of these files nothing else, such as where to install
  local line name value
  while IFS= read -r line; do
    [[ "$line" =~ ^(global|install|download)\.([a-z-]+)=[\'\"](.*)[\'\"]$ ]] || continue
    name="PIP_${BASH_REMATCH[2]^^}" value="${BASH_REMATCH[3]//\\n/ }"
    name="${name//-/_}"
    if [[ "$name" =~ $HANDED_ON && -z "${!name:-}" ]]; then export "$name=$value"; fi
  done < <("$PREFIX/bootstrap/bin/pip" config list 2>/dev/null || true)
  if [[ -z "$dry_run" ]]; then export PIP_CONFIG_FILE=/dev/null; fi
  # uv reads nothing of pip's.
  if [[ -n "${PIP_INDEX_URL:-}" && -z "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}" ]]; then export UV_DEFAULT_INDEX="$PIP_INDEX_URL"; fi
}

say_closed() { # say_closed PROGRAM: that it cannot be run, why, and what to do
  printf "the services' user cannot run %s, because %s. Open it (chmod o+x FOLDER), or, where its disk is mounted noexec" \
    "$1" "$(closed_to_service "$1")"
  printf ' (findmnt -T %s), mount it without that; then run this again.' "$PREFIX"
}

install_ansible() {
  step=ansible
  local lock="$ROOT/requirements-bootstrap.txt" folder="$PREFIX/bootstrap" fault python python_faults
  if ! choose_python; then
    [[ -n "$dry_run" ]] || die "$(say_no_python)"
    python=/usr/bin/python3
  fi
  fault="$(environment_fault "$folder")"
  if [[ -z "$fault" ]] && cmp -s "$lock" "$folder/requirements.txt"; then
    use_registry_of_pip
    say "Ansible: in order"
    return
  fi
  say "Ansible: installing into $folder${fault:+ anew, because $fault}"
  say "Python: $python, because ${python_faults:-it is the system's own, and the services' user can run it}"
  quietly "$python" -m venv --clear "$folder"
  [[ -n "$dry_run" ]] || as_service "$folder/bin/python" -I -c '' 2>/dev/null || die "$(say_closed "$folder/bin/python")"
  use_registry_of_pip
  quietly "$folder/bin/pip" install --require-hashes -r "$lock"
  run cp "$lock" "$folder/requirements.txt"
}
