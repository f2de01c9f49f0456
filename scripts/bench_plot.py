"""Draws the plot of scripts/bench-report. Standard library only."""

import math
from html import escape

WIDTH, LEFT, RIGHT, ROW = 880, 290, 770, 28
INK, FAINT, GRID = "#212529", "#6c757d", "#dee2e6"
CREEL, OTHER, LIMIT = "#0b7285", "#868e96", "#c92a2a"


def label(x, y, words, anchor="start", size=13, fill=INK, weight="normal"):
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{fill}"'
        f' font-weight="{weight}">{escape(words)}</text>'
    )


def rect(x1, x2, y, height, fill):
    return (
        f'<rect x="{x1:.1f}" y="{y - height / 2:.1f}" width="{max(x2 - x1, 1.5):.1f}" height="{height}"'
        f' fill="{fill}" rx="{min(height / 2, 2)}"/>'
    )


def rule(x, top, bottom, stroke, dash=""):
    return (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}" stroke="{stroke}"'
        + (f' stroke-dasharray="{dash}"' if dash else "")
        + "/>"
    )


def panel(top, title, legend, bars, scale, ticks, limit=None):
    """bars: [(name, colour, [thin from, thick from, median, thick to, thin to], words)]"""
    first = top + 86
    bottom = first + ROW * len(bars) - 8
    parts = [label(20, top + 20, title, size=16, weight="bold"), label(20, top + 39, legend, size=12, fill=FAINT)]
    for tick in ticks:
        parts += [rule(scale(tick), first - 16, bottom, GRID)]
        parts += [label(scale(tick), first - 21, f"{tick:g}", "middle", 11, FAINT)]
    if limit:
        parts += [rule(scale(limit), first - 16, bottom, LIMIT, "4 3")]
        parts += [label(scale(limit), bottom + 14, f"target {limit:g}", "middle", 11, LIMIT)]
    for row, (name, colour, (low, from_, middle, to, high), words) in enumerate(bars):
        y = first + ROW * row
        ours = colour == CREEL
        parts += [label(LEFT - 16, y + 4.5, name, "end", weight="bold" if ours else "normal")]
        parts += [rect(scale(low), scale(high), y, 2, colour), rect(scale(from_), scale(to), y, 12, colour)]
        parts += [rect(scale(middle) - 1.5, scale(middle) + 1.5, y, 18, INK)]
        parts += [label(RIGHT + 16, y + 4.5, words, weight="bold" if ours else "normal")]
    return parts, bottom + (24 if limit else 8)


def logarithmic(low, high):
    span = math.log(high / low)
    ticks = [m * 10**e for e in range(-3, 6) for m in (1, 2, 5) if low <= m * 10**e <= high]
    return lambda x: LEFT + (RIGHT - LEFT) * math.log(x / low) / span, ticks


def linear(low, high, step):
    first, last = math.floor(low / step) * step, math.ceil(high / step) * step
    count = round((last - first) / step)
    return (
        lambda x: LEFT + (RIGHT - LEFT) * (x - first) / (last - first),
        [round(first + n * step, 6) for n in range(count + 1)],
    )


def spread(samples, *shares):
    return [min(samples), *(samples.at(s) for s in shares[:1]), samples.median, *(samples.at(s) for s in shares[1:])]


def draw(date, rows, work, limit):
    """`rows`: (title, label, Samples in ms, ...); `work`: (title, Samples of ratios); `limit`: of these ratios."""
    bars = []
    for title, name, times, _, _, _ in sorted(rows, key=lambda row: row[2].median):
        colour = CREEL if name == "creel" else OTHER
        bars.append((title, colour, spread(times, 0.1, 0.9, 0.99), f"{times.median:.2f} ms"))
    scale, ticks = logarithmic(min(bar[2][0] for bar in bars), max(bar[2][-1] for bar in bars))
    legend = "milliseconds, logarithmic; mark: median; thick: p10 to p90; thin: fastest to p99"
    parts, bottom = panel(10, "Start of a run: /bin/true", legend, bars, scale, ticks)
    if work:
        bars = []
        for title, each in work:
            low, from_, middle, to, high = each.at(0.1), each.at(0.25), each.median, each.at(0.75), each.at(0.9)
            bars.append((title, CREEL, [low, from_, middle, to, high], f"{middle:.2f}"))
        low, high = min(bar[2][0] for bar in bars), max(bar[2][-1] for bar in bars)
        low, high = min(low, 0.95), max(high, 1.1)
        scale, ticks = linear(low, high, 0.05 if high - low < 0.5 else 0.25)
        title = "Work: inside a jail over the same under a Landlock rule and a filter of one instruction"
        legend = "ratio of neighbouring samples; mark: median; thick: p25 to p75; thin: p10 to p90"
        more, bottom = panel(bottom + 24, title, legend, bars, scale, ticks, limit)
        parts += more
    height = bottom + 16
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
            ' font-family="system-ui, sans-serif">',
            f"<title>creel: start of a run, and work inside a jail ({escape(date)})</title>",
            f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
            *parts,
            "</svg>\n",
        ]
    )
