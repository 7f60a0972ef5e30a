#!/usr/bin/env bash
# The full form: the same tests with hundreds of rounds, on a release build. Those that mount file systems
# need root, and say SKIPPED without it.
set -euo pipefail
cd "$(dirname "$0")/../.."
export FAULTS=full
# Mounts of a run that is killed go with it.
within=()
if unshare --mount true 2>/dev/null; then within=(unshare --mount); fi
exec "${within[@]}" cargo test --release -p token-tracker-faults -- --nocapture "$@"
