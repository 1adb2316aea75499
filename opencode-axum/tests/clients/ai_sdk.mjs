// The AI SDK's own client against the router: `Chat` of `@ai-sdk/react` with its `DefaultChatTransport`.
//
// Arguments: the router's address, a token, what to do. Says what it saw on lines of JSON.
import { Chat } from '@ai-sdk/react';
import { DefaultChatTransport, lastAssistantMessageIsCompleteWithApprovalResponses } from 'ai';

const [base, token, act] = process.argv.slice(1);
const headers = { authorization: `Bearer ${token}` };

const say = (said) => console.log(JSON.stringify(said));

const chatOf = (id, messages = []) =>
  new Chat({
    id,
    messages,
    transport: new DefaultChatTransport({ api: `${base}/ui/chat`, headers }),
    sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithApprovalResponses,
    onError: (error) => say({ error: String(error) }),
  });

const answer = (chat) => chat.messages.findLast((message) => message.role === 'assistant');
const texts = (message) =>
  (message?.parts ?? []).filter((part) => part.type === 'text').map((part) => part.text);

/** Waits until the chat shows it. The chat has no event for that which would do without React. */
const until = async (is) => {
  while (!is()) await new Promise((resolve) => setTimeout(resolve, 5));
};

const call = async (method, path, body) => {
  const response = await fetch(`${base}${path}`, {
    method,
    headers: { ...headers, ...(body && { 'content-type': 'application/json' }) },
    body: body && JSON.stringify(body),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
  return text && JSON.parse(text);
};

/** What is shown, beside what is kept. */
const compare = async (chat) => {
  const shown = answer(chat);
  const kept = await call('GET', `/turns/${shown.metadata.turn}/result`);
  const words = kept.answer.parts.filter((part) => part.type === 'text');
  return {
    status: chat.status,
    message: shown.id === kept.message,
    turn: kept.turn,
    shown: texts(shown),
    kept: words.map((part) => part.content),
    parts: shown.parts,
  };
};

const calls = (chat) => answer(chat).parts.filter((part) => part.type === 'dynamic-tool');

/** Decides about the call that waits for it. */
const decide = async (chat, decision) => {
  const { approval } = calls(chat).find((part) => part.state === 'approval-requested');
  await chat.addToolApprovalResponse({ id: approval.id, ...decision });
};

const acts = {
  /** Sends, and says what came: texts, tools, files. */
  async answer() {
    const chat = chatOf('garden');
    await chat.sendMessage({ text: 'What grows?' });
    say(await compare(chat));
  },

  /** Stops an answer in its middle, by the router. */
  async stop() {
    const chat = chatOf('garden');
    const sent = chat.sendMessage({ text: 'Go' });
    await until(() => texts(answer(chat)).includes('Half'));
    await call('POST', '/ui/chat/garden/stop');
    await sent;
    say(await compare(chat));
  },

  /** Loses the connection in the middle; another page goes on. */
  async resume() {
    const first = chatOf('garden');
    const sent = first.sendMessage({ text: 'Count' });
    await until(() => texts(answer(first)).join('').startsWith('One.'));
    await first.stop();
    await sent;
    const page = chatOf('garden', first.messages);
    const resumed = page.resumeStream();
    await until(() => page.status === 'streaming');
    say({ at: 'resumed' });
    await resumed;
    say({ ...(await compare(page)), messages: page.messages.length });
    await page.resumeStream();
    say({ again: page.messages.length, status: page.status });
  },

  /** Watches while another worker takes the turn over. */
  async follow() {
    const chat = chatOf('garden');
    const sent = chat.sendMessage({ text: 'Count' });
    await until(() => texts(answer(chat)).join('').startsWith('One.'));
    say({ at: 'half' });
    await sent;
    say(await compare(chat));
  },

  /** Answers what the agent asks: first a question, then for a permission. */
  async asked() {
    const chat = chatOf('garden');
    const sent = chat.sendMessage({ text: 'Go' });
    const pending = () =>
      answer(chat)?.parts.find((part) => part.type === 'data-request' && part.data.state === 'pending');
    await until(pending);
    const path = `/turns/${answer(chat).metadata.turn}/requests/${pending().id}`;
    await call('POST', path, { type: 'answers', answers: [['Yes']] });
    await sent;
    await decide(chat, { approved: true });
    await until(() => texts(answer(chat)).includes('Done.') && chat.status === 'ready');
    say({ ...(await compare(chat)), messages: chat.messages.length });
  },

  /** Refuses what the agent asks for, with a reason. */
  async denied() {
    const chat = chatOf('garden');
    await chat.sendMessage({ text: 'Go' });
    await decide(chat, { approved: false, reason: 'Not on Fridays.' });
    await until(() => calls(chat)[0].state === 'output-error' && chat.status === 'ready');
    say(await compare(chat));
  },

  /** Is asked for two approvals in turn, and is loaded anew before the second. */
  async approved() {
    const chat = chatOf('garden');
    await chat.sendMessage({ text: 'Go' });
    await decide(chat, { approved: true });
    const asks = (of) => calls(of).length === 2 && calls(of)[1].state === 'approval-requested';
    await until(() => asks(chat) && chat.status === 'ready');
    say({ states: calls(chat).map(({ state }) => state) });
    const page = chatOf('garden', chat.messages);
    await page.resumeStream();
    if (!asks(page)) throw new Error('a page that comes back is not asked');
    await decide(page, { approved: true });
    await until(() => texts(answer(page)).includes('Done.') && page.status === 'ready');
    say({ ...(await compare(page)), messages: page.messages.length });
  },

  /** Is asked, and another says yes in the meantime; the page's own answer comes too late and shows what came. */
  async late() {
    const chat = chatOf('garden');
    await chat.sendMessage({ text: 'Go' });
    const { turn } = answer(chat).metadata;
    await call('POST', `/turns/${turn}/requests/${calls(chat)[0].approval.id}`, { type: 'permission', reply: 'once' });
    await decide(chat, { approved: false });
    await until(() => texts(answer(chat)).includes('Done.') && chat.status === 'ready');
    say(await compare(chat));
  },

  /** Writes something else, while it is asked. */
  async instead() {
    const chat = chatOf('garden');
    await chat.sendMessage({ text: 'Go' });
    await chat.sendMessage({ text: 'Leave it' });
    say(await compare(chat));
  },

  /** Has an answer made again, twice, and a message changed. */
  async again() {
    const chat = chatOf('garden');
    const turns = new Set();
    const note = () => turns.add(answer(chat).metadata.turn);
    await chat.sendMessage({ text: 'Hello' });
    note();
    await chat.regenerate({ messageId: answer(chat).id });
    note();
    await chat.regenerate();
    note();
    await chat.sendMessage({ text: 'Hello!', messageId: chat.messages[0].id });
    note();
    say({ ...(await compare(chat)), turns: turns.size, messages: chat.messages.length });
  },

  /** Sends a file, and reads the one that comes back. */
  async files() {
    const chat = chatOf('garden');
    const url = `data:text/plain;base64,${btoa('alpha')}`;
    const files = [{ type: 'file', mediaType: 'text/plain', filename: 'a.txt', url }];
    await chat.sendMessage({ text: 'Read', files });
    const file = answer(chat).parts.find((part) => part.type === 'file');
    const given = await fetch(new URL(file.url, base), { headers });
    say({ ...(await compare(chat)), given: await given.text() });
  },

  /** Is told what is wrong. */
  async refused() {
    const chat = chatOf('garden');
    await chat.sendMessage({ text: ' ' });
    say({ status: chat.status, error: String(chat.error) });
  },
};

await acts[act]();
process.exit(0);
