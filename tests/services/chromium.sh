#!/usr/bin/env bash
# The browser of the browser tests: Debian's Chromium. Prints its path; installs it when it is missing.
#
#   chromium.sh           path of a Chromium, installed when needed
#   chromium.sh --check   path, or exit code 1 when there is none
#
# CHROMIUM  a Chromium or Chrome of your own
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/services/lib.sh
. "$here/lib.sh"

find_browser() {
  local name
  if [ -n "${CHROMIUM:-}" ]; then
    [ -x "$CHROMIUM" ] || die "CHROMIUM is set to $CHROMIUM, which cannot be run"
    echo "$CHROMIUM"
    return 0
  fi
  for name in chromium chromium-browser google-chrome; do
    if have "$name"; then
      command -v "$name"
      return 0
    fi
  done
  return 1
}

find_browser && exit 0
[ "${1:-}" != --check ] || exit 1
# Fonts: without one a headless browser measures every text as empty boxes.
apt_install chromium fonts-dejavu-core
find_browser || die "Debian's chromium was installed, but no chromium is on the PATH"
