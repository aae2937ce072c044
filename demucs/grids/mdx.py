"""Track A of the Music Demixing challenge 2021, first stage: two time-domain and two hybrid models on MUSDB18-HQ, each
also quantised (Défossez 2021, "Hybrid Spectrogram and Waveform Source Separation"). `mdx_refine` fine-tunes them."""

from ._explorers import TrainingExplorer
from ._lineage import origin

TRACK_A = ("0d19c1c6", "7ecf8ec1", "c511e2ab", "7d865c68")     # the fine-tuned models of the bag `mdx`
QUANTISED = ({"quant.diffq": 1e-4}, {"quant.diffq": 3e-4})    # those of `mdx_q` are among these


@TrainingExplorer
def explorer(launcher):
    launcher.slurm_(gpus=8, time=3 * 24 * 60)
    for signature in TRACK_A:
        first = launcher.bind(origin(signature).argv)
        first()
        for quantised in QUANTISED:
            first(quantised)
