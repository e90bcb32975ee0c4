"""The denoiser: preconditioning, symmetry, cross-attention, sizes, files."""

import math

import pytest
import torch
from denoisers import SMALL, awake, settings
from diffusers import EDMEulerScheduler

from r4t_utils.diffusion.denoiser import Denoiser, DenoiserConfig


def inputs(B=3, L=5, d=8, seed=1):
    generator = torch.Generator().manual_seed(seed)
    Z, z_q = torch.randn(B, L, d, generator=generator), torch.randn(B, d, generator=generator)
    return Z, torch.rand(B, generator=generator) + 0.1, z_q


def test_table_3_has_53_9_million_parameters():
    with torch.device("meta"):
        count = sum(weight.numel() for weight in Denoiser(DenoiserConfig()).parameters())
    assert count == 53_876_352 and round(count / 1e6, 1) == 53.9


@pytest.mark.parametrize("sigma", [1e-4, 0.02, 0.35, 1.7, 28.0])
def test_preconditioning_equals_that_of_diffusers(sigma):
    oracle = EDMEulerScheduler(sigma_data=0.35)
    level = torch.tensor(sigma)
    c_skip, c_out, c_in, c_noise = Denoiser(SMALL).precondition(level)
    zero, one = torch.zeros(()), torch.ones(())
    expected = (
        oracle.precondition_outputs(one, zero, level),
        oracle.precondition_outputs(zero, one, level),
        oracle.precondition_inputs(one, level),
        oracle.precondition_noise(level),
    )
    for ours, theirs in zip((c_skip, c_out, c_in, c_noise), expected):
        assert ours.item() == pytest.approx(float(theirs), rel=1e-5)


def test_the_output_is_put_together_from_the_skip_and_the_network():
    """D - c_skip Z is c_out F, and F sees Z only through c_in Z: undo both and compare two scales."""
    denoiser = awake()
    Z, sigma, z_q = inputs()
    c_skip, c_out, c_in, _ = denoiser.precondition(sigma[:, None, None])
    seen = []
    denoiser.rows_in.register_forward_hook(lambda module, args, out: seen.append(args[0]))
    denoiser.rows_out.register_forward_hook(lambda module, args, out: seen.append(out))
    answer = denoiser(Z, sigma, z_q)
    torch.testing.assert_close(seen[0], c_in * Z)
    torch.testing.assert_close(answer, c_skip * Z + c_out * seen[1])


def test_an_untrained_denoiser_is_the_best_linear_guess():
    Z, sigma, z_q = inputs()
    shrink = 0.35**2 / (sigma**2 + 0.35**2)
    torch.testing.assert_close(Denoiser(SMALL).eval()(Z, sigma, z_q), shrink[:, None, None] * Z)


def test_permuting_rows_permutes_the_answer():
    denoiser = awake()
    Z, sigma, z_q = inputs()
    order = torch.tensor([3, 0, 4, 2, 1])
    answer = denoiser(Z, sigma, z_q)
    torch.testing.assert_close(denoiser(Z[:, order], sigma, z_q), answer[:, order], rtol=1e-4, atol=1e-5)
    assert (answer[:, order] - answer).abs().max() > 0.01  # rows do differ


def test_rows_of_a_set_see_each_other_and_sets_do_not():
    denoiser = awake()
    Z, sigma, z_q = inputs()
    changed = Z.clone()
    changed[0, 0] += 1.0
    difference = (denoiser(changed, sigma, z_q) - denoiser(Z, sigma, z_q)).abs().amax(dim=2)
    assert (difference[0] > 1e-5).all() and (difference[1:] == 0).all()


def test_one_level_for_all_equals_a_level_each():
    denoiser = awake()
    Z, _, z_q = inputs()
    for sigma in (1e-3, 0.5, 20.0):
        shared, each = denoiser(Z, torch.tensor(sigma), z_q), denoiser(Z, torch.full((3,), sigma), z_q)
        torch.testing.assert_close(shared, each, rtol=1e-4, atol=1e-5)


