#!/usr/bin/env bash
# What building Freshet needs besides Rust: a C compiler and headers for the Kafka client, which is built from source
# with its own configure script. Installs what is missing on Debian; elsewhere it says what to install.
#
#   deps.sh           install what is missing
#   deps.sh --check   only say whether something is missing
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/services/lib.sh
. "$here/lib.sh"

missing() {
  local tool
  for tool in gcc g++ make pkg-config; do have "$tool" || echo "$tool"; done
  if have pkg-config; then
    pkg-config --exists openssl || echo libssl-dev
    pkg-config --exists zlib || echo zlib1g-dev
  else
    echo "libssl-dev zlib1g-dev"
  fi
}

absent=$(missing | tr '\n' ' ')
if [ -z "$absent" ]; then exit 0; fi
[ "${1:-}" != --check ] || die "missing for the build: $absent"
apt_install gcc g++ make pkg-config libssl-dev zlib1g-dev
have cargo || die "Rust 1.95 or newer is needed: see https://rustup.rs"
