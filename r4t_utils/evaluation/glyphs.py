"""Pieces of an outfit as small drawings: a shape for the kind of garment, its colour, and a hatch for its pattern."""

from matplotlib.axes import Axes
from matplotlib.patches import Polygon

SIZE = 24  # of the grid that the shapes are drawn on, x to the right, y downwards
SHAPES = {
    "top": "4,6 9,3 15,3 20,6 22,12 18,13 18,21 6,21 6,13 2,12",
    "outer": "5,5 9,2 12,5 15,2 19,5 22,15 18,16 18,23 12.5,23 12,9 11.5,23 6,23 6,16 2,15",
    "dress": "8,2 10,5 14,5 16,2 17,9 21,22 3,22 7,9",
    "jumpsuit": "7,2 10,5 14,5 17,2 17,10 19,22 13.5,22 12,14 10.5,22 5,22 7,10",
    "swimsuit": "7,2 9,2 10,7 14,7 15,2 17,2 17,12 14,21 10,21 7,12",
    "trousers": "6,2 18,2 20,22 14,22 12,9 10,22 4,22",
    "shorts": "5,5 19,5 21,16 13.5,16 12,11 10.5,16 3,16",
    "skirt": "8,4 16,4 21,20 3,20",
    "boots": "8,2 15,2 15,14 22,17 22,21 8,21",
    "pumps": "2,8 6,9 12,15 21,17 22,19 12,19 5,13 4,20 2,20",
    "shoe": "2,11 7,9 10,13 20,15 22,19 2,19",
    "bag": "4,9 8,9 8,5 10,3 14,3 16,5 16,9 20,9 21,21 3,21",
    "backpack": "6,7 9,3 15,3 18,7 19,21 5,21",
    "jewellery": "8,4 16,4 21,10 12,21 3,10",
    "hat": "7,14 8,6 16,6 17,14 22,16 22,18 2,18 2,16",
    "beanie": "5,15 6,9 10,5 14,5 18,9 19,15 19,19 5,19",
    "scarf": "6,4 18,4 18,8 14,8 15,22 11,22 11,8 6,8",
    "sunglasses": "2,9 22,9 21,15 15,16 13,11 11,11 9,16 3,15",
    "belt": "1,10 23,10 23,14 1,14",
    "gloves": "8,22 7,12 4,10 6,8 8,10 8,3 16,3 17,12 16,22",
}
KINDS = {
    "top": "blouse, t-shirt, shirt, sweater, crop top, camisole, hoodie, tank top",
    "outer": "jacket, coat, blazer, cardigan, kimono, vest",
    "dress": "maxi dress, midi dress, mini dress, gown",
    "trousers": "jeans, trousers, leggings",
    "boots": "ankle boots, knee boots",
    "shoe": "sneakers, sandals, flats, loafers",
    "bag": "tote bag, clutch, crossbody bag",
    "jewellery": "necklace, earrings, bracelet, ring",
}
KIND_OF = {category: kind for kind, names in KINDS.items() for category in names.split(", ")}
COLOURS = {
    "black": "#222222",
    "white": "#ffffff",
    "grey": "#8c8c8c",
    "beige": "#d2b48c",
    "cream": "#fff3cf",
    "navy": "#1f2f5c",
    "red": "#c8202f",
    "burgundy": "#6d1331",
    "blush": "#f0b6bd",
    "lavender": "#b9a3d9",
    "green": "#2e8b57",
    "olive": "#7a7a33",
    "turquoise": "#38b2ac",
    "mustard": "#dba520",
    "rust": "#b4532a",
    "gold": "#d4af37",
    "silver": "#c0c5cc",
}
HATCHES = {"striped": "-", "checked": "+", "polka dot": ".", "floral": "*", "paisley": "o", "embroidered": "*"}
HATCHES |= {"fringed": "|", "ruffled": "\\", "distressed": "/", "metallic": "/", "animal print": "O"}
HATCHES |= {"cable knit": "x", "tropical": "\\"}
DENSE = 7  # times a hatch is repeated, so that it shows on a small piece


def shape(category: str) -> list[tuple[float, float]]:
    """The corners of a category's drawing, on the grid."""
    corners = SHAPES[KIND_OF.get(category, category)]
    return [(float(x), float(y)) for x, y in (corner.split(",") for corner in corners.split())]


def draw(ax: Axes, x: float, y: float, width: float, category: str, colour: str, pattern: str) -> None:
    """Draws a piece into the square of this width whose upper left corner is (x, y), on an axis that points down.

    Raises KeyError for a category or a colour that has no drawing.
    """
    corners = [(x + width * a / SIZE, y + width * b / SIZE) for a, b in shape(category)]
    ink = "0.75" if colour in {"black", "navy", "burgundy"} else "0.25"
    look = {
        "facecolor": COLOURS[colour],
        "hatch": DENSE * HATCHES.get(pattern, ""),
        "hatchcolor": ink,
        "hatch_linewidth": 0.3,
    }
    ax.add_patch(Polygon(corners, edgecolor="0.25", linewidth=0.4, **look))
