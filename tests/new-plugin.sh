#!/usr/bin/env bash
# What `flowstone new plugin` writes builds, passes its own test, and runs in its custom build: for each kind.
# Started by .ci/run; the versions of all crates are the workspace's.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target}
for kind in transform source sink; do
  cargo run --quiet --locked -- new plugin my_own --kind $kind --path "$folder"
  cp Cargo.lock "$folder/$kind-my-own/"
  (
    cd "$folder/$kind-my-own"
    cargo test --quiet
    cargo run --quiet -p flowstone-my-own -- explain my_own | grep -q "^$kind \`my_own\`: "
  )
done
# A build of some features carries those plugins only (with the whole workspace, cargo would join all features).
listed=$(cargo run --quiet --locked -p custom-build -- list)
grep -q ' shout ' <<<"$listed"
if grep -q elasticsearch <<<"$listed"; then echo "the custom build carries what it did not ask for"; exit 1; fi
echo "the plugins that were written build, pass their tests and are linked"
