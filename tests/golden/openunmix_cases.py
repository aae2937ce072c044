"""Cases in which our Open-Unmix is compared with the package openunmix, for the script that writes its outputs and for the
test that reads them."""

import torch

SAMPLERATE = 8000
FRAMES = 40            # of the spectrograms of networks
STRIDE = 11            # of the stored samples
TARGETS = ["vocals", "drums", "bass", "other"]

# Settings of our model, and number of channels
NETWORKS = {
    "stereo": (dict(hidden_size=32, nfft=512, nhop=128, bandwidth=3000), 2),
    "mono": (dict(hidden_size=16, nfft=256, nhop=64, bandwidth=2000), 1),
    "full bandwidth": (dict(hidden_size=16, nfft=512, nhop=100, bandwidth=0), 2),
    "unidirectional": (dict(hidden_size=24, nfft=512, nhop=128, bandwidth=3000, unidirectional=True), 2),
    "one layer": (dict(hidden_size=16, nfft=512, nhop=128, bandwidth=3500, nb_layers=1), 2),
    "two layers, unidirectional, mono": (dict(hidden_size=15, nfft=1024, nhop=256, bandwidth=1600, nb_layers=2,
                                              unidirectional=True), 1),
}
SETTINGS = dict(hidden_size=16, nb_layers=2, nfft=512, nhop=128, bandwidth=3000)      # of the networks of Separators


def separators():
    """Settings of 20 Separators: (targets, channels, settings of the filter, samples of the mixture, its level). There are
    at least 50 frames, since with few frames the filter is ill-conditioned in float32."""
    for seed in range(20):
        targets = TARGETS[:1 + seed % 4]
        niter, residual = (1, 0, 2, 1, 3)[seed % 5], seed % 4 == 3
        settings = dict(niter=niter, softmask=seed % 3 == 1, residual=residual or len(targets) == 1 and niter > 0,
                        wiener_win_len=(50, 300, None)[seed % 3])
        yield targets, 1 + seed // 2 % 2, settings, 128 * 50 + 333 * seed, (0.1, 1., 8.)[seed % 3]


def randomise(model, seed):
    """Set the statistics and scales of a network, which are the same at first, to random ones."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in model.state_dict().items():
        if name.endswith("running_var") or name.endswith("_scale"):
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
        elif name.endswith("running_mean"):
            value.copy_(torch.randn(value.shape, generator=generator) * 0.2)
        elif name.endswith("input_mean"):
            value.copy_(-torch.rand(value.shape, generator=generator))


def mixture(seed, *shape):
    """Noise that is stronger at low frequencies, [*shape]."""
    noise = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return (noise + noise.roll(1, -1) + noise.roll(2, -1)) / 3


def magnitudes(seed, channels, bins):
    """Random magnitudes [2, channels, bins, FRAMES]."""
    return 3 * torch.rand(2, channels, bins, FRAMES, generator=torch.Generator().manual_seed(seed))
