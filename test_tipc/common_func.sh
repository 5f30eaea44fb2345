#!/usr/bin/env bash
# What the TIPC scripts share: reading a parameter file, building commands, running them, verdicts.
# To be sourced, from the repository root.

set -euo pipefail

fail() {
  printf 'error: %s\n' "$*" >&2
  exit 2
}

# Lines of a parameter file, blank ones left out: TIPC counts them from 0.
read_config() { # FILE
  local line
  lines=()
  while IFS= read -r line || [[ -n $line ]]; do
    line=${line%$'\r'}
    if [[ -n ${line//[[:space:]]/} ]]; then lines+=("$line"); fi
  done <"$1"
}

require_lines() { # NUMBER
  ((${#lines[@]} >= $1)) || fail "$config_file: ${#lines[@]} lines, and $1 are needed"
}

key_at() { # NUMBER
  printf '%s' "${lines[$1]%%:*}"
}

# The value, for this mode where it names modes: lite_train_lite_infer=2|whole_train_whole_infer=256
value_at() { # NUMBER
  local line=${lines[$1]} item value like=
  [[ $line == *:* ]] || fail "$config_file: line $1 must read key:value, not '$line'"
  value=${line#*:}
  if [[ ! $value =~ (^|\|)(lite|whole)_[a-z_]+= ]]; then
    printf '%s' "$value"
    return
  fi
  local -a items
  IFS='|' read -ra items <<<"$value"
  for item in "${items[@]}"; do
    if [[ ${item%%=*} == "$mode" ]]; then
      printf '%s' "${item#*=}"
      return
    fi
  done
  # Modes that train alike differ only in what they infer on.
  if [[ $mode == lite_* || $mode == benchmark_train || $mode == dy2static ]]; then like=lite; fi
  for item in "${items[@]}"; do
    if [[ ${item%%=*} == "${like:-whole}"_train_* && $mode != whole_infer ]]; then
      printf '%s' "${item#*=}"
      return
    fi
  done
  # What belongs to training has no value where nothing is trained.
  if [[ $mode == *train* ]]; then
    fail "$config_file: line $1 names no value for the mode $mode"
  fi
  printf null
}

# The number of the first line with this key after a header.
line_of() { # HEADER KEY
  local number found=
  for number in "${!lines[@]}"; do
    if [[ ${lines[number]} == *=="$1"==* ]]; then
      found=yes
    elif [[ -n $found && $(key_at "$number") == "$2" ]]; then
      printf '%s' "$number"
      return
    elif [[ -n $found && ${lines[number]} == ==* ]]; then
      break
    fi
  done
  fail "$config_file: no line '$2' below '$1'"
}

or_else() { # VALUE DEFAULT
  if is_null "$1"; then printf '%s' "$2"; else printf '%s' "$1"; fi
}

is_null() { # TEXT
  [[ -z $1 || $1 == null ]]
}

# Splits a|b|c into the array `items`; null and nothing give one empty item.
split() { # TEXT
  items=()
  IFS='|' read -ra items <<<"$1"
  if ((${#items[@]} == 0)); then items=(""); fi
}

# Appends an argument to the array `command`: `key=value` where the key is an option (it starts
# with -), the value alone where it only names a positional argument, nothing where one is null.
add() { # KEY VALUE
  local -a words
  if is_null "$1" || is_null "$2"; then return; fi
  if [[ $1 == -* ]]; then
    read -ra words <<<"$1=$2"
  else
    words=("$2")
  fi
  command+=("${words[@]}")
}

# A path as seen from deploy/.
from_deploy() { # PATH
  case $1 in
    "" | null | /* | ../*) printf '%s' "$1" ;;
    *) printf '../%s' "$1" ;;
  esac
}

# Starts the array `command`.
begin() { # WORDS...
  local -a words
  read -ra words <<<"$*"
  command=("${words[@]}")
}

# Counts and files ---------------------------------------------------------------------------------

# Every script takes a parameter file, a mode and --dry-run, which prints commands and runs nothing.
start() { # SCRIPT'S ARGUMENTS: CONFIG MODE [--dry-run]
  if (($# < 2)) || [[ -z $1 ]]; then
    fail "a parameter file is needed, and for some scripts a mode: see the top of $0"
  fi
  config_file=$1
  mode=$2
  dry_run=
  case ${3:-} in
    "") ;;
    --dry-run) dry_run=yes ;;
    *) fail "unknown argument '$3'" ;;
  esac
  [[ -f $config_file ]] || fail "$config_file: no such parameter file"
  config_file=$(realpath "$config_file")
  cd "$(dirname "${BASH_SOURCE[0]}")/.."
  read_config "$config_file"
  model_name=$(value_at 1)
  python=$(value_at 2)
  local number
  for number in "${!lines[@]}"; do
    if [[ ${lines[number]} != [=#]* ]]; then value_at "$number" >/dev/null; fi
  done
  log_path=test_tipc/output/$model_name/$mode
  verdicts=$log_path/results_python.log
  passed=0 failed=0 not_run=0
  if [[ -z $dry_run ]]; then
    rm -rf "$log_path"
    mkdir -p "$log_path"
    : >"$verdicts"
  fi
}

# Whether there is a GPU; TIPC_GPU=yes|no decides instead.
has_gpu() {
  case ${TIPC_GPU:-auto} in
    auto) nvidia-smi -L >/dev/null 2>&1 ;;
    yes) return 0 ;;
    no) return 1 ;;
    *) fail "TIPC_GPU must be auto, yes or no" ;;
  esac
}

# Stops where the parameter file takes prepared data and they are not those of this mode.
require_prepared() { # MODE
  local prepared
  if [[ -n $dry_run ]] || ! grep -q test_tipc/data/current "$config_file"; then return; fi
  prepared=$(cat test_tipc/data/current/mode 2>/dev/null || true)
  if [[ $prepared != "$1" ]]; then
    fail "the data are prepared for '${prepared:-nothing}'; run: bash test_tipc/prepare.sh $config_file $1"
  fi
}

# Runs the array `command` and files the verdict. A folder given second is where it runs.
run() { # LOG [FOLDER]
  local log=$1 folder=${2:-} text status=0
  text=${command[*]}
  if [[ -n $folder ]]; then text="cd $folder && $text"; fi
  if [[ -n $dry_run ]]; then
    printf '%s > %s\n' "$text" "$log"
    return
  fi
  (
    if [[ -n $folder ]]; then cd "$folder"; fi
    exec "${command[@]}"
  ) >"$log" 2>&1 </dev/null || status=$?
  if ((status == 0)); then
    passed=$((passed + 1))
    verdict "Run successfully with command - $model_name - $text - $log"
  else
    failed=$((failed + 1))
    verdict "Run failed with command - $model_name - $text - $log"
    tail -n 15 "$log" | sed 's/^/    /' >&2
  fi
  return "$status"
}

# Files that a command of this machine was left out, and why.
skip() { # REASON
  not_run=$((not_run + 1))
  if [[ -n $dry_run ]]; then
    printf '# not run, %s: %s\n' "$1" "${command[*]}"
  else
    verdict "Not run ($1) - $model_name - ${command[*]}"
  fi
}

verdict() { # TEXT
  printf '%s\n' "$1" | tee -a "$verdicts"
}

# The last line of every script; fails if any command has failed, or if none ran.
finish() {
  if [[ -n $dry_run ]]; then exit 0; fi
  local counts="$model_name $mode: $passed successful, $failed failed, $not_run not run"
  if ((failed > 0 || passed == 0)); then
    verdict "TIPC FAILED $counts, ${SECONDS} s, $verdicts"
    exit 1
  fi
  verdict "TIPC OK $counts, ${SECONDS} s, $verdicts"
}

# Compares losses and scores of this run with the stored ones of the same run, where there are any.
compare_with_stored() { # RUN'S NAME, FILES...
  local name=$1 stored
  shift
  stored=test_tipc/results/$model_name/$mode.$name.json
  begin "$python test_tipc/compare_results.py --gt_file=$stored"
  command+=("${@/#/--log_file=}")
  if [[ -f $stored || -n $dry_run ]]; then
    run "$log_path/$name.compare.log" || true
  elif [[ -n ${TIPC_STORE:-} ]]; then
    command+=(--store)
    run "$log_path/$name.compare.log" || true
  else
    skip "nothing stored to compare with"
  fi
}

# Exports a detector and scores pictures with every backend, precision, number of threads and batch
# size; all must give the scores of a reference, each precision within its tolerance.
export_and_infer() {
  local backend precision threads batch name records number model
  local -a backends precisions thread_counts batches tolerances
  require_lines 16
  model=$(or_else "$(value_at 4)" "$log_path/inference")
  begin "$python $(value_at 3)"
  add "$(key_at 4)" "$model"
  add "$(key_at 5)" "$(value_at 5)"
  run "$log_path/export.log" || finish
  split "$(value_at 7)" && backends=("${items[@]}")
  split "$(value_at 8)" && precisions=("${items[@]}")
  split "$(value_at 9)" && thread_counts=("${items[@]}")
  split "$(value_at 10)" && batches=("${items[@]}")
  split "$(value_at 15)" && tolerances=("${items[@]}")
  for number in "${!precisions[@]}"; do
    precision=${precisions[number]}
    for backend in "${backends[@]}"; do
      for threads in "${thread_counts[@]}"; do
        for batch in "${batches[@]}"; do
          name=${precision}_${backend}_threads_${threads}_batch_${batch}
          records=$(or_else "$(value_at 13)" "$log_path/$name.jsonl")
          begin "$python $(value_at 6)"
          add "$(key_at 7)" "$backend"
          add "$(key_at 8)" "$precision"
          add "$(key_at 9)" "$threads"
          add "$(key_at 10)" "$batch"
          add "$(key_at 11)" "$(from_deploy "$(or_else "$(value_at 11)" "$model")")"
          add "$(key_at 12)" "$(from_deploy "$(value_at 12)")"
          add "$(key_at 13)" "$(from_deploy "$records")"
          run "$log_path/$name.log" deploy || true
        done
      done
    done
    begin "$python test_tipc/compare_results.py --rtol=${tolerances[number]:-${tolerances[0]}}"
    command+=("--gt_file=$(value_at 14)" "--log_file=$log_path/${precision}_*.jsonl")
    run "$log_path/$precision.agree.log" || true
  done
  finish
}

# Training -------------------------------------------------------------------------------------------

environment=() extra=()

# The device's value for the processes in gpu_list: the first of `cpu|gpu` for -1.
device_for() { # ENTRY OF gpu_list
  split "$(value_at 4)"
  if [[ $1 == -1* ]]; then printf '%s' "${items[0]}"; else printf '%s' "${items[-1]}"; fi
}

# Starts `command` on the devices of an entry: -1, 0, or several: "0,1", and "-1,-1" on the CPU.
begin_on() { # ENTRY PROGRAM
  case $1 in
    -1) begin "$python $2" ;;
    -1,*)
      split "${1//,/|}"
      begin "$python -m paddle.distributed.launch --log_dir=$log_path/ranks" \
        "--nproc_per_node=${#items[@]} --backend=gloo $2"
      ;;
    *,*) begin "$python -m paddle.distributed.launch --log_dir=$log_path/ranks --gpus=$1 $2" ;;
    *) begin "env CUDA_VISIBLE_DEVICES=$1 $python $2" ;;
  esac
}

# The program that trains, into `program`.
trainer_program() { # TRAINER
  local number
  for number in 15 16 17 18 19 20; do
    if [[ $(key_at "$number") == "$1" ]]; then break; fi
  done
  program=$(value_at "$number")
  if [[ $(key_at "$number") != "$1" ]] || is_null "$program"; then
    fail "$config_file: the trainer '$1' is asked for and not given"
  fi
  # Line 19 holds only what is added to the ordinary training.
  if ((number == 19)); then program="$(value_at 15) $program"; fi
}

# Trains; sets `name`, `folder`, `training_log`, `device` and `program`. Fails if that fails, or if the devices are
# not there. `environment` holds variables for the process.
train_once() { # ENTRY OF gpu_list, AMP, TRAINER, then EPOCHS and BATCH SIZE, default lines 6 and 8
  local gpus=$1 amp=$2 trainer=$3
  trainer_program "$trainer"
  name=${trainer}_gpus_${gpus}_autocast_$(or_else "$amp" null)
  if [[ -n ${5:-} ]]; then name+=_bs_$5; fi
  folder=$(or_else "$(value_at 7)" "$log_path")/$name
  # shellcheck disable=SC2034 # read by the callers, as the comment above says
  training_log=$(dirname "$folder/$(value_at 10)")/train.log
  device=$(device_for "$gpus")
  begin_on "$gpus" "$program"
  if ((${#environment[@]} > 0)); then command=(env "${environment[@]}" "${command[@]}"); fi
  add "$(key_at 4)" "$device"
  add "$(key_at 5)" "$amp"
  add "$(key_at 6)" "${4:-$(value_at 6)}"
  add "$(key_at 7)" "$folder"
  add "$(key_at 8)" "${5:-$(value_at 8)}"
  add "$(key_at 9)" "$(value_at 9)"
  add "$(key_at 12)" "$(value_at 12)"
  if ((${#extra[@]} > 0)); then add "${extra[@]}"; fi
  if [[ $gpus != -1* ]] && ! has_gpu; then
    skip "no GPU"
    return 1
  fi
  run "$log_path/$name.train.log"
}

# Calls a function with every entry of gpu_list, mixed precision and trainer.
for_each_training() { # FUNCTION
  local gpus amp trainer
  local -a entries amps trainers
  split "$(value_at 3)" && entries=("${items[@]}")
  split "$(value_at 5)" && amps=("${items[@]}")
  split "$(value_at 14)" && trainers=("${items[@]}")
  for gpus in "${entries[@]}"; do
    for amp in "${amps[@]}"; do
      for trainer in "${trainers[@]}"; do "$1" "$gpus" "$amp" "$trainer"; done
    done
  done
}
