#!/usr/bin/env bash
# The full form: the same tests with hundreds of rounds, on a release build. Those that mount file systems
# need root, and say SKIPPED without it.
set -euo pipefail
cd "$(dirname "$0")/../.."
export FAULTS=full
exec cargo test --release -p token-tracker-faults -- --nocapture "$@"
