"""Weights a network starts from: files of them, torch's cache, and what is refused."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from spaces.errors import InputError
from spaces.resnet import ResnetConfig
from trainables.backbones import head, random_net, trunk
from trainables.precision import cpu_threads
from trainables.weights import cached_file, load_backbone, resolve_weights, starting_net


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with cpu_threads(1):
        yield


@pytest.fixture(scope="module")
def imagenet_like() -> nn.Module:
    """What torchvision's files hold: a head of a thousand classes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return torchvision.models.resnet18(num_classes=1000)


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def write_weights(module: nn.Module, path: Path) -> Path:
    tensors = {name: tensor.contiguous() for name, tensor in module.state_dict().items()}
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path)
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
def test_a_file_of_weights_gives_its_backbone_and_leaves_the_head(
    suffix: str, imagenet_like: nn.Module, tmp_path: Path
) -> None:
    path = write_weights(imagenet_like, tmp_path / f"weights{suffix}")
    net = random_net("resnet18", 0)
    head_before = head(net).weight.clone()
    load_backbone(net, path)
    images = torch.randn(2, 3, 32, 32)
    net.eval()
    assert torch.equal(trunk(net)(images), trunk(imagenet_like.eval())(images))
    assert torch.equal(head(net).weight, head_before)


def test_a_net_starts_from_the_weights_its_config_names(imagenet_like: nn.Module, tmp_path: Path) -> None:
    path = write_weights(imagenet_like, tmp_path / "weights.safetensors")
    net = starting_net(ResnetConfig(weights=str(path), stem="small"), 3, classes=7)
    assert torch.equal(net.state_dict()["conv1.weight"], imagenet_like.state_dict()["conv1.weight"])
    again, other = (starting_net(ResnetConfig(weights=str(path)), seed, classes=7) for seed in (3, 4))
    assert torch.equal(head(net).weight, head(again).weight)
    assert not torch.equal(head(net).weight, head(other).weight)
    assert 0.02 < head(net).weight.std() < 0.03, "uniform within 1 / sqrt(512)"
    assert net.state_dict()["bn1.num_batches_tracked"] == 0
    assert same(starting_net(ResnetConfig(), 3), random_net("resnet18", 3))


def test_files_of_old_torch_versions_lack_the_batch_counters(imagenet_like: nn.Module, tmp_path: Path) -> None:
    old = {k: v for k, v in imagenet_like.state_dict().items() if not k.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "old.pth")
    net = random_net("resnet18", 0)
    load_backbone(net, tmp_path / "old.pth")
    assert torch.equal(net.state_dict()["conv1.weight"], old["conv1.weight"])


def test_weights_of_another_architecture_are_refused(imagenet_like: nn.Module, tmp_path: Path) -> None:
    path = write_weights(imagenet_like, tmp_path / "resnet18.safetensors")
    with pytest.raises(InputError, match=r"resnet18\.safetensors.*missing \(layer1\.2\.conv1\.weight first\)"):
        load_backbone(random_net("resnet34", 0), path)
    wide = dict(imagenet_like.state_dict(), **{"conv1.weight": torch.zeros(64, 1, 7, 7), "more": torch.zeros(1)})
    save_file(wide, tmp_path / "gray.safetensors")
    with pytest.raises(InputError, match=r"1 unknown \(more first\), 1 of another shape \(conv1\.weight first\)"):
        load_backbone(random_net("resnet18", 0), tmp_path / "gray.safetensors")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("content", [b"", b"not weights at all", b"\x80\x02" + bytes(range(256))])
def test_garbled_files_are_refused(suffix: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"garbled{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError, match="garbled"):
        load_backbone(random_net("resnet18", 0), path)


@pytest.mark.parametrize("content", [nn.Linear(2, 2), {"epoch": 3}, [torch.zeros(1)]], ids=["module", "dict", "list"])
def test_a_file_must_hold_nothing_but_tensors(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "whole.pth")
    with pytest.raises(InputError, match=r"whole\.pth"):
        load_backbone(random_net("resnet18", 0), tmp_path / "whole.pth")


def test_weights_resolve_to_a_file_once(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    path.touch()
    assert resolve_weights("resnet18", "none") is None
    resolved = resolve_weights("resnet18", str(path))
    assert resolved == path
    assert resolve_weights("resnet18", str(resolved)) == path


@pytest.mark.parametrize(
    ("weights", "sentence"),
    [("absent.pth", "there is no such file"), ("imagnet", "allowed are none, imagenet, faces or")],
)
def test_weights_that_name_no_file_are_refused(weights: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        resolve_weights("resnet18", weights)


@pytest.fixture
def torch_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A torch cache of its own, on a machine whose only way to the network is closed."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture
def published(imagenet_like: nn.Module, tmp_path: Path) -> Path:
    """A file named as torchvision names its own, by the first digits of its hash."""
    path = write_weights(imagenet_like, tmp_path / "resnet18.pth")
    return path.rename(tmp_path / f"resnet18-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.pth")


def test_absent_imagenet_weights_say_where_to_put_which_file(torch_cache: Path) -> None:
    with pytest.raises(InputError) as caught:
        resolve_weights("resnet18", "imagenet")
    assert "put the file resnet18-f37072fd.pth into " + str(torch_cache) in str(caught.value)


def test_a_file_in_the_cache_must_have_the_hash_in_its_name(torch_cache: Path, published: Path) -> None:
    torch_cache.mkdir(parents=True)
    published.rename(torch_cache / "resnet18-f37072fd.pth")
    with pytest.raises(InputError, match="sha256 must begin with f37072fd"):
        resolve_weights("resnet18", "imagenet")


def test_a_file_in_the_cache_is_used(torch_cache: Path, published: Path, imagenet_like: nn.Module) -> None:
    torch_cache.mkdir(parents=True)
    kept = published.rename(torch_cache / published.name)
    path = cached_file(f"https://download.pytorch.org/models/{kept.name}")
    net = random_net("resnet18", 0)
    load_backbone(net, path)
    assert torch.equal(net.state_dict()["layer4.1.conv2.weight"], imagenet_like.state_dict()["layer4.1.conv2.weight"])


def test_an_absent_file_is_downloaded_and_checked(torch_cache: Path, published: Path) -> None:
    assert cached_file(published.as_uri()) == torch_cache / published.name
    broken = published.rename(published.with_name("resnet18-00000000.pth"))
    with pytest.raises(InputError, match="cannot be downloaded"):
        cached_file(broken.as_uri())
    assert not (torch_cache / broken.name).exists()
