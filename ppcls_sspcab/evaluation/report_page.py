"""The page of ``eval --report``: its style, its script, and the frame they stand in.

The page holds everything it shows. Its policy forbids every load, so it cannot ask a network.
"""

from __future__ import annotations

import html
from collections.abc import Sequence

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"

STYLE = """
:root { --ink: #1c2733; --pale: #5d6b79; --line: #d7dee5; --bad: #c2410c; --good: #0072b2;
  --ground: #f5f7f9; --card: #fff; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 16px; }
h1 { font-size: 1.7rem; margin: 8px 0; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 32px 0 8px; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(135px, 1fr)); gap: 10px; }
.figures div, .card, .plot, .table { background: var(--card); border: 1px solid var(--line);
  border-radius: 8px; }
.figures div { padding: 10px 12px; }
.figures b { display: block; font-size: 1.45rem; }
.figures span, .note { color: var(--pale); font-size: .88rem; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(280px, 1fr)); gap: 12px;
  align-items: start; }
.plot { padding: 6px; }
.plot svg { display: block; width: 100%; height: auto; }
.table { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { padding: 6px 12px; text-align: left; border-bottom: 1px solid var(--line); }
th.number { text-align: right; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.text { overflow-wrap: anywhere; }
.bar { position: sticky; top: 0; z-index: 1; display: flex; flex-wrap: wrap; gap: 8px;
  align-items: center; padding: 8px 0; background: var(--ground); }
select, button { font: inherit; min-height: 40px; padding: 4px 12px; border-radius: 8px;
  border: 1px solid var(--line); background: var(--card); color: var(--ink); max-width: 100%; }
button:disabled { opacity: .4; }
#gallery { display: grid; gap: 12px;
  grid-template-columns: repeat(auto-fill, minmax(min(340px, 100%), 1fr)); }
.card { overflow: hidden; }
.card img { display: block; width: 100%; height: auto; }
.card p { margin: 0; padding: 6px 10px; font-size: .9rem; overflow-wrap: anywhere; }
.card .verdict { font-weight: 600; }
.card.wrong { border: 2px solid var(--bad); }
.card.wrong .verdict { color: var(--bad); }
.key i { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin: 0 4px; }
"""

SCRIPT = """
'use strict';
const DATA = JSON.parse(document.getElementById('pictures').textContent);
const PAGE = 24;
const gallery = document.getElementById('gallery');
const show = document.getElementById('show');
const order = document.getElementById('order');
const count = document.getElementById('count');
const buttons = [document.getElementById('previous'), document.getElementById('next')];
let page = 0;

for (const picture of DATA) {
  picture.wrong = picture.bad !== picture.called;
  picture.distance = Math.abs(picture.normalized - 0.5);
}
const KINDS = {
  all: () => true,
  wrong: (p) => p.wrong,
  missed: (p) => p.bad && !p.called,
  false: (p) => !p.bad && p.called,
  good: (p) => !p.bad,
  bad: (p) => p.bad,
};
const ORDERS = {
  errors: (a, b) => b.wrong - a.wrong || (a.wrong ? b.distance - a.distance : b.score - a.score),
  worst: (a, b) => b.score - a.score,
  best: (a, b) => a.score - b.score,
  name: (a, b) => (a.name < b.name ? -1 : 1),
};
for (const defect of new Set(DATA.filter((p) => p.bad).map((p) => p.defect))) {
  show.append(new Option(defect, 'defect:' + defect));
}

function line(text, name) {
  const element = document.createElement('p');
  element.textContent = text;
  if (name) element.className = name;
  return element;
}

function card(picture) {
  const element = document.createElement('article');
  element.className = picture.wrong ? 'card wrong' : 'card';
  const image = document.createElement('img');
  image.src = 'data:image/jpeg;base64,' + picture.jpeg;
  image.alt = picture.name;
  image.width = picture.width;
  image.height = picture.height;
  const verdict = picture.called
    ? (picture.bad ? 'anomaly found' : 'FALSE ALARM')
    : (picture.bad ? 'MISSED' : 'good');
  element.append(
    image,
    line(verdict + ' · ' + (picture.bad ? picture.defect : 'is good') + ' · score '
      + picture.score.toPrecision(4) + ' (' + picture.normalized.toFixed(3) + ')', 'verdict'),
    line(picture.name, 'note'),
  );
  return element;
}

function render() {
  const kind = show.value.startsWith('defect:')
    ? (p) => p.bad && p.defect === show.value.slice(7)
    : KINDS[show.value];
  const chosen = DATA.filter(kind).sort(ORDERS[order.value]);
  const pages = Math.max(1, Math.ceil(chosen.length / PAGE));
  page = Math.min(Math.max(page, 0), pages - 1);
  gallery.replaceChildren(...chosen.slice(page * PAGE, (page + 1) * PAGE).map(card));
  count.textContent = chosen.length + ' pictures, page ' + (page + 1) + ' of ' + pages;
  buttons[0].disabled = page === 0;
  buttons[1].disabled = page === pages - 1;
}

function turn(step) {
  page += step;
  render();
  document.getElementById('pictures-title').scrollIntoView();
}
show.addEventListener('change', () => { page = 0; render(); });
order.addEventListener('change', () => { page = 0; render(); });
buttons[0].addEventListener('click', () => turn(-1));
buttons[1].addEventListener('click', () => turn(1));
render();
"""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p>{summary}</p>
<div class="figures">{figures}</div>
<h2>Scores</h2>
<div class="plots">{plots}</div>
<h2>Metrics</h2>
{metrics}
<h2>Defects</h2>
{defects}
<h2 id="pictures-title">Pictures</h2>
<p class="note key">{key}</p>
<div class="bar">
<select id="show" aria-label="which pictures">
<option value="all">all pictures</option>
<option value="wrong">misses and false alarms</option>
<option value="missed">misses</option>
<option value="false">false alarms</option>
<option value="good">good</option>
<option value="bad">bad</option>
</select>
<select id="order" aria-label="order">
<option value="errors">worst errors first</option>
<option value="worst">highest score first</option>
<option value="best">lowest score first</option>
<option value="name">by name</option>
</select>
<button id="previous" type="button">‹ back</button>
<button id="next" type="button">next ›</button>
<span id="count" class="note"></span>
</div>
<div id="gallery"></div>
<h2>Protocol</h2>
{protocol}
</main>
<script type="application/json" id="pictures">{pictures}</script>
<script>{script}</script>
</body>
</html>
"""


def html_table(header: Sequence[str], rows: Sequence[Sequence[str]], numbers: int = 1) -> str:
    """A table whose cells are escaped; those after the first stand right where ``numbers``."""
    if not rows:
        return '<p class="note">There are none.</p>'
    kinds = ["text", *["number" if numbers else "text"] * (len(header) - 1)]
    head = "".join(
        f'<th class="{kind}">{html.escape(cell)}</th>'
        for kind, cell in zip(kinds, header, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(
            f'<td class="{kind}">{html.escape(cell)}</td>'
            for kind, cell in zip(kinds, row, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="table"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )
