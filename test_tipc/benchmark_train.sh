#!/usr/bin/env bash
# Measures the speed of training, and of the exported model on random input.
#
#   bash test_tipc/benchmark_train.sh PARAMETERS.txt benchmark_train [--dry-run]
#
# Takes the blocks train_benchmark_params and infer_benchmark_params of the parameter file. Run
# prepare.sh with the mode benchmark_train first. Results: <name>.speed.json, <name>.infer.json.

# shellcheck source-path=SCRIPTDIR source=common_func.sh
source "$(dirname "${BASH_SOURCE[0]}")/common_func.sh"
start "$@"
[[ $mode == benchmark_train ]] || fail "the mode must be benchmark_train, not '$mode'"
require_prepared benchmark_train

first=$(line_of train_benchmark_params batch_size)
batch_sizes=$(value_at "$first")
fp_list=$(value_at $((first + 1)))
epochs=$(value_at $((first + 2)))
extra=("$(key_at $((first + 3)))" "$(value_at $((first + 3)))")
flags=$(value_at $((first + 4)))
input=$(value_at "$(line_of infer_benchmark_params random_infer_input)")
if ! is_null "$flags"; then IFS=';' read -ra environment <<<"$flags"; fi

speed() { # ENTRY OF gpu_list, PRECISION, BATCH SIZE, TRAINER
  local program name folder training_log device amp=null exported
  if [[ $2 != fp32 ]]; then amp=True; fi
  train_once "$1" "$amp" "$4" "$epochs" "$3" || return 0
  begin "$python test_tipc/benchmark_speed.py train $training_log"
  begin "${command[*]} --name=$model_name --batch_size=$3 --fp_item=$2 --devices=$1"
  begin "${command[*]} --output=$log_path/$name.speed.json"
  run "$log_path/$name.speed.log" || return 0
  if is_null "$input"; then return; fi
  exported=$log_path/$name/inference
  begin "$python $(value_at 29)"
  add "$(key_at 28)" "$folder/$(value_at 10)"
  add "$(key_at 27)" "$exported"
  run "$log_path/$name.export.log" || return 0
  begin "$python test_tipc/benchmark_speed.py infer $exported --input=$input"
  begin "${command[*]} --output=$log_path/$name.infer.json"
  run "$log_path/$name.infer.log" || true
}

split "$(value_at 3)" && entries=("${items[@]}")
split "$fp_list" && fp_items=("${items[@]}")
split "$batch_sizes" && sizes=("${items[@]}")
split "$(value_at 14)" && trainers=("${items[@]}")
for gpus in "${entries[@]}"; do
  for fp_item in "${fp_items[@]}"; do
    for size in "${sizes[@]}"; do
      for trainer in "${trainers[@]}"; do speed "$gpus" "$fp_item" "$size" "$trainer"; done
    done
  done
done
finish
