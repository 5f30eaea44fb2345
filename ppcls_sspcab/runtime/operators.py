"""What an exported model may do: a list of operators that compute, for Paddle and for ONNX.

Whatever is not listed is refused before a runtime sees it: some operators read and write files,
call Python or open connections. The lists hold what the export emits for every backbone, score and
localizer, and what Paddle's layers and tensor functions emit for plug-ins.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ppcls_sspcab.errors import ModelError

_PADDLE_OPERATORS = """
abs add all amax amin any arange argmax argmin argsort assign assign_value atan batch_norm
bicubic_interp bilinear_interp bitwise_and bitwise_not bitwise_or bitwise_xor bmm cast ceil celu
channel_shuffle clip concat conv2d conv2d_transpose cos crop cumsum data depthwise_conv2d divide
dot dropout einsum elementwise_pow elu equal erf exp expand expand_as expm1 eye fetch flatten
flip floor floor_divide full full_batch_size_like full_int_array full_like gather gather_nd gelu
greater_equal greater_than grid_sample group_norm hardshrink hardsigmoid hardswish hardtanh
index_select instance_norm isfinite isinf isnan kthvalue layer_norm leaky_relu lerp less_equal
less_than linspace log log1p log2 log_softmax logical_and logical_not logical_or logsigmoid
logsumexp matmul max max_pool2d_with_index maximum mean median meshgrid min minimum mish
multiply nearest_interp not_equal numel one_hot p_norm pad pad3d pixel_shuffle pixel_unshuffle
pool2d pool3d pow prelu prod reciprocal relu relu6 remainder repeat_interleave reshape roll
round rsqrt scale selu shape shape64 sigmoid sign silu sin slice softmax softplus softsign split
split_with_num sqrt square squeeze stack strided_slice subtract sum svd swish take_along_axis
tanh tile topk transpose tril triu unbind unfold unsqueeze unstack where
"""
# "0" stands for Paddle's built-in dialect, "1" for its operators; "p" is a parameter.
_PADDLE_NAMES = {"p", "0.combine", "0.split"} | {
    f"1.{name}{in_place}" for name in _PADDLE_OPERATORS.split() for in_place in ("", "_")
}
_PADDLE_ATTRIBUTES = """
adaptive align_corners align_mode alpha approximate asvector axes axis begin_norm_axis beta bias
bias_after_scale ceil_mode col data_format decimals decrease_axis descending diagonal dilations
downscale_factor dtype epsilon equation exclusive fix_seed flatten full_matrices global_pooling
groups infer_flags input_dim_idx interp_method is_test k keepdim keepdims kernel_size
kernel_sizes lambda largest mode momentum name negative_slope num offset out_d out_h out_w
output_dim_idx output_padding output_size pad_value padding_algorithm padding_mode paddings perm
persistable place pooling_type porder reduce_all repeats reverse scale seed shape slope sorted
stable start_axis stop_axis stop_gradient strides struct_name t_max t_min target_shape threshold
trainable_statistics transpose_x transpose_y upscale_factor use_global_stats value values y
"""
_KNOWN_ATTRIBUTES = set(_PADDLE_ATTRIBUTES.split())
_PADDLE_KEYS = {"#", "A", "DA", "I", "O", "OA", "QA"}  # no regions: a branch could hide operators

_ONNX_OPERATORS = """
Abs Add And ArgMax ArgMin Atan AveragePool BatchNormalization Cast Ceil Celu Clip Concat
Constant ConstantOfShape Conv ConvTranspose Cos CumSum DepthToSpace DequantizeLinear Div Dropout
Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor Gather GatherElements GatherND Gemm
GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual GridSample HardSigmoid HardSwish Identity
InstanceNormalization IsInf IsNaN LRN LayerNormalization LeakyRelu Less LessOrEqual Log
LogSoftmax LpNormalization MatMul Max MaxPool Mean Min Mod Mul Neg NonZero Not OneHot Or PRelu
Pad Pow QuantizeLinear Range Reciprocal ReduceL1 ReduceL2 ReduceLogSumExp ReduceMax ReduceMean
ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize Round ScatterElements
ScatterND Selu Shape Sigmoid Sign Sin Size Slice Softmax Softplus Softsign SpaceToDepth Split
Sqrt Squeeze Sub Sum Tanh Tile TopK Transpose Trilu Unsqueeze Where Xor
"""
_ONNX_NAMES = set(_ONNX_OPERATORS.split())
# Fields of ONNX's protocol buffers, by message: number to name, or to the message inside. Left out
# are functions, training, graphs in attributes, sparse tensors and all that names other files.
# ONNX Runtime itself holds each attribute to its operator's definition.
_MODEL: Mapping[str, Mapping[int, str]] = {
    "model": {
        **dict.fromkeys((1, 2, 3, 4, 5, 6, 8, 14), ""),  # versions, producer, opsets, metadata
        7: "graph",
    },
    "graph": {1: "node", 2: "", 5: "tensor", 10: "", 11: "", 12: "", 13: ""},
    "node": {1: "", 2: "", 3: "", 4: "operator", 5: "attribute", 6: "", 7: "domain"},
    "attribute": {**dict.fromkeys((1, 2, 3, 4, 7, 8, 9, 13, 20), ""), 5: "tensor"},
    "tensor": {**dict.fromkeys((1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12), ""), 14: "location"},
}
_WIDTHS = {1: 8, 5: 4}  # bytes of a fixed value, by wire type


def checked_program(content: bytes, where: str) -> bytes:
    """A Paddle program of listed operators and attributes only, written anew.

    What is returned is what was checked, so that another reader of JSON finds nothing else in it.

    Args:
        content: ``inference.json``.
        where: the file, for error messages.

    Raises:
        ModelError: no program, or one that holds something else.
    """
    try:
        program = json.loads(content)
        blocks = [block for region in program["program"]["regions"] for block in region["blocks"]]
        for operator in [operator for block in blocks for operator in block["ops"]]:
            _check_operator(operator, where)
        return json.dumps(program).encode()
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{where}: is no Paddle program: {error}") from error


def _check_operator(operator: Mapping[str, Any], where: str) -> None:
    name = operator["#"]
    if name not in _PADDLE_NAMES:
        raise _refused(where, f"the operator {str(name).rpartition('.')[2]!r}")
    if not set(operator) <= _PADDLE_KEYS:
        raise _refused(where, f"operators inside {name!r}")
    if name == "p":  # a parameter: flags and its name
        return
    for kind in ("A", "DA", "OA", "QA"):
        for attribute in operator.get(kind, ()):
            if attribute["N"] not in _KNOWN_ATTRIBUTES:
                raise _refused(where, f"the attribute {attribute['N']!r} of {name!r}")


def check_onnx(content: bytes, where: str) -> None:
    """Refuses an ONNX model that does more than compute by listed operators on its own tensors.

    Args:
        content: ``model.onnx``.
        where: the file, for error messages.

    Raises:
        ModelError: no ONNX model, or one that holds something else.
    """
    try:
        _check_message(memoryview(content), "model", where)
    except (IndexError, ValueError) as error:
        raise ModelError(f"{where}: is no ONNX model: {error}") from error


def _check_message(content: memoryview, message: str, where: str) -> None:
    known = _MODEL[message]
    for number, value in _fields(content):
        if number not in known:
            raise _refused(where, f"the field {number} of an ONNX {message}")
        inside = known[number]
        if inside in _MODEL:
            if not isinstance(value, memoryview):
                raise ValueError(f"its {inside} is a number")
            _check_message(value, inside, where)
        elif inside == "operator" and _text(value) not in _ONNX_NAMES:
            raise _refused(where, f"the operator {_text(value)!r}")
        elif inside == "domain" and _text(value):
            raise _refused(where, f"an operator of the domain {_text(value)!r}")
        elif inside == "location" and value != 0:
            raise _refused(where, "tensors in other files")


def _fields(content: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field of a protocol buffer, in order.

    Raises:
        IndexError, ValueError: not a protocol buffer.
    """
    place = 0
    while place < len(content):
        key, place = _number(content, place)
        number, wire = key >> 3, key & 7
        if key >= 1 << 32:
            raise ValueError("a field's number is too large")
        if wire == 0:
            value, place = _number(content, place)
            yield number, value
            continue
        if wire == 2:
            size, place = _number(content, place)
        elif wire in _WIDTHS:
            size = _WIDTHS[wire]
        else:
            raise ValueError(f"unknown wire type {wire}")
        if size > len(content) - place:
            raise ValueError("it ends within a field")
        yield number, content[place : place + size]
        place += size


def _number(content: memoryview, place: int) -> tuple[int, int]:
    """The number that begins at a place, seven bits a byte, and the place behind it."""
    value = 0
    for index in range(10):
        byte = content[place + index]
        value |= (byte & 127) << (7 * index)
        if byte < 128:
            return value, place + index + 1
    raise ValueError("a number has more than ten bytes")


def _text(value: int | memoryview) -> str:
    return bytes(value).decode("utf-8", "replace") if isinstance(value, memoryview) else str(value)


def _refused(where: str, what: str) -> ModelError:
    return ModelError(
        f"{where}: refused: it holds {what}, which no export of ours needs and which may do more "
        "than compute"
    )
