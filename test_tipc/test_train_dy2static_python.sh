#!/usr/bin/env bash
# Trains in eager mode and as a static graph; the losses must be equal.
#
#   bash test_tipc/test_train_dy2static_python.sh PARAMETERS.txt [--dry-run]
#
# The first trainer of line 14 is what the others are compared with. Run prepare.sh with the mode
# lite_train_lite_infer first.

# shellcheck source-path=SCRIPTDIR source=common_func.sh
source "$(dirname "${BASH_SOURCE[0]}")/common_func.sh"
start "${1:-}" dy2static "${@:2}"
require_lines 21
require_prepared lite_train_lite_infer

split "$(value_at 14)"
first_trainer=${items[0]}

compare_losses() { # ENTRY OF gpu_list, AMP, TRAINER
  local program name folder training_log device reference
  train_once "$@" || return 0
  if [[ $3 == "$first_trainer" ]]; then return; fi
  reference=${training_log/"/$name/"/"/${name/#$3/$first_trainer}/"}
  begin "$python test_tipc/compare_results.py --rtol=1e-5 --gt_file=$reference"
  command+=("--log_file=$training_log")
  run "$log_path/$name.compare.log" || true
}

for_each_training compare_losses
finish
