"""The batched AutoAugment against torchvision's own, which changes one image at a time."""

from collections import Counter

import pytest
import torch
from torch import Tensor
from torchvision.transforms import AutoAugment as OlderAutoAugment
from torchvision.transforms import AutoAugmentPolicy
from torchvision.transforms.v2 import AutoAugment

from rbp.data.augmentation.autoaugment import apply, autoaugment, choose

# The policy as torchvision's older interface lists it: sub-policies of two (name, probability, level).
POLICIES = OlderAutoAugment(AutoAugmentPolicy.CIFAR10).policies
STEPS = sorted({(name, level) for steps in POLICIES for name, _, level in steps}, key=str)
SIGNED = {
    "Rotate",
    "TranslateX",
    "TranslateY",
    "ShearX",
    "ShearY",
    "Brightness",
    "Color",
    "Contrast",
    "Sharpness",
}
# What level 9 of 0..9 means in the paper's table 6; shifts by 150 pixels of 331 are scaled to images of 32.
STRONGEST = {"Rotate": 30, "TranslateX": 150 / 331 * 32, "TranslateY": 150 / 331 * 32, "ShearY": 0.3}
STRONGEST |= {"Brightness": 0.9, "Color": 0.9, "Contrast": 0.9, "Sharpness": 0.9}
SENT = choose(200_000, 32, 32, torch.Generator().manual_seed(0))


def pictures(n: int) -> Tensor:
    """Half noise, half smooth colours, some of them with little contrast: each operation changes them."""
    g = torch.Generator().manual_seed(3)
    noise = torch.randint(256, (n // 2, 3, 32, 32), generator=g)
    coarse = torch.randint(40, 200, (n - n // 2, 3, 4, 4), generator=g).float()
    smooth = torch.nn.functional.interpolate(coarse, 32, mode="bilinear")
    return torch.cat([noise, smooth]).to(torch.uint8)


def chosen(name: str, level: int | None) -> list[tuple[str, float]]:
    """The one or two operations that were ever chosen for an entry of the table."""
    found = {operation for step in SENT for operation in step if operation[0] == name}
    if level is None:
        return sorted(found)
    if name in STRONGEST:
        return sorted(op for op in found if abs(abs(op[1]) - STRONGEST[name] * level / 9) < 1e-5)
    magnitude = {"Posterize": 8 - round(level / 9 * 4), "Solarize": 1 - level / 9}[name]
    return [op for op in found if abs(op[1] - magnitude) < 1e-6]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "level"), [step for step in STEPS if step != ("Invert", None)])
def test_each_operation_on_a_batch_is_torchvision_s_on_each_image(name: str, level: int | None) -> None:
    images = pictures(16)
    ways = chosen(name, level)
    # A magnitude of 0 has no sign.
    assert len(ways) == (2 if name in SIGNED and level != 0 else 1)
    one_step = AutoAugment(AutoAugmentPolicy.CIFAR10)
    one_step._policies = [((name, 1.0, level),)]
    batches = [apply(images, way) for way in ways]
    seen = set()
    for i, image in enumerate(images):
        for attempt in range(8 if len(ways) == 2 else 1):  # its sign is drawn from torch's global state
            with torch.random.fork_rng():
                torch.manual_seed(8 * i + attempt)
                theirs = one_step(image)
            same = [k for k, batch in enumerate(batches) if torch.equal(batch[i], theirs)]
            assert same
            seen.update(same)
    assert seen == set(range(len(ways)))


@pytest.mark.parametrize("policy", range(len(POLICIES)))
def test_operations_signs_and_magnitudes_are_those_of_the_older_interface(policy: int) -> None:
    """Its kernels round differently, by one shade of grey at most."""
    images = pictures(4)
    older = OlderAutoAugment(AutoAugmentPolicy.CIFAR10)
    for step, (name, _, level) in enumerate(POLICIES[policy]):
        if name == "Invert" and level is None and POLICIES[policy][step][1] == 0:
            continue  # never chosen
        for sign in (0, 1):
            draws = torch.tensor([2.0, 2.0])
            draws[step] = -1.0  # this step happens, the other does not
            older.get_params = lambda n, draws=draws, sign=sign: (policy, draws, torch.tensor([sign, sign]))
            ways = chosen(name, level)
            way = ways[0] if sign == 0 or len(ways) == 1 else ways[1]
            for image, ours in zip(images, apply(images, way), strict=True):
                assert (older(image).int() - ours.int()).abs().max() <= 1


def test_pairs_of_operations_are_chosen_as_often_as_the_policy_says() -> None:
    expected: Counter = Counter()
    for first, second in POLICIES:
        for name_1, p_1 in ((first[0], first[1]), ("Identity", 1 - first[1])):
            for name_2, p_2 in ((second[0], second[1]), ("Identity", 1 - second[1])):
                expected[name_1, name_2] += p_1 * p_2 / 25
    counted = Counter((first[0], second[0]) for first, second in zip(*SENT, strict=True))
    n = len(SENT[0])
    assert set(counted) == {pair for pair, p in expected.items() if p > 1e-12}
    for pair, p in expected.items():
        assert abs(counted[pair] - n * p) <= 4.5 * (n * p * (1 - p)) ** 0.5 + 1e-6, pair


def test_either_direction_is_chosen_equally_often() -> None:
    for step in SENT:
        signs = [magnitude > 0 for name, magnitude in step if name in SIGNED and magnitude != 0]
        assert abs(sum(signs) - len(signs) / 2) < 4.5 * (len(signs) / 4) ** 0.5


def test_every_image_of_a_batch_gets_its_own_two_operations() -> None:
    images = pictures(300)
    first, second = choose(300, 32, 32, torch.Generator().manual_seed(5))
    batch = autoaugment(images, torch.Generator().manual_seed(5))
    for image, ours, operation_1, operation_2 in zip(images, batch, first, second, strict=True):
        assert torch.equal(ours, apply(apply(image[None], operation_1), operation_2)[0])
