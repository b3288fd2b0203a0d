"""Configs known to be good, as near to them as a space allows."""

from hypothesis import given, settings
from hypothesis import strategies as st

from spaces.family import Family
from spaces.features import FeatureSpace
from spaces.forest import ForestSpace
from spaces.joint import JointSpace
from spaces.known import KNOWN, known_points
from spaces.points import point_of
from spaces.resnet import ResnetSpace
from spaces.svm import SvmSpace

FACES = ResnetSpace(weights=("none", "faces"))


def test_each_family_has_one_and_the_dearest_comes_first():
    assert [config.family for config in known_points(JointSpace())] == ["resnet", "svm", "forest"]
    assert [config.family for config in known_points(JointSpace(families=(Family.FOREST,)))] == ["forest"]


def test_what_the_space_holds_is_taken_as_it_is():
    wide = JointSpace(
        resnet=FACES.model_copy(update={"epochs": (2, 8), "image_size": (64,), "ema": (0.0, 0.99), "flip": (True,)}),
        svm=SvmSpace(features=FeatureSpace(kind=("hog", "embedding"))),
    )
    resnet, svm, _ = known_points(wide)
    assert resnet == KNOWN[Family.RESNET][0]
    assert svm == KNOWN[Family.SVM][0]


def test_what_it_rests_on_decides_which_is_taken():
    with_faces, *_ = known_points(JointSpace(resnet=FACES))
    from_scratch, svm, forest = known_points(JointSpace())
    assert (with_faces.weights, with_faces.unfreeze) == ("faces", 0)
    assert (from_scratch.weights, from_scratch.unfreeze) == ("none", 5)
    assert svm.features.kind == forest.features.kind == "hog+lbp"


def test_where_nothing_is_known_of_what_it_rests_on_there_is_none():
    space = JointSpace(
        svm=SvmSpace(features=FeatureSpace(kind=("pixels",))), resnet=ResnetSpace(weights=("imagenet", "mine.pth"))
    )
    assert [config.family for config in known_points(space)] == ["forest"]


def test_of_the_descriptors_those_with_most_in_common_are_taken():
    svm = next(known_points(JointSpace(families=("svm",), svm=SvmSpace(features=FeatureSpace(kind=("pixels", "hog"))))))
    assert svm.features.kind == "hog"


def test_of_listed_numbers_the_one_at_the_smallest_ratio_is_taken():
    space = JointSpace(families=("resnet",), resnet=ResnetSpace(head_lr=(1e-4, 1e-2)))
    assert next(known_points(space)).head_lr == 1e-2  # of 2e-3


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
