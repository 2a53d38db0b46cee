"""The transformer against its naive form: four settings of its switches, the figure's form, and who pulls where."""

import copy
import math

import pytest
import torch

from discrepancy.errors import InputError
from discrepancy.methods.fod.attention_hooks import AdversarialAttention
from discrepancy.methods.fod.parameters import FODParameters
from discrepancy.methods.fod.training import loss_weights
from discrepancy.methods.fod.transformer import CorrelationTransformer, Shape, position_code
from tests.live_bytes import LiveBytes
from tests.methods.fod import naive_fod

GRID = (4, 5)
SWITCHES = [("intra", "inter"), ("intra",), ("inter",), ()]


def build(branches=("intra", "inter"), *, as_figure=False, seed=0):
    torch.manual_seed(seed)
    shape = Shape(channels=6, grid=GRID, width=16, heads=4, depth=3)
    return CorrelationTransformer(shape, branches, as_figure=as_figure).double()


def tokens(images, seed=3):
    return torch.randn(images, 20, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


REFERENCE = tokens(1, seed=4)[0]


def backward(transformer, batch, **weights):
    """One backward pass of twice L_rec plus the adversarial objective."""
    adversary = AdversarialAttention(loss_weights(FODParameters(**weights)))
    reconstruction = transformer(batch, REFERENCE, adversary)
    (2 * naive_fod.reconstruction_loss(reconstruction, batch) + adversary.pull / len(transformer.layers)).backward()
    return adversary


@pytest.mark.parametrize("as_figure", [False, True])
@pytest.mark.parametrize("branches", SWITCHES)
def test_one_backward_pass_has_the_gradients_of_the_papers_two(branches, as_figure):
    transformer = build(branches, as_figure=as_figure)
    naive = copy.deepcopy(transformer)
    backward(transformer, tokens(2))
    naive_fod.accumulate_gradients(naive, tokens(2), REFERENCE, GRID, as_figure=as_figure)
    largest = max(float(p.grad.abs().max()) for p in naive.parameters())
    for (name, ours), theirs in zip(transformer.named_parameters(), naive.parameters(), strict=True):
        assert ours.grad is not None, name
        assert (ours.grad - theirs.grad).abs().max() <= 1e-12 * largest, name


@pytest.mark.parametrize("branches", SWITCHES)
def test_in_float32_the_gradients_are_those_of_float64(branches):
    naive = build(branches)
    transformer = copy.deepcopy(naive).float()
    naive_fod.accumulate_gradients(naive, tokens(2), REFERENCE, GRID)
    adversary = AdversarialAttention(loss_weights(FODParameters()))
    batch = tokens(2).float()
    reconstruction = transformer(batch, REFERENCE.float(), adversary)
    (2 * naive_fod.reconstruction_loss(reconstruction, batch) + adversary.pull / len(transformer.layers)).backward()
    largest = max(float(p.grad.abs().max()) for p in naive.parameters())
    for ours, theirs in zip(transformer.parameters(), naive.parameters(), strict=True):
        assert (ours.grad - theirs.grad).abs().max() <= 1e-5 * largest


def test_the_papers_largest_level_trains_in_little_memory():
    """32x32 tokens at batch 1: less than 1.5 GiB by far; the matrices of tokens x tokens alone would take more."""
    shape = Shape(512, (32, 32), 256, 8, 3)
    transformer = CorrelationTransformer(shape, ("intra", "inter"))
    for parameter in transformer.parameters():
        parameter.grad = torch.zeros_like(parameter)
    batch, reference = torch.randn(1, 1024, 512), torch.randn(1024, 512)
    with LiveBytes() as live:
        adversary = AdversarialAttention(loss_weights(FODParameters()))
        reconstruction = transformer(batch, reference, adversary)
        (2 * naive_fod.reconstruction_loss(reconstruction, batch) + adversary.pull / 3).backward()
    matrices = 6 * 8 * 1024**2 * 4  # S of every attention and head
    assert 20 * 2**20 < live.peak < matrices < 1.5 * 2**30


@pytest.mark.parametrize("as_figure", [False, True])
@pytest.mark.parametrize("branches", SWITCHES)
def test_the_reconstruction_is_that_of_the_naive_form(branches, as_figure):
    transformer = build(branches, as_figure=as_figure)
    expected, _ = naive_fod.run(transformer, tokens(3), REFERENCE, GRID, as_figure=as_figure)
    torch.testing.assert_close(transformer(tokens(3), REFERENCE), expected)


LEARNT, TARGET = ("queries", "keys_values"), ("spreads",)
UP, DOWN = 1, -1


@pytest.mark.parametrize(
    ("branch", "trained", "amount", "direction"),
    [
        ("intra", LEARNT, "divergence", UP),
        ("intra", TARGET, "divergence", DOWN),
        ("intra", LEARNT, "entropy", UP),
        ("inter", LEARNT, "divergence", DOWN),
        ("inter", TARGET, "divergence", UP),
        ("inter", LEARNT, "entropy", DOWN),
    ],
)
def test_who_pulls_where(branch, trained, amount, direction):
    """The net roles of the two losses: a small step of these weights alone moves J or H up or down."""
    transformer = build((branch,))
    weights = {"divergence_weight": 0.0, "entropy_weight": 0.0, f"{amount}_weight": 1.0}
    adversary = AdversarialAttention(loss_weights(FODParameters(**weights)))
    transformer(tokens(2), REFERENCE, adversary)
    adversary.pull.backward()
    layer = transformer.layers[-1].attentions[branch]  # the last one: nothing after it moves with it

    def measured():
        _, pairs = naive_fod.run(transformer, tokens(2), REFERENCE, GRID, as_figure=False)
        learnt, goal = pairs[branch][-1]
        rows = naive_fod.divergence(goal, learnt) if amount == "divergence" else naive_fod.entropy(learnt)
        return rows.mean().item()

    before = measured()
    with torch.no_grad():
        for name in trained:
            for parameter in getattr(layer, name).parameters():
                parameter.sub_(1e-3 * parameter.grad)
    assert (measured() - before) * direction > 1e-9


def test_targets_do_not_follow_the_entropy():
    transformer = build()
    adversary = AdversarialAttention(loss_weights(FODParameters(divergence_weight=0.0, entropy_weight=1.0)))
    transformer(tokens(2), REFERENCE, adversary)
    adversary.pull.backward()
    for layer in transformer.layers:
        assert all(not attention.spreads.weight.grad.any() for attention in layer.attentions.values())


def test_a_batch_is_the_mean_of_its_images_whatever_its_size():
    """So a last, smaller batch of an epoch is trained on like any other."""
    every = build()
    single = copy.deepcopy(every)
    backward(every, tokens(3))
    for image in tokens(3):
        backward(single, image[None])
    for ours, theirs in zip(every.parameters(), single.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad / 3, rtol=1e-8, atol=1e-12)


def test_the_game_notes_divergence_and_entropy():
    transformer = build()
    adversary = backward(transformer, tokens(2))
    _, pairs = naive_fod.run(transformer, tokens(2), REFERENCE, GRID, as_figure=False)
    for branch, tally in adversary.tallies.items():
        divergences = sum(naive_fod.divergence(goal, learnt).mean() for learnt, goal in pairs[branch])
        entropies = sum(naive_fod.entropy(learnt).mean() for learnt, _ in pairs[branch])
        torch.testing.assert_close(tally, torch.stack([divergences, entropies]).detach())


def test_the_papers_sizes():
    """3,578,208 and 14,234,208 parameters, 1,970,688 of them in output projections that have no effect there."""
    shapes = [Shape(512, (32, 32), 256, 8, 3), Shape(1024, (16, 16), 512, 8, 3)]

    def count(shape, *, as_figure):
        with torch.device("meta"):
            transformer = CorrelationTransformer(shape, ("intra", "inter"), as_figure=as_figure)
        return sum(parameter.numel() for parameter in transformer.parameters())

    assert [count(shape, as_figure=True) for shape in shapes] == [3_578_208, 14_234_208]
    assert sum(count(shape, as_figure=False) for shape in shapes) == 3_578_208 + 14_234_208 - 1_970_688


def test_the_position_code():
    width, (rows, columns) = 16, (3, 4)
    code = position_code(width, (rows, columns))
    for y in range(rows):
        for x in range(columns):
            for half, place in ((0, x), (1, y)):
                for pair in range(width // 4):
                    angle = place / 10000 ** (2 * pair / (width // 2))
                    at = half * width // 2 + 2 * pair
                    assert math.isclose(code[y * columns + x, at], math.sin(angle), abs_tol=1e-6)
                    assert math.isclose(code[y * columns + x, at + 1], math.cos(angle), abs_tol=1e-6)


def test_the_embedding_starts_as_the_papers():
    torch.manual_seed(0)
    transformer = CorrelationTransformer(Shape(400, (2, 2), 200, 4, 1), ("inter",))
    for layer in (transformer.embedding, transformer.reference_embedding):
        assert math.isclose(layer.weight.std().item(), math.sqrt(2 / 400), rel_tol=0.02)


def test_under_autocast_correlations_stay_in_float32():
    transformer = build().float()
    seen = []

    def attention(branch, queries, keys, values, gaussians):
        goal = gaussians().targets()
        seen.extend(t.dtype for t in (queries, keys, values, *goal, queries @ keys.transpose(-1, -2)))
        return values

    with torch.autocast("cpu", torch.bfloat16):
        reconstruction = transformer(tokens(1).float(), REFERENCE.float(), attention)
    assert reconstruction.dtype == torch.bfloat16  # autocast was on
    assert set(seen) == {torch.float32} and len(seen) == 3 * 2 * 6


@pytest.mark.parametrize("width", [18, 12])
def test_a_width_that_does_not_divide_is_refused(width):
    with pytest.raises(InputError, match=f"widths: {width} given; expected multiples of 4 and of .* heads, 8"):
        CorrelationTransformer(Shape(4, (2, 2), width, 8, 1), ("intra",))
