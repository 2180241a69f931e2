/** Joins the parts of the page. Which conversation it shows stands in the address: reload, back and links work. */

import { Composer } from './composer.js';
import { Conversation } from './conversation.js';
import { Frames } from './frames.js';
import { SignIn } from './signin.js';
import { Status } from './status.js';
import { recall, remember, rememberInputs, takeClientName } from './tab.js';
import { View } from './view.js';

const NOT_SIGNED_IN = 4401;
const byId = (id) => document.getElementById(id);

const view = new View();
const frames = new Frames();
const status = new Status({
  drop: () => current.connection.lose(),
  retry: () => current.connection.open(),
  renew: startAnew,
});
const signIn = new SignIn(signedIn);
const composer = new Composer({ say, stop: () => current.stop() });
const picker = byId('agent');
const client = await takeClientName();

let current;
let agents = [];
let isScheduled = false;

function sessionInAddress() {
  return new URLSearchParams(location.hash.slice(1)).get('session');
}

/** Show another conversation: one that is there, or a new one with the agent that is picked. */
function open(session) {
  current?.close();
  status.clearNotices();
  view.clear();
  current = new Conversation({
    client,
    session,
    agent: picker.value || recall('agent'),
    token: signIn.token,
    onChange: schedule,
    onState: ({ name, text, code }) => name === 'over' && code === NOT_SIGNED_IN && signIn.ask(text),
    onWelcome: welcomed,
    onNotice: refused,
    onTraffic: (direction, text) => {
      frames.add(direction, text);
      schedule();
    },
  });
  current.connection.open();
  schedule();
}

function welcomed() {
  const { session, agent } = current.welcome;
  if (sessionInAddress() !== session) history.replaceState(null, '', `#session=${encodeURIComponent(session)}`);
  pick(agent);
}

function say(text) {
  const refusal = current.say(text);
  status.clearNotices();
  if (refusal) status.notice(refusal);
  else view.toEnd();
  return refusal === '';
}

function refused(words, text = '') {
  status.notice(words);
  if (text) composer.giveBack(text);
}

/** Begin a new conversation; one that nothing was said in is not worth going back to. */
function startAnew() {
  const isUsed = current.fold.items.size > 0 || current.state.name === 'over';
  history[isUsed ? 'pushState' : 'replaceState'](null, '', location.pathname + location.search);
  rememberInputs(null, []);
  open(null);
}

/** Someone else may be here now: what was shown has to come from the server again. */
function signedIn() {
  open(current.session);
}

// ---- agents

async function loadAgents() {
  try {
    const answer = await fetch('agents');
    if (!answer.ok) return;
    const found = await answer.json();
    agents = found.agents;
    picker.replaceChildren(...agents.map(({ name }) => new Option(name, name)));
    pick(current.welcome?.agent ?? recall('agent') ?? found.default);
  } catch {
    // the server is away; the connection says so, and the list is asked for again with the next page
  }
}

/** Show which agent one talks to; a session's own may be one that this server has no more. */
function pick(agent) {
  if (!agent) return;
  if (![...picker.options].some(({ value }) => value === agent)) picker.append(new Option(agent, agent));
  picker.value = agent;
  byId('empty-name').textContent = agent;
  byId('empty-description').textContent = agents.find(({ name }) => name === agent)?.description ?? '';
  byId('text').placeholder = `Message ${agent}`;
}

// ---- showing

function schedule() {
  if (isScheduled) return;
  isScheduled = true;
  requestAnimationFrame(show);
}

function show() {
  isScheduled = false;
  view.show(current);
  frames.show();
  status.show(current);
  signIn.show();
  composer.show({ isOver: current.state.name === 'over', isBusy: current.isBusy });
}

picker.addEventListener('change', () => {
  remember('agent', picker.value);
  startAnew();
});
byId('new').addEventListener('click', () => {
  startAnew();
  composer.focus();
});
addEventListener('popstate', () => sessionInAddress() !== current.session && open(sessionInAddress()));
addEventListener('online', () => current.connection.hurry());
document.addEventListener('visibilitychange', () => document.hidden || current.connection.hurry());

open(sessionInAddress());
loadAgents();
// where there is a keyboard; a phone would open its own over the page
if (matchMedia('(pointer: fine)').matches) composer.focus();
