#!/usr/bin/env bash
# make_h1.sh OUT [SHIP]: everything that made models/h1, from nothing, on one core: about five hours.
# Demonstrator in five stages, its episodes, EZ-M on them, shown again and again what to do where it goes itself, student.
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

for stage in gentle:"${GENTLE:-160000}" steady:"${STEADY:-270000}" polish:"${POLISH:-340000}" guarded:"${GUARDED:-470000}" calm:"${CALM:-560000}"; do
    done=$out/${stage%:*}.done
    [ -f "$done" ] ||
        python training/demonstrator.py preset="h1_${stage%:*}" out="$out/demonstrator" updates="${stage#*:}"
    touch "$done"
done
# walk as it is at last, calm and from within the others; stand and run as they were when stand was quietest and run
# bore noise: a student errs by a tenth, and under that the later run fell
between() { if [ "$1" = walk ]; then echo "${CALM_SINCE:-540000} 0"; else echo "${SINCE:-180000} ${POLISH:-340000}"; fi; }
walker=$(python -c "
from pathlib import Path
from training.demonstrator import best_checkpoint
print(best_checkpoint(Path('$out/demonstrator'), 'walk', *map(int, '$(between walk)'.split())))")

shown=
record() { # NAME TASK WORDS...: a recording, unless it is there
    local file=$out/$1_$2.safetensors task=() since until
    read -r since until <<<"$(between "$2")"
    case $2 in # to stand from a run is to walk first; a run that is often pushed over teaches no values
    stand) task=(brake_policy="$walker" brake_speed=1.5) ;;
    run) task=(guarded=0.25 "randomization.push_speed=[-0.4,0.4]") ;;
    esac
    [ -f "$file" ] ||
        python training/demonstrate.py policy="$out/demonstrator" since="$since" until="$until" "tasks=[$2]" guarded=0.5 start_noise=0.03 \
            "${@:3}" "${task[@]}" out="$file"
    shown=${shown:+$shown,}$file
}
turns=("before=[stand,walk,run]" before_policy="$walker" handover=0.7 "delay_substeps=[0,6]" episode_steps=150)
for task in stand walk run; do
    record demos "$task" rows=24 steps="${STEPS:-2400}" "noise=[0.01,0.1]" seed=21 "${different[@]}"
    record turns "$task" rows=24 steps="${TURNS:-500}" "noise=[0.005,0.1]" seed=22 "${turns[@]}"
done
before=
for round in 0 1 2; do # each begins with the weights of the one before, and knows where those went
    python training/run.py preset=h1_demos ${before:+init="$before"} demos="$shown" out="$out/ezm$round" \
        updates="${EZM:-8000}" imitation.pretrain="${PRETRAIN:-6000}"
    before=$out/ezm$round
    for task in stand walk run; do
        who=(driver="$before" driver_contender=mean)
        record "driven_$round" "$task" "${who[@]}" rows=16 steps="${DRIVEN:-800}" "noise=[0.005,0.1]" seed="3$round" "${different[@]}"
        record "turns_$round" "$task" "${who[@]}" rows=24 steps="${TURNS:-500}" "noise=[0.005,0.05]" seed="4$round" "${turns[@]}"
    done
done
target=()
[ "$ship" = yes ] && target=(ship=models/h1)
python distill/run.py ckpt="$before" demonstrator="$walker" out="$out/student" \
    rollout.rounds="${ROUNDS:-36}" rollout.capacity=450000 rollout.quiet=0.4 rollout.nominal=0.5 rollout.guarded=0.25 rollout.start_noise=0.03 \
    rollout.push_speed=0.8 rollout.push_interval=3 rollout.handover=0.5 rollout.steps=500 \
    "rollout.episode_steps=[70,150,300,500]" "rollout.delay_substeps=[0,6]" student.history=4 "student.hidden=[384,256]" \
    fit.updates=1000 fit.final_updates=2500 fit.average="${AVERAGE:-10}" \
    report.push_episodes=10 "report.push_sizes=[0.25,0.5,0.75,1.0]" "${target[@]}"
[ "$ship" != yes ] || python -c "
from pathlib import Path
from distill.ship import ship_demonstrators
for task, span in (('stand', '$(between stand)'), ('walk', '$(between walk)'), ('run', '$(between run)')):
    ship_demonstrators(Path('$out/demonstrator'), Path('models/h1_demonstrator'), [task], *map(int, span.split()))"
