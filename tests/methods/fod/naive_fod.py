"""FOD the slow way: dense matrices, stopped gradients, two losses and two backward passes, as the paper writes it.

Takes its weights from the transformer under test and shares nothing else with it.
"""

import math

import torch
from torch.nn.functional import cosine_similarity

EPSILON = 1e-4


def target(sigma, grid):
    """T [..., tokens, tokens] of sigma [..., tokens, 2], by distances between all pairs of tokens."""
    places = torch.tensor([(y, x) for y in range(grid[0]) for x in range(grid[1])], dtype=sigma.dtype)
    squares = (places[:, None] - places[None]) ** 2
    sy, sx = sigma[..., :1], sigma[..., 1:]
    density = torch.exp(-squares[..., 0] / (2 * sy**2) - squares[..., 1] / (2 * sx**2)) / (2 * math.pi * sy * sx)
    return density / density.sum(-1, keepdim=True)


def weights(queries, keys):
    """S of [..., tokens, width]."""
    return torch.softmax(queries @ keys.transpose(-1, -2) / math.sqrt(queries.shape[-1]), -1)


def divergence(target, learnt):
    """J by rows: KL(T, S) + KL(S, T)."""
    one = (target * (torch.log(target + EPSILON) - torch.log(learnt + EPSILON))).sum(-1)
    other = (learnt * (torch.log(learnt + EPSILON) - torch.log(target + EPSILON))).sum(-1)
    return one + other


def entropy(learnt):
    """H by rows."""
    return -(learnt * torch.log(learnt + EPSILON)).sum(-1)


def heads(values, count):
    """[N, tokens, width] -> [N, heads, tokens, width / heads]."""
    n, tokens, width = values.shape
    return values.view(n, tokens, count, width // count).permute(0, 2, 1, 3)


def attend(layer, tokens, others, grid):
    """What an attention layer finds, its S and its T."""
    queries = heads(layer.queries(tokens), layer.heads)
    keys, values = (heads(part, layer.heads) for part in layer.keys_values(others).chunk(2, -1))
    learnt = weights(queries, keys)
    spreads = heads(layer.spreads(tokens), layer.heads)
    sigma = torch.pow(torch.tensor(3.0), torch.sigmoid(spreads * 5) + 1e-5) - 1
    n, count, length, width = queries.shape
    found = (learnt @ values).permute(0, 2, 1, 3).reshape(n, length, count * width)
    return found, learnt, target(sigma, grid)


def run(transformer, tokens, reference, grid, *, as_figure):
    """Reconstruction, and by branch a list of (S, T), one per layer."""
    x = transformer.embedding(tokens) + transformer.position
    others = {"intra": None, "inter": None}
    if transformer.reference_embedding is not None:
        r = transformer.reference_embedding(reference) + transformer.position
        others["inter"] = r.expand(len(tokens), -1, -1)
    pairs = {"intra": [], "inter": []}
    for layer in transformer.layers:
        found = {}
        for branch, module in layer.attentions.items():
            output, learnt, goal = attend(module, x, x if branch == "intra" else others["inter"], grid)
            found[branch] = module.output(output) if as_figure else output
            pairs[branch].append((learnt, goal))
        change = found["intra"] - found["inter"] if len(found) == 2 else sum(found.values())
        z = x + change if as_figure or len(found) < 2 else change
        y = layer.first_norm(z)
        x = layer.second_norm(y + layer.feed_forward(y))
    return transformer.head(x), pairs


def reconstruction_loss(reconstruction, tokens):
    """L_rec."""
    cosine = cosine_similarity(reconstruction, tokens, dim=-1)
    return ((reconstruction - tokens) ** 2).mean() + (1 - cosine).mean()


def two_losses(transformer, tokens, reference, grid, *, as_figure=False, divergence_weight=0.5, entropy_weight=0.5):
    """loss1 and loss2 of the paper, to be propagated backwards one after the other."""
    reconstruction, pairs = run(transformer, tokens, reference, grid, as_figure=as_figure)
    one = two = reconstruction_loss(reconstruction, tokens)
    for branch, sign in (("intra", 1), ("inter", -1)):
        for learnt, goal in pairs[branch]:
            share = sign / len(pairs[branch])
            one = one + share * divergence_weight * divergence(goal, learnt.detach()).mean()
            two = two - share * divergence_weight * divergence(goal.detach(), learnt).mean()
            two = two - share * entropy_weight * entropy(learnt).mean()
    return one, two


def accumulate_gradients(transformer, *arguments, **options):
    """Both backward passes, gradients added up."""
    one, two = two_losses(transformer, *arguments, **options)
    one.backward(retain_graph=True)
    two.backward()
