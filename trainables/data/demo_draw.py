"""Draws one built-in face on a canvas, from the back of the hair to a hand before the mouth."""

import numpy as np

from trainables.data.demo_canvas import CIRCLE, Canvas, Points, arc, between, both, moved, ring
from trainables.data.demo_face import Expression, Person, Rng

_LID = np.linspace(-1, 1, 9)
_BOW = np.column_stack((0 * _LID, 1 - _LID**2))  # how far a lid or a lip bends, from one end to the other
_UPPER = CIRCLE[12:]  # the upper half of a circle, from left to right


def draw_head(canvas: Canvas, person: Person, face: Expression, rng: Rng) -> None:
    """The soft parts: hair behind the head, neck, clothes, ears, skin and its folds."""
    skin = person.skin
    if person.hair_style == "long":
        canvas.silhouette(ring(0, 0.2, person.width * 1.25, 1.4), person.hair)
    canvas.silhouette(np.array(((-0.45, 0.5), (0.45, 0.5), (0.5, 1.7), (-0.5, 1.7))), 0.62 * skin)
    canvas.silhouette(arc((-1.6, 1.9), (0, 1.3), (1.6, 1.9)), rng.uniform(10, 240))
    canvas.silhouette(both(ring(person.width * 0.99, 0.02, 0.1, 0.2)), 0.8 * skin)
    outline = _outline(person, face)
    canvas.silhouette(outline, skin)
    _draw_relief(canvas, person, face)
    _draw_wrinkles(canvas, person, face)
    if person.beard > 0:
        _draw_beard(canvas, person, outline)
    canvas.soften(2.0)


def _outline(person: Person, face: Expression) -> Points:
    """The head without hair, (24, 2): round above, squarer towards the jaw, longer with an open mouth."""
    x, y = CIRCLE.T
    below = y > 0
    power = np.where(below, 2 / person.jaw, 0.92)
    x = person.width * np.sign(x) * np.abs(x) ** power * (1 - person.taper * np.maximum(y, 0))
    return np.column_stack((x, np.where(below, 1 + 0.12 * face.open, 1.02) * np.sign(y) * np.abs(y) ** power))


def _draw_beard(canvas: Canvas, person: Person, outline: Points) -> None:
    lower = outline[outline[:, 1] > 0.1]
    top = arc((-person.width * 0.9, 0.15), (0, person.mouth_y + 0.05), (person.width * 0.9, 0.15))
    canvas.silhouette(np.concatenate((lower, top)), _hairy(person, person.beard))


def _hairy(person: Person, density: float) -> float:
    return person.skin + density * (min(person.hair, person.skin) - person.skin)


def _draw_relief(canvas: Canvas, person: Person, face: Expression) -> None:
    skin, fold = person.skin, 0.35 * person.age
    x, y = _mouth_corner(person, face)
    canvas.fill(both(ring(person.eye_x, person.eye_y - 0.03, 0.2, 0.13)), 0.86 * skin)
    canvas.fill(both(ring(0.42, 0.24 - 0.06 * face.cheeks, 0.15, 0.11)), skin * (1.04 + 0.12 * face.cheeks))
    canvas.fill(both(arc((0.05, -0.2), (0.1, 0.1), (0.13, person.nose_y))), 0.8 * skin, 0.05)
    start, end = (person.nose_width + 0.03, person.nose_y - 0.05), (x + 0.08, y + 0.02)
    middle = (0.13 + 0.5 * x, (start[1] + end[1]) / 2 - 0.02)
    depth = min(fold + 0.5 * max(face.corners, 0.0) + 0.6 * face.nose + 0.4 * face.upper, 1.0)
    canvas.line(both(arc(start, middle, end)), skin * (1 - 0.42 * depth), 0.035)
    bag = moved(arc((-0.13, 0.13), (0, 0.18), (0.13, 0.13)), person.eye_x, person.eye_y)
    canvas.line(both(bag), skin * (1 - 0.3 * min(fold + 0.6 * face.cheeks, 1.0)), 0.03)
    canvas.line(arc((0, -0.15), (0, 0.05), (0, person.nose_y - 0.08)), 1.1 * skin, 0.05, 0.12)
    chin = _lip_edge(person, face) + 0.05
    canvas.line(arc((-0.12, chin), (0, chin + 0.02), (0.12, chin)), 0.8 * skin, 0.04)


