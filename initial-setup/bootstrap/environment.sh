#!/usr/bin/env bash
# Summary: The environment that a machine is set up in, made from a list of what may stay of the caller's.
#
# What a shell brings must not matter: another Python first on PATH, PYTHONPATH, conda's base, pip's and uv's settings of
# where to install, exported functions, a locale that this machine does not have, a HOME or TMPDIR that will not do. Where
# packages come from is the machine's own business and stays.
#
# Usage: sourced by bootstrap.sh, which calls clean_environment before anything else
# shellcheck disable=SC2034,SC2153,SC2154 # variables are bootstrap.sh's
set -euo pipefail

# Functions and aliases of the caller's, exported or from BASH_ENV, before ours are here.
unalias -a
while read -r _ _ _twin_name; do unset -f "$_twin_name"; done < <(declare -F)

# What stays, and what sudo and a container get: where packages come from, and what bootstrap.sh is told.
HANDED_ON='PIP_(INDEX_URL|EXTRA_INDEX_URL|FIND_LINKS|NO_INDEX|TRUSTED_HOST|CERT|CLIENT_CERT|PROXY|TIMEOUT|DEFAULT_TIMEOUT|RETRIES'
HANDED_ON+='|CONFIG_FILE|KEYRING_PROVIDER|DISABLE_PIP_VERSION_CHECK)'
HANDED_ON+='|UV_(DEFAULT_INDEX|INDEX|INDEX_URL|EXTRA_INDEX_URL|INDEX_\w+_(USERNAME|PASSWORD)|INDEX_STRATEGY|FIND_LINKS|NO_INDEX'
HANDED_ON+='|INSECURE_HOST|KEYRING_PROVIDER|NATIVE_TLS|SYSTEM_CERTS|HTTP_TIMEOUT|HTTP_RETRIES|REQUEST_TIMEOUT|CONCURRENT_DOWNLOADS)'
HANDED_ON+='|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|NODE_EXTRA_CA_CERTS|(NPM_CONFIG|npm_config)_(REGISTRY|registry)'
HANDED_ON+='|GO(PROXY|NOPROXY|PRIVATE|SUMDB|NOSUMDB|INSECURE)|(http|https|ftp|no|all)_proxy|(HTTP|HTTPS|FTP|NO|ALL)_PROXY'
HANDED_ON+='|LLM_BASE_URL|TWIN_(PREFIX|CACHE|CONFIG|SECRETS|PATH|MIRROR_URL|JOIN_TOKEN)'
HANDED_ON="^($HANDED_ON)\$"
# What stays here beside: the terminal, who called sudo, and how Ansible comes to the other machines of a cluster.
KEPT='^(TERM|COLORTERM|NO_COLOR|SUDO_[A-Z]+|SSH_AUTH_SOCK|SYSTEMD_FOLDER'
KEPT+='|ANSIBLE_(VAULT_PASSWORD_FILE|PRIVATE_KEY_FILE|HOST_KEY_CHECKING|SSH_[A-Z_]+|REMOTE_(USER|PORT)))$'
# What may matter to somebody, so that it is said when it is left out.
NAMED='^(PIP|UV|PYTHON|CONDA|VIRTUAL_ENV|PYENV|LD|TWIN|LLM|ANSIBLE)(_|[A-Z]|$)|^(TMPDIR|BASH_ENV)$'
# Certificates of authorities that clients read; the services' user reads them too.
AUTHORITIES=(SSL_CERT_FILE REQUESTS_CA_BUNDLE CURL_CA_BUNDLE NODE_EXTRA_CA_CERTS PIP_CERT)
left_out=() # names that are told

clean_environment() {
  local name
  set +o posix # POSIXLY_CORRECT turns it on
  while IFS= read -r name; do
    [[ ! "$name" =~ $HANDED_ON && ! "$name" =~ $KEPT ]] || continue
    [[ ! "$name" =~ $NAMED ]] || left_out+=("$name")
    unset "$name" 2>/dev/null || export -n "${name?}" # SHELLOPTS and the like can only be kept to oneself
  done < <(compgen -e)
  # Programs of the system, in folders that only root writes; TWIN_PATH has others.
  export PATH="${TWIN_PATH:-/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin}"
  export LC_ALL=C.UTF-8 LANG=C.UTF-8 # every Debian has it; Ansible wants one of UTF-8
  ! has_proxy || spare_proxy localhost 127.0.0.1 ::1
  HOME="$(unset HOME && echo ~)" && export HOME # by the list of users: sudo may have kept the caller's
}

tell_left_out() { # said once, not again after sudo
  ((${#left_out[@]} == 0)) || warn "of your shell's environment these are not used: ${left_out[*]}"
}

has_proxy() { [[ -n "${http_proxy:-}${https_proxy:-}${all_proxy:-}${HTTP_PROXY:-}${HTTPS_PROXY:-}${ALL_PROXY:-}" ]]; }

spare_proxy() { # spare_proxy NAME...: no proxy is asked for these names and addresses
  local list="${no_proxy:-${NO_PROXY:-}}" name
  for name in "$@"; do [[ -z "$name" || ",$list," == *",$name,"* ]] || list+="${list:+,}$name"; done
  export no_proxy="$list" NO_PROXY="$list"
}

prepare_environment() { # what needs root and folders: certificates, HOME and TMPDIR that can be used
  local name file copy
  [[ -z "$dry_run" ]] || return 0
  for name in "${AUTHORITIES[@]}"; do
    file="${!name:-}"
    [[ -n "$file" ]] || continue
    if [[ ! -r "$file" ]]; then
      warn "$name names $file, which cannot be read; it is left out."
      unset "$name"
    elif ! for_service -r "$file"; then # in somebody's home, as conda's are
      copy="$CACHE/authorities/$name.pem"
      install -D -m 0644 "$file" "$copy"
      export "$name=$copy"
    fi
  done
  if ! can_use "$HOME"; then
    warn "nothing can be written in $HOME; $CACHE/home takes its place."
    export HOME="$CACHE/home" ANSIBLE_REMOTE_TMP="$CACHE/home/.ansible/tmp" # Ansible looks into the list of users too
    mkdir -p "$HOME"
  fi
  if ! can_use /tmp runs; then # as where /tmp is mounted noexec
    warn "no program can run in /tmp; $CACHE/tmp takes its place."
    export TMPDIR="$CACHE/tmp"
    mkdir -p "$TMPDIR"
    chmod 1777 "$TMPDIR"
  fi
}

can_use() { # can_use FOLDER [runs]: whether files can be written there, and with `runs` be run
  local file status=0
  file="$(mktemp "$1/.twin.XXXXXX" 2>/dev/null)" || return 1
  if [[ -n "${2:-}" ]]; then
    printf '#!/bin/sh\n' >"$file" && chmod +x "$file" && "$file" 2>/dev/null || status=1
  fi
  rm -f "$file"
  return "$status"
}
