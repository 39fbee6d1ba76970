#!/usr/bin/env bash
# Summary: What the last words of a program that failed mean, and what to do about them.
# Usage: sourced by bootstrap.sh
# shellcheck disable=SC2034,SC2153,SC2154 # variables are bootstrap.sh's
set -euo pipefail

# A pattern of words, and the sentence for it; the first that fits is told.
FAILURES=(
  'No space left on device'
  'A disk is full: df -h says which; --system-cleanup frees what can be had again.'
  'Read-only file system'
  'A disk that has to be written is mounted read-only: findmnt -O ro shows which.'
  'CERTIFICATE_VERIFY_FAILED|certificate verify failed|self-signed certificate|UnknownIssuer'
  "The registry's certificate is not believed. Where a proxy signs for it, put its authority into /usr/local/share/ca-certificates and run update-ca-certificates, or name it in SSL_CERT_FILE and PIP_CERT; see the clock too: date."
  'DO NOT MATCH THE HASHES|hash mismatch|Hash Sum mismatch'
  'What was fetched is not what the lock file names: a mirror or proxy has changed or cut it. Run this again, or name another registry (PIP_INDEX_URL).'
  'Temporary failure (resolving|in name resolution)|Name or service not known|Could not resolve'
  'A name could not be looked up: see the network and /etc/resolv.conf (getent hosts NAME).'
  'ProxyError|Proxy Authentication|proxy.*(refused|failed|407)'
  'The proxy did not answer as it should: see http_proxy, https_proxy and no_proxy (env | grep -i proxy), and /etc/apt/apt.conf.d.'
  'Connection (timed out|refused)|Network is unreachable|Read timed out|Max retries exceeded|Failed to fetch|Unable to fetch'
  'A registry could not be reached: see the network, the proxy (env | grep -i proxy), apt'"'"'s sources and pip'"'"'s index (pip config list).'
  'No matching distribution found|Could not find a version'
  'The registry does not have a package that the lock file names: see its address (pip config list, PIP_INDEX_URL).'
  'NO_PUBKEY|is not signed|EXPKEYSIG'
  "One of apt's sources is not signed as apt wants it: apt-get update names it; mend it, or take it out of /etc/apt/sources.list.d."
  'dpkg was interrupted|unmet dependencies|held broken packages'
  'Packages on this machine are half installed or do not fit together: dpkg --configure -a, then apt-get --fix-broken install.'
  'ensurepip is not|No module named (venv|ensurepip)'
  'This Python makes no environments: apt-get install python3-venv.'
  'Permission denied'
  'A file or folder is closed, or its disk is mounted noexec: findmnt -T shows how a folder is mounted, namei -l who gets to it.'
  '(^|[^a-z])Killed|MemoryError|Cannot allocate memory'
  'There was too little memory: free -m; end other programs, or add swap.'
)

last_words() { tail -c "+$((log_begin + 1))" "$LOG" 2>/dev/null | tail -n 15; } # of the program that ran last

way_out() { # way_out: about its last words; nothing about those that are not known
  local end i
  end="$(last_words || true)"
  for ((i = 0; i < ${#FAILURES[@]}; i += 2)); do
    if grep -qE -- "${FAILURES[i]}" <<<"$end"; then printf '%s ' "${FAILURES[i + 1]}"; return; fi
  done
}

fail_logged() { # fail_logged CMD...: after it has failed
  last_words >&2
  die "'$*' failed. $(way_out)All it said is in $LOG. When it is put right, run the same command again."
}