def _draw_wrinkles(canvas: Canvas, person: Person, face: Expression) -> None:
    skin = person.skin
    brow = person.eye_y - person.brow_gap
    raised = max(0.5 * (face.inner + face.outer), 0.0)
    strength = min(0.3 * person.age + 0.5 * raised * (0.4 + person.age), 0.5)
    row = moved(arc((-0.35, 0.02), (0, 0), (0.35, 0.02)), 0, brow - 0.14 - 0.1 * raised)
    canvas.line(np.stack((row, moved(row, 0, -0.1))), skin * (1 - 0.6 * strength), 0.02)
    frown = arc((0.06, brow - 0.08), (0.045, brow), (0.07, brow + 0.1))
    canvas.line(both(frown), skin * (1 - 0.5 * min(face.furrow, 1.0)), 0.03)
    wrinkle = arc((0.13, -0.1), (0.07, 0.02), (0.02, 0.04))
    canvas.line(both(wrinkle), skin * (1 - 0.45 * min(face.nose, 1.0)), 0.03, 0.08)


def _mouth_corner(person: Person, face: Expression) -> tuple[float, float]:
    """The right mouth corner, before the skew of the two halves."""
    x = person.mouth_width * (1 + 0.25 * face.stretch + 0.12 * max(face.corners, 0.0))
    return x, person.mouth_y - 0.105 * face.corners + 0.05 * face.open


def _lip_edge(person: Person, face: Expression) -> float:
    """Height of the lower edge of the lower lip."""
    return person.mouth_y + 0.04 * face.corners + 0.27 * face.open + 1.3 * person.lips


def draw_features(canvas: Canvas, person: Person, face: Expression, rng: Rng) -> None:
    """The sharp parts: eyes, brows, nose, mouth and the hair over the forehead."""
    gaze = rng.uniform(-0.3, 0.3) * person.eye_width, rng.uniform(-0.1, 0.1) * person.eye_width
    for side in (-1, 1):
        _draw_eye(canvas, person, face, side, gaze)
        _draw_brow(canvas, person, face, side)
    _draw_nose(canvas, person, face)
    _draw_mouth(canvas, person, face)
    if person.hair_style != "bald":
        _draw_hair(canvas, person, rng)


def _draw_eye(canvas: Canvas, person: Person, face: Expression, side: int, gaze: tuple[float, float]) -> None:
    """An eye between two parabolic lids; the iris is cut off where they cover it."""
    width, skin = person.eye_width, person.skin
    opened = 1 + (0.55 if face.lids > 0 else 0.95) * face.lids
    opened = max(opened * (1 + 0.12 * side * face.skew), 0.0)
    upper = width * person.eye_height * 1.25 * opened
    lower = width * person.eye_height * 0.6 * opened * (1 - 0.6 * min(face.cheeks, 1.0))
    middle = np.array((side * person.eye_x, person.eye_y + 0.04 * (1 - min(opened, 1.0))))
    lid = np.column_stack((width * _LID, person.eye_tilt * width * side * _LID)) + middle
    top, bottom = lid - upper * _BOW, lid + lower * _BOW
    canvas.fill(between(top, bottom), min(0.4 * skin + 140, 235))
    for radius, shade in ((0.47, person.iris), (0.22, 8.0)):
        disc = ring(gaze[0], gaze[1], radius * width, radius * width)
        cover = 1 - np.clip(disc[:, 0] / width, -1, 1) ** 2
        disc[:, 1] = np.clip(disc[:, 1], -upper * cover, lower * cover)
        canvas.fill(disc + middle, shade)
    if upper > 0.06:
        canvas.fill(ring(gaze[0] - 0.03, gaze[1] - 0.03, 0.018, 0.018) + middle, 240)
    canvas.line(bottom, 0.65 * skin, 0.012)
    canvas.line(top, 0.25 * skin, 0.028)
    canvas.line(moved(top, 0, -0.05), 0.68 * skin, 0.012)


