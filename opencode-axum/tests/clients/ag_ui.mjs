// AG-UI's own client against the router: `HttpAgent` of `@ag-ui/client`.
//
// Arguments: the router's address, a token, what to do. Says what it saw on lines of JSON.
import { HttpAgent } from '@ag-ui/client';

const [base, token, act] = process.argv.slice(1);
const headers = { authorization: `Bearer ${token}` };

const say = (said) => console.log(JSON.stringify(said));

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

const agentOf = (prompt) =>
  new HttpAgent({
    url: `${base}/ag-ui`,
    headers,
    threadId: 'garden',
    initialMessages: [{ id: 'u1', role: 'user', content: prompt }],
  });

const texts = (agent) =>
  agent.messages.filter(({ role, content }) => role === 'assistant' && content).map(({ content }) => content);

/** Runs it, and says what is shown beside what is kept. `seen` hears of every event. */
const run = async (agent, seen = async () => {}, parameters = { runId: 'r1' }) => {
  let turn;
  let outcome;
  let failed;
  const files = [];
  await agent.runAgent(
    parameters,
    {
      async onEvent({ event }) {
        turn ??= event.metadata?.turn;
        if (event.type === 'RUN_FINISHED') outcome = event.outcome;
        if (event.type === 'RUN_ERROR') failed = event.message;
        if (event.type === 'CUSTOM' && event.name === 'file') files.push(event.value);
        await seen(event, turn);
      },
    },
  );
  const kept = await call('GET', `/turns/${turn}/result`);
  const words = kept.answer.parts.filter((part) => part.type === 'text');
  say({
    turn,
    outcome,
    failed,
    shown: texts(agent),
    kept: words.map((part) => part.content),
    messages: agent.messages,
    files,
  });
};

const acts = {
  /** Asks, and says what came. */
  async answer() {
    await run(agentOf('What grows?'));
  },

  /** Stops an answer in its middle, by the router. */
  async stop() {
    const agent = agentOf('Go');
    await run(agent, async (event) => {
      if (event.type === 'TEXT_MESSAGE_CONTENT') await call('POST', '/ui/chat/garden/stop');
    });
  },

  /** Watches while another worker takes the turn over. */
  async follow() {
    const agent = agentOf('Count');
    let told = false;
    await run(agent, async (event) => {
      if (!told && event.type === 'TEXT_MESSAGE_CONTENT') {
        told = true;
        say({ at: 'half' });
      }
    });
  },

  /** Loses the connection in the middle; the same run, asked for again, goes on. */
  async resume() {
    const first = agentOf('Count');
    const lost = first.runAgent(
      { runId: 'r1' },
      {
        onEvent({ event }) {
          if (event.type === 'TEXT_MESSAGE_CONTENT') first.abortRun();
        },
      },
    );
    await lost.catch(() => {});
    let told = false;
    await run(agentOf('Count'), async () => {
      if (!told) say({ at: 'resumed' });
      told = true;
    });
  },

  /** Answers what the agent asks: a question, or for a permission. */
  async asked() {
    await run(agentOf('Go'), async (event, turn) => {
      if (event.type === 'CUSTOM' && event.name === 'request' && event.value.state === 'pending') {
        const { id, request } = event.value;
        const answers = { type: 'answers', answers: [['Yes']] };
        const body = request.permission ? { type: 'permission', reply: 'once' } : answers;
        await call('POST', `/turns/${turn}/requests/${id}`, body);
      }
    });
  },

  /** Has an answer made again, and the message before it changed. */
  async again() {
    const agent = agentOf('Hello');
    await run(agent);
    const anew = async (runId, content) => {
      const insteadOf = agent.messages.at(-1).id;
      agent.setMessages([{ id: 'u1', role: 'user', content }]);
      await run(agent, undefined, { runId, forwardedProps: { insteadOf } });
    };
    await anew('r2', 'Hello');
    await anew('r3', 'Hello!');
  },

  /** Has answers made again as its front ends do: takes the last one out, and runs the rest. */
  async rerun() {
    const agent = agentOf('Hello');
    const rerun = async (runId) => {
      agent.setMessages(agent.messages.slice(0, agent.messages.findLastIndex(({ role }) => role === 'user') + 1));
      await run(agent, undefined, { runId });
    };
    await run(agent);
    await rerun('r2');
    agent.addMessage({ id: 'u2', role: 'user', content: 'And now?' });
    await run(agent, undefined, { runId: 'r3' });
    await rerun('r4');
    await rerun('r5');
    // The same words as before, by another message: something else.
    agent.addMessage({ id: 'u3', role: 'user', content: 'And now?' });
    await run(agent, undefined, { runId: 'r6' });
  },

  /** Loses the connection, and runs anew what has no answer yet. */
  async rerun_cut() {
    const agent = agentOf('Count');
    const lost = agent.runAgent(
      {},
      {
        onEvent({ event }) {
          if (event.type === 'TEXT_MESSAGE_CONTENT') agent.abortRun();
        },
      },
    );
    await lost.catch(() => {});
    agent.setMessages(agent.messages.slice(0, 1));
    let told = false;
    await run(agent, async () => {
      if (!told) say({ at: 'resumed' });
      told = true;
    }, {});
  },

  /** Sends a file, and reads the one that comes back. */
  async files() {
    const source = { type: 'data', value: btoa('alpha'), mimeType: 'text/plain' };
    let given;
    await run(agentOf([{ type: 'text', text: 'Read' }, { type: 'document', source }]), async (event) => {
      if (event.type !== 'CUSTOM' || event.name !== 'file') return;
      const file = await fetch(new URL(event.value.url, base), { headers });
      given = await file.text();
    });
    say({ given });
  },
};

await acts[act]();
process.exit(0);
