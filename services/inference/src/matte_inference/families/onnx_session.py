"""An ONNX network on onnxruntime: on the device that was asked for, in bounded memory, or a reason why not.

Custom operators are never loaded: that would run code from the model's folder.
"""

from __future__ import annotations

import ctypes
import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime
from matte_core.contracts.catalog import VersionConfig
from matte_core.contracts.registry import Reason
from matte_registry.manifest import check_path, is_covered
from numpy.typing import NDArray

from matte_inference.families.base import WeightsError
from matte_inference.families.onnx_file import NotOnnxError, external_files
from matte_inference.memory import default_bound
from matte_inference.pixels.arrays import Float32Array
from matte_inference.settings import InferenceSettings

Provider = Literal["cuda", "tensorrt"]
#: the provider that must be in use, before those that take what it cannot run
_PROVIDERS = {
    "cpu": ("CPUExecutionProvider",),
    "cuda": ("CUDAExecutionProvider", "CPUExecutionProvider"),
    "tensorrt": ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"),
}
_NAMES = {"cpu": "the CPU", "cuda": "CUDA", "tensorrt": "TensorRT"}
#: memory is taken as needed, not doubled; the search for the best convolution is short
_OPTIONS = {
    "CUDAExecutionProvider": {"arena_extend_strategy": "kSameAsRequested", "cudnn_conv_algo_search": "HEURISTIC"}
}
_LIBRARIES = {"cuda": "libonnxruntime_providers_cuda.so", "tensorrt": "libonnxruntime_providers_tensorrt.so"}
_MAX_SIDE = 8192
_INPUT_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
_OUT_OF_MEMORY = re.compile(r"allocate memory|bad.alloc|out of memory|Available memory of", re.IGNORECASE)
#: what onnxruntime says, and what it means; the pattern's groups fill the gaps
_EXPLANATIONS: tuple[tuple[str, str], ...] = (
    (
        r"Opset (\d+) is under development.*till opset (\d+)",
        "it needs opset {0}, but onnxruntime has at most {1}: export it with that one or an older one",
    ),
    (
        r"IR version: (\d+), max supported IR version: (\d+)",
        "it has version {0} of the format, but at most {1} is read: export it with an older release of onnx",
    ),
    (
        r"error: (\S+?)\(.*?is not a registered function/op",
        "it uses the operator {0}, which onnxruntime does not have. Custom operators are not loaded: export it with"
        " standard ones",
    ),
    (
        r"No Op registered for (\S+) with domain_version of (\d+)",
        "it uses the operator {0}, which opset {1} does not have: export it again",
    ),
    (
        r"Could not find an implementation for (\S+?)\((\d+)\)",
        "onnxruntime does not implement its operator {0} of opset {1}: export it with a newer opset",
    ),
    (r"Protobuf parsing failed|No graph was found", "it is damaged, or not an ONNX file: publish it again"),
    (
        r"Initializer '(.+?)' declares a size of (\d+) bytes",
        "its tensor {0} claims {1} bytes, which it does not have: it is damaged. Publish it again",
    ),
    (
        r"External initializer.*out of boun",
        "its file of weights is shorter than it says: the download or the export was cut off. Publish it again",
    ),
)


class OnnxNetwork:
    """A network with one picture as its input. ``run`` is called by one thread at a time.

    ``shape`` is the height and width of its input, None if the file leaves them open; ``open_batch`` says whether it
    takes several pictures at once; ``device`` is ``cpu`` or ``cuda``.
    """

    def __init__(self, session: Any, output: str | None, device: str, where: str) -> None:
        self._session, self.device, self._where = session, device, where
        self._input, self.shape, self.open_batch = _check_input(session.get_inputs(), where)
        self._type = _INPUT_TYPES[self._input.type]
        outputs = [found.name for found in session.get_outputs()]
        if output is not None and output not in outputs:
            shown = ", ".join(outputs[:8])
            raise _refused(Reason.METADATA_INVALID, where, f"it has no output {output!r}, but {shown}: correct output")
        self._output = output or outputs[0]

    def run(self, pictures: Float32Array) -> NDArray[Any]:
        """The output for pictures (N, 3, h, w). Raises MemoryError, or WeightsError if the network fails."""
        values = np.ascontiguousarray(pictures, self._type)
        try:
            binding = self._session.io_binding()
            on_device = onnxruntime.OrtValue.ortvalue_from_numpy(values, self.device, 0)
            binding.bind_ortvalue_input(self._input.name, on_device)
            binding.bind_output(self._output, self.device, 0)
            self._session.run_with_iobinding(binding)
            output: NDArray[Any] = binding.copy_outputs_to_cpu()[0]
        except MemoryError:
            raise
        except Exception as error:
            if _OUT_OF_MEMORY.search(str(error)):
                raise MemoryError(f"out of memory: {_one_line(error)}") from None
            raise _refused(Reason.WEIGHTS_UNUSABLE, self._where, f"it fails: {_one_line(error)}") from None
        return output


