"""Training: Eq. 9, the average of weights, a small fit, determinism, refusals."""

import pytest
import torch
from denoisers import settings

from r4t_utils.diffusion import training
from r4t_utils.diffusion.denoiser import Denoiser, DenoiserConfig
from r4t_utils.diffusion.samplers import sample
from r4t_utils.diffusion.training import PairSampler, ema_decay, learning_rate, set_loss, train, update_ema

SMALL = DenoiserConfig(d=8, hidden=32, mlp=64, heads=4, layers=2, dropout=0.1, sigma_data=0.35)


def unit(*shape, seed=0):
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(x, dim=-1)


def weights(denoiser):
    return torch.cat([weight.detach().flatten() for weight in denoiser.parameters()])


def test_the_loss_is_equation_9():
    Z, noise, sigma = unit(3, 4, 8), unit(3, 4, 8, seed=1), torch.tensor([0.01, 0.3, 4.0])

    class Halving:
        schedule = Denoiser(SMALL).schedule

        def __call__(self, noisy, level, z_q, keep):
            return noisy / 2

    ours = set_loss(Halving(), Z, unit(3, 8), sigma, noise)
    for i, s in enumerate(sigma.tolist()):
        weight = (s**2 + 0.35**2) / (s * 0.35) ** 2
        error = ((Z[i] + s * noise[i]) / 2 - Z[i]).norm() ** 2 / (4 * 8)
        assert ours[i].item() == pytest.approx(weight * error.item(), rel=1e-4)


def test_the_best_linear_guess_scores_one_at_every_level():
    """An untrained denoiser on Gaussian data of std σ_data: what makes losses comparable over σ."""
    generator = torch.Generator().manual_seed(0)
    Z = 0.35 * torch.randn(4000, 4, 8, generator=generator)
    for level in (1e-3, 0.35, 10.0):
        loss = set_loss(
            Denoiser(SMALL).eval(),
            Z,
            unit(4000, 8),
            torch.full((4000,), level),
            torch.randn(Z.shape, generator=generator),
        )
        assert loss.mean().item() == pytest.approx(1.0, abs=0.02)


def test_learning_rate_warms_up_and_falls_to_zero():
    rates = [learning_rate(step, 0.3, 10, 110) for step in range(111)]
    assert rates[0] == pytest.approx(0.03) and rates[9] == rates[10] == pytest.approx(0.3)
    assert rates[60] == pytest.approx(0.15) and rates[110] == pytest.approx(0.0, abs=1e-9)
    assert all(a >= b for a, b in zip(rates[10:], rates[11:]))
    assert learning_rate(0, 0.3, 0, 5) == 0.3


def test_the_average_follows_its_formula():
    average, model = Denoiser(SMALL, 1), Denoiser(SMALL, 2)
    expected = 0.9 * weights(average) + 0.1 * weights(model)
    update_ema(average, model, 0.9)
    torch.testing.assert_close(weights(average), expected)
    assert [ema_decay(step, 0.999) for step in (0, 90)] == [0.1, 0.91] and ema_decay(10**6, 0.999) == 0.999


@pytest.mark.training
def test_training_leaves_the_average_of_its_steps():
    """With a constant decay the answer is the recursion over the weights seen at every step."""
    seen, averages = [], []
    denoiser = Denoiser(SMALL)
    recursion = weights(denoiser).clone()
    train(
        denoiser,
        unit(4, 8, 8),
        unit(4, 8),
        settings(steps=4),
        eval_every=1,
        on_eval=lambda step, ema: (seen.append(weights(denoiser)), averages.append(weights(ema))),
    )
    for step in range(4):
        decay = (1 + step) / (10 + step)
        recursion = decay * recursion + (1 - decay) * seen[step]
        torch.testing.assert_close(averages[step], recursion)
    assert torch.equal(weights(denoiser), averages[-1]) and not denoiser.training