def test_folded_cross_attention_is_ordinary_attention():
    cross = awake().blocks[0].cross
    x, tokens = torch.randn(3, 5, 32), torch.randn(3, 2, 8)
    oracle = torch.nn.MultiheadAttention(32, 4, kdim=8, vdim=8, batch_first=True)
    k, v = cross.kv.weight.view(2, 32, 8)
    with torch.no_grad():
        oracle.q_proj_weight.copy_(cross.q.weight)
        oracle.k_proj_weight.copy_(k)
        oracle.v_proj_weight.copy_(v)
        oracle.in_proj_bias.zero_()
        oracle.out_proj.weight.copy_(cross.out.weight)
        oracle.out_proj.bias.copy_(cross.out.bias)
    expected, _ = oracle(x, tokens, tokens, need_weights=False)
    torch.testing.assert_close(cross(x, *cross.fold(tokens)), expected, rtol=1e-4, atol=1e-5)


def test_queries_of_unit_length_enter_at_unit_variance():
    denoiser, seen = Denoiser(SMALL), []
    denoiser.blocks[0].cross.kv.register_forward_pre_hook(lambda layer, tokens: seen.append(tokens[0]))
    denoiser.context(torch.nn.functional.normalize(inputs()[2], dim=-1))
    torch.testing.assert_close(seen[0][:, 0].square().mean(1), torch.ones(3))


def test_dropped_queries_leave_no_trace_and_kept_ones_do():
    denoiser = awake()
    Z, sigma, z_q = inputs()
    keep = torch.tensor([True, False, True])
    answer, other = denoiser(Z, sigma, z_q, keep), denoiser(Z, sigma, -z_q, keep)
    changed = (answer - other).abs().amax(dim=(1, 2)) > 1e-5
    assert changed.tolist() == [True, False, True]
    torch.testing.assert_close(answer[[0, 2]], denoiser(Z, sigma, z_q)[[0, 2]])


def test_every_weight_learns():
    denoiser = awake().train()
    Z, sigma, z_q = inputs()
    denoiser(Z, sigma, z_q).square().sum().backward()
    assert all(weight.grad.abs().max() > 0 for weight in denoiser.parameters())


def test_the_seed_decides_the_weights_and_leaves_the_caller_s_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, same, other = Denoiser(SMALL, 1), Denoiser(SMALL, 1), Denoiser(SMALL, 2)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first.rows_in.weight, same.rows_in.weight)
    assert not torch.equal(first.rows_in.weight, other.rows_in.weight)


def test_a_saved_denoiser_comes_back_bit_for_bit(tmp_path):
    denoiser = awake()
    denoiser.save(tmp_path / "student")
    names = sorted(path.name for path in (tmp_path / "student").iterdir())
    assert names == ["config.json", "model.safetensors"]
    loaded = Denoiser.load(tmp_path / "student")
    assert loaded.config == SMALL and not loaded.training
    assert torch.equal(loaded(*inputs()), denoiser(*inputs()))


def test_loading_from_an_empty_folder_says_so(tmp_path):
    with pytest.raises(ValueError, match="config.json is missing; copy the folder anew"):
        Denoiser.load(tmp_path)


def test_settings_give_the_sizes():
    sizes = {"hidden": 32, "mlp": 48, "heads": 4, "layers": 2, "dropout": 0.0, "attention_dropout": 0.2}
    levels = {"sigma_data": 0.35, "sigma_min": 1e-3, "sigma_max": 40.0}
    config = Denoiser.from_settings(8, settings(**sizes, **levels)).config
    assert config == DenoiserConfig(d=8, **sizes, **levels)


@pytest.mark.parametrize(
    "change, named",
    [
        ({"heads": 5}, "hidden=32 is not a multiple of heads=5"),
        ({"layers": 0}, r"layers\n.*greater than or equal to 1.*input_value=0"),
        ({"layers": True}, r"layers\n.*valid integer.*input_value=True"),
        ({"dropout": 1.0}, r"dropout\n.*less than or equal to 0.9.*input_value=1.0"),
        ({"sigma_data": 0.0}, r"sigma_data\n.*greater than 0.*input_value=0.0"),
        ({"sigma_min": -1.0}, r"sigma_min\n.*greater than 0.*input_value=-1.0"),
        ({"sigma_max": math.inf}, r"sigma_max\n.*finite number.*input_value=inf"),
        ({"sigma_data": math.nan}, r"sigma_data\n.*finite number.*input_value=nan"),
        ({"sigma_max": 1e-5}, "must be below"),
        ({"sigma_min": 7.05}, "must be below"),  # below 80 but above 80 times sigma_data
    ],
)
def test_bad_sizes_are_refused(change, named):
    with pytest.raises(ValueError, match=named):
        DenoiserConfig(**{"d": 8, "hidden": 32, "heads": 4, **change})


