# Summary: A sealed place for a script under test: its own HOME, PATH and folders, and programs that only record.
#
# Usage: load sealed   (in a .bats file), then `seal` in setup.
#
# PATH holds the harmless programs that are named here and nothing else, so that a script can neither install nor
# stop anything. `record NAME [STATUS]` adds a program that writes its arguments to calls.log and ends with STATUS.

HARMLESS=(awk basename bash cat chmod chown install cmp cp cut date dirname env find grep head hostname id ln ls mkdir mktemp
  mv paste printenv printf rm sed seq sh sleep sort stat tail tee touch tr true uname wc xargs)

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
}

record() { # record NAME [STATUS] [OUTPUT]
  printf '#!%s\nprintf "%%s\\n" "%s $*" >>"%s"\nprintf "%%s" "%s"\nexit %s\n' \
    "$(command -v bash)" "$1" "$CALLS" "${3:-}" "${2:-0}" >"${4:-$BIN}/$1"
  chmod +x "${4:-$BIN}/$1"
}

sealed() { PATH="$SEALED_PATH" "$@"; }
