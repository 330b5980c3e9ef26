#!/usr/bin/env bash
# The page's development server beside a running freshet with the demo stream. Ctrl-C ends both.
#
#   dev.sh BINARY HOST:PORT
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
# shellcheck source=tests/services/lib.sh
. "$here/lib.sh"
[ $# -eq 2 ] || die "usage: $0 BINARY HOST:PORT"
have npm || die "Node 20 or newer with npm is needed for the page's development server"

env -u FRESHET_URL -u FRESHET_CACHE "$1" --demo --listen "$2" &
server_pid=$!
trap 'stop_pid "$server_pid" 20' EXIT
trap 'exit 130' INT TERM
cd "$root/dashboards/web"
[ -d node_modules ] || npm ci
FRESHET_URL="http://$2" npm run dev
