#!/usr/bin/env bash
# Summary: Make what lint and the tests need: Debian packages, a Python environment, node modules, models.
#
# Usage: source scripts/lib/toolchain.sh   (after scripts/lib/steps.sh; ROOT is the checkout)
#
# Everything is made once and found again. The Python environment and the models live in TWIN_CACHE_DIR,
# outside the checkout; node modules and logs go to ignored folders of the checkout. A folder is used only
# once its stamp, written last, is there: an interrupted run is taken up by the next. Functions that `step`
# runs chain with && because bash suspends `set -e` inside a command whose failure is caught.
#
# Variables:
#   TWIN_CACHE_DIR   what can be had again (default: ~/.cache/twin)
#   TWIN_PYTHON      Python that the environment is made from, >= 3.11 (default: python3)
# shellcheck disable=SC2034 # the lists of packages are for the scripts that source this one
set -euo pipefail

export TWIN_CACHE_DIR="${TWIN_CACHE_DIR:-$HOME/.cache/twin}"
TWIN_PYTHON="${TWIN_PYTHON:-python3}"
LOCK="$ROOT/requirements-dev.txt"
# Administrators' programs (nft, haproxy, debootstrap) are not on every user's PATH.
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

# PROGRAM:PACKAGE pairs, by what they are needed for.
PACKAGES_PYTHON=(python3:python3)
PACKAGES_NODE=(node:nodejs npm:npm)
PACKAGES_BATS=(bats:bats)
PACKAGES_BUILD=(g++:g++ cmake:cmake ninja:ninja-build)
PACKAGES_ENGINES=(espeak-ng:espeak-ng bwrap:bubblewrap haproxy:haproxy git:git)
PACKAGES_BROWSER=(chromium:chromium)
PACKAGES_NETWORK=(nft:nftables ip:iproute2 curl:curl)
PACKAGES_HOSTS=(debootstrap:debootstrap systemd-nspawn:systemd-container ssh:openssh-client)
PACKAGES_OLD_CPU=(qemu-x86_64-static:qemu-user-static)
PACKAGES_ALL=("${PACKAGES_PYTHON[@]}" git:git "${PACKAGES_NODE[@]}" "${PACKAGES_BATS[@]}" "${PACKAGES_BUILD[@]}"
  "${PACKAGES_ENGINES[@]}" "${PACKAGES_BROWSER[@]}" "${PACKAGES_NETWORK[@]}" "${PACKAGES_HOSTS[@]}"
  "${PACKAGES_OLD_CPU[@]}")

as_root() { # as_root COMMAND...
  if ((EUID == 0)); then
    "$@"
  elif command -v sudo >/dev/null 2>&1; then
    sudo -n "$@"
  else
    die "this needs root, and there is no sudo: $*"
  fi
}

missing_packages() { # missing_packages PROGRAM:PACKAGE...: packages whose program is not there
  local pair
  for pair in "$@"; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || printf '%s\n' "${pair#*:}"
  done
  if ! "$TWIN_PYTHON" -c 'import ensurepip, venv' >/dev/null 2>&1; then printf 'python3-venv\n'; fi
}

install_packages() { # install_packages PACKAGE...
  command -v apt-get >/dev/null 2>&1 || die "install these with your package manager: $*"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq update &&
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends "$@"
}

