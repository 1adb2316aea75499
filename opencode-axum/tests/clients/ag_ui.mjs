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
const run = async (agent, seen = async () => {}) => {
  let turn;
  let outcome;
  let failed;
  await agent.runAgent(
    { runId: 'r1' },
    {
      async onEvent({ event }) {
        turn ??= event.metadata?.turn;
        if (event.type === 'RUN_FINISHED') outcome = event.outcome;
        if (event.type === 'RUN_ERROR') failed = event.message;
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

  /** Answers what the agent asks. */
  async question() {
    await run(agentOf('Go'), async (event, turn) => {
      if (event.type === 'CUSTOM' && event.name === 'request' && event.value.state === 'pending') {
        const answer = { type: 'answers', answers: [['Yes']] };
        await call('POST', `/turns/${turn}/requests/${event.value.id}`, answer);
      }
    });
  },
};

await acts[act]();
process.exit(0);
