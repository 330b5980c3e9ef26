#!/usr/bin/env bash
# Other readers of our files and our wire: prints the path of a Python that has DuckDB, pyarrow and Druid's client with its
# SQLAlchemy dialect, installed into the cache when needed.
#
# FRESHET_CACHE   where fetched files stay (default: ~/.cache/freshet)
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/services/lib.sh
. "$here/lib.sh"

python_venv readers duckdb==2.0.0 pyarrow==26.0.1 pydruid==0.6.9 sqlalchemy==1.4.54
