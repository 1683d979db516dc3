#!/usr/bin/env bash
# The paper's figures 2 and 3 again: which heads help and which hurt, two quadrants scaled before anything is learnt, the
# channels inside the two extreme heads; then what the heads do, before and after tuning, and one page of it all.
# Hours on two cores; each command resumes what it had begun, so stop it whenever you like and run it again.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"
OUT=${OUT:-runs/probes}
MODEL=${MODEL:-smollm2-135m}
SIZES=${SIZES:-10,40} # lines: the base still answers some at the first, few at the second
N=${N:-50} ANEW=${ANEW:-100} # questions a size: of the map, and of the scaled heads, which cost less

# The answer's first words are given: what is measured is the number's retrieval, not the sentence around it.
ASKED=(--lines "$SIZES" --questions "${QUESTIONS:-10}" --prefixed)
LARGEST=${SIZES##*,}

seal probe heads "$MODEL" "${ASKED[@]}" --n "$N" --out "$OUT/heads"
seal probe fast "$MODEL" "${ASKED[@]}" --n "$N" --exact "$OUT/heads" --out "$OUT/fast"
seal probe quadrants --heads "$OUT/heads" --q1 1,0.9,0.8,0.6 --q3 1,1.1,1.2,1.4 --n "$ANEW" --out "$OUT/quadrants"
seal probe channels "$MODEL" --heads "$OUT/heads" --lines "$LARGEST" --n "$N" --prefixed --out "$OUT/channels"
# The best factors were chosen on their own questions: here they meet others (quadrants asked those of seed 1).
seal eval "$MODEL" "${ASKED[@]}" --n "$ANEW" --seed 2 --out "$OUT/base"
seal eval "$MODEL" "${ASKED[@]}" --n "$ANEW" --seed 2 --adapter "$OUT/quadrants/adapter" --out "$OUT/scaled"
seal compare "$OUT/base" "$OUT/scaled"

seal tune "$MODEL" --method seal-h --lines "${SIZES%%,*}" --samples "${SAMPLES:-50}" --out "$OUT/tuned"
for probe in direct attention; do
  seal probe "$probe" "$MODEL" --lines "${SIZES%%,*}" --n "$N" --adapter "$OUT/tuned/adapter" --out "$OUT/$probe"
done
seal probe retrieval "$MODEL" --length "${NEEDLE_LENGTH:-1k}" --n "$N" --out "$OUT/retrieval"
seal probe agree "$OUT/tuned" "$OUT/heads" "$OUT/fast" "$OUT/retrieval" --out "$OUT/agree"
seal report "$OUT"/{heads,fast,quadrants,channels,direct,retrieval,attention,agree,base,scaled,tuned} --out "$OUT/report.html"
