#!/usr/bin/env bash
# Summary: Say what a script is doing: one line a step, its time, and the log's tail when it fails.
#
# Usage: source scripts/lib/steps.sh
#
# Variables:
#   STEP_LOGS  folder of the steps' logs (default: build/logs in the checkout)
#   STEP_TAIL  lines of a failed step's log that are shown (default: 40)
set -euo pipefail

STEP_LOGS="${STEP_LOGS:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/build/logs}"
STEP_TAIL="${STEP_TAIL:-40}"

say() { printf '%s\n' "$*" >&2; }
warn() { printf 'warning: %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

now_ms() { # milliseconds since the epoch, without starting a process
  local stamp="${EPOCHREALTIME/[.,]/}"
  printf '%s' "${stamp%???}"
}

elapsed() { # elapsed SINCE_MS: "3.4 s" or "2 min 5 s"
  local ms=$(($(now_ms) - $1))
  if ((ms < 60000)); then
    printf '%d.%d s' $((ms / 1000)) $((ms % 1000 / 100))
  else
    printf '%d min %d s' $((ms / 60000)) $((ms % 60000 / 1000))
  fi
}

step() { # step NAME COMMAND...: run into a log; one line; on failure the log's tail. Returns COMMAND's code
  local name="$1" log began code=0
  shift
  mkdir -p "$STEP_LOGS"
  log="$STEP_LOGS/${name//[^A-Za-z0-9._-]/-}.log"
  began="$(now_ms)"
  "$@" >"$log" 2>&1 </dev/null || code=$?
  if ((code == 0)); then
    printf 'ok    %-22s %s\n' "$name" "$(elapsed "$began")"
  else
    printf 'FAIL  %-22s %s (exit %d)\n' "$name" "$(elapsed "$began")" "$code"
    tail -n "$STEP_TAIL" "$log" | sed 's/^/      | /'
    printf '      log: %s\n' "$log"
  fi
  return "$code"
}

show() { # show NAME COMMAND...: the same for a command whose output is worth reading as it comes
  local name="$1" began code=0
  shift
  began="$(now_ms)"
  printf '\n==> %s\n' "$name"
  "$@" </dev/null || code=$?
  if ((code == 0)); then
    printf 'ok    %-22s %s\n' "$name" "$(elapsed "$began")"
  else
    printf 'FAIL  %-22s %s (exit %d)\n' "$name" "$(elapsed "$began")" "$code"
  fi
  return "$code"
}
