"""Result files as those of the notes on variants of HTDemucs, with random scores."""

import gzip
import json

import numpy as np

LATER, EARLIER, FLAT, SINGLE = "later", "earlier", "flat", "single"      # formats; the last has one track
FORMATS = (LATER, EARLIER, FLAT, SINGLE)
METRICS = ("SDR", "ISR", "SIR", "SAR")


def scores(number, level=10., tracks=6):
    """{name of track: {metric: frames}} with nSDR, undefined and infinite frames as in the notes."""
    draw = np.random.default_rng(number)
    found = {}
    for index in range(tracks):
        count = 4 + index
        lists = {metric: (level + 6 * draw.normal(size=count)).tolist() for metric in METRICS}
        lists["SIR"] = [float("inf")] * count
        for metric in METRICS:
            lists[metric][0] = float("nan")
        found[f"Song {index}"] = {"NSDR": [level + float(draw.normal())], **lists}
    return found


def plain(tracks, kind=LATER, model="mine", nsdr=True):
    """Content of a file of a format."""
    lists = {name: {metric: values for metric, values in entry.items() if nsdr or metric != "NSDR"}
             for name, entry in tracks.items()}
    if kind == FLAT:
        return {"tracks": lists, "summary": {"sdr_mean": float("nan")}}
    about = {"model_name": model, "shifts": 1, "overlap": 0.25}
    wrapped = {name: {"scores": entry, "summary": {"sdr_mean": float("nan"), "valid_frames": 3}}
               for name, entry in lists.items()}
    if kind == SINGLE:
        (name, entry), *_ = wrapped.items()
        return {"track_name": name, "model_config": about, **entry}
    head = {"evaluation_metadata": {"protocol": "x", "sdr_definition": "y", **about}} if kind == LATER else \
        {"model_config": about}
    return {**head, "tracks": wrapped, "overall_summary": {"overall_sdr_mean": 1000.}}


def write(path, content):
    """Write a file, compressed if it is called .gz."""
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path
