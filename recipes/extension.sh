#!/usr/bin/env bash
# Past the window, and SEAL on top of it (the paper's table 2): base, each extension, and each with SEAL-H and SEAL-C.
#   bash recipes/extension.sh short   window held down to 2k, asked at 2k to 8k, tuned at 4k
#   bash recipes/extension.sh long    the model's own 8k, asked at 8k to 32k, tuned at 16k: many hours on two cores
# Each command resumes what it had begun, so stop it whenever you like and run it again. N and SAMPLES make it smaller.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"
FORM=${1:-short}
case $FORM in
  short) WINDOW=2k TUNED=4k LENGTHS=${LENGTHS:-2k,4k,6k,8k} FURTHEST=8k ;;
  long) WINDOW=8k TUNED=16k LENGTHS=${LENGTHS:-8k,12k,16k,24k,32k} FURTHEST=32k ;;
  *) echo "extension.sh: short or long, not $FORM" >&2; exit 2 ;;
esac
OUT=${OUT:-runs/extension}/$FORM
N=${N:-50} SAMPLES=${SAMPLES:-50} TASKS=${TASKS:-lines needle}
EXTENSIONS=${EXTENSIONS:-linear:4 ntk:4 dynamic-ntk:4 yarn:4 self-extend:$FURTHEST dca:4}

for task in $TASKS; do
  for extend in plain:4 $EXTENSIONS; do # plain: the model as it is, run past its window
    seal eval --task "$task" --lengths "$LENGTHS" --n "$N" --extend "$extend" --window "$WINDOW" --out "$OUT/$task/${extend%%:*}/base"
  done
  for extend in $EXTENSIONS; do
    place=$OUT/$task/${extend%%:*}
    for method in seal-h seal-c; do
      seal tune --task "$task" --length "$TUNED" --samples "$SAMPLES" --method "$method" --checkpoint --extend "$extend" --window "$WINDOW" --out "$place/$method-tuned"
      seal eval --task "$task" --lengths "$LENGTHS" --n "$N" --adapter "$place/$method-tuned/adapter" --extend "$extend" --window "$WINDOW" --out "$place/$method"
    done
  done
done
seal report "$OUT"/*/*/base "$OUT"/*/*/seal-h "$OUT"/*/*/seal-c "$OUT"/*/*/seal-?-tuned --out "$OUT/report.html"
