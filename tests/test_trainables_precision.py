import subprocess
import sys

import pytest
import torch
from torch import nn

import trainables.svc
from trainables.devices import without_gpus
from trainables.precision import Compute, cpu_threads, out_of_memory


def test_threads_are_lent_and_given_back() -> None:
    before = torch.get_num_threads()
    with cpu_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_precision_is_what_the_hardware_has() -> None:
    best = Compute.best()
    assert best.device.type == ("cuda" if torch.cuda.is_available() else "cpu")
    layer, x = best.place(nn.Conv2d(3, 4, 1)), torch.zeros(1, 3, 2, 2, device=best.device)
    with best.autocast():
        assert layer(x).dtype == (torch.bfloat16 if best.bf16 else torch.float32)


def test_a_process_that_leaves_gpus_alone_computes_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    monkeypatch.setattr(trainables.svc, "_cuml", lambda: "a library")
    with without_gpus():
        assert Compute.best().device.type == "cpu"
        assert trainables.svc.gpu_library() is None
    assert Compute.best().device.type == "cuda"
    assert trainables.svc.gpu_library() == "a library"


def test_torchs_own_words_for_too_little_memory_are_known() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**55)
    assert out_of_memory(caught.value)
    assert not out_of_memory(RuntimeError("shapes do not match"))


HUNGRY = """
import torch
from trainables.precision import bound_gpu_memory, out_of_memory
bound_gpu_memory(0.1)
_, total = torch.cuda.mem_get_info()
torch.empty(total // 20, dtype=torch.uint8, device="cuda")
try:
    torch.empty(total // 5, dtype=torch.uint8, device="cuda")
except torch.OutOfMemoryError as error:
    assert out_of_memory(error)
else:
    raise SystemExit("it took more than its share")
"""


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_share_of_a_gpu_bounds_the_memory_of_its_process() -> None:
    subprocess.run([sys.executable, "-c", HUNGRY], check=True, timeout=120)
