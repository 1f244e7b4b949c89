#!/usr/bin/env bash
# make_h1.sh OUT [SHIP]: everything that made models/h1, from nothing, on one core: about three hours.
# Demonstrator in three stages, its episodes, EZ-M on them, twice shown what to do where it goes itself, student.
# The same command goes on where it was interrupted. SHIP=yes replaces models/h1 and models/h1_demonstrator
# by what comes out.
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
since=${SINCE:-180000} # updates: until then the demonstrator was harsher, or had to find its gait again

for stage in gentle:"${GENTLE:-160000}" steady:"${STEADY:-270000}" polish:"${POLISH:-340000}"; do
    done=$out/${stage%:*}.done
    [ -f "$done" ] ||
        python training/demonstrator.py preset="h1_${stage%:*}" out="$out/demonstrator" updates="${stage#*:}"
    touch "$done"
done

shown=$out/demos.safetensors
[ -f "$shown" ] ||
    python training/demonstrate.py policy="$out/demonstrator" since="$since" rows=24 steps="${STEPS:-2400}" \
        "noise=[0.01,0.2]" seed=21 "${different[@]}" out="$shown"
before=
for round in 0 1 2; do # each begins with the weights of the one before, and knows where those went
    python training/run.py preset=h1_demos ${before:+init="$before"} demos="$shown" out="$out/ezm$round" \
        "replay.task_share=[2,1,1]" updates="${EZM:-8000}" imitation.pretrain="${PRETRAIN:-6000}"
    before=$out/ezm$round
    for robots in nominal different; do
        more=(); [ "$robots" = nominal ] || more=("${different[@]}")
        driven=$out/driven_${round}_$robots.safetensors
        [ -f "$driven" ] ||
            python training/demonstrate.py policy="$out/demonstrator" since="$since" driver="$before" \
                driver_contender=mean rows=12 steps="${DRIVEN:-1000}" "noise=[0.005,0.1]" seed="3$round" "${more[@]}" out="$driven"
        shown=$shown,$driven
    done
done
walker=$(python -c "
from pathlib import Path
from training.demonstrator import best_checkpoint
print(best_checkpoint(Path('$out/demonstrator'), 'walk', $since))")
target=()
[ "$ship" = yes ] && target=(ship=models/h1)
python distill/run.py ckpt="$before" demonstrator="$walker" out="$out/student" \
    rollout.rounds="${ROUNDS:-16}" rollout.capacity=300000 rollout.nominal=0.5 "rollout.delay_substeps=[0,6]" "student.hidden=[512,256]" \
    fit.updates=1000 fit.final_updates=4000 report.push_episodes=10 "report.push_sizes=[0.25,0.5,0.75,1.0]" \
    "${target[@]}"
[ "$ship" != yes ] || python -c "
from pathlib import Path
from distill.ship import ship_demonstrators
ship_demonstrators(Path('$out/demonstrator'), Path('models/h1_demonstrator'), ['stand', 'walk', 'run'], $since)"
