/** What the page says in words: why a connection was closed, why a turn or an input failed. */

/** Close codes: whether to come back by oneself, and what to tell if not. Others say nothing about us: come back. */
const CLOSES = {
  1000: { back: false, words: 'The server has said goodbye.' },
  1009: { back: false, words: 'What this page sent was too big for the server.' },
  1012: { back: true, words: 'the server is restarting' },
  1013: { back: true, words: 'the server is too busy' },
  4400: { back: false, words: 'The server does not understand this page. Reload it: one may be newer than the other.' },
  4401: { back: false, words: 'You need to sign in.' },
  4403: { back: false, words: 'The server does not let you in here.' },
  4404: { back: false, words: 'There is no such conversation or agent, or not any more.' },
  4408: { back: true, words: 'the connection was silent for too long' },
  4409: { back: true, words: 'inputs were counted differently' },
  4410: { back: false, words: 'This conversation has ended.' },
  4429: { back: true, words: 'this page sent too much at once' },
  4431: { back: true, words: 'this page read too slowly' },
  4500: { back: true, words: 'the server had a fault' },
};

/** Whether to connect again after a close with this code; `bye` is the server's last frame, if it was one. */
export function comesBack(code, bye) {
  return bye?.reconnect ?? CLOSES[code]?.back ?? true;
}

/** Why a connection is no more, to follow a colon. */
export function lossInWords(code, parting) {
  const known = CLOSES[code]?.words;
  return (code === 4500 && parting?.message) || known || 'the connection was lost';
}

/** Why a connection is over for good, as a sentence or two. */
export function endInWords(code, parting) {
  const known = CLOSES[code]?.words ?? 'The server has closed the connection.';
  const details = parting?.type === 'error' && ![4404, 4410].includes(code) ? parting.message : '';
  return details ? `${known} It says: ${details}` : known;
}

const TURN_ENDS = {
  cancelled: 'Stopped.',
  rejected: 'Not taken: the agent was still busy with another message. Send it again when it is done.',
  timeout: 'The agent took too long.',
  interrupted: 'The server was interrupted here, and this agent does not start over.',
  poisoned: 'The server was interrupted here too often and has given up.',
  handler_error: 'The agent failed.',
};

/** How a turn ended that did not finish well. */
export function turnEndInWords(code, message) {
  const known = TURN_ENDS[code] ?? 'This went wrong.';
  return message && code === 'handler_error' ? `${known} It says: ${message}` : known;
}

/** Why an input was refused for good. */
export function refusalInWords(error) {
  if (error.code === 'conflict') return 'Not sent: the server already has another message in its place. Send it again.';
  return `Not sent: ${error.message}.`;
}

/** A size as people read it. */
export function sizeInWords(bytes) {
  return bytes < 1024 ? `${bytes} bytes` : `${Math.round(bytes / 1024)} KB`;
}
