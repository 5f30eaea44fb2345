"""This machine's processor, and what of it and of the memory this process may use or has used."""

from __future__ import annotations

import math
import os
import platform
import sys
from contextlib import suppress
from pathlib import Path


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


def _physical_cores() -> int:
    """Physical cores, but no more than the processors on which this process may run.

    Without psutil (a bare install, which only scores) hyper-threads count as cores.
    """
    try:
        usable = len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        usable = os.cpu_count() or 1
    try:
        import psutil
    except ImportError:
        return usable
    return min(usable, psutil.cpu_count(logical=False) or usable)


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


def peak_memory_mib() -> float | None:
    """This process's resident memory at its largest, in MiB; None on Windows."""
    with suppress(OSError):
        # Unlike getrusage's, this one does not count what the process was before it was executed.
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def vendor() -> str:
    return _cpuinfo("vendor_id")


def has_avx512() -> bool:
    """Whether the processor has all that MKL's AVX-512 kernels use."""
    needed = {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"}
    return needed <= set(_cpuinfo("flags").split())


def _cpuinfo(key: str) -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(key):
                return line.partition(":")[2].strip()
    return ""


def is_glibc() -> bool:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (AttributeError, OSError, ValueError):
        return False
