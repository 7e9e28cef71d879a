"""Automatic compression: bits for each layer and channels for each layer, searched by Optuna.

Two objectives: bytes of the packed file, and accuracy on the validation samples, never the test set. The
search begins where rounding one layer at a time says that bits matter, goes down from the best found so far,
and now and then asks TPE (Ozaki et al. 2022, "Multiobjective tree-structured Parzen estimator").
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import optuna
import torch

from phloem.seeds import derive
from phloem.server.shrink.few_levels import round_weights
from phloem.server.shrink.lessons import divergence
from phloem.server.shrink.network import predict, weighty
from phloem.server.shrink.trial import Recipe, Task, Trial, uniform

BITS = (2, 3, 4, 5, 6, 8)
SHARES = (0.0, 0.125, 0.25, 0.375, 0.5, 0.5625, 0.625, 0.6875, 0.75, 0.8125)
GUESSED_BITS, GUESSED_SHARES = (2.2, 3.0), (0.5, 0.625)
PLAIN_SHARES = (0.5, 0.625, 0.75)
SAMPLED_EVERY = 5
HARMED_INPUTS = 256


def search(
    task: Task, trials: int, least: float, *, on_trial: Callable[[Trial], None] = lambda trial: None
) -> list[Trial]:
    """Return the different trials in order, at most `trials`; the same task gives the same ones.

    After the first guesses, most trials go one step down from the smallest one of at least `least` validation
    accuracy: one layer loses bits or channels. While there is none, they go up from the most accurate. Every
    fifth asks the sampler, which knows them all.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=derive(task.seed, "sampler") % 2**32, n_startup_trials=1)
    study = optuna.create_study(directions=["minimize", "maximize"], sampler=sampler)
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

    guesses = first_guesses(task)
    for number in range(trials):
        guess = guesses.pop(0) if guesses else _step(done, least) if number % SAMPLED_EVERY else None
        if guess is not None:
            study.enqueue_trial(
                {f"bits {name}": BITS.index(bits) for name, bits in guess.bits.items()}
                | {f"channels {name}": SHARES.index(share) for name, share in guess.channels.items()}
            )
        study.optimize(objective, n_trials=1)
    return done


def _step(done: list[Trial], least: float) -> Recipe | None:
    """Return an untried neighbour of the smallest trial that is good enough, expected to save the most.

    Where none is good enough yet, a larger relative of the most accurate one.
    """
    known = [trial.recipe for trial in done]
    enough = [trial for trial in done if trial.validation.accuracy >= least]
    if not enough:
        best = max(done, key=lambda one: (one.validation.accuracy, -len(one.data)))
        return next((one for one in _larger(best.recipe) if one not in known), None)
    for trial in sorted(enough, key=lambda one: len(one.data)):
        steps = [one for one in _smaller(trial.recipe) if one not in known]
        if steps:
            # Of a layer's weights in the trial's own network, which the step would leave this share.
            return min(steps, key=lambda one: _expected_bits(one, trial))
    return None


def _smaller(recipe: Recipe) -> Iterator[Recipe]:
    """Yield the recipes in which one layer has the next fewer bits, or loses the next larger share."""
    for name, bits in recipe.bits.items():
        if bits > BITS[0]:
            yield replace(recipe, bits={**recipe.bits, name: BITS[BITS.index(bits) - 1]})
    for name, share in recipe.channels.items():
        if share < SHARES[-1]:
            larger = SHARES[SHARES.index(share) + 1]
            yield replace(recipe, channels={**recipe.channels, name: larger})


def _larger(recipe: Recipe) -> Iterator[Recipe]:
    """Yield recipes in which every layer keeps more channels, then has more bits as well."""
    while recipe.channels and any(share > SHARES[0] for share in recipe.channels.values()):
        more = {name: SHARES[max(0, SHARES.index(share) - 1)] for name, share in recipe.channels.items()}
        recipe = replace(recipe, channels=more)
        yield recipe
    while any(bits < BITS[-1] for bits in recipe.bits.values()):
        more_bits = {
            name: BITS[min(len(BITS) - 1, BITS.index(bits) + 1)] for name, bits in recipe.bits.items()
        }
        recipe = replace(recipe, bits=more_bits)
        yield recipe


def _expected_bits(recipe: Recipe, near: Trial) -> float:
    """Return the bits of all layers' weights, before coding, going by the layers of a trial near by."""
    names, total = list(recipe.bits), 0.0
    layers = weighty(near.network)
    for before, name in zip([None, *names], names, strict=False):
        kept = (1 - recipe.channels.get(name, 0)) / (1 - near.recipe.channels.get(name, 0))
        if before is not None:
            kept *= (1 - recipe.channels[before]) / (1 - near.recipe.channels[before])
        total += recipe.bits[name] * kept * layers[name].get_parameter("weight").numel()
    return total


def first_guesses(task: Task) -> list[Recipe]:
    """Return where the search begins: the fewest bits, and bits where rounding a layer alone hurts.

    A layer's harm at some bits is the divergence from the teacher on the unlabelled inputs with only this
    layer rounded. For a price of a bit, each layer takes the bits that cost least; the price is set so that
    the weights have the wanted bits in the mean.
    """
    harm = _harm(task)
    sizes = {name: layer.get_parameter("weight").numel() for name, layer in weighty(task.teacher).items()}
    guesses = [uniform(task, BITS[0], channels) for channels in PLAIN_SHARES]
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
