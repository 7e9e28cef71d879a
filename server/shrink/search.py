"""Automatic compression: bits for each layer and channels for each layer, searched by Optuna.

Two objectives, and no budget to name beforehand: bytes of the packed file, and accuracy on the validation
samples, never the test set. The sampler is TPE (Ozaki et al. 2022, "Multiobjective tree-structured Parzen
estimator"); it begins where rounding one layer at a time says that bits matter.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping

import optuna
import torch

from phloem.seeds import derive
from phloem.server.shrink.few_levels import round_weights
from phloem.server.shrink.lessons import divergence
from phloem.server.shrink.network import predict, weighty
from phloem.server.shrink.trial import Recipe, Task, Trial

BITS = (2, 3, 4, 5, 6, 8)
SHARES = (0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75)
GUESSED_BITS, GUESSED_SHARES = (2.2, 2.6, 3.2), (0.375, 0.5, 0.625)
HARMED_INPUTS = 256


def search(task: Task, trials: int, *, on_trial: Callable[[Trial], None] = lambda trial: None) -> list[Trial]:
    """Return the different trials in order, at most `trials`; the same task gives the same ones."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=derive(task.seed, "sampler") % 2**32, n_startup_trials=1)
    study = optuna.create_study(directions=["minimize", "maximize"], sampler=sampler)
    for recipe in first_guesses(task):
        asked_bits = {f"bits {name}": BITS.index(bits) for name, bits in recipe.bits.items()}
        study.enqueue_trial(
            asked_bits | {f"channels {name}": SHARES.index(share) for name, share in recipe.channels.items()}
        )
    done: list[Trial] = []

    def objective(asked: optuna.Trial) -> tuple[float, float]:
        # Places in a list, not the values: the sampler should know which are neighbours.
        bits = {name: BITS[asked.suggest_int(f"bits {name}", 0, len(BITS) - 1)] for name in task.layers}
        channels = {
            name: SHARES[asked.suggest_int(f"channels {name}", 0, len(SHARES) - 1)]
            for name in task.layers[:-1]
        }
        recipe = Recipe(bits, channels)
        trial = next((one for one in done if one.recipe == recipe), None)
        if trial is None:
            trial = task.carry_out(recipe)
            done.append(trial)
            on_trial(trial)
        return float(len(trial.data)), trial.validation.accuracy

    study.optimize(objective, n_trials=trials)
    return done


def first_guesses(task: Task) -> list[Recipe]:
    """Return where the search begins: bits where rounding a layer alone hurts, for several mean bits.

    A layer's harm at some bits is the divergence from the teacher on the unlabelled inputs with only this
    layer rounded. For a price of a bit, each layer takes the bits that cost least; the price is set so that
    the weights have the wanted bits in the mean.
    """
    harm = _harm(task)
    sizes = {name: layer.get_parameter("weight").numel() for name, layer in weighty(task.teacher).items()}
    guesses: list[Recipe] = []
    for channels in GUESSED_SHARES:
        for mean in GUESSED_BITS:
            bits = _allocate(harm, sizes, mean)
            guess = Recipe(bits, dict.fromkeys(task.layers[:-1], channels))
            guesses += [] if guess in guesses else [guess]
    return guesses


def _harm(task: Task) -> dict[str, list[float]]:
    x = task.inputs[:HARMED_INPUTS]
    wanted = torch.tensor(predict(task.teacher, x))
    found: dict[str, list[float]] = {}
    for name in task.layers:
        for bits in BITS:
            rounded = copy.deepcopy(task.teacher)
            round_weights(rounded, {name: bits})
            answer = torch.tensor(predict(rounded, x))
            found.setdefault(name, []).append(float(divergence(answer, wanted, 1.0)))
    return found


def _allocate(harm: Mapping[str, list[float]], sizes: Mapping[str, int], mean: float) -> dict[str, int]:
    low, high = -40.0, 10.0  # the logarithm of the price of a bit
    bits = dict.fromkeys(sizes, BITS[0])
    for _ in range(50):
        price = math.exp((low + high) / 2)
        bits = {name: _cheapest(harm[name], price * sizes[name]) for name in sizes}
        spent = sum(bits[name] * sizes[name] for name in sizes) / sum(sizes.values())
        low, high = ((low + high) / 2, high) if spent > mean else (low, (low + high) / 2)
    return bits


def _cheapest(harm: list[float], price: float) -> int:
    """Return the bits for which harm and what they cost come to the least."""
    return min(zip(harm, BITS, strict=True), key=lambda one: one[0] + price * one[1])[1]
