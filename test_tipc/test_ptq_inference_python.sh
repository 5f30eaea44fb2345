#!/usr/bin/env bash
# Quantises a trained detector to INT8 after training and scores pictures with it.
#
#   bash test_tipc/test_ptq_inference_python.sh PARAMETERS.txt [--dry-run]
#
# Run the chain lite_train_lite_infer first: its detector is what is quantised.

# shellcheck source-path=SCRIPTDIR source=common_func.sh
source "$(dirname "${BASH_SOURCE[0]}")/common_func.sh"
start "${1:-}" ptq_infer "${@:2}"
export_and_infer
