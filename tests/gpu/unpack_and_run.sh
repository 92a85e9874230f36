#!/usr/bin/env bash
# On a GPU host without a network: installs what pack.sh gathered into a folder of its own, and runs the day.
#   bash tests/gpu/unpack_and_run.sh OUT [--tiny]
# OUT gets day.tgz, with everything that day.sh wrote, and its summary day.txt.
set -uo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
mkdir -p "$1"
out=$(cd "$1" && pwd)
site=$(mktemp -d)/site
"$python" -m pip install --quiet --no-index --no-deps --no-compile --target "$site" gpu-pack/wheels/*.whl || exit 2
work=$(mktemp -d)
PYTHONPATH=$site DATA=$PWD/gpu-pack/fashion-mnist PYTHON=$python bash tests/gpu/day.sh "$work" "${@:2}"
code=$?
# Checkpoints stay there: they are large, and of no use elsewhere.
tar -czf "$out/day.tgz" --exclude=checkpoints -C "$work" .
cp "$work/day.txt" "$out/"
exit "$code"
