#!/usr/bin/env bash
# reproduce_ezm.sh OUT [SEED] [PRESET]: EZ-M's published result again, on one GPU: what the machine does (bench), the
# training run, the score beside published returns. PRESET is hb_medium, or hb_hard (needs humanoid_bench).
# The same command goes on where it was interrupted; MINUTES=60 stops the run at a checkpoint and scores what there is.
# DEVICE=cpu and WORDS="updates=4 …", BENCH="envs=2 …", EPISODES=1 are for trying it.
set -euo pipefail
[ $# -ge 1 ] || { sed -n 's/^# //p' "$0" >&2; exit 2; }
out=$1
seed=${2:-0}
preset=${3:-hb_medium}
cd "$(dirname "$0")/.."
export PYTHONPATH=$PWD PYTHONUNBUFFERED=1
python() { "${PYTHON:-.venv/bin/python}" "$@"; }
device=${DEVICE:-cuda}
threads=${THREADS:-$(nproc)}
compiled=true
[ "$device" != cpu ] || compiled=false
mkdir -p "$out"

[ -s "$out/bench.txt" ] || {
    # shellcheck disable=SC2086
    python training/bench.py what=all config="$preset" device="$device" precision=bfloat16 threads="$threads" \
        compile=$compiled compile_search=$compiled ${BENCH:-} | tee "$out/bench.part"
    mv "$out/bench.part" "$out/bench.txt"
}
# shellcheck disable=SC2086
python training/run.py preset="$preset" seed="$seed" out="$out/run" device="$device" precision=bfloat16 \
    optim.compile=$compiled optim.compile_search=$compiled collect.threads="$threads" \
    max_minutes="${MINUTES:-0}" ${WORDS:-}
for which in "" /best; do
    [ -z "$which" ] || [ -f "$out/run/best.json" ] || continue # stopped before its first evaluation
    python training/evaluate.py policy="$out/run$which" protocol=ezm suite="$([ "$preset" = hb_hard ] && echo real || echo ours)" \
        device="$device" episodes="${EPISODES:-5}" threads="$threads" published=true out="$out/scores${which#/}.json" ${SCORE:-}
done
