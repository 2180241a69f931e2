"""Draws what was measured: bars of medians as an SVG, made of nothing but text."""

from __future__ import annotations

from xml.sax.saxutils import escape

from bench.results import Measured, median, number

PANELS = (
    ("Round trips a second, 50 sessions", "roundtrips", "round trips/s, sessions 50"),
    ("Tokens a second, 20 sessions", "streaming", "tokens/s, sessions 20"),
    ("KB of the worker for an idle session, of 1,000", "memory", "KB a session attached, sessions 1,000"),
    ("Round trips a second of 50 busy sessions, 10,000 held", "growth", "round trips/s, held 10,000"),
)

NAMES = {
    "floor": "bare echo (floor)",
    "parley": "Parley",
    "parley fast": "Parley, fast mode",
    "socketio": "python-socketio",
    "chainlit": "Chainlit",
}

WIDTH, LABEL, BAR, ROW, HEAD = 720, 150, 460, 22, 34


def draw(groups: dict[str, Measured]) -> str:
    """The picture of those panels that were measured."""
    parts: list[str] = []
    top = 10
    for title, group, figure in PANELS:
        values = {peer: value for peer in NAMES if (value := _value(groups, group, peer, figure)) is not None}
        if values:
            parts += _panel(title, values, top)
            top += HEAD + ROW * len(values) + 12
    frame = f'<rect width="{WIDTH}" height="{top}" fill="#fff"/>'
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" font-family="sans-serif" font-size="13">'
    )
    return "\n".join([head, frame, *parts, "</svg>", ""])


def _value(groups: dict[str, Measured], group: str, peer: str, figure: str) -> float | None:
    return median(groups.get(group, {}).get(peer, {}).get(figure, []))


def _panel(title: str, values: dict[str, float], top: int) -> list[str]:
    most = max(values.values())
    drawn = [f'<text x="10" y="{top + 18}" font-weight="bold" fill="#222">{escape(title)}</text>']
    for row, (peer, value) in enumerate(values.items()):
        y = top + HEAD + row * ROW
        width = max(1.0, BAR * value / most)
        colour = "#2563a8" if peer.startswith("parley") else "#9aa5b1"
        drawn += [
            f'<text x="{LABEL}" y="{y + 11}" text-anchor="end" fill="#222">{escape(NAMES[peer])}</text>',
            f'<rect x="{LABEL + 8}" y="{y - 2}" width="{width:.1f}" height="16" fill="{colour}"/>',
            f'<text x="{LABEL + 14 + width:.1f}" y="{y + 11}" fill="#222">{number(value)}</text>',
        ]
    return drawn
