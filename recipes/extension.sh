#!/usr/bin/env bash
# Past the window, and SEAL on top of it (the paper's table 2): base, each extension, and each with SEAL-H and SEAL-C.
#   bash recipes/extension.sh short   window held down to 2k, asked at 2k to 8k: an hour on two cores
#   bash recipes/extension.sh long    the model's own 8k, asked at 8k to 32k: many hours on two cores
# Tuned on texts of half the window, half of them at positions spread over the longest length, where extended positions do
# their work: texts of that length would take hours (SAMPLES=50 TUNING="--length 16k --checkpoint" takes those).
# The long form asks all questions of two records (lines) or one haystack (TASKS="lines needle"), which cost minutes to read.
# Each command resumes what it had begun, so stop it whenever you like and run it again. N and SAMPLES make it smaller.
# shellcheck disable=SC2046,SC2086
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"
FORM=${1:-short}
case $FORM in
  short)
    WINDOW=2k LENGTHS=${LENGTHS:-2k,4k,6k,8k}
    KINDS="ntk:4 yarn:4 self-extend:8k dca:4"
    SAMPLES=${SAMPLES:-50} QUESTIONS=${QUESTIONS:-12} TUNING=${TUNING:---length 1k --spread 8k}
    ;;
  long)
    WINDOW=8k LENGTHS=${LENGTHS:-8k,12k,16k,24k,32k}
    KINDS="linear:4 ntk:4 dynamic-ntk:4 yarn:4 self-extend:32k dca:4"
    SAMPLES=${SAMPLES:-25} QUESTIONS=${QUESTIONS:-24} TUNING=${TUNING:---length 4k --spread 32k --checkpoint}
    ;;
  *) echo "extension.sh: short or long, not $FORM" >&2; exit 2 ;;
esac
OUT=${OUT:-runs/extension}/$FORM
N=${N:-50} TASKS=${TASKS:-lines} EXTENSIONS=${EXTENSIONS:-$KINDS}
METHODS=${METHODS:-seal-h seal-c}

tuning_of() { # task
  echo --task "$1" --samples "$SAMPLES" $TUNING
  case $1 in lines) echo --questions "$QUESTIONS" --batch 12 ;; esac
}
asking_of() { # task
  echo --task "$1" --lengths "$LENGTHS" --n "$N"
  case $FORM-$1 in
    long-lines) echo --questions 25 ;;
    long-needle) echo --questions 50 --data recipes/needles.jsonl ;; # the published one and 49 more
  esac
}

for task in $TASKS; do
  for extend in plain:4 $EXTENSIONS; do # plain: the model as it is, run past its window
    wider="--extend $extend --window $WINDOW" place=$OUT/$task/${extend%%:*}
    seal eval $(asking_of "$task") $wider --out "$place/base"
    for method in $METHODS; do
      seal tune $(tuning_of "$task") --method "$method" $wider --out "$place/$method-tuned"
      seal eval $(asking_of "$task") --adapter "$place/$method-tuned/adapter" $wider --out "$place/$method"
    done
  done
done
seal report "$OUT"/*/*/base "$OUT"/*/*/seal-[hc] "$OUT"/*/*/seal-?-tuned --out "$OUT/report.html"
python recipes/extension_tables.py "$OUT" | tee "$OUT/tables.md"
