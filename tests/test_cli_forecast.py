"""`train forecast`: series of users' own, beside GARCH's kind of models; exact resuming; errors."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from datetime import date, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinygrad_rnn.data.series import Series
from tinygrad_rnn.recipes import Forecast
from tinygrad_rnn.recipes.classical import Filter, classical_fit, garch_fit, linear_fit
from tinygrad_rnn.recipes.forecast_model import ForecastConfig
from tinygrad_rnn.recipes.forecast_table import coverage
from tinygrad_rnn.recipes.forecaster import Forecaster
from tinygrad_rnn.recipes.volatility import (
    garch,
    normal_log_density,
    student_cdf,
    student_log_density,
    student_samples,
    weighted_volatility,
)
from tinygrad_rnn.tensor.random import Generator

from .commands import Run, predictions, table

SMALL = ["--hidden-size", "6", "--epochs", "4", "--paths", "100", "--horizon", "4"]


def days(count: int) -> list[str]:
    return [(date(2020, 1, 1) + timedelta(i)).isoformat() for i in range(count)]


def write_prices(count: int = 500) -> None:
    """Two series whose volatility doubles on days that a covariate announces."""
    rng = np.random.default_rng(0)
    rows = []
    for name in ("one", "two"):
        price = 100.0
        for day in days(count):
            wild = int(rng.random() < 0.3)
            price *= float(np.exp(0.002 * (1 + 5 * wild) * rng.standard_t(5)))
            rows.append(f"{name},{day},{price:.6f},{wild}")
    Path("prices.csv").write_text("name,date,value,wild\n" + "\n".join(rows) + "\n")


def write_season(count: int = 240) -> None:
    rng = np.random.default_rng(0)
    values = 10 + 3 * np.sin(np.arange(count) * 2 * np.pi / 6) + rng.normal(0, 0.3, count)
    rows = [f"{day},{x:.4f}" for day, x in zip(days(count), values, strict=True)]
    Path("season.csv").write_text("date,value\n" + "\n".join(rows) + "\n")


PRICES = ["train", "forecast", "--data", "prices.csv", "--series", "name", "--covariates", "wild"]


def test_a_known_covariate_tells_the_volatility(run: Run) -> None:
    write_prices()
    said = run(*PRICES, *SMALL, "--epochs", "40", "--lr", "0.02", "--out", "run")
    log_p = table(said, 2)
    assert log_p["rnn"] > log_p["weighted volatility"] + 0.15
    assert "the mean of these returns is not predictable from their past" in said
    assert "the 50 % intervals of the next step hold" in " ".join(said.split())

    ahead = "".join(f"one,{day},,{i % 2}\n" for i, day in enumerate(days(506)[500:]))
    lines = Path("prices.csv").read_text().splitlines(keepends=True)
    Path("ahead.csv").write_text("".join(lines[:501]) + ahead)
    rows = [*csv.DictReader(StringIO(run("predict", "run", "ahead.csv")))]
    assert [row["date"] for row in rows] == days(506)[500:]
    assert all(float(row["5%"]) < float(row["50%"]) < float(row["95%"]) for row in rows)
    last = float(lines[500].split(",")[2])
    assert float(rows[0]["50%"]) == pytest.approx(last, rel=0.01)
    first = float(rows[0]["95%"]) - float(rows[0]["5%"])
    assert float(rows[1]["95%"]) - float(rows[1]["5%"]) > 2 * first  # a wild day
    records = predictions("ahead.csv", "run")
    assert records[1]["quantiles"]["95%"] == float(rows[1]["95%"])
    said = run("predict", "run", "prices.csv", status=2)
    assert "series 'one' ends with a value: the model needs the known covariates (wild)" in said


def test_a_season_is_predictable(run: Run) -> None:
    write_season()
    said = run(
        "train", "forecast", "--data", "season.csv", "--period", "6", *SMALL, "--out", "run"
    )  # fmt: skip
    log_p = table(said, 2)
    assert log_p["rnn"] > log_p["seasonal naive"] - 0.1
    assert log_p["seasonal naive"] > log_p["last value"] + 0.5
    assert "the mean of these values is predictable" in said
    shown = run("predict", "run", "season.csv")
    assert shown.startswith("series,date,step,5%,25%,50%,75%,95%\nseason,,1,")
    middle = [float(line.split(",")[5]) for line in shown.splitlines()[1:]]
    wave = 10 + 3 * np.sin(np.arange(240, 244) * 2 * np.pi / 6)
    assert np.abs(middle - wave).max() < 1
    assert run("predict", "run", "season.csv") == shown
    typed = Path("season.csv").read_text()
    assert run("predict", "run", typed=typed).replace("-,,", "season,,") == shown


def rows(*values: object) -> str:
    return "".join(f"{day},{x}\n" for day, x in zip(days(len(values)), values, strict=True))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("2020-01-02,1\n2020-01-01,2\n", "row 3, column 'date': dates out of order: 2020-01-01"),
        ("2020-01-02,1\n2020-01-02,2\n", "row 3, column 'date': dates out of order"),
        ("yesterday,1\n", "row 2, column 'date': expected a date such as 2024-12-31, got 'yest"),
        (rows(1, 2, "", 4), "row 4, column 'value': missing value"),
        (rows(1, "x"), "row 3, column 'value': expected a number, got 'x'"),
        (rows(1, "nan"), "row 3, column 'value': expected a number, got 'nan'"),
        (rows(1, "1e300"), "row 3, column 'value': '1e300' is too large: scale the column down"),
        (rows(1, 2, -3), "row 4, column 'value': returns need values above 0, got -3: --period 1"),
        (rows(*[7] * 300), "row 2, column 'value': series 'own' is constant: every value is 7"),
        (rows(*range(1, 31)), "series 'own' is too short: 20 steps before 2020-01-22"),
        (rows(*(1.2**i for i in range(200))), "series 'own' follows from its last values without"),
        ("2020-01-01,1,2\n", "row 2 has 3 fields, but the header has 2"),
        ("2020-01-01\xe9,1\n", "own.csv is not UTF-8"),
    ],
)
def test_series_that_cannot_be_learnt_from(run: Run, content: str, message: str) -> None:
    Path("own.csv").write_bytes(("date,value\n" + content).encode("latin-1"))
    said = run("train", "forecast", "--data", "own.csv", "--out", "run", status=2)
    assert message in said


def test_errors_of_several_series(run: Run) -> None:
    write_prices(200)
    Path("more.csv").write_text(Path("prices.csv").read_text().rstrip())
    twice = ["train", "forecast", "--data", "prices.csv", "--data", "more.csv", "--out", "run"]
    said = run(*twice, "--series", "name", status=2)
    assert "two series are named 'one'" in said
    said = run(*twice, "--series", "names", status=2)
    assert "prices.csv: no column 'names': it has 'name', 'date', 'value', 'wild'" in said
    said = run(*twice, "--series", "name", "--covariates", "wild, mild", status=2)
    assert "prices.csv: no column 'mild'" in said
    said = run(*twice, "--series", "name", "--covariates", "wild, value", status=2)
    assert "--covariates must be known in advance: 'value' is the column to forecast" in said
    said = run(*twice, status=2)  # the second series begins again
    assert "prices.csv: row 202, column 'date': dates out of order" in said
    lines = Path("prices.csv").read_text().splitlines(keepends=True)
    Path("prices.csv").write_text("".join(lines[:205]))
    said = run(*PRICES, "--out", "run", status=2)
    assert "series 'two' is too short: 3 steps before" in said


def test_values_of_any_size_and_json(run: Run) -> None:
    write_season(100)
    rows = [*csv.DictReader(StringIO(Path("season.csv").read_text()))]
    for scale, file in ((1e200, "large.jsonl"), (1e-9, "small.jsonl")):
        lines = [{"date": r["date"], "value": scale * float(r["value"])} for r in rows]
        Path(file).write_text("\n".join(map(json.dumps, lines)))
    small = ["train", "forecast", "--period", "1", *SMALL]
    said = run(*small, "--data", "large.jsonl", "--out", "a", status=2)
    assert re.search(r"row 1, column 'value': .*e\+20. is too large: scale the column down", said)
    run(*small, "--data", "small.jsonl", "--out", "b")
    records = predictions("small.jsonl", "b")
    assert [record["step"] for record in records] == [1, 2, 3, 4]
    assert 5e-9 < records[0]["quantiles"]["50%"] < 15e-9
    ends = [{"date": "2021-01-01", "value": 0}, {"date": "2021-01-02", "value": None}]
    Path("zero.jsonl").write_text(
        Path("small.jsonl").read_text() + "\n" + "\n".join(map(json.dumps, ends))
    )
    [record] = predictions("zero.jsonl", "b")
    assert record["date"] == "2021-01-02"  # 0 is a value, and null is to forecast


def test_predict_refuses_short_series(run: Run) -> None:
    write_season(120)
    run("train", "forecast", "--data", "season.csv", "--period", "1", "--quick", "--out", "run")
    assert len(run("predict", "run", "season.csv").splitlines()) == 6
    write_season(20)
    said = run("predict", "run", "season.csv", status=2)
    assert "series 'season' is too short: 20 values; expected at least 42" in said


# ---------------------------------------------------------------- the parts


@pytest.mark.parametrize("name", ["plain", "a, b", 'a "b"', "two\nlines"])
def test_a_line_of_a_prediction_gives_the_name_back(name: str) -> None:
    record = {"series": name, "date": "2020-01-01", "step": 1, "quantiles": {"5%": 0.5}}
    line = Forecaster.show(object.__new__(Forecaster), record)
    assert [*csv.reader(StringIO(line, newline=""))] == [[name, "2020-01-01", "1", "0.5"]]


def trained(**settings: Any) -> Forecast:
    """A training of few updates on series of users' own, with lags and a covariate."""
    write_prices(300)
    config = ForecastConfig(
        series="name", covariates="wild", hidden_size=5, epochs=3, lr=0.05, **settings
    )
    training = Forecast(Forecast.read(["prices.csv"], config), config)
    for _ in training:
        pass
    return training