def _draw_brow(canvas: Canvas, person: Person, face: Expression, side: int) -> None:
    """A tapered arc whose two ends move on their own."""
    level = person.eye_y - person.brow_gap - 0.025 * side * face.skew
    thick = person.brow_thick
    inner = (person.eye_x - 0.18 - 0.045 * face.furrow, level - 0.1 * face.inner + 0.04 * face.furrow)
    outer = (person.eye_x + 0.2, level + 0.04 - 0.09 * face.outer + 0.02 * face.furrow)
    middle = (person.eye_x + 0.03, 0.45 * inner[1] + 0.55 * outer[1] - 0.03 - person.brow_arch)
    top = arc((inner[0], inner[1] - thick), (middle[0], middle[1] - thick), outer)
    bottom = arc((inner[0], inner[1] + thick), (middle[0], middle[1] + 0.6 * thick), outer)
    canvas.fill(between(top, bottom) * (side, 1), person.brow_shade, 0.03)


def _draw_nose(canvas: Canvas, person: Person, face: Expression) -> None:
    """Wings, nostrils and tip; the tip stands out, so it moves most as the head turns."""
    width = person.nose_width * (1 + 0.12 * face.nose + 0.1 * max(face.corners, 0.0))
    y, skin = person.nose_y - 0.045 * face.nose, person.skin
    canvas.line(arc((-0.5 * width, y), (0, y + 0.035), (0.5 * width, y)), 0.62 * skin, 0.025, 0.1)
    wing = arc((0.8 * width, y - 0.1), (1.05 * width, y - 0.03), (0.75 * width, y + 0.01))
    canvas.line(both(wing), 0.66 * skin, 0.022, 0.06)
    canvas.fill(both(ring(0.48 * width, y - 0.005, 0.035, 0.018)), 0.3 * skin, 0.1)


def _draw_mouth(canvas: Canvas, person: Person, face: Expression) -> None:
    """A moustache, lips, and between them the dark of the mouth with tongue and teeth."""
    x, y = _mouth_corner(person, face)
    left, right = (-x, y + 0.03 * face.skew), (x, y - 0.03 * face.skew)
    middle = person.mouth_y + 0.04 * face.corners
    lips = person.lips * (1 - 0.75 * min(face.press, 1.0))
    top = arc(left, (0, middle - 0.05 * face.upper), right)
    bottom = arc(left, (0, middle + 0.18 * face.open), right)
    round_bow = np.sqrt(_BOW)
    top, bottom = top - 0.06 * face.open * round_bow, bottom + 0.09 * face.open * round_bow
    gap = 0.33 * face.open + 0.05 * face.upper
    upper_edge, lower_edge = top - (lips + 0.01) * _BOW, bottom + (1.3 * lips + 0.01) * _BOW
    if person.moustache > 0:
        under = upper_edge * (1.1, 1)
        canvas.fill(between(moved(under, 0, -0.03 - 0.05 * person.moustache), under), _hairy(person, person.moustache))
    canvas.fill(between(upper_edge, lower_edge), person.lip_shade)
    if gap > 0.04:
        _draw_opening(canvas, face, top, bottom, gap)
    canvas.line(top, 0.35 * person.skin, 0.02)
    creases = np.array(((left, left), (right, right)))
    creases[:, 1] += ((-0.04, -0.04 * face.corners), (0.04, -0.04 * face.corners))
    canvas.line(creases, 0.55 * person.skin, 0.025)


def _draw_opening(canvas: Canvas, face: Expression, top: Points, bottom: Points, gap: float) -> None:
    canvas.fill(between(top, bottom), 25)
    if gap > 0.14:
        canvas.fill(between(0.35 * top + 0.65 * bottom, bottom) * (0.7, 1), 85)
    if face.teeth > 0.15:
        share = min(0.13 * min(face.teeth, 1.0) / gap, 1.0)
        canvas.fill(between(top, (1 - share) * top + share * bottom) * (0.92, 1), 225)