def open_network(
    folder: Path, file: str, output: str | None, config: VersionConfig, device: str, provider: Provider
) -> OnnxNetwork:
    """The network of ``file`` on ``device``, ``cpu`` or ``cuda``. Raises :class:`WeightsError`."""
    where = f"{config.app}: {file}"
    check_files(folder, file, where)
    wanted = "cpu" if device == "cpu" else provider
    if wanted != "cpu":
        _require_provider(wanted, config.app, onnxruntime.get_available_providers())
        onnxruntime.preload_dlls()  # CUDA's libraries, from the wheels that torch has installed
    providers = [(name, _OPTIONS.get(name, {})) for name in _PROVIDERS[wanted]]
    try:
        session = onnxruntime.InferenceSession(
            str(folder / file), _session_options(config.threads), providers=providers,
            enable_fallback=0, read_config_from_model=0,
        )  # fmt: skip
    except Exception as error:
        if wanted != "cpu" and re.search(r"CUDA|TensorRT|cudnn", str(error), re.IGNORECASE):
            text = f"asked for {_NAMES[wanted]}, which fails: {_one_line(error)}"
            raise _refused(Reason.DEVICE_UNAVAILABLE, config.app, text) from None
        raise _refused(Reason.WEIGHTS_UNUSABLE, where, explain(error)) from None
    _require_provider(wanted, config.app, session.get_providers())
    return OnnxNetwork(session, output, "cpu" if wanted == "cpu" else "cuda", where)


