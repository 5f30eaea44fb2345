import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ppcls_sspcab.utils import launcher, machine

ROOT = Path(__file__).resolve().parents[2]
linux = pytest.mark.skipif(sys.platform != "linux", reason="the launcher acts on Linux only")

# A command of ours as the launcher sees one: a script named ppcls-sspcab.
PROGRAM = """
import json, os, sys
print("before", flush=False)
PREPARATION
from ppcls_sspcab.utils.launcher import launch
was_set = launch()
print(json.dumps({"set": was_set, "env": dict(os.environ), "argv": sys.argv, "pid": os.getpid(),
                  "stdin": sys.stdin.read()}))
ENDING
"""


def environment(**extra):
    names = ("OMP_NUM_THREADS", "PPCLS_SSPCAB_NO_LAUNCHER", "PPCLS_SSPCAB_LAUNCHED")
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in names and not name.startswith(("MALLOC_", "MKL_"))
    }
    return {**kept, "PYTHONPATH": str(ROOT), **extra}


def write(folder, preparation="", ending="", name="ppcls-sspcab"):
    script = folder / name
    script.write_text(PROGRAM.replace("PREPARATION", preparation).replace("ENDING", ending))
    return script


def start(script, *arguments, **extra):
    return subprocess.run(
        [sys.executable, script, *arguments],
        env=environment(**extra),
        input="from stdin",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def report(result):
    assert result.stderr == ""
    return json.loads(result.stdout.splitlines()[-1])


@linux
def test_the_settings_stand_in_the_environment_after_one_restart(tmp_path):
    result = start(write(tmp_path), "train", "-o", "a b=ü")
    seen = report(result)
    assert result.stdout.count("before") == 2
    assert seen["set"]["OMP_NUM_THREADS"] == seen["env"]["OMP_NUM_THREADS"]
    assert 1 <= int(seen["set"]["OMP_NUM_THREADS"]) <= os.cpu_count()
    assert all(seen["env"][name] == value for name, value in seen["set"].items())
    assert seen["argv"][1:] == ["train", "-o", "a b=ü"]
    assert seen["stdin"] == "from stdin"
    if launcher.is_glibc():
        assert seen["env"]["MALLOC_MMAP_MAX_"] == "0"


@linux
def test_what_the_user_has_set_stays(tmp_path):
    seen = report(start(write(tmp_path), OMP_NUM_THREADS="7", MALLOC_MMAP_MAX_="9"))
    assert seen["env"]["OMP_NUM_THREADS"] == "7"
    assert seen["env"]["MALLOC_MMAP_MAX_"] == "9"
    assert not {"OMP_NUM_THREADS", "MALLOC_MMAP_MAX_"} & set(seen["set"])


@linux
@pytest.mark.parametrize("face", ["tools/train.py", "deploy/infer.py", "deploy/python/predict.py"])
def test_a_face_of_a_verb_is_restarted_wherever_it_lies(tmp_path, face):
    (tmp_path / face).parent.mkdir(parents=True)
    seen = report(start(write(tmp_path, name=face)))
    assert "OMP_NUM_THREADS" in seen["set"]


@linux
@pytest.mark.parametrize(
    ("name", "preparation", "extra"),
    [
        ("ppcls-sspcab", "", {"PPCLS_SSPCAB_NO_LAUNCHER": "1"}),
        ("ppcls-sspcab", "sys.modules['paddle'] = json", {}),
        ("someone_elses_program.py", "", {}),
    ],
    ids=["switched off", "Paddle is loaded", "not our command"],
)
def test_no_restart(tmp_path, name, preparation, extra):
    result = start(write(tmp_path, preparation, name=name), **extra)
    seen = report(result)
    assert result.stdout.count("before") == 1
    assert seen["set"] == {}
    assert "OMP_NUM_THREADS" not in seen["env"]


@linux
def test_exit_code_and_signal_reach_the_caller(tmp_path):
    assert start(write(tmp_path, ending="sys.exit(3)")).returncode == 3
    killing = "import signal; sys.stdout.flush(); os.kill(os.getpid(), signal.SIGTERM)"
    assert start(write(tmp_path, ending=killing)).returncode == -signal.SIGTERM


@linux
def test_the_process_keeps_its_number(tmp_path):
    script = write(tmp_path)
    process = subprocess.Popen(
        [sys.executable, script],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    output, _ = process.communicate(timeout=60)
    assert json.loads(output.splitlines()[-1])["pid"] == process.pid


@linux
def test_interpreter_options_survive(tmp_path):
    script = write(tmp_path, ending="print(sys.dont_write_bytecode, sys.flags.optimize)")
    result = subprocess.run(
        [sys.executable, "-B", "-O", script],
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert result.stdout.splitlines()[-1] == "True 1"


@linux
def test_python_m_survives(tmp_path):
    package = tmp_path / "ppcls_sspcab"
    (package / "utils").mkdir(parents=True)
    for name in ("__init__.py", "utils/__init__.py"):
        (package / name).write_text("")
    for name in ("launcher.py", "machine.py"):
        source = ROOT / "ppcls_sspcab" / "utils" / name
        (package / "utils" / name).write_text(source.read_text(encoding="utf-8"))
    write(package, name="__main__.py")
    result = subprocess.run(
        [sys.executable, "-m", "ppcls_sspcab", "demo"],
        env=environment(PYTHONPATH=str(tmp_path)),
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    seen = report(result)
    assert "OMP_NUM_THREADS" in seen["set"]
    assert seen["argv"][1:] == ["demo"]


def test_this_test_is_never_restarted(monkeypatch):
    monkeypatch.delenv("PPCLS_SSPCAB_LAUNCHED", raising=False)
    monkeypatch.delenv("PPCLS_SSPCAB_NO_LAUNCHER", raising=False)
    monkeypatch.setattr(os, "execve", lambda *_: pytest.fail("restarted"))
    monkeypatch.setattr(sys, "modules", {**sys.modules})
    sys.modules.pop("paddle", None)
    assert launcher.launch() == {}


def test_threads_are_shared_between_local_ranks(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(machine, "_physical_cores", lambda: 8)
    monkeypatch.setattr(machine, "_quota", lambda: 6)
    assert machine.cpu_threads() == 6
    monkeypatch.setenv("PADDLE_LOCAL_SIZE", "4")
    assert machine.cpu_threads() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert machine.cpu_threads() == 3


@pytest.mark.parametrize(("physical", "cores"), [(2, 2), (8, 4), (None, 4)])
def test_physical_cores_but_no_more_than_the_affinity_leaves(monkeypatch, physical, cores):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 6, 7}, raising=False)
    monkeypatch.setattr("psutil.cpu_count", lambda logical: physical)
    assert machine._physical_cores() == cores
    monkeypatch.setitem(sys.modules, "psutil", None)  # a bare install
    assert machine._physical_cores() == 4


@linux
def test_peak_memory_is_what_was_once_used():
    code = "from ppcls_sspcab.utils.machine import peak_memory_mib as peak\n"
    code += "before = peak(); block = b'x' * (64 << 20); del block; print(peak() - before)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    assert 60 < float(done.stdout) < 80


def test_mkl_is_set_on_amd_only(monkeypatch):
    monkeypatch.delenv("MKL_DEBUG_CPU_TYPE", raising=False)
    monkeypatch.setattr(launcher, "vendor", lambda: "AuthenticAMD")
    assert launcher.missing_settings()["MKL_DEBUG_CPU_TYPE"] in ("5", "7")
    monkeypatch.setattr(launcher, "vendor", lambda: "GenuineIntel")
    assert "MKL_DEBUG_CPU_TYPE" not in launcher.missing_settings()


@pytest.mark.parametrize(
    ("flags", "kernels"),
    [
        ("fma avx2 avx512f avx512dq avx512cd avx512bw avx512vl avx512_vnni", "7"),
        ("fma avx2 avx512f avx512cd", "5"),
        ("fma avx2", "5"),
        ("", "5"),
    ],
)
def test_mkl_takes_the_widest_kernels_the_processor_has(monkeypatch, flags, kernels):
    monkeypatch.delenv("MKL_DEBUG_CPU_TYPE", raising=False)
    known = {"vendor_id": "AuthenticAMD", "flags": flags}
    monkeypatch.setattr(machine, "_cpuinfo", lambda key: known.get(key, ""))
    assert launcher.missing_settings()["MKL_DEBUG_CPU_TYPE"] == kernels


def test_cgroup_quota(tmp_path):
    own = tmp_path / "own"
    own.write_text("0::/outer/inner\n")
    (tmp_path / "outer" / "inner").mkdir(parents=True)
    assert machine._quota(tmp_path, own) == sys.maxsize
    (tmp_path / "outer" / "cpu.max").write_text("250000 100000\n")
    (tmp_path / "outer" / "inner" / "cpu.max").write_text("max 100000\n")
    assert machine._quota(tmp_path, own) == 3
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("200000")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000")
    assert machine._quota(tmp_path, own) == 2


def test_the_machine_is_named_with_its_cores() -> None:
    name = machine.machine()
    assert name.endswith(f"{sys.platform}")
    assert int(name.split(",")[-2].split()[0]) >= 1
