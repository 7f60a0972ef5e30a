#!/bin/sh
# Runs every fuzz target for so many seconds each: fuzz/run.sh SECONDS [TARGET...]
#
# On a copy of the corpus, so that the one that is checked in does not grow. Ends with a failure if any target found
# something; the inputs are then in fuzz/artifacts. With SEED set, every run takes the same way as far as it can.
set -eu

seconds=${1:?usage: fuzz/run.sh SECONDS [TARGET...]}
shift
[ $# -gt 0 ] || set -- \
    authorization_header db_file forwarding_header jwk_load jwt_authenticate jwt_structured opaque_token \
    state_machine usage_record
cd "$(dirname "$0")"

longest() {
    case $1 in
        jwt_authenticate) echo 4096 ;;
        jwk_load) echo 2048 ;;
        jwt_structured | state_machine | usage_record) echo 1024 ;;
        authorization_header | db_file) echo 512 ;;
        forwarding_header | opaque_token) echo 256 ;;
        *) echo "no such target: $1" >&2; exit 2 ;;
    esac
}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM

found=
for target in "$@"; do
    length=$(longest "$target")
    mkdir -p "$scratch/$target"
    cp -R "corpus/$target/." "$scratch/$target/" 2>/dev/null || true
    echo "== $target: $seconds s"
    cargo +nightly fuzz run --fuzz-dir . "$target" "$scratch/$target" -- \
        -dict=dictionaries/jwt.dict -max_len="$length" -max_total_time="$seconds" \
        -rss_limit_mb=2048 -timeout=5 -seed="${SEED:-0}" -print_final_stats=1 || found="$found $target"
done

if [ -n "$found" ]; then
    echo "found something:$found" >&2
    exit 1
fi
