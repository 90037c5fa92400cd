"""The .ts format: sequences of several channels, labels, and errors that name their place."""

import numpy as np
import pytest

from tinygrad_rnn.data.tables import TableError
from tinygrad_rnn.data.ts import parse_ts

HEAD = "# comment\n@problemName x\n@timeStamps false\n@classLabel true up down\n@data\n"


def test_sequences_of_different_lengths() -> None:
    cases = parse_ts(HEAD + "1,2:3,4:up\n\n1e-2,-5,6:7,8,9:down\n", "x.ts")
    assert [label for _, label in cases] == ["up", "down"]
    np.testing.assert_array_equal(cases[0][0], np.float32([[1, 3], [2, 4]]))
    assert cases[1][0].shape == (3, 2)
    assert cases[1][0].dtype == np.float32


def test_files_to_predict_for_need_no_labels() -> None:
    plain = parse_ts("@classLabel false\n@data\n1,2:3,4\n", "x.ts", labelled=False)
    assert plain[0][0].shape == (2, 2)
    assert plain[0][1] == ""
    assert parse_ts(HEAD + "1,2:?\n", "x.ts", labelled=False)[0][1] == "?"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD + "1,2:3,4:up\n1,2:up\n", "x.ts: row 7 has 1 channels, expected 2"),
        (HEAD + "1,2:3:up\n", "x.ts: row 6, channel 2 has 1 values, but channel 1 has 2"),
        (HEAD + "1,2:3,?:up\n", "x.ts: row 6, channel 2, step 2: missing value"),
        (HEAD + "1,,2:up\n", "x.ts: row 6, channel 1, step 2: missing value"),
        (HEAD + "1,NaN:up\n", "x.ts: row 6, channel 1, step 2: missing value"),
        (HEAD + "1,a:up\n", "x.ts: row 6, channel 1, step 2: expected a number, got 'a'"),
        (HEAD + "1,1e99:up\n", "x.ts: row 6, channel 1, step 2: .1e99. is too large"),
        (HEAD + "1,2:left\n", r"x.ts: row 6: the label 'left' is none of @classLabel \(up, down\)"),
        (HEAD + "1,2:?\n", "x.ts: row 6: the label is missing"),
        (HEAD + "up\n", "x.ts: row 6 has 0 channels"),
        (HEAD, "x.ts has no cases"),
        ("@classLabel true a\n", "x.ts has no line @data"),
        ("1,2:a\n", "x.ts: row 1: expected a line of @ or #, until @data"),
        ("@classLabel false\n@data\n1,2\n", "x.ts: no labels: expected a line such as @classLabel"),
        ("@data\n1,2:a\n", "x.ts: no labels"),
        ("@timeStamps true\n@classLabel true a\n@data\n(1,2):a\n", "@timeStamps true is not"),
    ],
)
def test_errors_name_the_row_the_channel_and_the_step(text: str, message: str) -> None:
    with pytest.raises(TableError, match=message):
        parse_ts(text, "x.ts")