def test_only_valid_fanouts_are_drawn_and_all_of_them():
    targets = torch.arange(12.0).view(3, 4, 1, 1).expand(3, 4, 2, 5)
    pairs = PairSampler(targets, torch.arange(3.0)[:, None].expand(3, 5), counts=[2, 0, 4])
    torch.manual_seed(0)
    Z, z_q = pairs(600)
    assert Z.shape == (600, 2, 5) and z_q.shape == (600, 5)
    values, numbers = Z[:, 0, 0].unique(return_counts=True)
    assert values.tolist() == [0, 1, 8, 9, 10, 11] and numbers.min() > 60  # pairs alike: about 100 each
    assert (z_q[:, 0] == Z[:, 0, 0] // 4).all()


@pytest.mark.training
def test_a_mixture_is_learnt():
    """Two queries with two sets each, of two rows: every sample is one whole set of the query asked for."""
    z_q, sets = torch.eye(8)[:2], torch.eye(8).view(2, 2, 2, 8)
    config = DenoiserConfig(
        d=8,
        hidden=48,
        mlp=96,
        heads=4,
        layers=2,
        dropout=0.0,
        attention_dropout=0.0,
        sigma_data=0.35,
        sigma_min=0.01,
        sigma_max=40.0,
    )
    denoiser = Denoiser(config)
    history = train(denoiser, sets, z_q, settings(steps=500, batch_size=64, peak_lr=4e-3, warmup_steps=50, ema=0.98))
    how = settings(sampler="dpm", sampling_steps=10, guidance=0.1)
    x = sample(denoiser, z_q.repeat_interleave(100, 0), 2, how, torch.Generator().manual_seed(0))
    distance, row = torch.cdist(x, sets.reshape(1, 8, 8)).min(dim=2)  # (200, 2)
    whole = (row[:, 0] // 2 == row[:, 1] // 2) & (row[:, 0] != row[:, 1])
    right = row // 4 == torch.arange(2).repeat_interleave(100)[:, None]
    assert distance.mean() < 0.2 and whole.float().mean() > 0.9 and right.float().mean() > 0.95
    assert torch.bincount(row[whole, 0] // 2, minlength=4).min() >= 25  # both sets of each query
    middle = [entry["loss"] for entry in history["loss_by_sigma"] if 0.02 < entry["sigma"] < 0.2]
    assert max(middle) < 0.3


@pytest.mark.training
def test_rows_are_permuted_within_their_sets(monkeypatch):
    sets, seen = unit(1, 5, 8), []
    monkeypatch.setattr(training, "set_loss", lambda denoiser, Z, *rest: seen.append(Z) or set_loss(denoiser, Z, *rest))
    train(Denoiser(SMALL), sets, unit(1, 8), settings(steps=1, warmup_steps=1, batch_size=40))
    order = torch.cdist(seen[0], sets.expand(40, 5, 8)).argmin(dim=2)
    assert (order.sort(dim=1).values == torch.arange(5)).all() and len(order.unique(dim=0)) > 20


@pytest.mark.training
def test_queries_are_dropped_as_often_as_asked():
    """Where they are always dropped they cannot matter."""

    def run(z_q, drop):
        denoiser = Denoiser(SMALL)
        train(denoiser, unit(4, 3, 8), z_q, settings(condition_drop=drop))
        return weights(denoiser)

    assert torch.equal(run(unit(4, 8), 1.0), run(unit(4, 8, seed=5), 1.0))
    assert not torch.equal(run(unit(4, 8), 0.1), run(unit(4, 8, seed=5), 0.1))
    assert not torch.equal(run(unit(4, 8), 0.5), run(unit(4, 8), 0.0))


@pytest.mark.training
def test_history_has_a_row_a_step_and_a_row_a_level():
    history = train(Denoiser(SMALL), unit(4, 3, 8), unit(4, 8), settings(steps=5), eval_every=2)
    assert [entry["step"] for entry in history["loss"]] == [1, 2, 3, 4, 5]
    assert sorted({entry["step"] for entry in history["loss_by_sigma"]}) == [2, 4, 5]
    levels = [entry["sigma"] for entry in history["loss_by_sigma"] if entry["step"] == 5]
    assert len(levels) == 8 and levels == sorted(levels) and 1e-4 < levels[0] and levels[-1] < 28


@pytest.mark.training
def test_the_seed_decides_the_run_and_the_caller_s_randomness_is_left_alone():
    def run(seed):
        denoiser = Denoiser(SMALL)
        train(denoiser, unit(4, 3, 8), unit(4, 8), settings(), seed=seed)
        return weights(denoiser)

    torch.manual_seed(1)
    first = run(0)
    state = torch.random.get_rng_state()
    torch.rand(7)
    again = run(0)
    assert torch.equal(first, again) and not torch.equal(first, run(1))
    torch.manual_seed(1)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.training
@pytest.mark.parametrize(
    "targets, z_q, counts, named",
    [
        (unit(4, 8), unit(4, 8), None, "must be"),
        (unit(4, 3, 8), unit(5, 8), None, "must be"),
        (unit(4, 2, 3, 8), unit(4, 8), [1, 2, 3, 0], "counts"),
        (unit(4, 2, 3, 8), unit(4, 8), [1, 2], "counts"),
        (unit(4, 2, 3, 8), unit(4, 8), [0, 0, 0, 0], "no query"),
        (unit(4, 3, 7), unit(4, 7), None, "must be"),
    ],
)
def test_bad_data_are_refused(targets, z_q, counts, named):
    with pytest.raises(ValueError, match=named):
        train(Denoiser(SMALL), targets, z_q, settings(), counts=counts)


@pytest.mark.training
def test_a_diverging_run_stops():
    with pytest.raises(FloatingPointError, match="lower peak_lr"):
        train(Denoiser(SMALL), unit(4, 3, 8) * 1e30, unit(4, 8), settings())


def test_pairs_that_are_not_finite_are_refused_where_they_count():
    targets, z_q = unit(3, 2, 4, 8), unit(3, 8)
    targets[1, 1] = torch.nan
    assert len(PairSampler(targets, z_q, [2, 1, 2]).pairs) == 5
    for data in ((targets, z_q), (unit(3, 2, 4, 8), z_q.index_fill(0, torch.tensor([2]), torch.inf))):
        with pytest.raises(ValueError, match="not finite; synthesise pairs anew"):
            PairSampler(*data)


@pytest.mark.training
def test_a_denoiser_of_table_3_s_sizes_trains_and_is_sampled_as_in_the_paper():
    denoiser, targets, z_q = Denoiser(DenoiserConfig(), seed=1), unit(2, 1, 3, 128), unit(2, 128)
    before = weights(denoiser)
    how = settings(steps=2, batch_size=2, warmup_steps=1, sampler="sde", sampling_steps=2, guidance=0.1)
    loss = train(denoiser, targets, z_q, how)["loss"]
    assert len(loss) == 2 and not torch.equal(weights(denoiser), before)
    sets = sample(denoiser, z_q, 3, how, torch.Generator().manual_seed(0))
    assert sets.shape == (2, 3, 128) and sets.isfinite().all()


@pytest.mark.training
def test_training_goes_on_from_its_checkpoint_to_the_same_weights(tmp_path):
    file = tmp_path / "kept" / "oar.pt"

    def trained(checkpoint=None, dies_at=None):
        denoiser = Denoiser(SMALL, 3)

        def look(step, ema):
            if step == dies_at:
                raise KeyboardInterrupt
            return {"step": step, "norm": float(weights(ema).norm())}

        data = unit(4, 8, 8), unit(4, 8)
        history = train(denoiser, *data, settings(steps=10), eval_every=2, on_eval=look, checkpoint=checkpoint)
        return weights(denoiser), history

    whole, told = trained()
    assert [row["step"] for row in told["evaluated"]] == [2, 4, 6, 8, 10] and not file.exists()
    for dies_at in (6, 8):
        with pytest.raises(KeyboardInterrupt):
            trained(file, dies_at)
    with pytest.raises(ValueError, match="oar.pt is a checkpoint of other settings .steps=10, not 12.; name another"):
        train(Denoiser(SMALL, 3), unit(4, 8, 8), unit(4, 8), settings(steps=12), checkpoint=file)
    again, history = trained(file)
    assert torch.equal(again, whole) and history == told
    assert [path.name for path in file.parent.iterdir()] == ["oar.pt"]