ensure_packages() { # ensure_packages PROGRAM:PACKAGE...
  local missing
  mapfile -t missing < <(missing_packages "$@" | sort -u)
  ((${#missing[@]} == 0)) || step "packages" install_packages "${missing[@]}"
}

locked_uv() { # the lines of the bootstrap lock that pin uv and its hashes
  awk '/^[^ #]/ { on = /^uv==/ } on' "$ROOT/requirements-bootstrap.txt"
}

make_uv() { # make_uv FOLDER: uv, from its pinned wheel
  rm -rf "$1" &&
    "$TWIN_PYTHON" -m venv "$1" &&
    locked_uv >"$1/uv.txt" &&
    "$1/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$1/uv.txt" &&
    touch "$1/.complete"
}

make_venv() { # make_venv UV FOLDER: every package of the lock, by hash
  "$1" venv --quiet --clear --python "$TWIN_PYTHON" "$2" &&
    VIRTUAL_ENV="$2" "$1" pip install --quiet --require-hashes -r "$LOCK" &&
    touch "$2/.complete"
}

digest_of() { # digest_of FILE...: twelve hex digits that change with their contents
  cat "$@" | sha256sum | cut -c 1-12
}

ensure_venv() { # sets and exports VENV, PATH and PYTHONPATH
  local uv_env
  "$TWIN_PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    die "Python 3.11 or newer is needed, $TWIN_PYTHON is $("$TWIN_PYTHON" --version 2>&1). Set TWIN_PYTHON."
  uv_env="$TWIN_CACHE_DIR/uv-$(locked_uv | sha256sum | cut -c 1-12)"
  VENV="$TWIN_CACHE_DIR/venv-$(digest_of "$LOCK")-$("$TWIN_PYTHON" -c 'import sys; print("py%d.%d" % sys.version_info[:2])')"
  mkdir -p "$TWIN_CACHE_DIR"
  if [[ ! -e "$VENV/.complete" ]]; then
    [[ -e "$uv_env/.complete" ]] || step "uv" make_uv "$uv_env"
    step "python environment" make_venv "$uv_env/bin/uv" "$VENV"
  fi
  export VENV VIRTUAL_ENV="$VENV" PYTHONPATH="$ROOT" PATH="$VENV/bin:$PATH"
}

make_node_modules() {
  (cd "$ROOT" && npm ci --no-audit --no-fund) &&
    digest_of "$ROOT/package-lock.json" >"$ROOT/node_modules/.complete"
}

ensure_node_modules() {
  local stamp="$ROOT/node_modules/.complete"
  [[ -e "$stamp" && "$(<"$stamp")" == "$(digest_of "$ROOT/package-lock.json")" ]] ||
    step "node modules" make_node_modules
}

twin() { "$VENV/bin/python" -m pipecatapp "$@"; }

# Models that tests name, beside those that this machine's agent would use.
TEST_MODELS=(qwen2.5-coder-0.5b smollm2-135m faster-whisper-tiny.en piper-en_US-joe-medium kokoro minilm)

fetch_models() { twin models fetch && twin models fetch "${TEST_MODELS[@]}"; }

ensure_models() { show "models" fetch_models; }

ensure_llama_cpp() { show "llama.cpp" twin artifacts fetch llama.cpp; }

ensure_cluster_binaries() { show "nomad and consul" twin artifacts fetch nomad consul; }

OLDER_BINARIES=(nomad@1.11.2 consul@1.22.2) # what a cluster is upgraded from

ensure_older_binaries() { show "older nomad and consul" twin artifacts fetch "${OLDER_BINARIES[@]}"; }

ensure_go() { # puts a Go tool on PATH that is new enough for the programs that are built with it
  local go
  go="$(twin artifacts go-path)" || die "there is no Go tool, and none can be had"
  export PATH="${go%/*}:$PATH"
}

need_python() { ensure_packages "${PACKAGES_PYTHON[@]}" git:git; ensure_venv; }

need_programs() { # need_programs PROGRAM:PACKAGE...: what the agent starts, and what the caller names
  ensure_packages "${PACKAGES_PYTHON[@]}" "${PACKAGES_ENGINES[@]}" "$@"
  ensure_venv
}

need_models() { # need_models PROGRAM:PACKAGE...: the same and the models
  need_programs "$@"
  ensure_models
}

need_engines() { # need_engines PROGRAM:PACKAGE...: the same and the LLM server
  need_models "${PACKAGES_BUILD[@]}" "$@"
  ensure_llama_cpp
}

need_machines() { need_programs "${PACKAGES_NETWORK[@]}" "${PACKAGES_HOSTS[@]}"; }

need_cluster() { # what machines of a cluster are lent
  need_engines "${PACKAGES_NETWORK[@]}" "${PACKAGES_HOSTS[@]}"
  ensure_go
  ensure_cluster_binaries
}
