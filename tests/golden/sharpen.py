"""Larger weights, so that every part of a model affects its output: with initial weights, a model without its attention
or LSTM gives nearly the same output, and normalisation layers change little. Used for published Demucs and for our
models, whose parameters have the same names."""

import torch

GAINS = {"query": 5, "key": 5, "query_decay.weight": 50, "content": 3, "proj": 3, "lstm": 2, "linear": 4}


@torch.no_grad()
def sharpen(model):
    """Layer scales become 0.5, the weights of attention and LSTMs inside residual branches grow, transformers attend more
    sharply, and their normalisations weigh channels differently."""
    for key, parameter in model.named_parameters():
        if key.endswith(".scale"):
            parameter.fill_(0.5)
        for part, gain in GAINS.items():
            if "dconv" in key and (f".{part}." in key or key.endswith(part)):
                parameter *= gain
        if key.startswith("crosstransformer"):
            if "norm" in key and key.endswith("weight"):
                parameter *= torch.linspace(0.3, 1.7, len(parameter))
            if key.endswith(("in_proj_weight", ".q.weight", ".k.weight")):
                parameter *= 3
