"""The environment in which Paddle is fast on a CPU, set by restarting the process once.

Paddle, its MKL and the C library read these variables when they are loaded, so they must stand in
the environment before. Together they make a training step on a CPU 1.4 to 3 times shorter.
"""

from __future__ import annotations

import math
import os
import platform
import sys
from contextlib import suppress
from pathlib import Path

_SWITCH_OFF = "PPCLS_SSPCAB_NO_LAUNCHER"
_MARK = "PPCLS_SSPCAB_LAUNCHED"
_PROGRAMS = ("tools", "deploy", "benchmarks")  # folders beside the package

# Freed tensors stay with the process: handing each back to the kernel and faulting its pages in
# again takes a third of a training step.
_MALLOC = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(32 << 30),
    "MALLOC_TOP_PAD_": str(256 << 20),
}

# Without it the MKL of Paddle's CPU wheel takes its slowest path on AMD.
_AVX2, _AVX512 = "5", "7"


def launch() -> dict[str, str]:
    """Restarts the process with the settings that the user's environment lacks.

    The process keeps its number, arguments, standard streams and exit code. It happens at most
    once, on Linux, in a process that one of this project's commands started and that has not
    loaded Paddle; ``PPCLS_SSPCAB_NO_LAUNCHER=1`` switches it off.

    Returns:
        the variables that the restart has set, empty where it did not happen.
    """
    marked = os.environ.get(_MARK)
    if marked is not None:
        return {name: os.environ[name] for name in marked.split() if name in os.environ}
    settings = missing_settings()
    if not settings or not _may_restart():
        return {}
    environment = {**os.environ, **settings, _MARK: " ".join(settings)}
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):
            stream.flush()
    with suppress(OSError):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
    return {}


def missing_settings() -> dict[str, str]:
    """The variables that would make Paddle faster on this CPU and that the user has not set."""
    settings = {"OMP_NUM_THREADS": str(cpu_threads())}
    if _vendor() == "AuthenticAMD":
        settings["MKL_DEBUG_CPU_TYPE"] = _AVX512 if _has_avx512() else _AVX2
    if _is_glibc():
        settings |= _MALLOC
    return {name: value for name, value in settings.items() if name not in os.environ}


def cpu_threads() -> int:
    """Threads to compute with: ``OMP_NUM_THREADS`` if set, else this process's physical cores.

    Counted are the cores that the affinity mask and the cgroup's quota leave, shared evenly
    between the ranks that ``paddle.distributed.launch`` started on this machine.
    """
    with suppress(KeyError, ValueError):
        return max(1, int(os.environ["OMP_NUM_THREADS"]))
    ranks = 1
    with suppress(KeyError, ValueError):
        ranks = max(1, int(os.environ["PADDLE_LOCAL_SIZE"]))
    return max(1, min(_physical_cores(), _quota()) // ranks)


def machine() -> str:
    """The processor's name and this process's physical cores, for protocols of measurements."""
    name = _cpuinfo("model name") or platform.machine()
    return f"{' '.join(name.split())}, {min(_physical_cores(), _quota())} cores, {sys.platform}"


def _may_restart() -> bool:
    return (
        sys.platform == "linux"
        and os.environ.get(_SWITCH_OFF, "0") in ("", "0")
        and "paddle" not in sys.modules
        and bool(sys.executable)
        and _is_own_command()
    )


def _is_own_command() -> bool:
    """Whether this process runs one of our commands, and not a notebook or a test that calls us."""
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    if script is None:
        return False
    path = Path(script).resolve()
    package = Path(__file__).resolve().parents[1]
    return (
        path.stem == "ppcls-sspcab"
        or path in (package / "__main__.py", package / "paddleclas.py")
        or any(path.is_relative_to(package.parent / folder) for folder in _PROGRAMS)
    )


def _physical_cores() -> int:
    """Physical cores on which this process may run; hyper-threads of one core count once."""
    try:
        cpus = os.sched_getaffinity(0)
    except AttributeError:
        return os.cpu_count() or 1
    cores = set()
    for cpu in cpus:
        topology = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology")
        try:
            cores.add(
                ((topology / "physical_package_id").read_text(), (topology / "core_id").read_text())
            )
        except OSError:
            return len(cpus)
    return len(cores)


def _quota(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int:
    """CPUs that the cgroup's quota (version 2 or 1) allows; a very large number without one."""
    quotas: list[float] = []
    folder = root
    with suppress(OSError):
        line = next((text for text in own.read_text().splitlines() if text.startswith("0::")), "")
        folder = root / line.removeprefix("0::").strip().lstrip("/")
    while folder.is_relative_to(root):
        with suppress(OSError, ValueError):
            quota, period = (folder / "cpu.max").read_text().split()
            quotas.append(int(quota) / int(period))
        folder = folder.parent
    with suppress(OSError, ValueError):
        quota = (root / "cpu" / "cpu.cfs_quota_us").read_text()
        period = (root / "cpu" / "cpu.cfs_period_us").read_text()
        if int(quota) > 0:
            quotas.append(int(quota) / int(period))
    return max(1, math.ceil(min(quotas))) if quotas else sys.maxsize


def _vendor() -> str:
    return _cpuinfo("vendor_id")


def _has_avx512() -> bool:
    """Whether the processor has all that MKL's AVX-512 kernels use."""
    needed = {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"}
    return needed <= set(_cpuinfo("flags").split())


def _cpuinfo(key: str) -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(key):
                return line.partition(":")[2].strip()
    return ""


def _is_glibc() -> bool:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (AttributeError, OSError, ValueError):
        return False
