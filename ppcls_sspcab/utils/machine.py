"""The processor of this machine: its name, and the cores that this process may use."""

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
