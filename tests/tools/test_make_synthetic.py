"""The command line of the synthetic dataset."""

import logging

from tools.make_synthetic import main


def test_makes_a_dataset_with_progress_and_says_what_is_wrong(tmp_path, capsys, caplog):
    out = tmp_path / "a set"
    arguments = [str(out), "--train", "2", "--test", "1", "--seed", "3", "--valid", "1", "--seconds"]
    with caplog.at_level(logging.INFO):
        assert main([*arguments, "1"]) == 0
    assert "synthetic song 3/3" in caplog.text and len(list(out.glob("t*/*/mixture.wav"))) == 3
    assert main([*arguments, "2"]) == 1
    assert "another recipe" in capsys.readouterr().err