@pytest.mark.parametrize("period", [0, 7])
def test_a_distribution_depends_on_the_past_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, period: int
) -> None:
    monkeypatch.chdir(tmp_path)
    training = trained(period=period)
    forecaster, one = training.forecaster, training.cuts[0].steps
    [before] = forecaster.distributions([forecaster.filtered(one)])
    changed = one.values.copy()
    changed[200] *= 1.1
    [after] = forecaster.distributions([forecaster.filtered(replace(one, values=changed))])
    at = 200 - forecaster.filtered(one).start
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old[: at + 1], new[: at + 1])
    assert not np.allclose(before[1][at + 1 : at + 5], after[1][at + 1 : at + 5])


@pytest.mark.parametrize(("period", "cell"), [(0, "lstm"), (7, "rnn")])
def test_samples_are_those_of_the_distribution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, period: int, cell: str
) -> None:
    monkeypatch.chdir(tmp_path)
    training = trained(period=period, cell=cell, paths=4000)
    forecaster, one = training.forecaster, training.cuts[0].steps
    found = forecaster.filtered(one)
    [(location, scale, df)] = forecaster.distributions([found])
    origins = [found.start, 150, 220, 299 - (not period)]
    for origin, paths in zip(origins, forecaster.samples(one, origins, 3), strict=True):
        at = origin - found.start
        z = (paths[:, 0] - location[at]) / scale[at]
        ranks = student_cdf(z, np.full(len(z), df[at]))
        np.testing.assert_allclose(np.quantile(ranks, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.03)


@pytest.mark.parametrize(("period", "cell"), [(0, "gru"), (7, "lstm")])
def test_sampled_values_are_read_as_if_they_were_observed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, period: int, cell: str
) -> None:
    """Without noise a path is the locations, each given those before it."""
    monkeypatch.chdir(tmp_path)
    training = trained(period=period, cell=cell, paths=2)
    forecaster, one = training.forecaster, training.cuts[0].steps
    monkeypatch.setattr(
        "tinygrad_rnn.recipes.forecast_distribution.student_samples", lambda df, _: 0 * df
    )
    paths = forecaster.sample(one, 250, 4)
    values = one.values.copy()
    for h in range(4):
        [(location, _, _)] = forecaster.distributions([found := forecaster.filtered(
            replace(one, values=values)
        )])  # fmt: skip
        values[250 + h] = location[250 + h - found.start]
    np.testing.assert_allclose(paths[0], values[250:254], rtol=1e-4, atol=1e-5)


