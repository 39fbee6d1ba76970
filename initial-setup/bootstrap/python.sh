#!/usr/bin/env bash
# Summary: The interpreter that Twin runs on: one that the services' user can run, Debian's own before all others.
#
# Usage: python.sh USER [ENVIRONMENT...]
#        or sourced by bootstrap.sh
#
# Prints the interpreter, and for each virtual environment that has to be made anew a line `ENVIRONMENT: REASON`. Fails
# with a sentence when no interpreter will do. USER may not be there yet; then a user without rights stands for it.
#
# Variables:
#   TWIN_PATH  folders of programs, in place of the system's
set -euo pipefail

readonly PYTHON_LEAST=11 # of Python 3: pipecatapp's requires-python
# Prints a version; fails where an environment cannot be made, or packages not be fetched.
PYTHON_PROBE='import ctypes, ensurepip, ssl, sys, venv; print("%d.%d" % sys.version_info[:2])'

as_service() { # as_service COMMAND...: as the services' user, or one with as few rights while it is not there
  local account="${user:-pipecatapp}"
  if ((EUID != 0)); then "$@"; return; fi
  id -u "$account" >/dev/null 2>&1 || account=nobody
  setpriv --reuid="$account" --regid="$(id -g "$account")" --clear-groups -- env -i PATH="$PATH" LC_ALL=C.UTF-8 "$@"
}

# shellcheck disable=SC2016 # expanded where it runs
for_service() { as_service /bin/sh -c 'test "$0" "$1"' "$@"; } # for_service -r|-x FILE: whether that user can

closed_to_service() { # closed_to_service FILE: why the services' user does not get to it, by the first folder that is closed
  local folder="" part
  local -a parts
  IFS=/ read -r -a parts <<<"${1#/}"
  for part in "${parts[@]}"; do
    folder+="/$part"
    if ! for_service -x "$folder"; then
      if [[ -d "$folder" ]]; then printf 'the folder %s is closed to others' "$folder"; else printf '%s is not for others to run' "$folder"; fi
      return
    fi
  done
  printf 'it does not run there'
}

pythons() { # interpreters to look at, one a line: the system's, then others', newest first
  local folders folder
  IFS=: read -r -a folders <<<"${TWIN_PATH:-/usr/bin:/usr/local/bin}"
  for folder in "${folders[@]}"; do
    printf '%s\n' "$folder/python3"
    compgen -G "$folder/python3.[0-9]*" | grep -E '/python3\.[0-9]+$' | sort -rV || true
  done
}

python_fault() { # python_fault PYTHON: what speaks against it; nothing when it will do
  local version
  if version="$(cd / && as_service "$1" -I -c "$PYTHON_PROBE" 2>&1)"; then
    ((${version#3.} >= PYTHON_LEAST)) || printf 'is Python %s' "$version"
  elif version="$(cd / && "$1" -I -c "$PYTHON_PROBE" 2>&1)"; then
    printf "cannot be run by the services' user: %s" "$(closed_to_service "$1")"
  else
    printf 'makes no environment: %s' "${version##*$'\n'}"
  fi
}

choose_python() { # sets `python`, or fails and sets `python_faults`
  local candidate fault
  python="" python_faults=""
  while IFS= read -r candidate; do
    [[ -e "$candidate" ]] || continue
    fault="$(python_fault "$candidate")"
    if [[ -z "$fault" ]]; then python="$candidate"; return; fi
    python_faults+="${python_faults:+; }$candidate $fault"
  done < <(pythons)
  return 1
}

say_no_python() {
  printf '%s' "Twin needs Python 3.$PYTHON_LEAST or newer with venv, which every user can run: apt-get install python3 python3-venv"
  [[ -z "$python_faults" ]] || printf ' (seen: %s)' "$python_faults"
  printf '.'
}

environment_fault() { # environment_fault FOLDER: why this environment has to be made anew; nothing when it need not
  local base kept running
  [[ -e "$1/pyvenv.cfg" || -L "$1/bin/python" || -e "$1/bin/python" ]] || return 0 # none there
  base="$(readlink -m "$1/bin/python")"
  if ! running="$(cd / && as_service "$1/bin/python" -I -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)"; then
    if [[ ! -e "$base" ]]; then
      printf 'its interpreter, %s, is gone' "$base"
    elif ! (cd / && "$1/bin/python" -I -c '') &>/dev/null; then
      printf 'its interpreter, %s, does not run' "$base"
    elif ! for_service -x "$base"; then
      printf "the services' user cannot run its interpreter, %s: %s" "$base" "$(closed_to_service "$base")"
    else
      printf "the services' user does not get to it: %s" "$(closed_to_service "$1/bin/python")"
    fi
  elif [[ "$base" != "$(readlink -m "$python")" ]]; then
    printf 'its interpreter is %s and not %s' "$base" "$python"
  else
    kept="$(sed -n 's/^version *= *\([0-9]*\.[0-9]*\).*/\1/p' "$1/pyvenv.cfg" 2>/dev/null || true)"
    [[ "$kept" == "$running" ]] || printf 'it was made with Python %s, and %s is %s' "${kept:-?}" "$python" "$running"
  fi
}

look_at_environments() { # look_at_environments USER [ENVIRONMENT...]
  local user="$1" folder fault
  shift
  choose_python || { say_no_python >&2; printf '\n' >&2; exit 1; }
  printf '%s\n' "$python"
  for folder in "$@"; do
    fault="$(environment_fault "$folder")"
    [[ -z "$fault" ]] || printf '%s: %s\n' "$folder" "$fault"
  done
}

if [[ "${BASH_SOURCE[0]}" == "$0" ]]; then look_at_environments "$@"; fi
