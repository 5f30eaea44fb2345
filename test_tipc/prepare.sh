#!/usr/bin/env bash
# Makes ready what a mode reads, offline: test_tipc/data/current/{part,recipe.yaml,infer_imgs.txt}.
#
#   bash test_tipc/prepare.sh PARAMETERS.txt MODE [CATEGORY_FOLDER [DETECTOR]]
#
# MODE                      pictures                        scores
# lite_train_lite_infer     generated                       two of each kind
# lite_train_whole_infer    generated, or CATEGORY_FOLDER   all test pictures
# whole_train_whole_infer   CATEGORY_FOLDER                 all test pictures
# whole_infer               CATEGORY_FOLDER                 all test pictures, with DETECTOR
# benchmark_train           generated, or CATEGORY_FOLDER   none
#
# CATEGORY_FOLDER is one category of MVTec AD, such as /data/mvtec/bottle. DETECTOR is a
# detector.safetensors; without it `pretrained_model_url` of the parameter file, a path or an
# address, is taken.

here=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source-path=SCRIPTDIR source=common_func.sh
source "$here/common_func.sh"

(($# >= 2 && $# <= 4)) || fail "usage: bash $0 PARAMETERS.txt MODE [CATEGORY_FOLDER [DETECTOR]]"
[[ -f $1 ]] || fail "$1: no such parameter file"
config_file=$(realpath "$1")
mode=$2
folder=${3:+$(realpath "$3")}
detector=${4:+$(realpath "$4")}
cd "$here/.."
read_config "$config_file"
require_lines 36
current=test_tipc/data/current

case $mode in
  lite_train_lite_infer | lite_train_whole_infer | benchmark_train) recipe=lite ;;
  whole_train_whole_infer | whole_infer)
    recipe=whole
    [[ -n $folder ]] || fail "the mode $mode needs the folder of a category of MVTec AD"
    ;;
  *) fail "unknown mode '$mode'" ;;
esac

rm -rf "$current"
mkdir -p "$current"
if [[ -z $folder ]]; then
  "$(value_at 2)" -m ppcls_sspcab data generate --output test_tipc/data/generated --seed 0 \
    --size 64 --train 24 --test 6 --bad 3 >/dev/null
  folder=$(realpath test_tipc/data/generated/gasket)
fi
[[ -d $folder/train/good && -d $folder/test ]] ||
  fail "$folder: no category in MVTec's layout (train/good, test/good, test/<defect>)"
ln -s "$folder" "$current/part"
printf '_BASE_: ../../configs/SSPCAB_ResNet18/%s.yaml\n' "$recipe" >"$current/recipe.yaml"

# A list's paths are relative to the list.
for kind in "$current"/part/test/*/; do
  pictures=("$kind"*)
  if [[ $mode == *lite_infer ]]; then pictures=("${pictures[@]:0:2}"); fi
  printf '%s\n' "${pictures[@]#"$current/"}"
done >"$current/infer_imgs.txt"

if [[ $mode == whole_infer ]]; then
  detector=${detector:-$(value_at 35)}
  if is_null "$detector"; then
    fail "the mode whole_infer needs a detector: give it, or set pretrained_model_url"
  fi
  case $detector in
    http://* | https://*) curl --fail --silent --show-error --location \
      --output "$current/detector.safetensors" "$detector" ;;
    *)
      [[ -f $detector ]] || fail "$detector: no such detector"
      cp "$detector" "$current/detector.safetensors"
      ;;
  esac
fi
printf '%s\n' "$mode" >"$current/mode"
printf 'prepared for %s: %s, %s pictures to score\n' "$mode" "$folder" \
  "$(wc -l <"$current/infer_imgs.txt")"
