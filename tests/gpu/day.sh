#!/usr/bin/env bash
# Everything that is to be learnt on a GPU, in one call of at most nine minutes:
#   tests/gpu/day.sh OUT [--tiny]
# Each part has a time limit of its own and writes into OUT as it goes, so that a cut leaves what was done.
# --tiny runs the same parts on a CPU in under three minutes.
# Set DATA to a folder with Fashion-MNIST's four files, PYTHON to an interpreter that has rbp's dependencies.
set -uo pipefail
[ $# -ge 1 ] || { echo "usage: tests/gpu/day.sh OUT [--tiny]" >&2; exit 2; }
root=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$1" || exit 2
out=$(cd "$1" && pwd)
python=${PYTHON:-python3}
data=${DATA:-/usr/share/datasets/fashion-mnist}
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
rbp=("$python" -m rbp)
if [ "${2:-}" = --tiny ]; then
    export CUDA_VISIBLE_DEVICES= OMP_NUM_THREADS=1
    device=cpu
    limits=(45 30 45 40)
    seeds=1
    bench=(--arch dvs_cnn --dataset digits --batch 4 --T 2 --precision fp32,bf16 --rounds 1 --seconds 20)
    grid=(arch=dvs_cnn T=2,4 trainer=debug trainer.epochs=1)
else
    device=cuda
    limits=(85 55 230 135)
    seeds=5
    bench=(--arch resnet18 --dataset cifar10 --batch 128 --T 1,2,4,8 --precision fp32,bf16 --rounds 5 --seconds 205)
    grid=(arch=resnet18 T=2,4,6 trainer.epochs=2)
fi
failed=0

# part NAME LIMIT COMMAND...: its output in OUT/NAME.txt, a line about it in OUT/day.txt.
part() {
    local name=$1 limit=$2 start=$SECONDS code said
    shift 2
    timeout --kill-after=5 "$limit" "$@" > "$out/$name.txt" 2>&1
    code=$?
    case $code in 0) said=ok ;; 124 | 137) said="cut after $limit s" ;; *) said="failed with exit code $code" ;; esac
    [ "$code" = 0 ] || failed=1
    printf '%-12s %4d s  %s\n' "$name" $((SECONDS - start)) "$said" | tee -a "$out/day.txt"
}

# Whole seeds of the grid, as many as fit: another one begins if the one before would have had time again.
train() {
    local limit=$1 seed=0 start=$SECONDS last=0 began
    while [ $((SECONDS - start + last)) -lt "$limit" ] && [ "$seed" -lt "$seeds" ]; do
        began=$SECONDS
        "${rbp[@]}" train -m sweep.name=day dataset=fashion_mnist "dataset.root=$data" "${grid[@]}" \
            grad_mode=bptt,rate seed="$seed" trainer.device="$device" tracker=none runs_dir="$out/runs" || return 1
        last=$((SECONDS - began))
        seed=$((seed + 1))
    done
}

# The slow ones, some hundred kinds of kernels, have what time is left: they must not keep the others from their turn.
run_tests() {
    # Only the files that have such tests: others may import what a GPU host lacks.
    mapfile -t marked < <(grep -rl --include='test_*.py' 'mark\.gpu' "$root/tests")
    local code=0 which
    for which in "gpu and not slow" "gpu and slow"; do
        "$python" -m pytest -q -m "$which" -p no:cacheprovider --rootdir "$root" "${marked[@]}" -rs || code=1
    done
    return "$code"
}

case "${3:-}" in  # what `part` calls: timeout cannot run a function
    --train) train $((limits[3] - 10)); exit ;;
    --tests) run_tests; exit ;;
esac

: > "$out/day.txt"
{
    date -u +%FT%TZ
    "$python" -c "import platform, torch; print('python', platform.python_version(), 'torch', torch.__version__)"
    nvidia-smi 2> /dev/null || echo "no nvidia-smi"
} > "$out/machine.txt" 2>&1

part check "${limits[0]}" "${rbp[@]}" check --device "$device" --json "$out/check.json"
part tests "${limits[1]}" "$0" "$out" "${2:-}" --tests
part bench "${limits[2]}" "${rbp[@]}" bench "${bench[@]}" --device "$device" --profile --out "$out/bench"
part train "${limits[3]}" "$0" "$out" "${2:-}" --train
part report 30 "${rbp[@]}" report "$out/runs/day" --svg --out "$out/report"
exit "$failed"
