#!/usr/bin/env bash
# Summary: What bootstrap.sh deletes when asked to: untracked files, caches, jobs. Each asks first, or says what goes.
# Usage: sourced by bootstrap.sh
# shellcheck disable=SC2034,SC2153,SC2154 # variables are bootstrap.sh's
set -euo pipefail

clean_checkout() {
  need_cmd git
  say "These files are not part of the project and would be deleted:"
  git -C "$ROOT" clean -ndx >&2
  [[ -n "$dry_run" ]] || confirm "Delete them for good?"
  run git -C "$ROOT" clean -fdx
}

clean_system() {
  [[ -n "$dry_run" ]] || confirm "Delete apt's cache, logs older than a week, downloads of earlier runs and unused Docker data?"
  run apt-get clean
  run find /var/log -name '*.gz' -type f -delete
  if command -v journalctl >/dev/null; then run journalctl --quiet --vacuum-time=7d || true; fi
  if command -v docker >/dev/null; then run docker system prune --all --force; fi
  run rm -rf "$CACHE/uv"
}

purge_cluster_jobs() { # stop and forget every Nomad job; what the agent remembers is not in a job
  if [[ "$mode" != cluster ]]; then say "There are no Nomad jobs to purge: this machine is no cluster."; return; fi
  say "Stopping and purging every Nomad job; the run that follows starts Twin's own again"
  run "$PREFIX/bootstrap/bin/ansible-playbook" "$ROOT/playbooks/purge_jobs.yaml" ||
    die "the jobs could not be purged; the lines above say why."
}
