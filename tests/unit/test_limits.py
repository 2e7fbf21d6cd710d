"""The limits of memory and processor time, read from the kernel's files."""

from collections.abc import Mapping

import pytest

from ganglion.machine.limits import Limits, chosen, discover

GB = 1024**3
MACHINE = {"/proc/meminfo": "MemTotal:       16777216 kB\nMemFree:        1 kB\n"}
ALL = Limits(
    memory=8 * GB,
    memory_from="half of the machine's memory (no container limit is set)",
    cpus=8.0,
    cpus_from="processors of the machine",
)


def found(files: Mapping[str, str], processors: int = 8) -> tuple[int, str, float, str]:
    def read(path: str) -> str:
        try:
            return files[path]
        except KeyError:
            raise FileNotFoundError(2, "No such file or directory", path) from None

    limits = discover(read, processors)
    return limits.memory, limits.memory_from, limits.cpus, limits.cpus_from


UNLIMITED = (ALL.memory, ALL.memory_from, ALL.cpus, ALL.cpus_from)


def test_without_cgroups_the_machine_is_the_limit() -> None:
    assert found(MACHINE) == UNLIMITED


def test_without_proc_some_memory_is_assumed() -> None:
    assert found({}, 2) == (4 * GB, "assumed", 2.0, ALL.cpus_from)


def test_all_the_memory_of_a_small_machine_is_used() -> None:
    small = {"/proc/meminfo": "MemTotal: 2097152 kB\n"}
    assert found(small)[:2] == (2 * GB, "memory of the machine")
    middling = {"/proc/meminfo": "MemTotal: 6291456 kB\n"}
    assert found(middling)[:2] == (4 * GB, ALL.memory_from)


V2 = {**MACHINE, "/proc/self/cgroup": "0::/\n"}


def test_version_2_in_a_container() -> None:
    files = {
        **V2,
        "/sys/fs/cgroup/memory.max": "2147483648\n",
        "/sys/fs/cgroup/memory.high": "max\n",
        "/sys/fs/cgroup/cpu.max": "150000 100000\n",
    }
    assert found(files) == (2 * GB, "cgroup memory.max", 1.5, "cgroup cpu.max")
    high = {**files, "/sys/fs/cgroup/memory.high": "1073741824\n"}
    assert found(high)[:2] == (GB, "cgroup memory.high")


def test_version_2_without_limits() -> None:
    files = {
        **V2,
        "/sys/fs/cgroup/memory.max": "max\n",
        "/sys/fs/cgroup/cpu.max": "max 100000\n",
    }
    assert found(files) == UNLIMITED


@pytest.mark.parametrize("tightest", ["/a/b/c", "/a/b", "/a", ""])
def test_the_tightest_of_nested_groups_holds(tightest: str) -> None:
    files = {**MACHINE, "/proc/self/cgroup": "0::/a/b/c\n"}
    for place in ("/a/b/c", "/a/b", "/a", ""):
        factor = 1 if place == tightest else 2
        files[f"/sys/fs/cgroup{place}/memory.max"] = str(factor * GB)
        files[f"/sys/fs/cgroup{place}/cpu.max"] = f"{factor * 100000} 100000"
    assert found(files) == (GB, "cgroup memory.max", 1.0, "cgroup cpu.max")


def test_a_cgroup_outside_the_visible_tree() -> None:
    files = {**MACHINE, "/proc/self/cgroup": "0::/../other\n", "/sys/fs/cgroup/memory.max": "1024"}
    assert found(files)[:2] == (1024, "cgroup memory.max")


V1 = {
    **MACHINE,
    "/proc/self/cgroup": "9:name=systemd:/\n4:memory:/docker/1\n3:cpu,cpuacct:/docker/1\n0::/\n",
}


def test_version_1_on_the_machine_and_in_a_container() -> None:
    for place in ("/docker/1", "/docker", ""):
        files = {
            **V1,
            f"/sys/fs/cgroup/memory{place}/memory.limit_in_bytes": "536870912\n",
            f"/sys/fs/cgroup/cpu{place}/cpu.cfs_quota_us": "50000\n",
            f"/sys/fs/cgroup/cpu{place}/cpu.cfs_period_us": "100000\n",
        }
        expected = (GB // 2, "cgroup memory.limit_in_bytes", 0.5, "cgroup cpu.cfs_quota_us")
        assert found(files) == expected


def test_version_1_without_limits() -> None:
    files = {
        **V1,
        "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
        "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
    }
    assert found(files) == UNLIMITED


def test_both_versions_together() -> None:
    files = {
        **V1,
        "/sys/fs/cgroup/unified/cpu.max": "300000 100000",
        "/sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes": "1073741824",
    }
    expected = (GB, "cgroup memory.limit_in_bytes", 3.0, "cgroup cpu.max")
    assert found(files) == expected


@pytest.mark.parametrize("text", ["", "x", "-5", "0", "1 2 3"])
def test_an_unreadable_value_is_no_limit(text: str) -> None:
    files = {
        **V2,
        "/sys/fs/cgroup/memory.max": text,
        "/sys/fs/cgroup/cpu.max": f"{text} {text}",
    }
    assert found(files) == UNLIMITED


def test_the_number_of_processors_can_be_below_the_quota() -> None:
    files = {**V2, "/sys/fs/cgroup/cpu.max": "400000 100000"}
    assert found(files, 2)[2:] == (2.0, ALL.cpus_from)


def test_variables_override_limits() -> None:
    assert chosen(ALL, memory=None, cpus=None) == ALL
    assert chosen(ALL, memory=GB, cpus=0.5) == Limits(
        memory=GB, memory_from="GANGLION_MEMORY", cpus=0.5, cpus_from="GANGLION_CPUS"
    )


@pytest.mark.parametrize(("cpus", "cores"), [(0.5, 1), (1.0, 1), (1.5, 2), (64.0, 64)])
def test_cores_are_rounded_up(cpus: float, cores: int) -> None:
    assert chosen(ALL, memory=None, cpus=cpus).cores == cores
