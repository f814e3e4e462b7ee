"""Random changes of images: each is what its name says, and drawn by NumPy alone (needs PyTorch)."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra training)")

from training_export.training.augmentation import augmented, mixed_up, placements  # noqa: E402  # after the skip
from training_export.training.recipe import Augmentation  # noqa: E402

pytestmark = pytest.mark.training
NONE = {"mirror": False, "rotation_degrees": 0.0, "zoom": 0.0, "shift": 0.0, "contrast": 0.0}
IMAGES = torch.from_numpy(np.random.default_rng(0).standard_normal((8, 3, 32, 32)).astype(np.float32))


def changed(seed: int = 0, **ranges: float) -> torch.Tensor:
    return augmented(IMAGES, Augmentation(**{**NONE, **ranges}), np.random.default_rng(seed))


def test_no_range_is_no_change() -> None:
    assert torch.equal(changed(), IMAGES)


def test_mirrors_are_mirrors() -> None:
    """Each image is one of its four mirror images, and not all are the same one."""
    made = changed(mirror=True)
    kinds = []
    for image, new in zip(IMAGES, made, strict=True):
        mirrors = [image, image.flip(1), image.flip(2), image.flip(1, 2)]
        distances = [float((new - mirror).abs().max()) for mirror in mirrors]
        kinds.append(int(np.argmin(distances)))
        assert min(distances) < 1e-4
    assert len(set(kinds)) > 1


def test_a_shift_moves_by_its_share_of_the_side() -> None:
    """A bright square moves by as many pixels as the placement says, within the range."""
    images = torch.zeros(16, 1, 40, 40)
    images[:, :, 16:24, 16:24] = 1.0
    ranges = Augmentation(**{**NONE, "shift": 0.1})
    where = 20 * placements(16, ranges, np.random.default_rng(3))[:, :, 2]  # in pixels: half a side is 1
    assert 2 < np.abs(where).max() <= 4
    made = augmented(images, ranges, np.random.default_rng(3)).numpy()[:, 0]
    y, x = np.indices((40, 40)) - 19.5
    found = np.stack([(made * axis).sum((1, 2)) / made.sum((1, 2)) for axis in (x, y)], axis=1)
    np.testing.assert_allclose(found, -where, atol=0.02)


def test_a_zoom_changes_the_size() -> None:
    """The area of a disc grows with the square of the zoom."""
    y, x = np.indices((64, 64)) - 31.5
    disc = torch.from_numpy((np.hypot(y, x) < 12).astype(np.float32)).repeat(32, 1, 1, 1)
    made = augmented(disc, Augmentation(**{**NONE, "zoom": 0.2}), np.random.default_rng(0))
    zoom = (made.sum((1, 2, 3)) / disc[0].sum()).sqrt()
    assert 0.79 < float(zoom.min()) < 0.9
    assert 1.1 < float(zoom.max()) < 1.21


def test_a_turn_keeps_sizes() -> None:
    """A placement is a turn: its matrix has determinant 1 and no more than the angle."""
    theta = placements(100, Augmentation(**{**NONE, "rotation_degrees": 10.0}), np.random.default_rng(0))
    angle = np.degrees(np.arctan2(theta[:, 1, 0], theta[:, 0, 0]))
    assert 8 < np.abs(angle).max() <= 10
    np.testing.assert_allclose(np.linalg.det(theta[:, :, :2]), 1, atol=1e-5)


def test_contrast_keeps_the_mean() -> None:
    made = changed(contrast=0.3)
    torch.testing.assert_close(made.mean((2, 3)), IMAGES.mean((2, 3)), atol=1e-5, rtol=0)
    factor = made.std((2, 3)) / IMAGES.std((2, 3))
    assert float(factor.min()) >= 0.7
    assert float(factor.max()) <= 1.3
    assert float(factor.max() - factor.min()) > 0.1


def test_the_generator_decides() -> None:
    ranges = {"mirror": True, "rotation_degrees": 180.0, "zoom": 0.1, "shift": 0.1, "contrast": 0.1}
    assert torch.equal(changed(1, **ranges), changed(1, **ranges))
    assert not torch.equal(changed(1, **ranges), changed(2, **ranges))


def test_mixup_blends_images_as_it_blends_targets() -> None:
    """What is own is at least one half; image and target have the same share of the same other."""
    images = torch.arange(6.0)[:, None, None, None].expand(6, 1, 2, 2)
    targets = torch.nn.functional.one_hot(torch.arange(6), 6).float()
    mixed, shares = mixed_up(images, targets, 0.4, np.random.default_rng(0))
    torch.testing.assert_close(shares.sum(1), torch.ones(6))
    assert float(shares.diagonal().min()) >= 0.5
    assert float(shares.diagonal().min()) < 1.0
    torch.testing.assert_close(mixed[:, 0, 0, 0], shares @ torch.arange(6.0))
