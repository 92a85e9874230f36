#!/usr/bin/env bash
# Gathers what a GPU host without a network lacks into the ignored folder gpu-pack/: wheels, and Fashion-MNIST.
#   tests/gpu/pack.sh [PYTHON_VERSION]        (3.12)
# The host is taken to have that Python with torch, torchvision, triton, matplotlib, scikit-learn, pytest and
# hypothesis. Copy the repository there with gpu-pack/ in it, and run the command that this prints.
set -euo pipefail
cd "$(dirname "$0")/../.."
version=${1:-3.12}
python=${PYTHON:-python3}
pack=gpu-pack
data=${DATA:-/usr/share/datasets/fashion-mnist}
rm -rf "$pack"
mkdir -p "$pack/wheels" "$pack/fashion-mnist"

# What rbp imports for training, checking and measuring; wandb and tensorboard only where they are used.
packages=(hydra-core==1.3.* omegaconf==2.3.* pyyaml submitit cloudpickle spikingjelly==2.* loguru tqdm rich markdown-it-py
    mdurl pygments pytest-timeout filelock==4.*)
platforms=()
for tag in manylinux_2_28 manylinux_2_17 manylinux2014; do platforms+=(--platform "${tag}_x86_64"); done
"$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --implementation cp \
    --python-version "$version" "${platforms[@]}" -d "$pack/wheels" "${packages[@]}"
# omegaconf's parser comes as sources only; it is pure Python, so that a wheel built here is one for there.
"$python" -m pip wheel --quiet --disable-pip-version-check --no-deps -w "$pack/wheels" antlr4-python3-runtime==4.9.3

for part in train-images-idx3 train-labels-idx1 t10k-images-idx3 t10k-labels-idx1; do
    cp "$data/$part-ubyte.gz" "$pack/fashion-mnist/"
done

size=$(du -sm "$pack" | cut -f1)
echo "$pack: $size MiB, $(ls "$pack/wheels" | wc -l) wheels for Python $version"
[ "$size" -le 55 ] || { echo "$pack: must be at most 55 MiB" >&2; exit 1; }
cat << 'COMMAND'
On the host, in the repository (its results come back in OUT, by default /tmp/day, and as one file beside it):
  bash tests/gpu/unpack_and_run.sh ${OUT:-/tmp/day}
COMMAND
