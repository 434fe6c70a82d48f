# SPDX-License-Identifier: BSD-3-Clause
"""Curves as SVG, to be read on light and on dark paper."""
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 720, 380
LEFT, RIGHT, TOP, BOTTOM = 64, 560, 58, 318  # of the field; the names of the curves are right of it
NAME_HEIGHT = 17
# Each curve: its colour on light paper, on dark, and its dashes.
CURVES = (("#6b7280", "#a9b2c0", "5 4"), ("#2f6bc4", "#6ea8ff", ""), ("#0f766e", "#4fd1c5", ""),
          ("#b45309", "#f6ad55", ""), ("#be123c", "#fb7c99", ""))

STYLE = """\
    text { font: 13px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1f2937 }
    .title { font-size: 15px; font-weight: 600 }
    .small { font-size: 12px; fill: #4b5563 }
    .middle { text-anchor: middle }
    .end { text-anchor: end }
    .paper { fill: #ffffff; stroke: #d1d5db }
    .grid { stroke: #e5e7eb }
    .curve { fill: none; stroke-width: 2 }
"""
DARK = """\
      text { fill: #e5e7eb }
      .small { fill: #a9b2c0 }
      .paper { fill: #12161d; stroke: #3a4250 }
      .grid { stroke: #2a313c }
"""


def step_for(most):
    """The distance of grid lines: some five of them."""
    step = 1.0
    while step * 6 < most:
        step *= 10
    while step / 10 * 6 >= most:
        step /= 10
    return next(step * factor for factor in (0.2, 0.5, 1) if step * factor * 6 >= most)


def number(value):
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:g}"


def spread(ends):
    """Moves the names of the curves apart, down and where there is no room up again: {name: y}."""
    placed, last = {}, -1e9
    for name, y in sorted(ends.items(), key=lambda item: item[1]):
        last = placed[name] = max(y, last + NAME_HEIGHT)
    last = BOTTOM + NAME_HEIGHT
    for name, y in reversed(placed.items()):
        last = placed[name] = min(y, last - NAME_HEIGHT)
    return placed


def grid(most, step, place_y):
    value = 0.0
    while value <= most:
        y = place_y(value)
        yield f'  <path class="grid" d="M{LEFT} {y:.1f}H{RIGHT}"/>'
        yield f'  <text class="small end" x="{LEFT - 8}" y="{y + 4:.1f}">{number(round(value, 6))}</text>'
        value += step


def write(path, title, x_title, note, curves):
    """`curves`: {name: [(x, y), ...]}."""
    xs = sorted({x for points in curves.values() for x, _ in points})
    highest = max(y for points in curves.values() for _, y in points)
    step = step_for(highest)
    most = step * -(-highest // step)

    def place_x(x):
        return LEFT + (RIGHT - LEFT) * x / xs[-1]

    def place_y(y):
        return BOTTOM - (BOTTOM - TOP) * y / most

    light = "".join(f"    .c{i} {{ stroke: {colour} }} .n{i} {{ fill: {colour} }}\n"
                    for i, (colour, _, _) in enumerate(CURVES))
    dark = "".join(f"      .c{i} {{ stroke: {colour} }} .n{i} {{ fill: {colour} }}\n"
                   for i, (_, colour, _) in enumerate(CURVES))
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" role="img" aria-labelledby="title desc">',
        f'  <title id="title">{escape(title)}</title>',
        f'  <desc id="desc">{escape(describe(curves))}</desc>',
        f"  <style>\n{STYLE}{light}    @media (prefers-color-scheme: dark) {{\n{DARK}{dark}    }}\n  </style>",
        f'  <rect class="paper" x="0.5" y="0.5" width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="10"/>',
        f'  <text class="title" x="24" y="32">{escape(title)}</text>',
        *grid(most, step, place_y)]
    for x in xs:
        lines.append(f'  <text class="small middle" x="{place_x(x):.1f}" y="{BOTTOM + 19}">{number(x)}</text>')
    lines.append(f'  <text class="small middle" x="{(LEFT + RIGHT) / 2}" y="{BOTTOM + 38}">{escape(x_title)}</text>')
    names = spread({name: place_y(points[-1][1]) for name, points in curves.items()})
    for i, (name, points) in enumerate(curves.items()):
        way = " ".join(f"{place_x(x):.1f},{place_y(y):.1f}" for x, y in points)
        lines.append(f'  <polyline class="curve c{i}" stroke-dasharray="{CURVES[i][2]}" points="{way}"/>')
        lines.append(f'  <text class="n{i}" x="{RIGHT + 10}" y="{names[name] + 4:.1f}">{escape(name)}</text>')
    lines += [f'  <text class="small" x="24" y="{HEIGHT - 10}">{escape(note)}</text>', "</svg>"]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def describe(curves):
    """For who cannot see it."""
    return "; ".join(f"{name}: " + ", ".join(f"{y:.3g} at {number(x)}" for x, y in points)
                     for name, points in curves.items())
