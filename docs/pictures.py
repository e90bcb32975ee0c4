"""Draws the pipeline, alone and with each stage lit, the reward, the soft terms, the denoiser and the badges.

    python docs/pictures.py        # writes docs/pictures/*.svg

Every picture brings its own light background, so that it can be read on a dark page.
"""

import math
from html import escape
from pathlib import Path

from r4t_utils.run.files import write_text
from r4t_utils.run.stage import STAGES

PICTURES = Path(__file__).resolve().parent / "pictures"
BLUE, GREEN, ORANGE, INK, PALE = "#0173b2", "#029e73", "#d55e00", "#333333", "#666666"
NAMES = "data curation", "RL fan-out", "pair synthesis", "diffusion training", "evaluation", "latency study"
HANDED_ON = "database", "policy", "(z_q, Z)", "retriever"  # between a stage and the next


def text(x: float, y: float, words: str, size: int = 11, ink: str = INK, more: str = "") -> str:
    """Words, centred at x."""
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{ink}" {more}>{escape(words)}</text>'


def box(x: float, y: float, width: float, height: float, *lines: str, fill: str = "#ffffff", ink: str = INK) -> str:
    """A rounded box with lines of words in its middle."""
    drawn = f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6" fill="{fill}" stroke="{BLUE}"/>'
    top = y + height / 2 + 4 - 8 * (len(lines) - 1)
    return drawn + "".join(text(x + width / 2, top + 16 * i, line, ink=ink) for i, line in enumerate(lines))


def arrow(x: float, y: float, to_x: float, to_y: float) -> str:
    """A straight arrow, to the right, downwards or upwards."""
    head = "m-6 -4 l6 4 l-6 4" if to_y == y else "m-4 -6 l4 6 l4 -6" if to_y > y else "m-4 6 l4 -6 l4 6"
    return f'<path d="M{x:g} {y:g} L{to_x:g} {to_y:g} {head}" fill="none" stroke="{PALE}"/>'


def dot(x: float, y: float, colour: str, radius: float = 5) -> str:
    return f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" fill="{colour}"/>'


def line(x: float, y: float, to_x: float, to_y: float, colour: str = PALE) -> str:
    return f'<path d="M{x:g} {y:g} L{to_x:g} {to_y:g}" stroke="{colour}" stroke-width="1.5" stroke-dasharray="3 3"/>'


def svg(width: int, height: int, label: str, *parts: str) -> str:
    """A picture of these parts with a label for those who cannot see it."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    head += f' role="img" aria-label="{escape(label)}" font-family="sans-serif" text-anchor="middle">'
    return "\n".join([head, f'<rect width="{width}" height="{height}" rx="8" fill="#f6f8fa"/>', *parts, "</svg>\n"])


def pipeline(lit: int | None = None) -> str:
    """The six stages, of which number `lit` (0..5), if any, is filled."""
    parts, width, gap = [], 94, 36
    for i, name in enumerate(NAMES):
        x = 13 + i * (width + gap)
        look = {"fill": BLUE, "ink": "#ffffff"} if i == lit else {}
        parts.append(box(x, 22, width, 42, str(i + 1), name, **look))
        if i < len(HANDED_ON):
            parts.append(arrow(x + width + 4, 43, x + width + gap - 4, 43))
            parts.append(text(x + width + gap / 2, 15, HANDED_ON[i], 10, PALE))
    label = "The six stages in a row" + ("." if lit is None else f"; number {lit + 1}, {NAMES[lit]}, is lit.")
    return svg(770, 74, label, *parts)


def reward() -> str:
    """The three terms of the OAR reward in the embedding space."""
    label = "Three panels. Groundedness: sub-queries near their contents are good. Diversity: results that lie apart "
    label += "are good. Alignment: small angles between the sub-queries and the query are good."
    parts = []
    for i, (title, formula, says) in enumerate(
        (
            ("groundedness (Eq. 3)", "1 − mean distance of qᵢ and c*ᵢ", "near a content: can be answered"),
            ("diversity (Eq. 2)", "exp entropy of eig[cos(c*ᵢ, c*ⱼ) / k]", "results apart: varied"),
            ("alignment (Eq. 4)", "mean cos(qᵢ, q)", "near the query: on topic"),
        )
    ):
        parts += [
            text(130 + 255 * i, 18, title, 12, INK, 'font-weight="bold"'),
            text(130 + 255 * i, 35, formula, 11, INK),
            text(130 + 255 * i, 168, says, 11, PALE),
        ]
    asked, found = [(60, 60), (110, 120), (190, 75)], [(78, 78), (128, 104), (205, 120)]
    for (x, y), (u, v) in zip(asked, found):
        parts += [line(x, y, u, v, BLUE), dot(x, y, BLUE), dot(u, v, GREEN)]
    parts += [dot(x, y, "#bbbbbb", 3) for x, y in ((40, 110), (150, 50), (220, 60), (165, 140))]
    spread = [(330, 60), (440, 55), (350, 130), (430, 120), (385, 90)]
    parts += [line(*a, *b, GREEN) for i, a in enumerate(spread) for b in spread[i + 1 :]]
    parts += [dot(x, y, GREEN) for x, y in spread]
    for x, y in ((590, 60), (640, 50), (690, 72)):
        parts += [line(640, 140, x, y), dot(x, y, BLUE)]
    parts += [line(640, 140, 650, 66, ORANGE), dot(650, 66, ORANGE)]
    key = (("sub-query qᵢ", BLUE), ("found first, c*ᵢ", GREEN), ("query q", ORANGE))
    for i, (name, colour) in enumerate(key):
        parts += [dot(270 + 110 * i, 188, colour, 4), text(315 + 110 * i, 192, name, 10, PALE)]
    return svg(770, 204, label, *parts)


def soft_terms() -> str:
    """The factor before the gradient of log pi that Eq. 7's two divergences add to the loss, over the ratio rho."""
    label = "The factor 0.05 rho (1 + log rho) - 0.05 rises from -0.04 where rho is 0.5 to 0.06 where it is 1.5, and "
    label += "is 0 where rho is 1, as it is where a batch is used once."
    beta = 0.05

    def at(rho: float, factor: float) -> tuple[float, float]:
        return 385 + 440 * (rho - 1), 100 - 1100 * factor

    curve = [at(rho / 100, beta * rho / 100 * (1 + math.log(rho / 100)) - beta) for rho in range(50, 151)]
    (left, zero), (right, _), (once, _) = at(0.5, 0), at(1.5, 0), at(1, 0)
    low, high = at(0.8, 0)[0], at(1.2, 0)[0]
    parts = [
        f'<rect x="{low:g}" y="30" width="{high - low:g}" height="124" fill="#e4edf5"/>',
        line(left, zero, right, zero),
        f'<path d="M{" L".join(f"{x:.1f} {y:.1f}" for x, y in curve)}" fill="none" stroke="{BLUE}" stroke-width="2"/>',
        dot(once, zero, ORANGE),
        text(once, 22, "1 − ε to 1 + ε: where the first term still earns", 10, PALE),
        text(once + 62, 122, "ρ = 1: batch used once", 10, ORANGE),
        text(left + 70, 72, "the step raises π", 10, PALE),
        text(right - 50, 140, "the step lowers π", 10, PALE),
        *(text(at(rho, 0)[0], 170, f"{rho:g}", 10, PALE) for rho in (0.5, 0.8, 1, 1.2, 1.5)),
        text(once, 188, "ρ = π / π_old of a token", 11),
        *(
            text(left - 22, at(1, f)[1] + 4, said, 10, PALE)
            for f, said in ((-0.04, "−0.04"), (0, "0"), (0.04, "+0.04"))
        ),
        text(70, 96, "β₁ρ(1 + log ρ) − β₂", 11),
        text(70, 112, "β₁ = β₂ = 0.05", 10, PALE),
    ]
    return svg(770, 198, label, *parts)


