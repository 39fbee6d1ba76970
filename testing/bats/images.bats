#!/usr/bin/env bats
# What the images' script refuses and keeps. Making images for real is tried by testing/cluster/docker_trial.py.

setup() {
  load sealed
  seal
  ln -s "$(command -v sha256sum)" "$BIN/sha256sum"
  IMAGES="$ROOT/ansible/roles/docker/files/images.sh"
  export PREFIX="$BATS_TEST_TMPDIR/twin" BASE_TAG=b3 AGENT_TAG=a3 KEEP=2 SUITE=trixie PACKAGES=python3 REQUIREMENTS=
  mkdir -p "$PREFIX"
}

@test "an unknown command lists the known ones" {
  run sealed "$IMAGES" all
  [ "$status" -ne 0 ]
  [ "$output" = "unknown command 'all'; known: base agent prune" ]
}

@test "a base is not made of the packages of another release" {
  record mmdebstrap
  record docker
  echo "numpy==2" >"$PREFIX/requirements.txt"
  REQUIREMENTS="$(printf 'numpy==1\n' | sha256sum | cut -d ' ' -f 1)" run sealed "$IMAGES" base
  [ "$status" -ne 0 ]
  [[ "$output" == *"is of another release; run the whole playbook on this node first."* ]]
  [ ! -s "$CALLS" ]
}

@test "a base that could not be made to the end gets no name" {
  record mmdebstrap 1
  record docker
  echo "numpy==1" >"$PREFIX/requirements.txt"
  REQUIREMENTS="$(printf 'numpy==1\n' | sha256sum | cut -d ' ' -f 1)"
  run sealed env REQUIREMENTS="$REQUIREMENTS" bash -c \
    "source '$IMAGES'; apt_sources() { echo /etc/apt/sources.list; }; main base"
  [ "$status" -ne 0 ]
  run grep "docker image tag" "$CALLS"
  [ "$status" -ne 0 ]
}

@test "the image in use and the newest of the others stay" {
  record docker 0 $'a5\na4\na3\na2'
  run sealed "$IMAGES" prune
  [ "$status" -eq 0 ]
  removed="$(grep "docker image rm twin-agent" "$CALLS")"
  [ "$removed" = $'docker image rm twin-agent:a4\ndocker image rm twin-agent:a2' ]
}
