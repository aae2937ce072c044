"""`demucs.api` and `demucs.apply`: separation from within programs, with the callbacks of published Demucs."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from demucs import api, pretrained
from demucs.apply import BagOfModels, TensorChunk, apply_model, tensor_chunk
from demucs.audio import reading
from demucs.dsp.convert import convert_audio
from demucs.errors import AudioError, ConfigError, SignatureError
from demucs.models import zoo
from demucs.packages import package
from demucs.separation.apply import separate
from demucs.separation.song import separate_song

SOURCES = ["drums", "vocals"]
RATE = 8000
EXACT = {"atol": 1e-6, "rtol": 0}


def build(seed):
    torch.manual_seed(seed)
    return zoo.build("hdemucs", sources=SOURCES, audio_channels=2, samplerate=RATE, segment=0.5, channels=4, depth=2,
                     nfft=64).eval()


@pytest.fixture(scope="module")
def model():
    return build(0)


@pytest.fixture
def repo(model, tmp_path):
    for name, single in (("cafe0001", model), ("cafe0002", build(1))):
        card = package.new_card(single, signature=name, epochs_done=1, epochs=1, valid={}, argv=[])
        package.save(single, tmp_path / "repo" / f"{name}.th", card=card)
    (tmp_path / "repo" / "both.yaml").write_text("models: [cafe0001, cafe0002]\nweights: [[1, 0], [1, 1]]\n")
    return tmp_path / "repo"


def song(samples=10000, channels=2):
    return torch.randn(channels, samples, generator=torch.Generator().manual_seed(samples)) * 0.1


def test_file(repo, model, tmp_path):
    reading.write(tmp_path / "song.wav", song(24000), 16000, as_float=True)
    separator = api.Separator("cafe0001", repo, "cpu", 0)
    mix, stems = separator.separate_audio_file(tmp_path / "song.wav")
    assert torch.equal(mix, convert_audio(song(24000), 16000, RATE, 2))
    expected = separate_song(model, mix, shifts=0)
    assert list(stems) == SOURCES
    for name, estimate in zip(SOURCES, expected):
        torch.testing.assert_close(stems[name], estimate, **EXACT)
    assert (separator.samplerate, separator.audio_channels, separator.model.sources) == (RATE, 2, SOURCES)


@pytest.mark.parametrize("channels,rate", [(2, None), (2, RATE), (1, RATE), (6, 12000)])
def test_tensor(repo, model, channels, rate):
    wav = song(9000, channels)
    mix, stems = api.Separator("cafe0001", repo=repo, device="cpu", shifts=0).separate_tensor(wav, rate)
    assert torch.equal(mix, convert_audio(wav, rate or RATE, RATE, 2))
    torch.testing.assert_close(torch.stack(list(stems.values())), separate_song(model, mix, shifts=0), **EXACT)


def test_parameters_can_be_changed_one_by_one(model):
    separator = api.Separator(model, device="cpu", shifts=0)

    def result():
        return torch.stack(list(separator.separate_tensor(song())[1].values()))

    settings = {"shifts": 0}
    torch.testing.assert_close(result(), separate_song(model, song(), **settings), **EXACT)
    for name, value in (("overlap", 0.5), ("segment", 0.4), ("shifts", 2), ("seed", 5), ("segment", None),
                        ("split", False)):
        before = result()
        separator.update_parameter(**{name: value})
        settings[name] = value
        torch.testing.assert_close(result(), separate_song(model, song(), **settings), **EXACT)
        assert not torch.equal(result(), before), name
    separator.update_parameter(device=None, jobs=2)
    torch.testing.assert_close(result(), separate_song(model, song(), **settings), **EXACT)


def test_callback(repo):
    seen = []
    separator = api.Separator("both", repo=repo, device="cpu", shifts=2, callback=seen.append,
                              callback_arg={"mine": 1, "state": "overridden"})
    separator.separate_tensor(song())
    keys = {"mine", "model_idx_in_bag", "models", "shift_idx", "segment_offset", "audio_length", "state"}
    assert set(seen[0]) == keys
    assert {(event["mine"], event["models"], event["audio_length"]) for event in seen} == {(1, 2, 10000)}
    rounds = [(event["model_idx_in_bag"], event["shift_idx"]) for event in seen]
    assert sorted(set(rounds)) == [(0, 0), (0, 1), (1, 0), (1, 1)] and rounds == sorted(rounds)
    assert [event["state"] for event in seen] == ["start", "end"] * (len(seen) // 2)
    offsets = [event["segment_offset"] for event in seen if (event["model_idx_in_bag"], event["shift_idx"]) == (0, 0)]
    assert len(offsets) > 4 and set(offsets) <= set(range(0, 14000, 3000))     # 0.75 of a segment of 4000 samples
    seen.clear()
    separator.update_parameter(callback=None)
    separator.separate_tensor(song())
    assert not seen


@pytest.mark.parametrize("jobs", [0, 2])
def test_a_callback_can_abort(model, jobs):
    begun = []

    def callback(event):
        begun.append(event)
        if len(begun) == 5:
            raise KeyboardInterrupt

    separator = api.Separator(model, device="cpu", shifts=0, jobs=jobs, callback=callback)
    with pytest.raises(KeyboardInterrupt):
        separator.separate_tensor(song(40000))
    assert len(begun) <= 5 + 2 * jobs


def test_progress_is_logged(model, caplog):
    with caplog.at_level("INFO"):
        api.Separator(model, device="cpu", progress=True).separate_tensor(song())
    assert "separating | 100 %" in caplog.text


def test_what_cannot_be_loaded(repo, tmp_path):
    separator = api.Separator("cafe0001", repo=repo, device="cpu")
    (tmp_path / "text.wav").write_text("text" * 100)
    for name, message in (("text.wav", "not audio"), ("missing.wav", "no such file")):
        with pytest.raises(api.LoadAudioError, match=message) as caught:
            separator.separate_audio_file(tmp_path / name)
        assert isinstance(caught.value, AudioError)
    with pytest.raises(api.LoadModelError, match="cafe0003.*Did you mean") as missing:
        api.Separator("cafe0003", repo=repo)
    assert isinstance(missing.value, pretrained.ModelLoadingError)
    (repo / "bad.th").write_bytes(b"text")
    with pytest.raises(api.LoadModelError, match="bad.th"):
        api.Separator("bad", repo=repo)
    for wav in (torch.zeros(2, 0), torch.zeros(RATE)):
        with pytest.raises(AudioError, match="shape"):
            separator.separate_tensor(wav)
    with pytest.raises(ConfigError, match="'abacus'"):
        api.Separator("cafe0001", repo=repo, device="abacus")


def test_list_of_models(repo, monkeypatch, tmp_path):
    found = api.list_models(repo)
    assert list(found["single"]) == ["cafe0001", "cafe0002"] and list(found["bag"]) == ["both"]
    with pytest.raises(SignatureError, match="no such folder"):
        api.list_models(tmp_path / "nowhere")
    monkeypatch.chdir(tmp_path)
    published = api.list_models()
    assert {"htdemucs", "htdemucs_ft", "mdx_extra_q"} <= set(published["bag"]) and "955717e8" in published["single"]


def test_apply_model_takes_the_published_arguments(model):
    mix = song()[None]
    expected = separate(model, mix, shifts=0, split=True, overlap=0.3, transition_power=2., segment=0.4)
    found = apply_model(model, mix, 0, True, 0.3, 2., False, "cpu", 0, 0.4, None, None, None, None)
    assert torch.equal(found, expected)
    assert torch.equal(apply_model(model, mix, seed=3), separate(model, mix, seed=3))
    bag = BagOfModels([model, build(1)], [[1, 0], [1, 1]])
    assert torch.equal(apply_model(bag, mix, shifts=0), separate(bag, mix, shifts=0))


def test_apply_model_with_a_pool_and_a_lock(model):
    lock, seen = threading.Lock(), []

    def callback(event):
        assert lock.locked()
        seen.append(threading.current_thread().name)

    with ThreadPoolExecutor(3) as pool:
        found = apply_model(model, song(40000)[None], shifts=0, pool=pool, lock=lock, callback=callback)
    assert not lock.locked() and len(set(seen)) > 1
    torch.testing.assert_close(found, separate(model, song(40000)[None], shifts=0), **EXACT)


def test_chunks_of_tensors(model):
    tensor = torch.arange(1., 11.).view(1, 10)
    chunk = TensorChunk(tensor, 2, 5)
    assert chunk.shape == [1, 5] and chunk.length == 5 and chunk.offset == 2 and chunk.device == tensor.device
    assert chunk.padded(5).tolist() == [[3., 4., 5., 6., 7.]]
    assert chunk.padded(8).tolist() == [[2., 3., 4., 5., 6., 7., 8., 9.]]
    inner = TensorChunk(chunk, 3)
    assert (inner.offset, inner.length) == (5, 2)
    assert inner.padded(12).tolist() == [[1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 0., 0.]]
    assert tensor_chunk(chunk) is chunk and tensor_chunk(tensor).length == 10
    for offset in (-1, 10):
        with pytest.raises(AudioError, match=f"sample {offset} of 10"):
            TensorChunk(tensor, offset)
    with pytest.raises(AudioError, match="5 samples does not fit in 4"):
        chunk.padded(4)
    mix = song()[None]
    assert torch.equal(apply_model(model, TensorChunk(mix, 100, 7000), shifts=0),
                       separate(model, mix[..., 100:7100], shifts=0))


@pytest.mark.parametrize("settings,words", [
    ({"shifts": -1}, "shifts=-1"), ({"overlap": 1.}, "overlap=1.0"), ({"segment": float("nan")}, "segment=nan"),
    ({"jobs": -1}, "jobs=-1"), ({"seed": -1}, "seed=-1"), ({"device": "meta"}, "device 'meta'"),
    ({"device": "xla"}, "device 'xla'"),
])
def test_impossible_numbers_are_refused_at_once(model, settings, words):
    with pytest.raises(ConfigError, match=words):
        api.Separator(model, **{"device": "cpu", **settings})
    separator = api.Separator(model, device="cpu", shifts=2)
    with pytest.raises(ConfigError, match=words):
        separator.update_parameter(**settings)
    assert separator._settings["shifts"] == 2


@pytest.mark.parametrize("settings,words", [
    ({"num_workers": -1}, "workers=-1"), ({"shifts": float("inf")}, "shifts=inf"), ({"device": "meta"}, "device 'meta'"),
    ({"segment": 1e300}, "segment="), ({"transition_power": float("nan")}, "transition_power=nan"),
])
def test_impossible_numbers_of_apply_model(model, settings, words):
    with pytest.raises(ConfigError, match=words):
        apply_model(model, song()[None], **settings)


@pytest.mark.parametrize("dtype, scale", [(torch.float64, 1), (torch.float16, 1), (torch.bfloat16, 1), (torch.int16, 2 ** 15),
                                          (torch.int32, 2 ** 31), (torch.int8, 2 ** 7), (torch.uint8, 2 ** 7)])
@pytest.mark.parametrize("numpy", [False, True])
def test_samples_of_any_type(dtype, scale, numpy):
    if numpy and dtype == torch.bfloat16:
        pytest.skip("numpy has no such type")
    separator = api.Separator("demucs_unittest", device="cpu", shifts=0)
    wav = 0.5 * torch.sin(torch.arange(2 * 8000).reshape(2, -1) / 50.)
    given = (wav * scale).to(torch.int32) + (2 ** 7 if dtype == torch.uint8 else 0) if scale > 1 else wav
    given = given.to(dtype)
    expected = (given.double() - (2 ** 7 if dtype == torch.uint8 else 0)) / scale
    mixture, stems = separator.separate_tensor(given.numpy() if numpy else given)
    torch.testing.assert_close(mixture, expected.float(), rtol=0, atol=1e-7)
    torch.testing.assert_close(stems["bass"], separator.separate_tensor(expected.float())[1]["bass"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("wav, words", [
    (torch.zeros(44100, 2), r"\[44100, 2\], which looks like \[samples, channels\]: give its transpose"),
    (np.zeros((44100, 2)), r"give its transpose"), (torch.zeros(44100), r"\[channels, samples\], got \[44100\]"),
    (torch.zeros(2, 100, dtype=torch.complex64), "complex64"), (np.zeros((2, 100), dtype=bool), "bool"),
    (np.array([["a", "b"]]), "of type <U1"), ([[0.] * 100], "got list"), (torch.full((2, 100), torch.nan), "not finite numbers"),
    (torch.full((2, 100), torch.inf), "the audio given: 100 samples are not finite")])
def test_what_is_no_waveform(wav, words):
    separator = api.Separator("demucs_unittest", device="cpu", shifts=0)
    with pytest.raises(AudioError, match=words):
        separator.separate_tensor(wav)


def test_one_model_in_several_threads_stays_as_it_was():
    model = api.Separator("demucs_unittest", device="cpu").model
    separator = api.Separator(model, device="cpu", shifts=0)
    model.train()
    wav = torch.randn(2, 30000)
    expected = separator.separate_tensor(wav)[1]["drums"]
    assert model.training
    with ThreadPoolExecutor(4) as pool:
        found = [future.result()[1]["drums"] for future in [pool.submit(separator.separate_tensor, wav) for _ in range(12)]]
    assert all(torch.equal(one, expected) for one in found)
    assert model.training and all(module.training for module in model.modules())