def test_figures_are_those_of_the_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    training = trained(paths=20, horizon=3)
    figure = training.evaluate()
    fitted, cuts = training.fitted(training.forecaster), training.cuts
    log_p = [x[a:b] for (_, x), (_, a, b) in zip(fitted, cuts, strict=True)]
    assert figure == pytest.approx(-np.concatenate(log_p).mean(), rel=1e-5)
    training.finish()
    comparison = training.compare()
    ours = training.fitted(training.predicting())
    tests = np.concatenate([x[b:] for (_, x), (_, _, b) in zip(ours, cuts, strict=True)])
    assert comparison.figures()[training.config.cell]["log p, nats"] == pytest.approx(
        tests.mean(), rel=1e-6
    )
    for sums in comparison.systems.values():
        assert sums["log p, nats"][:, 1].sum() == len(tests)
        assert len(sums["log p, nats"]) == 6  # blocks of ten dates
    assert len(training.ranks) == len(tests)
    near, later = comparison.notes[-3:-1]
    ranks = np.abs(training.ranks - 0.5)
    assert f"the 50 % intervals of the next step hold {(ranks <= 0.25).mean():.1%} (" in near
    assert f"the 90 % intervals {(ranks <= 0.45).mean():.1%} (" in near
    assert "of 2 to 3 steps ahead hold" in later


