"""What is written between the marks of a notebook's prose."""

from pathlib import Path

from r4t_utils.policy import rewards
from r4t_utils.run import blocks, paths


def test_code_is_that_of_the_package_without_its_docstring_and_linked():
    source = "<!-- code r4t_utils.policy.rewards.align -->\nanything\n<!-- end code -->"
    first, *lines, said, last = blocks.filled(source, Path("none")).splitlines()
    assert first == "<!-- code r4t_utils.policy.rewards.align -->" and last == "<!-- end code -->"
    assert lines[0] == "```python" and lines[-1] == "```" and lines[1].startswith("def align(Q: ArrayLike, z_q")
    assert rewards.align.__doc__ and rewards.align.__doc__.splitlines()[0] not in "\n".join(lines)
    file = (paths.ROOT / "r4t_utils/policy/rewards.py").read_text(encoding="utf-8")
    assert all(line in file for line in lines[1:-1]) and "einsum" in "\n".join(lines)
    assert said == "`align` stands in [r4t_utils/policy/rewards.py](../r4t_utils/policy/rewards.py)."


def test_code_of_a_method_names_its_class():
    source = "<!-- code r4t_utils.diffusion.schedule.TangentSchedule.weight -->\n<!-- end code -->"
    _, _, first, _, _, said, _ = blocks.filled(source, Path("none")).splitlines()
    assert first == "def weight(self, sigma: Tensor) -> Tensor:"
    assert said.startswith("`TangentSchedule.weight` stands in [r4t_utils/diffusion/schedule.py]")


def test_a_mark_without_an_argument_and_text_around_it_stay():
    text = "Over seeds:\n<!-- note -->\nold\n<!-- end note -->\nSo it is."
    assert blocks.between(text, "note", lambda given: f"new{given}") == text.replace("old", "new")
    assert blocks.between(text, "other", lambda given: "new") == text
