import json
import os
import subprocess
import sys

import pytest

from trainables.threads import limit_threads

COUNTS = """
import json, sys
import cv2, daal4py, numpy, scipy.linalg, sklearn.ensemble, torch
from threadpoolctl import threadpool_info
from trainables.threads import limit_threads
for count in map(int, sys.argv[1:]):
    limit_threads(count)
    pools = {pool["filepath"]: pool["num_threads"] for pool in threadpool_info()}
    named = {"cv2": cv2.getNumThreads(), "oneDAL": daal4py.num_threads(), "torch": torch.get_num_threads()}
    print(json.dumps(pools | named))
"""

WITHOUT_TORCH = """
import sys
from trainables.threads import limit_threads
limit_threads(1)
print(sorted({"torch", "daal4py", "sklearn"} & set(sys.modules)))
"""


def run(script: str, *arguments: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two CPUs to tell one thread from two")
def test_every_library_computes_with_that_many_threads() -> None:
    pytest.importorskip("daal4py")
    for count, line in zip((1, 2, 1), run(COUNTS, "1", "2", "1"), strict=True):
        threads = json.loads(line)
        assert len(threads) > 5
        assert set(threads.values()) == {count}, threads


def test_no_library_is_loaded_to_be_limited() -> None:
    assert run(WITHOUT_TORCH) == ["[]"]


@pytest.mark.parametrize("count", [0, -1])
def test_fewer_than_one_thread_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"at least 1 thread, received {count}"):
        limit_threads(count)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not confine processes to CPUs")
def test_a_process_confined_to_one_cpu_counts_one():
    command = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    command += "from trainables.threads import usable_cpus; print(usable_cpus())"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