def denoiser() -> str:
    """The denoiser, from a noisy set to a clean one, and one of its blocks."""
    label = "A noisy set of L rows goes through a linear layer, blocks of self-attention over the rows, "
    label += "cross-attention to the query and its nearest contents, and an MLP, then a linear layer, and is added to "
    label += "the scaled input."
    parts = [
        box(13, 60, 92, 44, "noisy set Z̃", "L rows × d"),
        arrow(109, 82, 131, 82),
        box(135, 60, 70, 44, "linear", "c_in Z̃"),
        arrow(209, 82, 231, 82),
        f'<rect x="235" y="34" width="330" height="98" rx="8" fill="none" stroke="{PALE}" stroke-dasharray="4 3"/>',
        text(400, 28, "block, repeated", 10, PALE),
        box(243, 54, 98, 56, "self-attention", "over the rows"),
        arrow(345, 82, 357, 82),
        box(361, 54, 104, 56, "cross-attention", "to z_q, contents"),
        arrow(469, 82, 481, 82),
        box(485, 54, 72, 56, "MLP"),
        arrow(569, 82, 591, 82),
        box(595, 60, 62, 44, "linear", "F"),
        arrow(661, 82, 683, 82),
        box(687, 60, 70, 44, "clean set", "D"),
        box(350, 158, 126, 30, "z_q and 32 nearest"),
        arrow(413, 156, 413, 114),
        box(243, 158, 98, 30, "noise level σ"),
        arrow(292, 156, 292, 114),
        f'<path d="M292 188 V196 H521 V114 m-4 6 l4 -6 l4 6" fill="none" stroke="{PALE}"/>',
        f'<path d="M59 108 V206 H722 V108 m-4 6 l4 -6 l4 6" fill="none" stroke="{PALE}"/>',
        text(640, 200, "c_skip Z̃ + c_out F", 10, PALE),
    ]
    return svg(770, 216, label, *parts)


def badge(words: str) -> str:
    """A badge of our own, so that a page that shows it asks nobody else for it."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="44" height="20" role="img" aria-label="{words}">'
    said = f'<text x="22" y="14" fill="#ffffff" text-anchor="middle" font-family="sans-serif" font-size="11">{words}'
    return f'{head}<rect width="44" height="20" rx="4" fill="{BLUE}"/>{said}</text></svg>\n'


def drawn() -> dict[str, str]:
    """{name of the file: the picture}."""
    stages = {stage: pipeline(i) for i, stage in enumerate(STAGES)}
    badges = {host.lower(): badge(host) for host in ("Colab", "Kaggle")}
    method = {"reward": reward(), "soft_terms": soft_terms(), "denoiser": denoiser()}
    found = {"pipeline": pipeline(), **method, **stages, **badges}
    return {f"{name}.svg": picture for name, picture in found.items()}


def main() -> None:
    """Writes the pictures."""
    for name, picture in drawn().items():
        write_text(PICTURES / name, picture)


if __name__ == "__main__":
    main()
