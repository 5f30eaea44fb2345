#!/usr/bin/env bash
# Converts a trained detector to ONNX; both runtimes must give the scores of tools/eval.py.
#
#   bash test_tipc/test_paddle2onnx.sh PARAMETERS.txt [--dry-run]
#
# Run the chain lite_train_lite_infer first: its detector is what is converted. The conversion is
# tools/export_model.py, because paddle2onnx alone loses the outputs' names and, in version 2.1.0,
# writes paddings from uninitialised memory.

# shellcheck source-path=SCRIPTDIR source=common_func.sh
source "$(dirname "${BASH_SOURCE[0]}")/common_func.sh"
start "${1:-}" paddle2onnx_infer "${@:2}"
export_and_infer
