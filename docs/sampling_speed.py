"""Tokens per second of our sampler beside `generate`, in one run: `python docs/sampling_speed.py POLICY`.

POLICY is a folder with a saved policy, such as the `zero_shot` of notebook 2, or what folm.policy may name. Every
prompt serves eight rows, as in a group of Soft-GRPO. The two sample from the same weights, in the precision of the
profile's rollouts, and take turns; what is compared is their median time per token.
"""

import time
from argparse import ArgumentParser
from statistics import median

import torch

from r4t_utils.machine.device import fix_threads
from r4t_utils.policy.folm import Folm, sampled
from r4t_utils.policy.sampling import sample
from r4t_utils.run import profiles

WORDS = "summer winter city beach office party retro soft bold cosy travel dinner".split()
GROUP = 8


def main(source: str, batch: int, profile: str, turns: int) -> None:
    settings = profiles.load(profile, f"folm.policy={source}").folm
    policy = Folm.load(source, settings)
    model, tokenizer = sampled(policy.model, half=policy.half), policy.tokenizer
    end: int = tokenizer.eos_token_id  # pyright: ignore[reportAssignmentType]
    queries = [" ".join(WORDS[(i * j) % len(WORDS)] for j in range(1, 2 + i % 4)) for i in range(batch // GROUP)]
    prompts = [policy.prompt("oar", query) for query in queries for _ in range(GROUP)]
    options = {"max_new_tokens": settings.max_new_tokens, "temperature": 0.9, "top_p": settings.top_p}
    ids = tokenizer(prompts, add_special_tokens=False)["input_ids"]

    def ours(seed: int) -> int:
        return sum(map(len, sample(model, ids, [end], **options, seed=seed)))

    def generate(seed: int) -> int:
        torch.manual_seed(seed)
        padded = tokenizer(prompts, padding=True, padding_side="left", add_special_tokens=False, return_tensors="pt")
        with torch.inference_mode():
            rows = model.generate(**padded.to(model.device), **options, do_sample=True, top_k=0)  # pyright: ignore[reportCallIssue]
        rows = rows[:, padded["input_ids"].shape[1] :]
        ends = rows == end
        return int((ends.long().cumsum(1) - ends.long() == 0).sum())  # up to and with the first end

    seconds = {"generate": [], "ours": []}
    for turn in range(-1, turns):  # the first is not counted
        for name, function in (("generate", generate), ("ours", ours)):
            start = time.perf_counter()
            tokens = function(turn + 1)
            if turn >= 0:
                seconds[name].append((time.perf_counter() - start) / tokens)
    rate = {name: 1 / median(each) for name, each in seconds.items()}
    told = ", ".join(f"{name} {value:,.0f} tokens per second" for name, value in rate.items())
    print(f"batch {len(prompts)}, {turns} turns each: {told}; {rate['ours'] / rate['generate']:.1f}x")


if __name__ == "__main__":
    parser = ArgumentParser(description="Tokens per second of our sampler beside `generate`.")
    parser.add_argument("policy", help="a folder with a saved policy, or what folm.policy may name")
    parser.add_argument("--batch", type=int, default=128, help="rows, a multiple of eight")
    parser.add_argument("--profile", default="cpu", help="whose settings of the policy are taken")
    parser.add_argument("--turns", type=int, default=5, help="of each, after one that is not counted")
    given = parser.parse_args()
    fix_threads()
    main(given.policy, given.batch, given.profile, given.turns)
