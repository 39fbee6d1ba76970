#!/usr/bin/env bats
# The lines that scripts print, and the codes they end with.

setup() {
  ROOT="$(cd "$BATS_TEST_DIRNAME/../.." && pwd)"
  export STEP_LOGS="$BATS_TEST_TMPDIR/logs" STEP_TAIL=3
  # shellcheck source=scripts/lib/steps.sh
  source "$ROOT/scripts/lib/steps.sh"
}

ten_lines_then_fail() { seq 10; return 7; }

@test "a step that works is one line with its time" {
  run step "make it" echo hidden
  [ "$status" -eq 0 ]
  [[ "$output" =~ ^ok\ +make\ it\ +[0-9]+\.[0-9]\ s$ ]]
}

@test "a step's output goes to its log" {
  run step "make it" echo hidden
  [ "$(cat "$STEP_LOGS/make-it.log")" = hidden ]
}

@test "a failed step shows the log's tail, the log's path, and keeps the code" {
  run step "break it" ten_lines_then_fail
  [ "$status" -eq 7 ]
  [[ "${lines[0]}" == "FAIL  break it"*"(exit 7)" ]]
  [[ "${lines[1]}" == *"| 8" ]]
  [[ "$output" != *"| 7"* ]]
  [[ "$output" == *"log: $STEP_LOGS/break-it.log"* ]]
}

@test "a shown command's output is seen" {
  run show "look" echo seen
  [ "$status" -eq 0 ]
  [[ "$output" == *"==> look"*seen*"ok    look"* ]]
}

@test "a step reads no input" {
  run step "read" cat
  [ "$status" -eq 0 ]
}

@test "elapsed time turns to minutes" {
  run elapsed $(($(now_ms) - 125000))
  [[ "$output" =~ ^2\ min\ [5-6]\ s$ ]]
}
