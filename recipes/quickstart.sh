#!/usr/bin/env bash
# The whole method by hand, stage by stage; each stage is a run folder, each resumes by being run again.
set -euo pipefail

seal show --lines 5                                                      # what the model reads, what it learns
seal plan --lines 40                                                     # what tuning will take on this machine
seal eval --lines 20,40 --out runs/base                                  # the failure
seal tune --method seal-c --lines 40 --out runs/tune                     # the cure: 17,280 numbers, some minutes
seal eval --lines 20,40 --adapter runs/tune/adapter --out runs/tuned     # on records it has never seen
seal compare runs/base runs/tuned                                        # question by question
seal merge runs/tune/adapter --out runs/merged --verify                  # no adapter, no cost when serving
seal report runs/base runs/tuned runs/tune --out runs/report.html        # one page to look at
