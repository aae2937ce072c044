"""HTDemucs beyond its numbers, which test_published_models.py checks: segments, sparse attention, settings, chance."""

import copy
import pickle
from fractions import Fraction

import pytest
import torch

from demucs.errors import ConfigError
from demucs.layers import positions
from demucs.layers.sparsity import KINDS, attention_mask
from demucs.layers.transformer import MaskedAttention, MaskSpec
from demucs.models import zoo
from demucs.models.htdemucs import HTDemucs

SOURCES = ["drums", "bass", "other", "vocals"]
SMALL = {"channels": 8, "t_layers": 3}
SEGMENT = Fraction(6001, 8000)     # of a second: 6001 samples


def small(**settings):
    torch.manual_seed(0)
    return zoo.build("htdemucs", **{"sources": SOURCES, "audio_channels": 2, "samplerate": 8000, "segment": SEGMENT,
                                    **SMALL, **settings})


def test_shorter_input_is_padded_to_the_training_length():
    model = small().eval()
    mix = torch.randn(1, 2, 4000)
    padded = torch.nn.functional.pad(mix, (0, 2001))
    with torch.no_grad():
        assert torch.equal(model(mix), model(padded)[..., :4000])
    assert model.valid_length(4000) == 6001
    assert small(use_train_segment=False).valid_length(4000) == 4000


def test_longer_input_is_refused_but_not_in_training():
    model = small().eval()
    with torch.no_grad(), pytest.raises(ValueError, match="6002 samples are more than the 6001"):
        model(torch.randn(1, 2, 6002))
    assert model.train()(torch.randn(1, 2, 7000)).shape == (1, 4, 2, 7000)
    assert model.segment == SEGMENT
    assert small(use_train_segment=False).eval()(torch.randn(1, 2, 7000)).shape == (1, 4, 2, 7000)


@pytest.mark.parametrize("settings, word", [
    ({"t_heads": 7}, "t_heads"), ({"t_emb": "sine"}, "t_emb"), ({"t_mask_type": "diag_line"}, "t_mask_type"),
    ({"t_sparse_self_attn": True, "t_auto_sparsity": True}, "t_auto_sparsity"), ({"channels_time": 12}, "channels_time"),
    ({"depth": 6}, "depth"), ({"wiener_iters": 1}, "end_iters"), ({"t_emb": "scaled", "t_max_positions": 0}, "t_max_pos"),
    ({"dconv_comp": 20}, "dconv_comp"), ({"bottom_channels": 24, "t_heads": 6, "t_layer": 2}, "t_layers"),
])
def test_contradicting_settings_name_the_key(settings, word):
    with pytest.raises(ConfigError, match=word):
        small(**settings)


def test_too_long_for_learnt_positions():
    model = small(t_emb="scaled", t_max_positions=20, use_train_segment=False).eval()
    with torch.no_grad(), pytest.raises(ValueError, match="t_max_positions"):
        model(torch.randn(1, 2, 20000))


@pytest.mark.parametrize("kinds", [(kind,) for kind in KINDS] + [KINDS])
@pytest.mark.parametrize("queries, keys", [(40, 40), (23, 60), (60, 23)])
def test_sparse_attention_is_dense_attention_under_the_mask(kinds, queries, keys):
    spec = MaskSpec(kinds, window=3, global_window=4, sparsity=0.9, seed=5)
    mask = spec(queries, keys, torch.device("cpu"))
    assert mask.shape == (queries, keys) and mask.any() and not mask.all()
    torch.manual_seed(0)
    attention = MaskedAttention(16, 4, dropout=0., mask=spec).eval()
    query, memory = torch.randn(2, queries, 16), torch.randn(2, keys, 16)
    with torch.no_grad():
        q, k, v = (part.unflatten(-1, (4, 4)).transpose(1, 2) for part in
                   (attention.q(query), attention.k(memory), attention.v(memory)))
        weights = (q @ k.transpose(2, 3) / 2).exp() * mask
        weights = weights / weights.sum(-1, keepdim=True).clamp(min=1e-30)       # a query may see no key
        expected = attention.proj((weights @ v).transpose(1, 2).flatten(2))
        assert (attention(query, memory) - expected).abs().max() <= 1e-6


def test_masks_by_hand():
    common = dict(window=1, global_window=2, sparsity=0.5, seed=0)
    diagonal = attention_mask(4, 4, kinds=("diag",), **common)
    assert diagonal.int().tolist() == [[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 1], [0, 0, 1, 1]]
    whole = attention_mask(4, 4, kinds=("global",), **common)
    assert whole.int().tolist() == [[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]]
    thinning = attention_mask(12, 12, kinds=("jmask",), **common)
    assert thinning[0].nonzero().flatten().tolist() == [0, 1, 3, 6, 10]
    both = attention_mask(4, 4, kinds=("diag", "global"), **common)
    assert torch.equal(both, diagonal | whole)


@pytest.mark.parametrize("settings", [{"t_dropout": 0.1}, {"t_sin_random_shift": 50}, {"t_emb": "cape"}])
def test_chance_in_training_follows_from_torchs_seed(settings):
    model = small(**settings).train()
    mix = torch.randn(1, 2, 4000)
    assert model.draws_in_training

    def answer(seed):
        torch.manual_seed(seed)
        with torch.no_grad():
            return model(mix)
    assert torch.equal(answer(1), answer(1))
    assert not torch.equal(answer(1), answer(2))
    model.eval()
    assert torch.equal(answer(1), answer(2))


def test_transformer_has_its_own_optimiser_group():
    group = small(t_weight_decay=0.05, t_lr=1e-4).crosstransformer.make_optim_group()
    assert group["weight_decay"] == 0.05 and group["lr"] == 1e-4 and len(group["params"]) > 10
    assert "lr" not in small().crosstransformer.make_optim_group()


def test_copies_share_nothing():
    """The mixer is not a child of the net, but its parts are: a copy must use its own."""
    model = small().eval()
    mix = torch.randn(1, 2, 4000)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        with torch.no_grad():
            before = model(mix)
            assert torch.equal(twin(mix), before)
            for parameter in twin.crosstransformer.parameters():
                parameter.mul_(2)
            assert torch.equal(model(mix), before) and not torch.equal(twin(mix), before)


def test_published_arguments_by_position():
    assert HTDemucs(SOURCES, 1, 8, None, 2, 1024, depth=3, segment=1).audio_channels == 1


def test_codes_of_frequency_and_time():
    """Each half of the channels knows one axis only."""
    codes = positions.sinusoids_2d(16, 5, 7, 10000., torch.device("cpu"))
    assert codes.shape == (16, 5, 7)
    assert torch.equal(codes[:8], codes[:8, :1].expand(-1, 5, -1))
    assert torch.equal(codes[8:], codes[8:, :, :1].expand(-1, -1, 7))
    along = positions.sinusoids(torch.arange(7), 16, 10000.)
    assert along.shape == (7, 16) and torch.equal(along[0], torch.tensor([1.] * 8 + [0.] * 8))
