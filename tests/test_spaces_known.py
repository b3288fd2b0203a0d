"""Configs known to be good, as near to them as a space allows."""

from hypothesis import given, settings
from hypothesis import strategies as st

from spaces.family import Family
from spaces.features import FeatureSpace
from spaces.forest import ForestSpace
from spaces.joint import JointSpace
from spaces.known import known_points
from spaces.points import point_of
from spaces.resnet import ResnetSpace
from spaces.svm import SvmSpace

FACES = ResnetSpace(weights=("none", "faces"))


def test_each_family_has_one_and_the_dearest_comes_first():
    assert [config.family for config in known_points(JointSpace())] == ["resnet", "svm", "forest"]
    assert [config.family for config in known_points(JointSpace(families=(Family.FOREST,)))] == ["forest"]


def test_of_pretrained_networks_there_is_one_whose_head_is_trained_and_last_of_all_a_deeper_one():
    families = [config.family for config in known_points(JointSpace(resnet=FACES))]
    assert families == ["resnet", "svm", "forest", "resnet"]
    head, *_, deeper = known_points(JointSpace(resnet=FACES))
    assert (head.weights, head.unfreeze) == ("faces", 0)
    assert (deeper.weights, deeper.unfreeze) == ("faces", 3)


def test_a_config_that_is_nearest_to_two_of_them_is_tried_once():
    alike = ResnetSpace(
        weights=("faces",),
        unfreeze=(0,),
        epochs=(2,),
        batch_size=(64,),
        head_lr=0.002,
        weight_decay=0.01,
        dropout=0.1,
        label_smoothing=0.1,
        augment=0.4,
        ema=0.0,
        schedule="cosine",
        image_size=48,
        flip=True,
    )
    assert len(known_points(JointSpace(families=("resnet",), resnet=alike))) == 1


def test_what_the_space_holds_is_taken_as_it_is():
    wide = JointSpace(
        resnet=FACES.model_copy(update={"epochs": (2, 8), "image_size": (64,), "ema": (0.0, 0.99), "flip": (True,)}),
        svm=SvmSpace(features=FeatureSpace(kind=("hog", "embedding"))),
    )
    resnet, svm, *_ = known_points(wide)
    assert (resnet.epochs, resnet.batch_size, resnet.head_lr, resnet.ema) == (2, 128, 1.9e-3, 0.99)
    assert (svm.C, svm.gamma, svm.features.kind) == (0.77, 0.68, "embedding")


def test_what_it_rests_on_decides_which_is_taken():
    from_scratch, svm, forest = known_points(JointSpace())
    assert (from_scratch.weights, from_scratch.unfreeze) == ("none", 5)
    assert svm.features.kind == forest.features.kind == "hog+lbp"


def test_where_nothing_is_known_of_what_it_rests_on_there_is_none():
    space = JointSpace(
        svm=SvmSpace(features=FeatureSpace(kind=("pixels",))), resnet=ResnetSpace(weights=("imagenet", "mine.pth"))
    )
    assert [config.family for config in known_points(space)] == ["forest"]


def test_of_the_descriptors_those_with_most_in_common_are_taken():
    space = JointSpace(families=("svm",), svm=SvmSpace(features=FeatureSpace(kind=("pixels", "hog"))))
    (svm,) = known_points(space)
    assert svm.features.kind == "hog"


def test_of_listed_numbers_the_one_at_the_smallest_ratio_is_taken():
    space = JointSpace(families=("resnet",), resnet=ResnetSpace(head_lr=(1e-4, 1e-2)))
    assert known_points(space)[0].head_lr == 1e-2  # of 2e-3


def test_what_the_space_lacks_is_replaced_by_what_is_nearest():
    space = JointSpace(
        families=(Family.SVM, Family.FOREST),
        svm=SvmSpace(kernel=("linear", "poly"), C={"low": 0.1, "high": 2.0}, features=FeatureSpace(pca=(0, 300))),
        forest=ForestSpace(trees=(100, 250), depth={"low": 2, "high": 9}, max_features=(0.5,)),
    )
    svm, forest = known_points(space)
    assert (svm.kernel, svm.C, svm.features.pca) == ("linear", 2.0, 300)
    assert (forest.trees, forest.depth, forest.max_features) == (250, 9, 0.5)


@settings(max_examples=50, deadline=None)
@given(
    st.sampled_from(["none", "imagenet", "faces", "mine.pth"]),
    st.lists(st.sampled_from(["pixels", "hog", "lbp", "hog+lbp", "embedding"]), min_size=1, unique=True),
    st.floats(0.001, 5.0),
)
def test_a_space_always_holds_its_own(weights: str, kinds: list[str], low: float):
    features = FeatureSpace(kind=kinds)
    space = JointSpace(
        svm=SvmSpace(C={"low": low, "high": 2 * low}, features=features),
        forest=ForestSpace(features=features),
        resnet=ResnetSpace(weights=(weights,)),
    )
    for config in known_points(space):
        assert point_of(space, config.model_dump()) == config
