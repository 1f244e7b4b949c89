#!/usr/bin/env bash
# make_h1.sh OUT [SHIP]: everything that made models/h1, from nothing, on one core: about two hours.
# Demonstrator, its episodes, EZ-M on them and then on its own, student. The same command goes on where it
# was interrupted. SHIP=yes replaces models/h1 and models/h1_demonstrator by what comes out.
set -euo pipefail
[ $# -ge 1 ] || { sed -n 's/^# //p' "$0" >&2; exit 2; }
out=$1
ship=${2:-no}
cd "$(dirname "$0")/.."
export PYTHONPATH=$PWD OMP_NUM_THREADS=1
python() { "${PYTHON:-.venv/bin/python}" "$@"; }
different=(
    "randomization.friction=[0.5,1.25]" "randomization.mass=[0.9,1.1]" "randomization.strength=[0.85,1.0]"
    "randomization.stiffness=[0.9,1.1]" "randomization.damping=[0.9,1.1]" "randomization.latency=[0,6]"
    "randomization.push_speed=[-0.6,0.6]"
)
gentle=${GENTLE_UPDATES:-160000}
since=${SINCE:-200000} # updates: until then the demonstrator was harsher, or had to find its gait again

[ -f "$out/gentle.done" ] ||
    python training/demonstrator.py preset=h1_gentle out="$out/demonstrator" updates="$gentle"
touch "$out/gentle.done"
python training/demonstrator.py preset=h1_steady out="$out/demonstrator" updates="${SAC_UPDATES:-330000}"
[ -f "$out/demos.safetensors" ] ||
    python training/demonstrate.py policy="$out/demonstrator" since="$since" rows=24 steps=1200 "noise=[0.01,0.25]" seed=11 \
        "${different[@]}" out="$out/demos.safetensors"
python training/run.py preset=h1_demos demos="$out/demos.safetensors" out="$out/ezm" updates="${EZM_UPDATES:-12000}"
walker=$(python -c "
from pathlib import Path
from training.demonstrator import best_checkpoint
print(best_checkpoint(Path('$out/demonstrator'), 'walk', $since))")
target=()
[ "$ship" = yes ] && target=(ship=models/h1)
python distill/run.py ckpt="$out/ezm" demonstrator="$walker" out="$out/student" \
    rollout.rounds="${ROUNDS:-16}" rollout.capacity=300000 "rollout.delay_substeps=[0,6]" "student.hidden=[512,256]" \
    fit.updates=1000 fit.final_updates=4000 report.push_episodes=10 "report.push_sizes=[0.25,0.5,0.75,1.0]" \
    "${target[@]}"
[ "$ship" != yes ] || python -c "
from pathlib import Path
from distill.ship import ship_demonstrators
ship_demonstrators(Path('$out/demonstrator'), Path('models/h1_demonstrator'), ['stand', 'walk', 'run'], $since)"
