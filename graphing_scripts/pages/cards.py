"""HTML of run cards and evaluations: all information needed to reproduce a training and its scores."""

import shlex
import typing as tp

from records.chains import Chain
from records.readers import Run

from demucs.schema import RunCard, Session
from demucs.tables import counted

from .elements import escape, facts, folded, paragraph, table


def made_by(chain: Chain) -> str:
    """HTML with the run cards of all runs of a chain, the last run first."""
    cards = [run_card(part.run.card, part.run.argv, part.run.name) for part in reversed(chain.parts)]
    sessions = [session for part in chain.parts if part.run.card for session in part.run.card.sessions]
    spent = paragraph(f"All runs together: {_spent(sessions)}.") if len(chain.parts) > 1 and sessions else ""
    return spent + "".join(cards)


def run_card(card: tp.Optional[RunCard], argv: tp.Sequence[str], name: str) -> str:
    """HTML of a run card: command, settings, sessions and versions. Without a card (None) it is the name and the
    command, from the overrides `argv`; "" without those, too."""
    command = "dora run " + shlex.join(argv) if argv else ""
    if card is None:
        return f"<h3>{escape(name)}</h3>" + facts([("command", command)]) if command else ""
    started = [shlex.join(session.command) for session in card.sessions if session.command]
    delta = [(key, str(value)) for key, value in card.delta.items()] if card.delta is not None else \
        [(part.partition("=")[0].lstrip("+"), part.partition("=")[2]) for part in argv]
    return (f"<h3>Training of {escape(card.signature)}</h3>" + facts([
        ("command", started[-1] if started else command), ("model", card.model),
        ("parameters", f"{card.parameters:,}"), ("seed", str(card.seed)),
        ("sources", ", ".join(card.sources)), ("audio", f"{card.samplerate} Hz, {card.audio_channels} channels"),
        ("songs", f"{card.train_tracks} for training, {card.valid_tracks} for validation"),
        ("test songs", f"{card.test_set.key}={card.test_set.folder}" if card.test_set else ""),
        ("epochs", f"{card.epochs_done} of {card.epochs}"), ("batch size", str(card.batch_size)),
        ("continued from", card.continued_from or ""), ("commit", card.commit), ("machines", _machines(card.sessions)),
        ("computing time", _spent(card.sessions)), ("versions", _pairs(card.versions, " ")),
    ]) + folded(f"Difference from the base configuration: {len(delta)} settings",
                table(["setting", "value"], delta, caption="Changed settings"), on_paper=True)
        + folded("Settings of the model", facts((key, str(value)) for key, value in card.model_settings.items()))
        + folded("Training sessions", table(
            ["started", "ended", "epochs", "processes", "machines", "job", "commit"],
            [[s.started, s.ended, f"{s.first_epoch} to {s.last_epoch}", str(s.world_size), _machines([s]),
              (s.job or "") + (f", restart {s.restarts}" if s.restarts else ""),
              s.commit + (f" with {s.diff}" if s.diff else "")]
             for s in card.sessions], caption="Times in UTC"), on_paper=True)
        + folded("Installed packages", facts(card.packages.items())))


def _machines(sessions: tp.Sequence[Session]) -> str:
    """Number and type of GPUs (or of processes on CPUs) of each session, with the names of the nodes."""
    told = []
    for session in sessions:
        gpus = session.gpus or {session.device.removeprefix("cuda: "): session.world_size}
        on = f" on {', '.join(session.nodes)}" if session.nodes else ""
        told.append(", ".join(f"{count} \u00d7 {kind}" for kind, count in gpus.items()) + on)
    return "; ".join(dict.fromkeys(told))


def _spent(sessions: tp.Sequence[Session]) -> str:
    """GPU-hours and process-hours on CPUs, those that are not zero."""
    found = []
    for kind, gpu in (("GPU-hours", True), ("process-hours on CPUs", False)):
        hours = sum(s.seconds * s.world_size for s in sessions if s.device.startswith("cuda") == gpu) / 3600
        found += [f"{hours:.2f} {kind}"] if hours else []
    return ", ".join(found)


def _pairs(plain: tp.Mapping[str, tp.Any], between: str) -> str:
    return ", ".join(f"{name}{between}{value}" for name, value in plain.items())


def evaluation_card(run: Run) -> str:
    """HTML on the evaluation of a run: test set, settings, device, time and versions; "" without an evaluation."""
    made = run.evaluation
    if made is None:
        return ""
    scoring = [track.seconds_scoring for track in made.tracks if track.seconds_scoring is not None]
    spent = f"{sum(track.seconds for track in made.tracks):.0f} s" + (f", {sum(scoring):.0f} s of them scoring"
                                                                    if scoring else "")
    return f"<h3>Evaluation of {escape(made.name)}</h3>" + facts([
        ("test set", f"{made.dataset}, {counted(len(made.tracks), 'track')}"), ("weights", made.model_hash),
        ("settings", _pairs(made.settings, "=")), ("device", made.device), ("commit", made.commit),
        ("computing time", spent if any(track.seconds for track in made.tracks) else ""),
        ("versions", _pairs(made.versions, " ")),
        ("created", made.created)])