def test_shares_of_values_in_intervals_with_their_own_interval() -> None:
    """Blocks are drawn, not values: of two unequal ones, each share may be that of one block."""
    said = coverage("the next step", [(0, np.array([0.5, 0.1])), (1, np.array([0.99]))])
    assert said == (
        "the 50 % intervals of the next step hold 33.3% (0.0% to 50.0%) of the values, "
        "the 90 % intervals 66.7% (0.0% to 100.0%)"
    )
    alike = [(block, np.array([0.3, 0.8])) for block in range(9)]
    assert "hold 50.0% (50.0% to 50.0%) of" in coverage("the next step", alike)


def test_student_s_density_distribution_and_samples_agree() -> None:
    for df in (2.5, 7.0, 60.0):
        grid = np.linspace(-40, 40, 80_001)
        density = np.exp(student_log_density(grid, 0.0, 1.0, df))
        whole = np.cumsum(density) * (grid[1] - grid[0])
        at = [39_000, 40_000, 41_500, 44_000]
        found = student_cdf(grid[at], np.full(4, df))
        tail = student_cdf(grid[:1], np.full(1, df))
        np.testing.assert_allclose(found, whole[at] + tail, atol=1e-3)
        drawn = student_samples(np.full(100_000, df), Generator(0))
        shares = [(drawn < x).mean() for x in grid[at]]
        np.testing.assert_allclose(shares, found, atol=0.006)


def test_the_filter_is_the_linear_mean_and_the_garch_volatility() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=80).cumsum() + np.tile([0.0, 4.0, 1.0], 27)[:80]
    days_of = [datetime(2020, 1, 1)] * 80
    known = rng.normal(size=(80, 1))
    one = Series("a", days_of, y, known)
    coefficients, deviation = linear_fit(one, 3)
    x = np.stack([np.ones(76), y[3:-1], y[1:-3], y[:-4], known[4:, 0]], axis=1)
    np.testing.assert_allclose(coefficients, np.linalg.lstsq(x, y[4:], rcond=None)[0], rtol=1e-6)
    [found, wide, a, p] = classical_fit(one, 3)
    assert (found, wide) == (coefficients.tolist(), deviation)
    model = Filter([found, wide, a, p], y[:4], 3, paths=2)
    variance, last = np.ones(2), np.zeros(2)
    for t in range(4, 80):
        mean, volatility, features = model.ahead(known[t])
        np.testing.assert_allclose(mean, x[t - 4] @ coefficients)
        np.testing.assert_allclose(volatility, deviation * np.sqrt(variance))
        assert features.shape == (2, 4)
        np.testing.assert_allclose(features[:, 0], np.log(variance) / 2)
        np.testing.assert_allclose(features[:, 2], np.clip(last, -5, 5))
        last = (y[t] - mean) / volatility
        variance = 1 - p + a * ((y[t] - mean) / deviation) ** 2 + (p - a) * variance
        model.update(np.full(2, y[t]), mean)


def test_the_parameters_of_a_garch_process_are_found() -> None:
    noise, a, p, variance = np.random.default_rng(0).normal(size=20_000), 0.1, 0.95, 1.0
    drawn = np.empty(len(noise))
    for t, e in enumerate(noise):
        drawn[t] = np.sqrt(variance) * e
        variance = 1 - p + a * drawn[t] ** 2 + (p - a) * variance
    found = garch_fit(drawn / drawn.std())
    assert 0.06 <= found[0] <= 0.13
    assert found[1] == 0.95


def test_garch_is_that_of_the_package() -> None:
    arch = pytest.importorskip("arch")
    drawn = np.random.default_rng(0).standard_t(6, size=600)
    drawn *= np.repeat([1.0, 3.0, 1.0], 200)
    found = garch(drawn, 600)
    assert found is not None
    model = arch.arch_model(drawn, vol="GARCH", dist="t", rescale=False).fit(disp="off")
    assert found[1].sum() == pytest.approx(model.loglikelihood, rel=1e-6)


def test_weighted_volatility_looks_back_only() -> None:
    y = np.random.default_rng(0).normal(size=60)
    _, log_p = weighted_volatility(y, 40)
    changed = y.copy()
    changed[50] = 30
    _, other = weighted_volatility(changed, 40)
    assert (log_p[:50] == other[:50]).all()
    assert log_p[0] == pytest.approx(normal_log_density(y[0], y[:40].mean(), y[:40].std()))
    assert other[51] < log_p[51]
