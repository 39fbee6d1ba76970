#!/usr/bin/env bats
# What scripts/dev understands and fetches, without starting anything.

setup() {
  ROOT="$(cd "$BATS_TEST_DIRNAME/../.." && pwd)"
  export TWIN_CACHE_DIR="$BATS_TEST_TMPDIR/cache"
  # shellcheck source=scripts/dev
  source "$ROOT/scripts/dev"
}

stand_in() { # in place of the toolchain: what is asked for is written to calls.log, and the loop says its arguments
  CALLS="$BATS_TEST_TMPDIR/calls.log"
  : >"$CALLS"
  ensure_packages() { echo "packages $*" >>"$CALLS"; }
  ensure_venv() { VENV="$BATS_TEST_TMPDIR"; }
  twin() { echo "twin $*" >>"$CALLS"; }
  mkdir -p "$BATS_TEST_TMPDIR/bin"
  printf '#!/bin/sh\nprintf "%%s\\n" "$@"\n' >"$BATS_TEST_TMPDIR/bin/python"
  chmod +x "$BATS_TEST_TMPDIR/bin/python"
}

@test "dev: help tells of every option, and starts nothing" {
  for words in --help -h "--fake --help"; do
    # shellcheck disable=SC2086 # several words
    run "$ROOT/scripts/dev" $words
    [ "$status" -eq 0 ]
    for option in fake port host no-watch help; do [[ "$output" == *"--$option"* ]]; done
  done
}

@test "dev: what it does not know, it lists what it does" {
  run "$ROOT/scripts/dev" --frobnicate
  [ "$status" -eq 1 ]
  [[ "$output" == *"unknown argument '--frobnicate'; known: --fake --port"* ]]
}

@test "dev: a port is a number that can be one" {
  for port in "" abc 0 65536 123456 --fake; do
    run "$ROOT/scripts/dev" --port "$port"
    [ "$status" -eq 1 ]
    [[ "$output" == *"--port needs a number from 1 to 65535, not '$port'"* ]]
  done
  run "$ROOT/scripts/dev" --host --fake
  [ "$status" -eq 1 ]
  [[ "$output" == *"--host needs an address"* ]]
}

@test "dev: with stand-ins nothing is fetched, and the loop gets every option" {
  stand_in
  mkdir -p "$TWIN_CACHE_DIR/venv-1-py3.11"
  touch "$TWIN_CACHE_DIR/venv-1-py3.11/.complete"
  run main --fake --port 8123 --host 0.0.0.0 --no-watch
  [ "$status" -eq 0 ]
  [ "$output" = "$(printf '%s\n' "$ROOT/scripts/dev_loop.py" --fake --port 8123 --host 0.0.0.0 --no-watch)" ]
  [ ! -s "$CALLS" ]
}

@test "dev: the models that this machine's agent uses are fetched, without root" {
  stand_in
  mkdir -p "$TWIN_CACHE_DIR/venv-1-py3.11"
  touch "$TWIN_CACHE_DIR/venv-1-py3.11/.complete"
  run main
  [ "$status" -eq 0 ]
  [ "$(<"$CALLS")" = "twin models fetch" ]
}

@test "dev: without an environment Python's packages are looked for first" {
  stand_in
  run main --fake
  [ "$status" -eq 0 ]
  [[ "$(<"$CALLS")" == "packages python3:python3" ]]
}
