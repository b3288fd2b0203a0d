import numpy as np
import pytest
from drawn_faces import drawn_faces

from spaces.features import FeatureConfig
from spaces.fidelity import Fidelity
from spaces.forest import ForestConfig
from spaces.svm import SvmConfig
from trainables.base import Task
from trainables.families import build_learner

TASK = Task(drawn_faces(60, seed=1), seed=3, scale=Fidelity(maximum=9, eta=3))
FRESH = drawn_faces(40, seed=2)


@pytest.mark.parametrize("config", [SvmConfig(), ForestConfig(trees=18)], ids=["svm", "forest"])
def test_a_prediction_over_flips_is_the_mean_of_both(config: SvmConfig | ForestConfig) -> None:
    flipping = config.model_copy(update={"features": FeatureConfig(flip=True)})
    over, plain = (build_learner(one, TASK) for one in (flipping, config))
    over.fit_to(9)
    plain.fit_to(9)
    image, mirror_image = plain.predict_proba(FRESH.images), plain.predict_proba(FRESH.images[:, :, ::-1].copy())
    np.testing.assert_allclose(over.predict_proba(FRESH.images), (image + mirror_image) / 2, atol=1e-6)
    assert not np.allclose(image, mirror_image, atol=1e-3)
