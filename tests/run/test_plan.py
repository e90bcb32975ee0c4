"""The plan of a profile: amounts that follow from its settings, and what does not fit."""

import pytest

from r4t_utils.run import plan, profiles

LOGITS = 64 * 768 * 262_144 / 1e9  # billions, of one forward pass; as many for their gradient


def by_name(profile="paper", devices=8, overrides=""):
    settings = profiles.load(profile, overrides)
    return {
        x.name: x for x in plan.planned(settings, plan.POLICIES[settings.folm.policy], plan.DEVICES["H100"], devices)
    }


def test_the_papers_amounts_are_those_of_table_3():
    stages = by_name()
    rl, pairs, diffusion, evaluation = stages.values()
    assert rl.steps == 1000 and rl.sampled == 2 * 1000 * 512 * 768 and rl.trained == 2 * 1000 * 512 * 1024
    # Weights, gradients and moments in float32, and a copy to sample from in bfloat16.
    assert rl.memory == pytest.approx(18 * 4.3 + 2 * 2 * LOGITS)
    assert rl.disk == pytest.approx(2 * (4 + 2 * 12) * 4.3)  # both policies, each with two checkpoints
    assert pairs.sampled == pytest.approx(0.8 * (43_874 + 84_704) * 128 * 768)
    assert evaluation.sampled == pytest.approx(2 * 0.1 * (43_874 + 84_704) * 10 * 768)
    assert pairs.disk == pytest.approx(0.8 * (43_874 + 84_704) * 128 * 12 * 128 * 4 / 1e9)
    assert diffusion.trained == 2 * 10_000_000 * 512 * 12
    assert diffusion.seconds == 2 * 10_000_000 * plan.UPDATE  # more than its arithmetic takes on eight devices
    (alone,) = (x for name, x in by_name(devices=1).items() if name.startswith("04"))
    # 53.9 M weights, six operations per weight and row, at a share of the peak
    arithmetic = 6 * 53_876_352 * diffusion.trained / (plan.TRAINING * 989e12)
    assert alone.seconds == pytest.approx(arithmetic, rel=1e-6) and arithmetic > diffusion.seconds


def test_twice_the_devices_take_half_the_time_and_as_much_memory_each():
    for one, two in zip(by_name(devices=4).values(), list(by_name(devices=8).values())[:2]):
        assert one.seconds == pytest.approx(2 * two.seconds) and one.memory == two.memory


def test_a_batch_that_is_used_twice_is_sampled_once_and_adapters_need_little_memory():
    once, twice = (by_name(overrides=f"rl.num_iterations={n}")["02 RL fan-out"] for n in (1, 2))
    assert twice.sampled == once.sampled / 2 and twice.trained == once.trained
    assert by_name(overrides="folm.lora_rank=16")["02 RL fan-out"].memory == pytest.approx(2 * 2 * 4.3 + 4 * LOGITS)


def test_a_device_without_bfloat16_holds_and_computes_numbers_of_four_bytes():
    settings, policy = profiles.load("gpu"), plan.POLICIES["Qwen/Qwen3-0.6B"]
    memory = {number: plan.training_memory(settings, policy, number) for number in (2, 4)}
    assert memory[4] == 2 * memory[2] > 2 * 2 * 0.6
    assert plan.DEVICES["T4"].number == 4


def test_the_command_prints_the_plan_and_what_does_not_fit(capsys):
    assert plan.main(["--profile", "paper", "--device", "T4", "--devices", "2"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("profile paper, policy google/gemma-3-4b-it, 2 x T4 (16 GB)")
    assert "TOO LITTLE MEMORY on each device for 02 RL fan-out, 03 pair synthesis, 05 evaluation: take a device" in out
    assert plan.main(["--profile", "gpu", "--device", "T4"]) == 0
    assert "TOO LITTLE" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "given, message",
    [
        (["--device", "M1"], "DEVICE='M1' is not known; choose one of T4"),
        (["--devices", "0"], "DEVICES='0' is not a whole number from 1"),
        (["--devices", "\u00b2"], "DEVICES='\u00b2' is not a whole number from 1"),
        (["--set", "folm.policy=some/model"], "folm.policy='some/model': its number of weights is not known"),
    ],
)
def test_bad_input_names_the_value_and_the_rule(given, message, capsys):
    assert plan.main(["--profile", "gpu", *given]) == 2
    assert message in capsys.readouterr().err
