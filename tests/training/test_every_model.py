"""Every model of the zoo trains, is validated, tested, exported, read again and separates."""

import pytest
import torch
from training.small import settings, solver_in

from demucs import schema
from demucs.models import zoo
from demucs.packages import package
from demucs.packages.export import export
from demucs.separation.apply import separate

pytestmark = pytest.mark.runs

SMALL = {
    "demucs": ["demucs.channels=4", "demucs.depth=3", "demucs.lstm_layers=1"],
    "hdemucs": [],
    "htdemucs": ["htdemucs.channels=8", "htdemucs.t_layers=2", "htdemucs.t_dropout=0.1", "htdemucs.t_lr=1e-4"],
    "torch_hdemucs": ["torch_hdemucs.channels=4", "torch_hdemucs.dconv_comp=1"],
    "openunmix": ["dset.targets={vocals: [vocals]}", "weights=[1]", "openunmix.hidden_size=8", "openunmix.nfft=512",
                  "openunmix.nhop=128"],
    "openunmix_separator": ["openunmix_separator.hidden_size=8", "openunmix_separator.nfft=512",
                            "openunmix_separator.nhop=128"],
    "hybrid": ["hybrid.channels=8", "hybrid.depth=2", "hybrid.branches={a: {nfft: 512}, b: {nfft: 1024}, time: {}}",
               "hybrid.fusion={kind: weights}"],
    "htdemucs_i": ["htdemucs_i.channels=16", "htdemucs_i.branches={frequency: {nfft: 512, kernel_size: [8, 8, 8, 4, 4, 4], "
                   "stride: [4, 4, 4, 4, 1, 1], padding: [2, 2, 2, 0, 1, 1]}, "
                   "time: {kernel_size: [8, 8, 8, 4], stride: 4}}"],
    "htdemucs_nc": ["htdemucs_nc.channels=8", "htdemucs_nc.depth=3"],
    **{f"htdemucs_{name}": [f"htdemucs_{name}.channels=8"] for name in ("p", "c", "s")},
    **{f"htdemucs_{name}": [f"htdemucs_{name}.channels=8", f"htdemucs_{name}.growth=1"]
       for name in ("d", "d2", "d3", "d4", "n", "nn", "nn_conv", "nf")},
    **{f"htdemucs_{name}": [f"htdemucs_{name}.channels=8", f"htdemucs_{name}.growth=1",
                            f"htdemucs_{name}.fusion={{channels: 8, width: 5}}"] for name in ("dnf", "dn")},
}


@pytest.mark.parametrize("name", zoo.NAMES)
def test_from_training_to_a_song(name, songs, tmp_path):
    config = settings(songs, f"model={name}", *SMALL[name], "epochs=1", "test.every=1", "max_batches=1")
    folder = tmp_path / "xps" / "abc"
    solver = solver_in(folder, config)
    before = [parameter.detach().clone() for parameter in solver.model.parameters()]
    solver.run()
    assert any(not torch.equal(old, new) for old, new in zip(before, solver.model.parameters()))
    assert solver.history[0].test["nsdr"] is not None
    card = schema.load(schema.RunCard, folder / "run_card.json")
    assert card.model == name and card.model_settings["segment"] == float(config.segment)

    export("abc", tmp_path / "models", experiments=tmp_path / "xps")
    model = package.load(tmp_path / "models" / "abc.th")
    assert model.segment == config.segment
    mix = torch.randn(1, 2, 12_345)
    solver.model.load_state_dict(solver.best_state)
    assert torch.equal(separate(model, mix), separate(solver.model, mix))
