# Summary: A sealed place for a script under test: its own HOME, PATH and folders, and programs that only record.
#
# Usage: load sealed   (in a .bats file), then `seal` in setup.
#
# PATH holds the harmless programs that are named here and nothing else, so that a script can neither install nor
# stop anything. `record NAME [STATUS]` adds a program that writes its arguments to calls.log and ends with STATUS.
# `seal_bootstrap` adds what bootstrap.sh needs to find everything in order; `bootstrap` runs it.

HARMLESS=(awk basename bash cat chmod chown install cmp cp cut date dirname env find grep head hostname id ln ls mkdir mktemp
  mv paste printenv printf readlink rm sed seq sh sleep sort stat tail tee touch tr true uname wc xargs)

seal() {
  local name
  ROOT="$(cd "$BATS_TEST_DIRNAME/../.." && pwd)"
  BIN="$BATS_TEST_TMPDIR/bin"
  CALLS="$BATS_TEST_TMPDIR/calls.log"
  mkdir -p "$BIN"
  for name in "${HARMLESS[@]}"; do ln -s "$(command -v "$name")" "$BIN/$name"; done
  : >"$CALLS"
  export ROOT BIN CALLS HOME="$BATS_TEST_TMPDIR/home"
  mkdir -p "$HOME"
  SEALED_PATH="$BIN"
  export TWIN_PATH="$BIN" # bootstrap.sh makes a PATH of its own
}

record() { # record NAME [STATUS] [OUTPUT] [FOLDER]: in place of a link to the real program, never through it
  rm -f "${4:-$BIN}/$1"
  printf '#!%s\nprintf "%%s\\n" "%s $*" >>"%s"\nprintf "%%s" "%s"\nexit %s\n' \
    "$(command -v bash)" "$1" "$CALLS" "${3:-}" "${2:-0}" >"${4:-$BIN}/$1"
  chmod +x "${4:-$BIN}/$1"
}

sealed() { PATH="$SEALED_PATH" "$@"; }

seal_bootstrap() {
  unset LLM_BASE_URL TWIN_MIRROR_URL TWIN_JOIN_TOKEN
  export TWIN_CONFIG="$BATS_TEST_TMPDIR/etc/twin"
  export SYSTEMD_FOLDER="$BATS_TEST_TMPDIR/systemd"
  export TWIN_SECRETS="$BATS_TEST_TMPDIR/secrets"
  export TWIN_PREFIX="$BATS_TEST_TMPDIR/opt" TWIN_CACHE="$BATS_TEST_TMPDIR/cache"
  mkdir -p "$TWIN_PREFIX/bootstrap/bin" "$TWIN_CACHE"
  for name in apt-get ip; do record "$name"; done
  # shellcheck disable=SC2016 # for the programs that are written; a Python that will do, reads the catalogue, and has no network
  printf '#!%s\n[[ "$*" != *artifact_key.py* ]] || exec %s "$@"\n[[ "$1" != -I ]] || { printf 3.11; exit; }\nprintf "%%s\n" "python3 $*" >>"%s"\n[[ "$1" == -m ]]\n' \
    "$(command -v bash)" "$(command -v python3)" "$CALLS" >"$BIN/python3"
  # shellcheck disable=SC2016 # as whoever it is now, for bats' folders are root's alone
  printf '#!%s\nuntil [[ "$1" == -- ]]; do shift; done\nshift\nexec "$@"\n' "$(command -v bash)" >"$BIN/setpriv"
  chmod +x "$BIN/setpriv" "$BIN/python3"
  record dpkg-query 0 "install ok installed"
  for name in pip ansible-playbook; do record "$name" 0 "" "$TWIN_PREFIX/bootstrap/bin"; done
  ln -s "$BIN/python3" "$TWIN_PREFIX/bootstrap/bin/python"
  printf 'version = 3.11.2\n' >"$TWIN_PREFIX/bootstrap/pyvenv.cfg"
  cp "$ROOT/requirements-bootstrap.txt" "$TWIN_PREFIX/bootstrap/requirements.txt"
}

bootstrap() { sealed "$ROOT/bootstrap.sh" "$@"; }