def test_wrong_shapes_are_named():
    denoiser = awake()
    Z, sigma, z_q = inputs()
    for arguments, named in (
        ((Z[0], sigma, z_q), "Z has shape"),
        ((Z[..., :7], sigma, z_q), "Z has shape"),
        ((Z, sigma), r"z_q None: must be .* \(B, 8\)"),
        ((Z, sigma, z_q[:2]), r"z_q \(2, 8\): must be .* \(B, 8\)"),
        ((Z, sigma, z_q[:, :4]), r"z_q \(3, 4\): must be .* \(B, 8\)"),
        ((Z[..., :7], sigma, z_q[:, :7]), "z_q has shape"),
    ):
        with pytest.raises(ValueError, match=named):
            denoiser(*arguments)


def test_noise_levels_are_told_apart():
    """The embedding separates neighbouring levels over the whole trained range."""
    denoiser = Denoiser(SMALL)
    c_noise = torch.linspace(math.log(1e-4), math.log(28), 60) / 4
    angles = c_noise[:, None] * denoiser.rates
    features = torch.cat([angles.sin(), angles.cos()], dim=1)
    distances = torch.cdist(features, features) + 10 * torch.eye(60)
    assert distances.min() > 0.5


# The contents nearest to a query


def test_neighbours_are_a_set_that_is_dropped_with_the_query():
    config = SMALL.model_copy(update={"neighbours": 3})
    denoiser, (Z, sigma, z_q) = awake(config), inputs()
    near = torch.nn.functional.normalize(torch.randn(len(Z), 3, 8, generator=torch.Generator().manual_seed(5)), dim=-1)
    tokens = torch.cat([z_q[:, None], near], 1)
    seen = denoiser(Z, sigma, tokens)
    torch.testing.assert_close(seen, denoiser(Z, sigma, tokens[:, [0, 3, 1, 2]]), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(seen, denoiser(Z, sigma, tokens[:, [1, 0, 2, 3]]), atol=1e-4)  # the query is another kind
    assert not torch.allclose(seen, denoiser(Z, sigma, z_q), atol=1e-4)
    dropped = torch.zeros(len(Z), dtype=torch.bool)
    other = tokens.flip(0)
    torch.testing.assert_close(denoiser(Z, sigma, tokens, dropped), denoiser(Z, sigma, other, dropped))


def test_a_denoiser_without_neighbours_has_no_more_weights_than_the_paper_s():
    names = set(Denoiser(SMALL).state_dict())
    assert set(Denoiser(SMALL.model_copy(update={"neighbours": 3})).state_dict()) - names == {"kinds"}


# Rows as differences from the query

AROUND = SMALL.model_copy(update={"around_query": True})


@pytest.mark.parametrize("neighbours", [0, 3])
def test_rows_are_denoised_about_the_query_though_it_is_dropped(neighbours):
    (Z, sigma, z_q), near = inputs(), torch.ones(3, neighbours, 8)
    tokens, keep = torch.cat([z_q[:, None], near], 1), torch.tensor([True, False, True])
    shrink, centre = (0.35**2 / (sigma**2 + 0.35**2))[:, None, None], z_q[:, None]
    untrained = Denoiser(AROUND.model_copy(update={"neighbours": neighbours})).eval()
    torch.testing.assert_close(untrained(Z, sigma, tokens, keep), centre + shrink * (Z - centre))


def test_the_network_sees_differences_and_answers_with_rows():
    plain, around, (Z, sigma, z_q) = awake(), awake(AROUND), inputs()
    torch.testing.assert_close(around(Z + z_q[:, None], sigma, z_q), plain(Z, sigma, z_q) + z_q[:, None])
