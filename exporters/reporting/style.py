"""The look of the page: light or dark as the reader has it, narrow on a phone, fit to print."""

STYLE = """
:root { color-scheme:light dark; --paper:#ffffff; --card:#f5f7f9; --line:#d5dbe2; --ink:#1c2430;
  --soft:#566172; --blue:#2f6fb7; --pale:#b9d3f0; --green:#1b7a55; --red:#b3352a; --band:#eef2f6 }
@media (prefers-color-scheme:dark) { :root { --paper:#151a21; --card:#1d242d; --line:#3a4552;
  --ink:#e8ecf1; --soft:#a5b0bd; --blue:#6fb0f5; --pale:#2c4a6b; --green:#4fd0a4; --red:#f08a80;
  --band:#1b222b } }
* { box-sizing:border-box }
body { margin:0; background:var(--paper); color:var(--ink); line-height:1.5;
  font-family:system-ui,"Segoe UI","DejaVu Sans",sans-serif; font-size:16px }
header, main, footer { max-width:1080px; margin:0 auto; padding:0 20px }
header { padding-top:28px } footer { padding-bottom:40px; color:var(--soft); font-size:.85rem }
h1 { font-size:1.6rem; line-height:1.25; margin:0 0 .3rem; overflow-wrap:anywhere }
h2 { font-size:1.2rem; margin:2.4rem 0 .6rem; padding-top:.5rem; border-top:1px solid var(--line) }
h3 { font-size:1rem; margin:1.2rem 0 .3rem }
p { margin:.4rem 0; max-width:75ch } .quiet { color:var(--soft); font-size:.9rem }
a { color:var(--blue) } a:focus-visible, summary:focus-visible, [tabindex]:focus-visible {
  outline:2px solid var(--blue); outline-offset:2px }
nav ul { display:flex; flex-wrap:wrap; gap:.2rem 1.1rem; padding:0; margin:.8rem 0 0;
  list-style:none; font-size:.95rem }
.badge { display:inline-block; padding:.1rem .6rem; border-radius:1rem; border:1px solid;
  font-weight:600; font-size:.9rem } .good { color:var(--green) } .bad { color:var(--red) }
.cards { display:grid; grid-template-columns:repeat(auto-fill,minmax(235px,1fr)); gap:14px;
  padding:0; margin:1rem 0; list-style:none }
.card { background:var(--card); border:1px solid var(--line); border-radius:10px;
  padding:12px 16px }
.card h3 { margin:0; color:var(--soft); font-weight:600; font-size:.9rem }
.card .big { font-size:1.3rem; font-weight:650; margin:.1rem 0; white-space:nowrap }
.card .big small { font-weight:400; font-size:1rem; color:var(--soft) }
.card .note { margin:0; font-size:.9rem } .card svg { display:block; width:100%; height:8px }
.scroll { overflow-x:auto; max-width:100% } .tall { max-height:34rem; overflow:auto }
table { border-collapse:collapse; width:100%; font-size:.9rem; margin:.4rem 0 }
caption { text-align:left; color:var(--soft); padding:.2rem 0 }
caption span { display:block; max-width:min(75ch,calc(100vw - 40px)) }
th, td { text-align:left; padding:.28rem .7rem .28rem 0; border-bottom:1px solid var(--line);
  vertical-align:top } thead th { color:var(--soft); font-weight:600; white-space:nowrap }
tbody th { font-weight:400 } .num { text-align:right; white-space:nowrap;
  font-variant-numeric:tabular-nums }
code, pre { font-family:ui-monospace,"DejaVu Sans Mono",monospace; font-size:.85em }
code { overflow-wrap:anywhere; unicode-bidi:isolate }
tbody th code { min-width:15em; display:inline-block }
td { max-width:34em } td code { overflow-wrap:break-word }
pre { background:var(--card); border:1px solid var(--line); border-radius:8px; padding:10px 14px;
  white-space:pre-wrap; overflow-wrap:anywhere }
details { margin:.6rem 0 } summary { cursor:pointer; color:var(--blue) }
.charts { display:grid; grid-template-columns:repeat(auto-fill,minmax(300px,1fr)); gap:14px }
figure { margin:0 } figcaption { font-size:.85rem; color:var(--soft) }
.key { display:inline-block; width:.9em; height:.9em; border-radius:2px; vertical-align:-.1em;
  margin:0 .3em 0 .8em } .key:first-child { margin-left:0 }
.key-after, .chart .after, .card .after { background:var(--blue); fill:var(--blue) }
.key-before, .chart .before, .card .before { background:var(--pale); fill:var(--pale) }
.key-second { background:var(--green) } .key-mark { background:var(--red) }
.chart { display:block; width:100%; height:auto } .wide { min-width:620px }
.chart .middle { text-anchor:middle }
.chart text { font:11px system-ui,"Segoe UI","DejaVu Sans",sans-serif; fill:var(--soft) }
.chart .grid { stroke:var(--line); stroke-width:1 } .chart .axis { stroke:var(--soft) }
.chart .band { fill:var(--band) } .chart polyline { fill:none; stroke-width:1.8 }
.chart .s0 { stroke:var(--blue) } .chart .s1 { stroke:var(--green) }
.chart circle.s0 { fill:var(--blue) } .chart circle.s1 { fill:var(--green) }
.chart .mark { stroke:var(--red); stroke-width:1.4; stroke-dasharray:5 4 }
.chart .best { fill:none; stroke:var(--ink); stroke-width:1.6 }
.picture { max-height:46rem; border:1px solid var(--line); border-radius:8px }
.erased td, .erased th { color:var(--red) }
@media (max-width:480px) { header, main, footer { padding-left:14px; padding-right:14px }
  .cards { grid-template-columns:1fr 1fr; gap:8px } .card { padding:9px 10px }
  .card .big { font-size:1.05rem; white-space:normal } .charts { grid-template-columns:1fr } }
@media print { details > * { display:block } .tall { max-height:none } }
""".strip()
