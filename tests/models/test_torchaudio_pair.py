"""torch and torchaudio fit together, and torchaudio's own HDemucs agrees with ours: a check beside the golden files."""

import torch
import torchaudio
from golden.sharpen import sharpen

from demucs.models import zoo

SOURCES = ["drums", "bass", "other", "vocals"]
NAMES = {"encoder": "freq_encoder", "decoder": "freq_decoder", "tencoder": "time_encoder", "tdecoder": "time_decoder",
         "freq_emb": "freq_emb"}
TOLERANCE = 1e-5   # max abs, input of unit scale


def test_the_pair_matches():
    assert torch.__version__.split("+")[0].rsplit(".", 1)[0] == torchaudio.__version__.split("+")[0].rsplit(".", 1)[0]


def test_the_same_weights_give_the_same_sources():
    torch.manual_seed(0)
    ours = zoo.build("hdemucs", sources=SOURCES, audio_channels=2, samplerate=44100, segment=10, channels=8).eval()
    sharpen(ours)
    theirs = torchaudio.models.HDemucs(SOURCES, channels=8).eval()
    renamed = {}
    for key, value in ours.state_dict().items():
        first, rest = key.split(".", 1)
        renamed[f"{NAMES[first]}.{rest}"] = value
    outcome = theirs.load_state_dict(renamed, strict=False)
    # Theirs has a normalisation in the last level of the time branch that it never uses.
    assert outcome.missing_keys == ["time_encoder.4.norm1.weight", "time_encoder.4.norm1.bias"]
    assert not outcome.unexpected_keys
    mix = torch.randn(1, 2, 30011, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = theirs(mix)
        estimate = ours(mix)
    assert expected.abs().max() > 0.1
    assert (estimate - expected).abs().max() <= TOLERANCE