def check_files(folder: Path, file: str, where: str) -> None:
    """Raises :class:`WeightsError` unless ``file``, and all files that it reads, are parts of the version."""
    path = folder / file
    if not is_part(file) or not path.is_file():
        found = ", ".join(sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.onnx"))[:8]) or "none"
        raise _refused(
            Reason.WEIGHTS_MISSING,
            where,
            f"the version has no such file (ONNX files: {found}): correct parameters.file",
        )
    try:
        locations = external_files(path)
    except NotOnnxError as error:
        raise _refused(Reason.WEIGHTS_UNUSABLE, where, str(error)) from None
    for location in sorted(locations):
        inside = (Path(file).parent / location).as_posix()
        if Path(location).is_absolute() or ".." in Path(location).parts:
            text = f"its weights are in {location!r}, which leads out of the version's folder: export it again"
            raise _refused(Reason.FILE_REFUSED, where, text)
        if not is_part(inside):
            text = (
                f"its weights are in {location!r}, which is not a part of a version: export it as one file, or call"
                f" that file {Path(file).name}_data (onnx.save_model: location)"
            )
            raise _refused(Reason.FILE_REFUSED, where, text)
        if not (folder / inside).is_file():
            raise _refused(
                Reason.WEIGHTS_MISSING,
                where,
                f"its weights are in {location!r}, which the version lacks: publish it too",
            )


def is_part(path: str) -> bool:
    """Whether the digest of a version covers a file at this path."""
    try:
        check_path(path)
    except ValueError:
        return False
    return is_covered(path)


@functools.cache
def _register_bounded_arena() -> None:
    """Gives the CPU sessions of this process one arena, which grows by what is asked for, up to the replica's bound."""
    bound = InferenceSettings().replica_max_memory_bytes or default_bound(1)
    memory = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    same_as_requested = 1
    arena = onnxruntime.OrtArenaCfg({"max_mem": bound, "arena_extend_strategy": same_as_requested})
    onnxruntime.create_and_register_allocator(memory, arena)


def _session_options(threads: int) -> Any:
    """Measured with IS-Net on two threads: by default a process grows to 2.3 GB; with this arena and without a plan of
    memory it stays at 1.5 GB and takes 3.5 s of CPU a picture; without any arena it has peaks of 1.3 GB and takes 4.1
    s, in page faults. Less optimization of the graph is slower: basic 4.4 s, none 4.3 s. Threads that spin while they
    wait take the cores from the neighbors.
    """
    _register_bounded_arena()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.enable_mem_pattern = False
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")  # freed with the session
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors
    return options


def _check_input(inputs: Sequence[Any], where: str) -> tuple[Any, tuple[int, int] | None, bool]:
    """The network's only input, its height and width, and whether it takes several pictures."""
    if len(inputs) != 1:
        names = ", ".join(found.name for found in inputs[:8]) or "none"
        text = f"it has {len(inputs)} inputs ({names}), and one is needed: the picture. Export it with that input alone"
        raise _refused(Reason.WEIGHTS_UNUSABLE, where, text)
    (found,) = inputs
    shown = f"{found.type} ({', '.join(str(side) for side in found.shape)})"
    fixed = [side if isinstance(side, int) and side > 0 else None for side in found.shape]
    if len(fixed) != 4 or fixed[1] not in {3, None} or fixed[0] not in {1, None} or found.type not in _INPUT_TYPES:
        text = (
            f"its input {found.name!r} is {shown}, but must be float (1, 3, height, width), where 1 may be open:"
            " export it so"
        )
        raise _refused(Reason.WEIGHTS_UNUSABLE, where, text)
    height, width = fixed[2:]
    if (height is None) != (width is None):
        text = f"its input {found.name!r} is {shown}: export it with both sides fixed, or both open"
        raise _refused(Reason.WEIGHTS_UNUSABLE, where, text)
    if height is None or width is None:
        return found, None, fixed[0] is None
    if max(height, width) > _MAX_SIDE:
        text = f"its input is {height} × {width}; at most {_MAX_SIDE} pixels a side can be served: export it smaller"
        raise _refused(Reason.WEIGHTS_UNUSABLE, where, text)
    return found, (height, width), fixed[0] is None


def _require_provider(wanted: str, app: str, providers: Sequence[str]) -> None:
    """Raises :class:`WeightsError` if onnxruntime does not have, or in silence does not use, what was asked for."""
    first = _PROVIDERS[wanted][0]
    if first in providers:
        return
    instead = next(_NAMES[name] for name, each in _PROVIDERS.items() if each[0] in providers)
    text = f"asked for {_NAMES[wanted]}, runs on {instead}: {_why_missing(wanted, first)}"
    raise _refused(Reason.DEVICE_UNAVAILABLE, app, text)


def _why_missing(wanted: str, first: str) -> str:
    if first not in onnxruntime.get_available_providers():
        return (
            "this onnxruntime is a build without it. Use the image with CUDA, install onnxruntime-gpu in place of"
            " onnxruntime, or set num_gpus to 0"
        )
    library = Path(onnxruntime.__file__).parent / "capi" / _LIBRARIES[wanted]
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        if "libcuda.so" in str(error):  # of the driver, not of CUDA
            return "this machine has no driver for NVIDIA's GPUs, or this container no GPU. Or set num_gpus to 0"
        return f"its library does not load ({_one_line(error)}). Install what is missing, or set num_gpus to 0"
    return "no device could be used. Does nvidia-smi show one here, with a driver that fits? Or set num_gpus to 0"


def explain(error: Exception) -> str:
    """The cause and the fix for what onnxruntime says of a file that it does not load."""
    text = " ".join(str(error).split())
    for pattern, explanation in _EXPLANATIONS:
        if found := re.search(pattern, text):
            return explanation.format(*found.groups())
    return f"onnxruntime does not load it: {_one_line(error)}. Export it again"


def _one_line(error: BaseException) -> str:
    """The error in one line of at most 300 characters, without names of files on the machine that built onnxruntime."""
    text = " ".join(str(error).split())
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : ", "", text)
    text = re.sub(r"Load model from \S+ failed: ?|/onnxruntime_src/\S+ ", "", text)
    text = re.sub(r"^\w[\w ]* onnxruntime::[\w:]+\([^)]*\) ", "", text)  # the function that failed
    return text[:300].rstrip(".")


def _refused(reason: Reason, where: str, text: str) -> WeightsError:
    return WeightsError(f"{reason}: {where}: {text}")
