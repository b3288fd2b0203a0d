"""Who is drawn and how they look: identity, expression and pose of one built-in face, all drawn from its own generator.

Lengths are in face units: the distance from the middle of the head to the chin is about 1, x points to the right of the
picture, y down, z towards the viewer. Shades are gray values, 0..255.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Rng: TypeAlias = np.random.RandomState

# Each emotion shows itself in one of several looks, for example a closed or a toothy smile. The columns are the fields
# of `Expression` up to `press`.
_LOOKS = {
    "angry": (
        (-0.7, 0.3, 1.0, 0.1, 0.1, 0.3, 0.0, -0.5, -0.1, 0.0, 0.0, 0.9),
        (-0.7, 0.2, 1.0, 0.3, 0.3, 0.7, 0.5, -0.3, 0.2, 0.6, 0.9, 0.0),
        (-0.8, 0.1, 0.9, -0.2, 0.2, 0.2, 0.0, -0.7, 0.1, 0.1, 0.3, 0.5),
    ),
    "disgust": (
        (-0.4, -0.2, 0.5, -0.5, 0.6, 1.0, 0.9, -0.6, 0.0, 0.1, 0.2, 0.0),
        (-0.3, 0.1, 0.4, -0.6, 0.7, 1.0, 1.0, -0.4, 0.2, 0.3, 0.6, 0.0),
    ),
    "fear": (
        (0.9, 0.3, 0.6, 0.9, 0.0, 0.0, 0.1, -0.4, 0.6, 0.4, 0.5, 0.0),
        (0.8, 0.4, 0.4, 1.0, 0.0, 0.1, 0.2, -0.2, 0.4, 0.8, 0.3, 0.0),
    ),
    "happy": (
        (0.1, 0.1, 0.0, -0.1, 0.5, 0.0, 0.0, 0.9, 0.4, 0.0, 0.0, 0.1),
        (0.1, 0.1, 0.0, -0.2, 0.7, 0.0, 0.2, 1.0, 0.5, 0.3, 1.0, 0.0),
        (0.2, 0.2, 0.0, -0.6, 1.0, 0.1, 0.3, 1.0, 0.5, 0.7, 0.9, 0.0),
    ),
    "sad": (
        (0.9, -0.4, 0.4, -0.3, 0.0, 0.0, 0.0, -0.9, 0.0, 0.0, 0.0, 0.3),
        (0.6, -0.5, 0.6, -0.9, 0.4, 0.3, 0.2, -0.8, 0.3, 0.4, 0.3, 0.0),
        (0.8, -0.4, 0.2, -0.5, 0.0, 0.0, 0.0, -0.7, -0.2, 0.05, 0.0, 0.0),
    ),
    "surprise": (
        (1.0, 1.0, 0.0, 0.9, 0.0, 0.0, 0.0, 0.0, -0.5, 0.9, 0.1, 0.0),
        (1.0, 0.9, 0.0, 0.7, 0.0, 0.0, 0.1, 0.1, -0.3, 0.4, 0.2, 0.0),
    ),
    "neutral": ((0.0,) * 12, (0.0, 0.0, 0.0, -0.2, 0.0, 0.0, 0.0, -0.05, 0.0, 0.03, 0.0, 0.2)),
}
# Spread of a resting face around zero, per action unit: some people look stern, worried or amused all day.
_RESTING = np.array((0.18, 0.18, 0.13, 0.13, 0.1, 0.06, 0.05, 0.15, 0.16, 0.03, 0.1, 0.15))
_LOWEST = np.array((-1.0, -1.0, 0.0, -1.0, 0.0, 0.0, 0.0, -1.2, -1.0, 0.0, 0.0, 0.0))


@dataclass(frozen=True, slots=True)
class Expression:
    """Strength of each action unit: 0 at rest, about 1 at full strength, below 0 for the opposite movement.

    The units are a selection and simplification of those of Ekman and Friesen, Facial Action Coding System, 1978.

    Attributes:
        inner: Inner ends of the brows raised (or lowered).
        outer: Outer ends of the brows raised (or lowered).
        furrow: Brows drawn together.
        lids: Eyes wide open (1) or closed (-1).
        cheeks: Cheeks raised, lower lids pushed up.
        nose: Nose wrinkled.
        upper: Upper lip raised.
        corners: Mouth corners up, or down below 0.
        stretch: Mouth stretched sideways, or pursed below 0.
        open: Mouth open.
        teeth: How much of an open mouth shows teeth.
        press: Lips pressed together.
        skew: Difference between the two halves of the face, -1..1.
    """

    inner: float
    outer: float
    furrow: float
    lids: float
    cheeks: float
    nose: float
    upper: float
    corners: float
    stretch: float
    open: float
    teeth: float
    press: float
    skew: float


@dataclass(frozen=True, slots=True)
class Person:
    """One identity: proportions in face units, shades in gray values, `age` and `beard` from 0 to 1."""

    width: float
    jaw: float
    taper: float
    skin: float
    hair: float
    eye_x: float
    eye_y: float
    eye_width: float
    eye_height: float
    eye_tilt: float
    iris: float
    brow_gap: float
    brow_thick: float
    brow_arch: float
    brow_shade: float
    nose_y: float
    nose_width: float
    mouth_y: float
    mouth_width: float
    lips: float
    lip_shade: float
    age: float
    beard: float
    moustache: float
    hair_style: str
    hairline: float


@dataclass(frozen=True, slots=True)
class Pose:
    """How the head stands before the camera.

    Attributes:
        rotation: (3, 3), face coordinates to picture axes.
        yaw: Turn of the head, radians.
        scale: Length of one face unit in output pixels.
        centre: Place of the middle of the face in the picture, output pixels, x and y.
    """

    rotation: NDArray[np.float64]
    yaw: float
    scale: float
    centre: tuple[float, float]


def draw_expression(emotion: str, rng: Rng) -> Expression:
    """One way of showing `emotion`: of varying strength, on a resting face of its own, sometimes mixed with another."""
    units = _look(emotion, rng) * (0.5 + 0.65 * np.sqrt(rng.random_sample()))
    if rng.random_sample() < 0.25:
        other = _look(tuple(_LOOKS)[rng.randint(len(_LOOKS))], rng)
        weight = rng.uniform(0.1, 0.5)
        units = (1 - weight) * units + weight * other
    units = np.maximum(units + _RESTING * rng.standard_normal(len(_RESTING)), _LOWEST)
    return Expression(*np.append(units, rng.uniform(-1, 1)).tolist())


def _look(emotion: str, rng: Rng) -> NDArray[np.float64]:
    looks = _LOOKS[emotion]
    return np.array(looks[rng.randint(len(looks))])


def draw_person(rng: Rng) -> Person:
    """A person: proportions drawn independently, except that hair, brows and beard match and skin sets the lips."""
    u = rng.uniform
    skin = u(85, 225)
    age = u(0, 1) ** 1.5
    hair = u(150, 225) if age > 0.75 or u() < 0.2 else u(12, 0.6 * skin + 20)
    bearded = u() < 0.3
    return Person(
        width=u(0.68, 0.86),
        jaw=u(1.9, 2.9),
        taper=u(0.0, 0.17),
        skin=skin,
        hair=hair,
        eye_x=u(0.29, 0.37),
        eye_y=u(-0.14, -0.04),
        eye_width=u(0.125, 0.175),
        eye_height=u(0.36, 0.62),
        eye_tilt=u(-0.16, 0.1),
        iris=u(15, 0.35 * skin + 45),
        brow_gap=u(0.16, 0.25),
        brow_thick=u(0.02, 0.055),
        brow_arch=u(0.0, 0.05),
        brow_shade=0.75 * min(hair, skin) + u(-10, 15),
        nose_y=u(0.26, 0.38),
        nose_width=u(0.11, 0.18),
        mouth_y=u(0.55, 0.65),
        mouth_width=u(0.23, 0.31),
        lips=u(0.03, 0.085),
        lip_shade=skin * u(0.5, 0.88),
        age=age,
        beard=u(0.15, 0.9) if bearded else 0.0,
        moustache=u(0.3, 1.0) if bearded and u() < 0.7 else 0.0,
        hair_style=("short", "short", "long", "long", "fringe", "curly", "bald")[rng.randint(7)],
        hairline=u(-0.74, -0.5),
    )


def draw_pose(rng: Rng) -> Pose:
    """A pose: mostly towards the camera, the face cropped as loosely as a face detector does."""
    yaw, pitch, roll = rng.standard_normal(3) * (0.21, 0.11, 0.085)
    yaw = min(max(yaw, -0.65), 0.65)
    (cy, sy), (cp, sp), (cr, sr) = ((np.cos(a), np.sin(a)) for a in (yaw, pitch, roll))
    turn = np.array(((cy, 0, sy), (0, 1, 0), (-sy, 0, cy)))
    nod = np.array(((1, 0, 0), (0, cp, sp), (0, -sp, cp)))
    tilt = np.array(((cr, -sr, 0), (sr, cr, 0), (0, 0, 1)))
    scale = rng.uniform(22.5, 26.5)
    middle = 24 - scale * np.array((0.35 * sy, 0.08 + 0.35 * sp)) + rng.uniform(-1.5, 1.5, 2)
    return Pose(tilt @ nod @ turn, float(yaw), scale, (float(middle[0]), float(middle[1])))
