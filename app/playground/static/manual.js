/** A page of the documentation, shown from its Markdown. */

import { MarkdownView, copyCode } from './markdown.js';

const article = document.querySelector('article');
const pages = new Set(Array.from(document.querySelectorAll('nav a'), ({ href }) => href));
const home = document.querySelector('h1 a').href;

async function show() {
  const answer = await fetch(location.pathname, { headers: { Accept: 'text/markdown' } });
  new MarkdownView(article).update(answer.ok ? await answer.text() : 'This page cannot be read now.', true);
  document.title = `${article.querySelector('h3')?.textContent ?? location.pathname} · Parley`;
  article.querySelectorAll('h3, h4, h5, h6').forEach(named);
  article.querySelectorAll('a').forEach(led);
  document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
}

/** Give a heading the anchor that links know it by: its words, joined by hyphens, without punctuation. */
function named(heading) {
  const words = heading.textContent.toLowerCase().replace(/[^\p{L}\p{N}_ -]/gu, '');
  heading.id = words.replaceAll(' ', '-');
}

/** A link to another page stays in this tab; to a file that is not here there is none. */
function led(link) {
  if (link.origin !== location.origin) return;
  const page = link.href.split('#')[0];
  if (pages.has(page) || page === home) link.removeAttribute('target');
  else link.replaceWith(...link.childNodes);
}

article.addEventListener('click', ({ target }) => copyCode(target));
show();
