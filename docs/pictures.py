"""Draws the pipeline, once more for each notebook with its stage lit, and badges: `python docs/pictures.py`."""

from html import escape
from pathlib import Path

from r4t_utils.run.files import write_text
from r4t_utils.run.stage import STAGES

PICTURES = Path(__file__).resolve().parent / "pictures"
NAMES = "data curation", "RL fan-out", "pair synthesis", "diffusion training", "evaluation", "latency study"
HANDED_ON = "database", "policy", "(z_q, Z)", "retriever", ""  # between a stage and the next
WIDTH, HEIGHT, BOX, GAP = 770, 74, 94, 36


def pipeline(lit: int | None = None) -> str:
    """The six stages as an SVG, of which number `lit` (0..5), if any, is filled. It brings its own light background."""
    drawn = []
    for i, name in enumerate(NAMES):
        x = 13 + i * (BOX + GAP)
        fill, ink = ("#0173b2", "#ffffff") if i == lit else ("#ffffff", "#333333")
        drawn.append(f'<rect x="{x}" y="22" width="{BOX}" height="42" rx="6" fill="{fill}" stroke="#0173b2"/>')
        for line, text in enumerate((f"{i + 1}", name)):
            weight = "bold" if line == 0 else "normal"
            at = f'x="{x + BOX / 2:g}" y="{38 + 16 * line}"'
            drawn.append(f'<text {at} fill="{ink}" font-weight="{weight}">{escape(text)}</text>')
        if i < len(HANDED_ON):
            start, end = x + BOX + 4, x + BOX + GAP - 4
            if HANDED_ON[i]:
                drawn.append(f'<path d="M{start} 43 H{end} m-6 -4 l6 4 l-6 4" fill="none" stroke="#666666"/>')
                drawn.append(
                    f'<text x="{(start + end) / 2:g}" y="15" fill="#555555" font-size="10">{HANDED_ON[i]}</text>'
                )
    label = "The six stages in a row" + ("." if lit is None else f"; number {lit + 1}, {NAMES[lit]}, is lit.")
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    head += f' role="img" aria-label="{label}" font-family="sans-serif" font-size="11" text-anchor="middle">'
    return "\n".join([head, f'<rect width="{WIDTH}" height="{HEIGHT}" rx="8" fill="#f6f8fa"/>', *drawn, "</svg>\n"])


def badge(text: str) -> str:
    """A badge of our own, so that a page that shows it asks nobody else for it."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="110" height="20" role="img" aria-label="{text}">'
    words = f'<text x="55" y="14" fill="#ffffff" text-anchor="middle" font-family="sans-serif" font-size="11">{text}'
    return f'{head}<rect width="110" height="20" rx="4" fill="#0173b2"/>{words}</text></svg>\n'


def main() -> None:
    """Writes the pictures."""
    for host in ("Colab", "Kaggle"):
        write_text(PICTURES / f"{host.lower()}.svg", badge(f"Open in {host}"))
    write_text(PICTURES / "pipeline.svg", pipeline())
    for i, stage in enumerate(STAGES):
        write_text(PICTURES / f"{stage}.svg", pipeline(i))


if __name__ == "__main__":
    main()
