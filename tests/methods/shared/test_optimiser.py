"""The learning rate over time, after the published schedules."""

import json

import pytest
import torch
from torch import nn

from methods.shared.optimiser import OptimiserSettings, adam, rate_factor


def factors(settings, places):
    return [rate_factor(settings, step, epoch) for step, epoch in places]


def test_by_default_the_rate_never_changes():
    assert factors(OptimiserSettings(), [(0, 0), (10**6, 10**4)]) == [1, 1]


def test_logdeep_doubles_its_rate_for_five_epochs_and_divides_it_by_ten_twice():
    settings = OptimiserSettings(warmup_epochs=5, decay=0.1, decay_epochs=(300, 350))
    found = factors(settings, [(0, epoch) for epoch in (0, 1, 4, 5, 299, 300, 350, 369)])
    assert found == pytest.approx([1 / 32, 1 / 16, 1 / 2, 1, 1, 0.1, 0.01, 0.01])


def test_noam_rises_to_its_peak_and_falls_with_the_root():
    settings = OptimiserSettings(warmup_steps=10_000)
    width, rate = 256, 6.25e-4
    for step in (0, 99, 9_999, 10_000, 39_999):
        published = width**-0.5 * min((step + 1) ** -0.5, (step + 1) * 10_000**-1.5)
        assert rate * rate_factor(settings, step, 0) == pytest.approx(published)


def test_plelog_and_cat_lower_it_again_and_again():
    by_steps = OptimiserSettings(decay=0.75, decay_steps=1000)
    assert factors(by_steps, [(999, 0), (1000, 0), (2000, 4)]) == [1, 0.75, 0.75**2]
    by_epochs = OptimiserSettings(decay=0.5, decay_epochs=range(2, 100))
    assert factors(by_epochs, [(0, epoch) for epoch in (0, 1, 2, 3)]) == [1, 1, 0.5, 0.25]


def test_adam_gets_what_is_set():
    settings = OptimiserSettings(**json.loads('{"betas": [0.9, 0.9], "epsilon": 1e-12, "weight_decay": 1e-6}'))
    group = adam([nn.Parameter(torch.zeros(2))], settings, 0.002, fused=False).param_groups[0]
    assert (group["lr"], group["betas"], group["eps"], group["weight_decay"]) == (0.002, (0.9, 0.9), 1e-12, 1e-6)
    assert hash(settings.betas) and settings == OptimiserSettings(betas=(0.9, 0.9), epsilon=1e-12, weight_decay=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [{"betas": (0.9,)}, {"betas": (0.9, 1.0)}, {"decay": 0}, {"epsilon": 0}, {"weight_decay": -1},
     {"warmup_steps": -1}, {"decay_steps": 0}, {"decay_epochs": (-1,)}],
)  # fmt: skip
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        OptimiserSettings(**wrong)
