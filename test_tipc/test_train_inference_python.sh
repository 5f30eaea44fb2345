#!/usr/bin/env bash
# Train, evaluate, export and infer as a parameter file says, with a verdict line for each command.
#
#   bash test_tipc/test_train_inference_python.sh PARAMETERS.txt MODE [--dry-run]
#
# MODE: lite_train_lite_infer, lite_train_whole_infer, whole_infer, whole_train_whole_infer.
# Run `bash test_tipc/prepare.sh PARAMETERS.txt MODE` first. Exit code: 0 if every command that was
# run succeeded, 1 if one failed, 2 for a mistake in what was given.

# shellcheck source-path=SCRIPTDIR source=common_func.sh
source "$(dirname "${BASH_SOURCE[0]}")/common_func.sh"
start "$@"
require_lines 51
case $mode in
  lite_train_lite_infer | lite_train_whole_infer | whole_train_whole_infer | whole_infer) ;;
  *) fail "unknown mode '$mode'" ;;
esac
require_prepared "$mode"

# The line of the program that exports what a trainer trained.
export_line_of() { # TRAINER
  local number
  for number in 30 31 32; do
    if [[ $(key_at $((number - 14))) == "$1" ]]; then break; fi
    number=29
  done
  printf '%s' "$number"
}

# Exports a detector; fails if that fails.
export_model() { # EXPORT LINE, WEIGHTS, FOLDER, LOG WITHOUT .log
  local number program weights=$2 folder=$3 log=$4
  for number in "$1" 34; do
    program=$(value_at "$number")
    if is_null "$program"; then
      if ((number == 34)); then continue; fi
      fail "$config_file: line $1 must name the program that exports"
    fi
    begin "$python $program"
    add "$(key_at 28)" "$(or_else "$(value_at 28)" "$weights")"
    add "$(key_at 27)" "$folder"
    run "$log.$number.log" || return 1
  done
}

# One inference command, run in deploy/.
infer_once() { # MODEL, PICTURES, NAME, DEVICE, then the values of mkldnn, threads, batch, trt, precision
  local model=$1 pictures=$2 name=$3 device=$4 number records
  local -a values=("${@:5}")
  records=$log_path/$name.jsonl
  begin "$python $(value_at 39)"
  add "$(key_at 40)" "$device"
  for number in 0 1 2 3 4; do add "$(key_at $((41 + number)))" "${values[number]}"; done
  add "$(key_at 46)" "$(from_deploy "$(or_else "$(value_at 46)" "$model")")"
  add "$(key_at 47)" "$(from_deploy "$pictures")"
  add "$(key_at 48)" "$(from_deploy "$(or_else "$(value_at 48)" "$records")")"
  add "$(key_at 49)" "$(value_at 49)"
  add "$(key_at 50)" "$(value_at 50)"
  if [[ $device != cpu ]] && ! has_gpu; then
    skip "no GPU"
  elif run "$log_path/$name.log" deploy; then
    first_records=${first_records:-$records}
  fi
}

# All devices, threads, batches and precisions; `first_records` is the first file of records.
infer_all() { # MODEL, PICTURES, NAME, WHETHER QUANTISED
  local model=$1 pictures=$2 name=$3 quantised=$4
  local device onednn threads batch trt precision
  local -a devices onednns thread_counts batches trts precisions
  split "$(value_at 40)" && devices=("${items[@]}")
  split "$(value_at 41)" && onednns=("${items[@]}")
  split "$(value_at 42)" && thread_counts=("${items[@]}")
  split "$(value_at 43)" && batches=("${items[@]}")
  split "$(value_at 44)" && trts=("${items[@]}")
  split "$(value_at 45)" && precisions=("${items[@]}")
  if [[ $quantised == True ]]; then precisions=(int8); fi
  first_records=
  for device in "${devices[@]}"; do
    for precision in "${precisions[@]}"; do
      for batch in "${batches[@]}"; do
        if [[ $device == cpu ]]; then
          for onednn in "${onednns[@]}"; do
            for threads in "${thread_counts[@]}"; do
              infer_once "$model" "$pictures" \
                "${name}_cpu_mkldnn_${onednn}_threads_${threads}_batch_${batch}_$(or_else "$precision" fp32)" \
                "$device" "$onednn" "$threads" "$batch" "" "$precision"
            done
          done
        else
          for trt in "${trts[@]}"; do
            infer_once "$model" "$pictures" \
              "${name}_gpu_trt_$(or_else "$trt" False)_batch_${batch}_$(or_else "$precision" fp32)" \
              "$device" "" "" "$batch" "$trt" "$precision"
          done
        fi
      done
    done
  done
}

# The inference commands must agree with a file of scores, and the run with the stored one.
check_numbers() { # NAME, REFERENCE, TRAINING LOG OR NOTHING
  local name=$1 reference=$2 training_log=${3:-}
  if [[ -z $first_records && -z $dry_run ]]; then return; fi
  begin "$python test_tipc/compare_results.py --rtol=1e-4 --gt_file=$reference"
  command+=("--log_file=$log_path/${name}_*.jsonl")
  run "$log_path/$name.agree.log" || true
  compare_with_stored "$name" ${training_log:+"$training_log"} "$log_path/${name}_*.jsonl"
}

train_and_infer() { # ENTRY OF gpu_list, AMP, TRAINER
  local gpus=$1 amp=$2 trainer=$3 program export_line name folder training_log exported weights device reference=
  train_once "$gpus" "$amp" "$trainer" || return 0
  weights=$folder/$(value_at 10)
  export_line=$(export_line_of "$trainer")
  exported=$(or_else "$(value_at 27)" "$log_path")/$name/inference
  if ! is_null "$(value_at 23)"; then
    reference=$(dirname "$weights")/results.csv
    begin "$python $(value_at 23)"
    add "$(key_at 28)" "$weights"
    add "$(key_at 4)" "$device"
    add "$(key_at 7)" "$folder"
    add "$(key_at 24)" "$(value_at 24)"
    run "$log_path/$name.eval.log" || return 0
  fi
  export_model "$export_line" "$weights" "$exported" "$log_path/$name.export" || return 0
  infer_all "$exported" "$(value_at 11)" "$name" False
  check_numbers "$name" "$(or_else "$reference" "$first_records")" "$training_log"
}

# Models that are there already, exported first where line 37 says so.
infer_mode() {
  local number model name export_line exported
  local -a models exports quants
  split "$(value_at 36)" && models=("${items[@]}")
  split "$(value_at 37)" && exports=("${items[@]}")
  split "$(value_at 38)" && quants=("${items[@]}")
  for number in "${!models[@]}"; do
    name=infer_$number
    model=${models[number]}
    if [[ ${exports[number]:-${exports[0]}} == True ]]; then
      export_line=29
      if [[ ${quants[number]:-${quants[0]}} == True ]]; then export_line=33; fi
      exported=$(or_else "$(value_at 27)" "$log_path")/$name/inference
      export_model "$export_line" "$model" "$exported" "$log_path/$name.export" || continue
      model=$exported
    fi
    infer_all "$model" "$(value_at 47)" "$name" "${quants[number]:-${quants[0]}}"
    check_numbers "$name" "${first_records:-$log_path/${name}_*.jsonl}"
  done
}

if [[ $mode == whole_infer ]]; then infer_mode; else for_each_training train_and_infer; fi
finish
