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
  [[ -f $1 ]] || fail "$1: no such parameter file"
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
  local line=${lines[$1]} item value
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
  for item in "${items[@]}"; do
    if [[ ${item%%=*} == "${mode%%_train_*}"_train_* ]]; then
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

# Starts the array `command`.
begin() { # WORDS...
  local -a words
  read -ra words <<<"$*"
  command=("${words[@]}")
}

# Counts and files ---------------------------------------------------------------------------------

# Every script takes a parameter file, a mode and --dry-run, which prints commands and runs nothing.
start() { # SCRIPT'S ARGUMENTS: CONFIG MODE [--dry-run]
  (($# >= 2)) || fail "usage: bash $0 PARAMETERS.txt MODE [--dry-run]"
  config_file=$1
  mode=$2
  dry_run=
  case ${3:-} in
    "") ;;
    --dry-run) dry_run=yes ;;
    *) fail "unknown argument '$3'" ;;
  esac
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
