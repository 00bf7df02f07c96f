"""The cameras against a projection written out by hand, and the 2.5D convention against its
definition.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from m2v_lib.geometry.cameras import (
    CAMERA_NAMES,
    Camera,
    camera_to_world,
    distort,
    load_cameras,
    project,
    subject_cameras,
    subjects,
    to_image_and_depth,
    unproject,
    world_to_camera,
)

CAMERAS = load_cameras()


def pixel_by_hand(point: list[float], camera: Camera) -> tuple[float, float]:
    """One world point (mm) to one pixel in scalar arithmetic, formula by formula."""
    moved = [point[i] - camera.T[i] for i in range(3)]
    seen = [sum(moved[i] * camera.R[i][j] for i in range(3)) for j in range(3)]
    x, y = seen[0] / seen[2], seen[1] / seen[2]
    r = math.hypot(x, y)
    radial = 1 + camera.k[0] * r**2 + camera.k[1] * r**4 + camera.k[2] * r**6
    u = x * radial + 2 * camera.p[0] * x * y + camera.p[1] * (r**2 + 2 * x**2)
    v = y * radial + camera.p[0] * (r**2 + 2 * y**2) + 2 * camera.p[1] * x * y
    return camera.f[0] * u + camera.c[0], camera.f[1] * v + camera.c[1]


@pytest.mark.parametrize("name", CAMERAS)
def test_projection_equals_the_one_by_hand(name: str) -> None:
    camera = CAMERAS[name]
    world = np.random.default_rng(0).uniform([-1500, -1500, 0], [1500, 1500, 2000], (20, 3))
    expected = [pixel_by_hand(point, camera) for point in world.tolist()]
    np.testing.assert_allclose(
        project(world_to_camera(world, camera), camera), expected, rtol=1e-12
    )


def test_the_four_cameras() -> None:
    assert sorted(CAMERAS) == ["54138969", "55011271", "58860488", "60457274"]
    assert [CAMERAS[n].height for n in sorted(CAMERAS)] == [1002, 1000, 1000, 1002]
    for camera in CAMERAS.values():
        np.testing.assert_allclose(camera.R @ camera.R.T, np.eye(3), atol=1e-9)
        assert np.linalg.det(camera.R) == pytest.approx(1)
        assert 1400 < camera.T[2] < 1700  # lenses at breast height, in mm


@pytest.mark.parametrize("camera", CAMERAS.values(), ids=lambda c: c.name)
def test_a_standing_person_is_upright_and_in_the_image(camera: Camera) -> None:
    foot, head = project(world_to_camera(np.array([[0.0, 0, 0], [0, 0, 1700]]), camera), camera)
    assert 0 < head[1] < foot[1] < camera.height
    assert abs(head[0] - foot[0]) < 60


def test_without_coefficients_a_lens_is_a_pinhole() -> None:
    plain = replace(CAMERAS["54138969"], k=np.zeros(3), p=np.zeros(2))
    xy = np.random.default_rng(1).uniform(-0.4, 0.4, (5, 2))
    np.testing.assert_array_equal(distort(xy, plain), xy)


def test_behind_the_camera_is_an_error() -> None:
    with pytest.raises(ValueError, match="depth -5 mm"):
        project(np.array([[0.0, 0.0, -5.0]]), CAMERAS["54138969"])


def test_label_times_factor_is_millimetres() -> None:
    camera = CAMERAS["60457274"]
    world = np.random.default_rng(2).uniform([-300, -300, 0], [300, 300, 1800], (7, 17, 3))
    label, factor = to_image_and_depth(world, camera)
    seen = world_to_camera(world, camera)
    np.testing.assert_allclose(factor, seen[:, 0, 2] / camera.f.mean())
    np.testing.assert_allclose(
        label[..., 2] * factor[:, None], seen[..., 2] - seen[:, :1, 2], atol=1e-9
    )
    np.testing.assert_array_equal(label[:, 0, 2], 0)
    # at the root's depth and near the image's centre a pixel is worth ``factor`` mm: small steps
    # sideways agree
    step = world.copy()
    step[:, 0] += camera.R[:, 0]  # 1 mm to the camera's right
    moved = to_image_and_depth(step, camera)[0][:, 0, 0] - label[:, 0, 0]
    np.testing.assert_allclose(moved * factor, 1, atol=0.12)


def test_where_the_cameras_stood_for_each_subject() -> None:
    """S1's are the ones motion capture is filmed with, to single precision; the others stood
    within half a metre.
    """
    assert subjects() == ("S1", "S5", "S6", "S7", "S8", "S9", "S11")
    for subject in subjects():
        stood = subject_cameras(subject)
        assert tuple(stood) == CAMERA_NAMES
        for name, camera in stood.items():
            np.testing.assert_allclose(camera.R @ camera.R.T, np.eye(3), atol=1e-12)
            assert (
                np.linalg.det(camera.R) == pytest.approx(1)
                and camera.height == CAMERAS[name].height
            )
            tolerance = (2e-7, 1e-3) if subject == "S1" else (0.05, 500)
            np.testing.assert_allclose(camera.R, CAMERAS[name].R, atol=tolerance[0])
            np.testing.assert_allclose(camera.T, CAMERAS[name].T, atol=tolerance[1])
    with pytest.raises(KeyError):
        subject_cameras("S2")


def test_the_lens_formula_of_human36m_by_hand() -> None:
    """x (radial + tangential) + p r^2, with tangential = p2 x + p1 y once: spec 5.6's
    projection.
    """
    camera = CAMERAS["60457274"]
    for x, y in ((0.3, -0.2), (-0.1, 0.4), (0.0, 0.0)):
        r2, (p1, p2) = x * x + y * y, camera.p
        both = 1 + camera.k[0] * r2 + camera.k[1] * r2**2 + camera.k[2] * r2**3 + p2 * x + p1 * y
        expected = [x * both + p2 * r2, y * both + p1 * r2]
        np.testing.assert_allclose(
            distort(np.array([x, y]), camera, h36m=True), expected, atol=1e-15
        )
    point = np.array([900.0, 700.0, 4000.0])
    assert 0.01 < np.abs(project(point, camera) - project(point, camera, h36m=True)).max() < 0.3


@pytest.mark.parametrize("camera", CAMERAS.values(), ids=lambda c: c.name)
def test_back_from_the_image_into_the_room(camera: Camera) -> None:
    world = np.random.default_rng(3).uniform([-1500, -1500, 0], [1500, 1500, 2000], (50, 17, 3))
    seen = world_to_camera(world, camera)
    back = unproject(project(seen, camera), seen[..., 2], camera)
    np.testing.assert_allclose(back, seen, atol=1e-6)
    np.testing.assert_allclose(camera_to_world(back, camera), world, atol=1e-6)
