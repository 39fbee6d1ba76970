#!/usr/bin/env bats
# What initial-setup/setup.sh would do to a machine, told by --dry-run; and the files it writes into a folder.

bats_require_minimum_version 1.5.0

setup() {
  load sealed
  seal
  export SETUP_ROOT="$BATS_TEST_TMPDIR/machine"
  mkdir -p "$SETUP_ROOT/etc/network"
  printf 'old\n' >"$SETUP_ROOT/etc/hostname"
  printf '127.0.0.1 localhost\n127.0.1.1 old\n' >"$SETUP_ROOT/etc/hosts"
  printf 'daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n' >"$SETUP_ROOT/etc/passwd"
  CONFIG="$BATS_TEST_TMPDIR/setup.conf"
  cp "$ROOT/initial-setup/setup.conf" "$CONFIG"
  record dpkg-query 0 "install ok installed"
  record ip 0 "default via 192.168.1.1 dev eth0 proto dhcp"
}

setting() { printf '%s="%s"\n' "$1" "$2" >>"$CONFIG"; }
setup_machine() { sealed "$ROOT/initial-setup/setup.sh" --config "$CONFIG" "$@"; }

@test "the settings as shipped change nothing" {
  run setup_machine --dry-run
  [ "$status" -eq 0 ]
  [[ "$output" == *"hostname: in order"*"network: in order"*"packages: in order"*"admin: in order"* ]]
  [[ "$output" != *would* ]]
}

@test "a dry run writes nothing" {
  setting SETUP_HOSTNAME kitchen
  run setup_machine --dry-run
  [[ "$output" == *"would write /etc/hostname"*kitchen* ]]
  [ "$(cat "$SETUP_ROOT/etc/hostname")" = old ]
}

@test "the name is set once, in both files" {
  [ "$EUID" -eq 0 ] || skip "needs root"
  setting SETUP_HOSTNAME kitchen
  run setup_machine --only 10
  [ "$(cat "$SETUP_ROOT/etc/hostname")" = kitchen ]
  [ "$(cat "$SETUP_ROOT/etc/hosts")" = $'127.0.0.1 localhost\n127.0.1.1 kitchen' ]
  run setup_machine --only 10
  [[ "$output" == *"hostname: in order"* ]]
}

@test "a fixed address is written for the interface with the default route" {
  [ "$EUID" -eq 0 ] || skip "needs root"
  setting SETUP_ADDRESS 192.168.1.20/24
  setting SETUP_GATEWAY 192.168.1.1
  setting SETUP_DNS 192.168.1.1
  run setup_machine --only 20
  [ "$status" -eq 0 ]
  run cat "$SETUP_ROOT/etc/systemd/network/10-twin.network"
  [[ "$output" == *"Name=eth0"*"Address=192.168.1.20/24"*"Gateway=192.168.1.1"*"DNS=192.168.1.1"* ]]
  run setup_machine --only 20
  [[ "$output" == *"network: in order"* ]]
}

@test "an address without its router is refused" {
  setting SETUP_ADDRESS 192.168.1.20/24
  run setup_machine --dry-run
  [ "$status" -ne 0 ]
  [[ "$output" == *"needs SETUP_GATEWAY and SETUP_DNS"* ]]
}

@test "a strange address is refused with an example" {
  setting SETUP_ADDRESS 192.168.1
  run setup_machine --dry-run
  [ "$status" -ne 0 ]
  [[ "$output" == *"like 192.168.1.20/24"* ]]
}

@test "a strange name is refused" {
  setting SETUP_HOSTNAME "my pc"
  run setup_machine --dry-run
  [ "$status" -ne 0 ]
  [[ "$output" == *SETUP_HOSTNAME* ]]
}

@test "only the missing packages are installed" {
  record dpkg-query 1
  setting SETUP_PACKAGES "git sudo"
  run setup_machine --dry-run
  [[ "$output" == *"would run: env DEBIAN_FRONTEND=noninteractive apt-get install"*" git sudo"* ]]
}

@test "the administrator gets sudo and the key" {
  setting SETUP_ADMIN ada
  setting SETUP_ADMIN_KEY "ssh-ed25519 AAAA ada"
  run setup_machine --dry-run
  [[ "$output" == *"useradd --create-home --shell /bin/bash --groups sudo ada"*"would add the key"* ]]
}

@test "an unknown option lists the known ones" {
  run setup_machine --force
  [ "$status" -ne 0 ]
  [[ "$output" == *"known: --dry-run --config --only"* ]]
}

@test "the control node is written down for a worker, and said to be this machine where it is" {
  [ "$EUID" -eq 0 ] || skip "needs root"
  setting CONTROL_NODE_IP 192.168.1.20
  run setup_machine --only 50
  [ "$(cat "$SETUP_ROOT/etc/twin/control_node")" = 192.168.1.20 ]
  [[ "$output" == *"--role worker"* ]]
  run setup_machine --only 50
  [[ "$output" == *"control-node: in order"* ]]
  setting CONTROL_NODE_IP kitchen
  run setup_machine --only 50
  [ "$status" -ne 0 ]
  [[ "$output" == *"CONTROL_NODE_IP is 'kitchen'"* ]]
}
