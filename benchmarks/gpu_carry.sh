#!/bin/sh
# What a machine with a card, torch and no network lacks for benchmarks/gpu.py: build/carried/ (wheels, unpacked)
# and, from what is here, build/shard/ (Fashion-MNIST, photographs to learn from and to score on).
#
#   benchmarks/gpu_carry.sh [TRAIN_PICTURES SET12_PICTURES]
#
# PYTHON_VERSION: of that machine (3.12). Versions are those of constraints.txt. There the command is
#   PYTHONPATH=src:.:build/carried python benchmarks/gpu.py --shard build/shard --out "$OUT"
set -eu
cd "$(dirname "$0")/.."
python_version=${PYTHON_VERSION:-3.12}
python=${PYTHON:-.venv/bin/python}
most_kib=$((64 * 1024))

if [ $# -ne 0 ] && [ $# -ne 2 ]; then
    echo "usage: benchmarks/gpu_carry.sh [TRAIN_PICTURES SET12_PICTURES]" >&2
    exit 2
fi
for folder in "$@"; do
    if [ ! -d "$folder" ]; then
        echo "$folder: no such folder. Nothing was collected. Name a folder of pictures." >&2
        exit 2
    fi
done

wheels=$(mktemp -d)
trap 'rm -rf "$wheels"' EXIT
names='pydantic|pydantic_core|annotated-types|typing-inspection|typing_extensions|ruamel.yaml'
grep -E "^($names)==" constraints.txt > "$wheels/wanted.txt"
"$python" -m pip download --quiet --no-deps --only-binary :all: --python-version "$python_version" \
    --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --dest "$wheels" \
    --requirement "$wheels/wanted.txt"
rm -rf build/carried
mkdir -p build/carried
for wheel in "$wheels"/*.whl; do
    "$python" -m zipfile -e "$wheel" build/carried
done

rm -rf build/shard
if [ -d .atelier/sources/fashion-mnist ]; then
    mkdir -p build/shard
    cp -R .atelier/sources/fashion-mnist build/shard/fashion-mnist
fi
if [ $# -eq 2 ]; then
    mkdir -p build/shard
    cp -R "$1" build/shard/train
    cp -R "$2" build/shard/set12
fi

kib=$(du -skc build/carried $([ -d build/shard ] && echo build/shard) | tail -1 | cut -f1)
echo "build/carried$([ -d build/shard ] && echo ' and build/shard'): $((kib / 1024)) MiB for Python $python_version"
if [ "$kib" -gt "$most_kib" ]; then
    echo "That is more than the 64 MiB that may be brought along. Name folders with fewer pictures." >&2
    exit 1
fi
