#!/usr/bin/env bash
# RUSTC_WRAPPER of tests/fuzz.sh: `rustc.sh RUSTC ARGUMENT..`. Puts libFuzzer's counters into the crates that read bytes. This is
# what cargo-fuzz does on a nightly compiler, and none of it needs one: the pass is LLVM's.
set -euo pipefail

crate=""
kind=""
previous=""
for argument in "$@"; do
  case "$previous" in
    --crate-name) crate=$argument ;;
    --crate-type) kind=$argument ;;
  esac
  previous=$argument
done

case "$kind:$crate" in
  # Programs of the build itself.
  proc-macro:* | *:build_script_*) ;;
  *:freshet_segment | *:freshet_ingest | *:serde_json | *:parquet | *:arrow_buffer | *:arrow_data | *:arrow_array)
    set -- "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
      -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
      -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=4
    ;;
esac
exec "$@"
