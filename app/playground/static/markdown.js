/**
 * Markdown that streams: only what is new is rendered, and nothing in it can run.
 *
 * markdown-it reads no HTML here: what looks like it is shown as text. What it makes is taken apart again by DOMPurify
 * against a short list of elements, and the page's policy lets nothing else turn a text into HTML.
 */

import DOMPurify from './vendor/purify.mjs';
import MarkdownIt from './vendor/markdown-it.mjs';

const LEVELS = 2; // a message stands under the page's headings, so its own begin two levels lower
const LINE = /\r\n?|\n/g;
const LISTS = { ALLOWED_TAGS: [
  'a', 'blockquote', 'br', 'code', 'em', 'h3', 'h4', 'h5', 'h6', 'hr', 'img', 'li', 'ol', 'p', 'pre', 's', 'strong',
  'table', 'tbody', 'td', 'th', 'thead', 'tr', 'ul',
], ALLOWED_ATTR: ['alt', 'class', 'href', 'src', 'start', 'title'], ALLOW_ARIA_ATTR: false, ALLOW_DATA_ATTR: false,
ALLOWED_URI_REGEXP: /^(?:https?:|mailto:|[^a-z]|[a-z+.-]+(?:[^a-z+.\-:]|$))/i };

const md = new MarkdownIt({ html: false, linkify: true, typographer: false });
md.core.ruler.push('tame', ({ tokens }) => tokens.forEach(tame));
md.renderer.rules.image = (tokens, at, options, env, self) => {
  const alt = self.renderInlineAsText(tokens[at].children, options, env);
  const source = tokens[at].attrGet('src');
  return isOurs(source)
    ? `<img src="${md.utils.escapeHtml(source)}" alt="${md.utils.escapeHtml(alt)}">`
    : `<a href="${md.utils.escapeHtml(source)}">${md.utils.escapeHtml(alt || 'Image')}</a>`;
};

/** Headings go down; a style attribute, which the page's policy forbids, becomes a class. */
function tame(token) {
  if (token.type.startsWith('heading_')) token.tag = `h${Math.min(Number(token.tag[1]) + LEVELS, 6)}`;
  const align = /text-align:(\w+)/.exec(token.attrGet('style') ?? '')?.[1];
  token.attrs = token.attrs?.filter(([name]) => name !== 'style') ?? null;
  if (align) token.attrJoin('class', `align-${align}`);
}

/** Whether an image comes with the text or from this server: any other would tell its host who reads this. */
function isOurs(source) {
  if (source.startsWith('data:')) return true;
  return URL.canParse(source, document.baseURI) && new URL(source, document.baseURI).origin === location.origin;
}

/** HTML as nodes, with nothing in them that could run or load from elsewhere. */
export function sanitised(html) {
  return DOMPurify.sanitize(html, { ...LISTS, RETURN_DOM_FRAGMENT: true });
}

/** A text in an element. Call `update` with all of it as it grows; blocks that cannot change any more stay. */
export class MarkdownView {
  #blocks = [];
  // the first so many blocks, made of this much of the text, are settled: what comes cannot change them
  #settled = 0;
  #prefix = '';
  #env = {};

  constructor(element) {
    this.element = element;
  }

  /** Show `text`. When it is complete all of it is read once more, since a link may be defined behind its use. */
  update(text, isComplete) {
    if (isComplete || !text.startsWith(this.#prefix)) {
      this.#settled = 0;
      this.#prefix = '';
      this.#env = {};
    }
    const rest = text.slice(this.#prefix.length);
    const groups = topLevel(md.parse(rest, this.#env));
    const blocks = groups.map((tokens) => md.renderer.render(tokens, md.options, this.#env));
    blocks.forEach((html, index) => this.#show(this.#settled + index, html));
    const gone = this.#blocks.splice(this.#settled + groups.length);
    for (const { nodes } of gone) nodes.forEach((node) => node.remove());
    if (!isComplete) this.#settle(rest, groups);
  }

  #show(index, html) {
    const old = this.#blocks[index];
    if (old?.html === html) return;
    const fragment = decorated(sanitised(html));
    const nodes = [...fragment.childNodes];
    const after = this.#blocks[index + 1]?.nodes[0] ?? null;
    old?.nodes.forEach((node) => node.remove());
    this.element.insertBefore(fragment, after);
    this.#blocks[index] = { html, nodes };
  }

  /** All blocks before the last are settled once the last one's first line is whole: until then it may join them. */
  #settle(rest, groups) {
    if (groups.length < 2) return;
    const start = offsetOfLine(rest, groups.at(-1)[0].map[0]);
    if (!/[\r\n]/.test(rest.slice(start))) return;
    this.#settled += groups.length - 1;
    this.#prefix += rest.slice(0, start);
  }
}

/** Copy the code that a clicked button stands over; whatever else was clicked is left alone. */
export async function copyCode(button) {
  if (!button.classList.contains('copy')) return;
  const code = button.closest('.code').querySelector('pre');
  // a page that came over plain HTTP from another machine may not write to the clipboard
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = 'Copied';
    setTimeout(() => (button.textContent = 'Copy'), 1_500);
  } else {
    getSelection().selectAllChildren(code);
  }
}

/** Tokens in groups, one for each block that stands in no other. */
function topLevel(tokens) {
  const groups = [];
  let depth = 0;
  for (const token of tokens) {
    if (depth === 0) groups.push([]);
    groups.at(-1).push(token);
    depth += token.nesting;
  }
  return groups;
}

function offsetOfLine(text, line) {
  const breaks = text.matchAll(LINE);
  let offset = 0;
  for (let passed = 0; passed < line; passed++) {
    const { value } = breaks.next();
    offset = value.index + value[0].length;
  }
  return offset;
}

function decorated(fragment) {
  for (const link of fragment.querySelectorAll('a')) {
    link.target = '_blank';
    link.rel = 'noopener noreferrer';
  }
  for (const table of fragment.querySelectorAll('table')) framed(table, 'Table');
  // Markdown makes a heading of every cell in a table's first row; one without words is none
  for (const cell of fragment.querySelectorAll('th:empty')) cell.replaceWith(document.createElement('td'));
  for (const pre of fragment.querySelectorAll('pre')) headed(pre);
  return fragment;
}

/** A code block with its language and a button to copy it; whoever holds the page listens to the button. */
function headed(pre) {
  const language = /language-(\S+)/.exec(pre.firstElementChild?.className ?? '')?.[1] ?? '';
  const box = made('div', 'code');
  const bar = made('div', 'bar');
  const copy = made('button', 'copy', 'Copy');
  copy.type = 'button';
  bar.append(made('span', '', language), copy);
  framed(pre, language ? `Code, ${language}` : 'Code').replaceWith(box);
  box.append(bar, pre.parentElement);
}

/** Put an element into a box that scrolls sideways, by keyboard too. */
function framed(element, label) {
  const frame = made('div', 'sideways');
  frame.tabIndex = 0;
  frame.role = 'group';
  frame.ariaLabel = label;
  element.replaceWith(frame);
  frame.append(element);
  return frame;
}

function made(tag, className, text = '') {
  return Object.assign(document.createElement(tag), { className, textContent: text });
}
