"""What ONNX Runtime is told about an accelerator.

Options: https://onnxruntime.ai/docs/execution-providers/, pages TensorRT and CUDA.
"""

from __future__ import annotations

import re
from pathlib import Path

from device.engines.base import Accelerator

Options = dict[str, str]

PROVIDER = {
    Accelerator.CPU: "CPUExecutionProvider",
    Accelerator.CUDA: "CUDAExecutionProvider",
    Accelerator.TENSORRT: "TensorrtExecutionProvider",
}
_MISSING_LIBRARY = re.compile(r"(lib[\w.+-]+\.so[\w.]*): cannot open shared object file")
# A board's memory is the GPU's too: the workspace is what a layer may take while TensorRT tries ways to compute it.
_WORKSPACE_BYTES = 512 * 1024**2


def providers(accelerator: Accelerator, recipe: str, cache: Path | None) -> list[str | tuple[str, Options]]:
    """In the order in which ONNX Runtime offers them each node: TensorRT, then CUDA, then the CPU.

    Args:
        accelerator: CPU, CUDA or TENSORRT.
        recipe: of the variant, e.g. ``static_int8``: a float32 file is not computed in smaller numbers behind its back.
        cache: where TensorRT keeps engines and timings; None keeps none.
    """
    cpu = PROVIDER[Accelerator.CPU]
    if accelerator is Accelerator.CPU:
        return [cpu]
    # Exhaustive search for convolutions takes longer at the start than it saves at one picture at a time.
    cuda: tuple[str, Options] = (PROVIDER[Accelerator.CUDA], {"cudnn_conv_algo_search": "HEURISTIC"})
    if accelerator is Accelerator.CUDA:
        return [cuda, cpu]
    return [(PROVIDER[Accelerator.TENSORRT], _tensorrt(recipe, cache)), cuda, cpu]


def _tensorrt(recipe: str, cache: Path | None) -> Options:
    # Of an int8 file also: what is not quantised in it would be float32 otherwise, slower than the int8 around it.
    half = "float16" in recipe or "int8" in recipe
    options = {
        "trt_max_workspace_size": str(_WORKSPACE_BYTES),
        "trt_fp16_enable": str(half),
        # Ranges come from the QuantizeLinear and DequantizeLinear nodes in the file; no calibration table is read.
        "trt_int8_enable": str("int8" in recipe),
    }
    if cache is not None:
        options |= {
            "trt_engine_cache_enable": "True",
            "trt_engine_cache_path": str(cache),
            "trt_timing_cache_enable": "True",
            "trt_timing_cache_path": str(cache),
        }
    return options


def missing_library(said: str) -> str:
    """What to do, from ONNX Runtime's log: the library that it looked for, where it names one."""
    found = _MISSING_LIBRARY.search(said)
    if found is None:
        return "its log names no library; is there a GPU, and does 'nvidia-smi' or 'tegrastats' show it?"
    return (
        f"{found[1]} is not here; install the CUDA, cuDNN or TensorRT that this onnxruntime-gpu asks for "
        f"(pip install 'onnxruntime-gpu[cuda,cudnn]'; tensorrt apart), or run on the CPU"
    )
