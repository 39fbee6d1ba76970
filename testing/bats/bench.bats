#!/usr/bin/env bats
# What scripts/bench says and fetches, without measuring anything.

setup() {
  ROOT="$(cd "$BATS_TEST_DIRNAME/../.." && pwd)"
  # shellcheck source=scripts/bench
  source "$ROOT/scripts/bench"
}

@test "bench: help tells of every benchmark in a sentence, and each is there" {
  run "$ROOT/scripts/bench" --help
  [ "$status" -eq 0 ]
  for name in "${BENCHMARKS[@]}"; do
    grep -Eq "^  $name {2,}[a-z]+ .{20,}" <<<"$output"
    grep -q '^def main' "$ROOT/testing/bench/$name.py"
  done
}

@test "bench: every program of testing/bench that can be run is known" {
  local found=0
  while IFS= read -r path; do
    is_known "$(basename "$path" .py)"
    found=$((found + 1))
  done < <(grep -l 'ArgumentParser(' "$ROOT"/testing/bench/*.py)
  [ "$found" -eq "${#BENCHMARKS[@]}" ]
}

@test "bench: an unknown name lists the known ones" {
  run "$ROOT/scripts/bench" frob
  [ "$status" -eq 1 ]
  [[ "$output" == *"unknown benchmark 'frob'"*voice_latency*experts* ]]
}

@test "bench: no name lists the known ones" {
  run "$ROOT/scripts/bench"
  [ "$status" -eq 1 ]
  [[ "$output" == *"which benchmark?"*voice_latency*experts* ]]
}

@test "bench: two names in one are unknown" {
  run "$ROOT/scripts/bench" "voice_load router"
  [ "$status" -eq 1 ]
  [[ "$output" == *"unknown benchmark 'voice_load router'"* ]]
}

@test "bench: engines are fetched for what is measured here, and not for a house or a help text" {
  [ "$(needs experts)" = engines ]
  [ "$(needs experts --model smollm2-135m --quick)" = engines ]
  [ "$(needs experts --quick --url http://twin:8000)" = python ]
  [ "$(needs voice_latency --url=http://twin:8000)" = python ]
  [ "$(needs split --help)" = python ]
  [ "$(needs router --passes 1)" = cluster ]
  [ "$(needs start --rounds 3)" = python ]
}

@test "bench: a benchmark gets its arguments, and its output is alone on standard output" {
  need_python() { VENV="$BATS_TEST_TMPDIR"; echo "ok    python environment"; }
  mkdir "$BATS_TEST_TMPDIR/bin"
  printf '#!/bin/sh\nprintf "%%s\\n" "$@"\n' >"$BATS_TEST_TMPDIR/bin/python"
  chmod +x "$BATS_TEST_TMPDIR/bin/python"
  result="$(main experts --url "http://twin house" 2>/dev/null)"
  [ "$result" = "$(printf '%s\n' -m testing.bench.experts --url 'http://twin house')" ]
}
