#!/usr/bin/env bash
# Summary: What --continue goes on with: the options of the run that was broken off, and the steps still to do.
# Usage: sourced by bootstrap.sh
# shellcheck disable=SC2034,SC2153,SC2154 # variables are bootstrap.sh's
set -euo pipefail

readonly OPTIONS="$CACHE/bootstrap.options" # two variables, then the options, one a line; root's

use_kept_options() { # use_kept_options ARG...: `given` is ARG..., with --continue after those of the run broken off
  local kept
  given=("$@")
  [[ " $* " == *" --continue "* && -r "$OPTIONS" ]] || return 0
  mapfile -t kept <"$OPTIONS"
  if [[ -z "${LLM_BASE_URL:-}" && -n "${kept[0]}" ]]; then export LLM_BASE_URL="${kept[0]}"; fi
  if [[ -z "${TWIN_MIRROR_URL:-}" && -n "${kept[1]}" ]]; then export TWIN_MIRROR_URL="${kept[1]}"; fi
  given=("${kept[@]:2}" "$@")
}

keep_options() { # keep_options ARG...: for --continue; not what is done once and at the beginning, and never a token
  local argument
  [[ -z "$dry_run" ]] || return 0
  {
    printf '%s\n' "${LLM_BASE_URL:-}" "${TWIN_MIRROR_URL:-}"
    while IFS= read -r argument; do
      case "$argument" in
        --continue | --clean | --system-cleanup) ;;
        *) printf '%s\n' "$argument" ;;
      esac
    done < <(without_token "$@")
  } >"$OPTIONS.new"
  chmod 0600 "$OPTIONS.new"
  mv "$OPTIONS.new" "$OPTIONS"
  [[ -n "$resume" ]] || : >"$STATE" # steps of another run are not this one's
}

forget_run() { run rm -f "$STATE" "$OPTIONS"; } # it is complete

all_plays() { # the playbooks that playbook.yaml lists, in its order
  sed -n 's/^ *ansible\.builtin\.import_playbook: *//p' "$ROOT/playbook.yaml"
}

remaining_plays() { # the playbooks that are not complete, by the state file; all of them without --continue
  local plays play last=-1 i
  mapfile -t plays < <(all_plays)
  if [[ -n "$resume" && -f "$STATE" ]]; then
    for i in "${!plays[@]}"; do
      grep -qx "done $(basename "${plays[i]}" .yaml)" "$STATE" || break
      last=$i
    done
  fi
  for play in "${plays[@]:last+1}"; do printf '%s\n' "$ROOT/$play"; done
}
