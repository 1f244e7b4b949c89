#!/usr/bin/env bash
# learn_h1.sh OUT [SEED]: from nothing to an EZ-M agent that stands, walks and runs, on one core in about an hour.
# A model-free demonstrator, episodes of what it was best at, EZ-M on them and then on its own. What comes out is for
# the simulator: make_h1.sh goes the long way to a policy that spares a robot.
# The same command goes on where it was interrupted.
set -euo pipefail
[ $# -ge 1 ] || { sed -n 's/^# //p' "$0" >&2; exit 2; }
out=$1
seed=${2:-0}
cd "$(dirname "$0")/.."
export PYTHONPATH=$PWD OMP_NUM_THREADS=1
python() { "${PYTHON:-.venv/bin/python}" "$@"; }

python training/demonstrator.py preset=h1 seed="$seed" out="$out/demonstrator" updates="${DEMONSTRATOR:-60000}" evaluate_every="${EVALUATE:-10000}"
[ -f "$out/demos.safetensors" ] ||
    python training/demonstrate.py policy="$out/demonstrator" rows=24 steps="${STEPS:-1200}" "noise=[0.01,0.25]" \
        "delay_substeps=[0,6]" seed="$seed" out="$out/demos.safetensors"
python training/run.py preset=h1_demos seed="$seed" demos="$out/demos.safetensors" out="$out/ezm" updates="${EZM:-10000}" \
    imitation.pretrain="${PRETRAIN:-6000}"
python training/evaluate.py policy="$out/ezm" episodes="${EPISODES:-8}" protocol=benchmark