def _draw_hair(canvas: Canvas, person: Person, rng: Rng) -> None:
    """Hair between an arc over the skull and the hairline, with strands or curls."""
    style, width = person.hair_style, person.width
    line = person.hairline + (0.2 if style == "fringe" else 0.0)
    side = (0.4 if style == "long" else -0.1) + rng.uniform(-0.1, 0.1)
    part = rng.uniform(-0.4, 0.4) * width
    skull = _UPPER * (width * 1.08, rng.uniform(1.06, 1.25))
    outline = np.concatenate((((-width * 1.02, side),), skull, ((width * 1.08, -0.05), (width * 1.02, side))))
    right = arc((width * 0.93, side), (width * 0.86, 0.55 * line), (part, line))
    left = arc((part, line), (-width * 0.86, 0.55 * line), (-width * 0.93, side))
    edge = np.concatenate((right, left))
    edge[2:-2, 1] += rng.uniform(-0.06, 0.06, len(edge) - 4)
    canvas.cap(outline, edge, person.hair)
    for tone in rng.uniform(0.75, 1.2, 3):
        x = rng.uniform(-0.9, 0.9, 3) * width
        ends = np.column_stack((x, min(line, -0.6) * np.sqrt(1 - 0.8 * (x / width) ** 2)))
        strands = [arc((part, -1.05), (0.5 * part + 0.6 * end[0], -0.95), end) for end in ends.tolist()]
        canvas.line(np.stack(strands), tone * person.hair + 4, 0.03, 0.05)
    if style == "curly":
        for x, y in skull:
            size = rng.uniform(0.12, 0.24)
            canvas.silhouette(ring(x, y, size, size), person.hair * rng.uniform(0.85, 1.2) + 4)


def draw_props(canvas: Canvas, person: Person, rng: Rng) -> None:
    """What some people wear or hold before their face: glasses, a hat, a scarf, a hand, a strand of hair."""
    if rng.random_sample() < 0.14:
        _draw_glasses(canvas, person, rng)
    chance = rng.random_sample()
    if chance < 0.05:
        brim = rng.uniform(-0.55, -0.35)
        hat = np.concatenate((_UPPER * (person.width * 1.12, 1.2), ((person.width * 1.15, brim),)))
        edge = arc((person.width, brim), (0, brim + 0.02), (-person.width, brim))
        canvas.cap(hat, edge, rng.uniform(15, 220))
    elif chance < 0.09:
        scarf = arc((-1.1, 0.75), (0, rng.uniform(0.65, 0.95)), (1.1, 0.75))
        canvas.fill(between(scarf, moved(scarf, 0, 1.2)), rng.uniform(20, 230), 0.1)
    elif chance < 0.15:
        _draw_hand(canvas, person, rng)
    elif chance < 0.2 and person.hair_style != "bald":
        x = rng.choice((-1.0, 1.0)) * person.width
        lock = arc((0.1 * x, -0.95), (0.75 * x, -0.4), (0.8 * x, 0.5))
        canvas.fill(between(lock, moved(lock, 0.35 * x, 0)), person.hair, 0.08)


def _draw_glasses(canvas: Canvas, person: Person, rng: Rng) -> None:
    rx, ry = rng.uniform(0.19, 0.26), rng.uniform(0.13, 0.22)
    shade, width = rng.uniform(5, 110), rng.uniform(0.015, 0.05)
    squared = np.sign(CIRCLE) * np.abs(CIRCLE) ** rng.uniform(0.55, 1.0)
    lens = moved(squared * (rx, ry), person.eye_x, person.eye_y + 0.02)
    if rng.random_sample() < 0.2:
        canvas.fill(both(lens), 0.3 * shade + 10, 0.12)
    canvas.line(both(np.concatenate((lens, lens[:1]))), shade, width, 0.12)
    arm = np.array(((person.eye_x + rx, person.eye_y - 0.03), (0.93 * person.width, person.eye_y - 0.06)))
    canvas.line(both(arm), shade, width, 0.05)
    bridge = person.eye_x - rx
    canvas.line(moved(arc((-bridge, 0), (0, -0.04), (bridge, 0)), 0, person.eye_y), shade, width, 0.15)


def _draw_hand(canvas: Canvas, person: Person, rng: Rng) -> None:
    """Four fingers that come from below and end at the chin, a cheek or the mouth."""
    x, y = rng.uniform(-0.6, 0.6), rng.uniform(0.45, 0.9)
    lean = rng.uniform(-0.5, 0.5)
    for finger in range(4):
        tip = (x + 0.19 * (finger - 1.5), y + rng.uniform(-0.06, 0.06))
        bone = arc(tip, (tip[0] + 0.5 * lean, tip[1] + 0.4), (tip[0] + lean, tip[1] + 1.0))
        canvas.line(bone, 0.6 * person.skin, 0.2, 0.15)
        canvas.line(bone, 0.95 * person.skin, 0.16, 0.15)
