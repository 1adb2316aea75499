// A program of an application's, with the types of the routes: asks, follows the answer, answers a question.
//
// Arguments: the router's address, a token.
import type { components, paths } from './openapi';

declare const process: { argv: string[] };

type Schemas = components['schemas'];
type Events = Schemas['TurnEvents'];

const [base, token] = process.argv.slice(1);
const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };

const call = async <T>(method: string, path: string, body?: unknown): Promise<T> => {
  const response = await fetch(`${base}${path}`, { method, headers, body: body === undefined ? null : JSON.stringify(body) });
  if (!response.ok) {
    const problem: Schemas['Problem'] = await response.json();
    throw new Error(`${problem.title}: ${problem.detail}`);
  }
  return response.json();
};

/** The events of a turn, by their names. */
async function* follow(turn: string): AsyncGenerator<{ [Name in keyof Events]: { event: Name; data: Events[Name] } }[keyof Events]> {
  const response = await fetch(`${base}/turns/${turn}/events`, { headers });
  let text = '';
  for await (const bytes of response.body!.pipeThrough(new TextDecoderStream())) {
    text += bytes;
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
      const lines = text.slice(0, end).split('\n');
      text = text.slice(end + 2);
      const field = (name: string) => lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
      const data = field('data');
      if (data) yield { event: field('event') as keyof Events, data: JSON.parse(data) } as never;
    }
  }
}

type Opened = paths['/conversations']['post']['responses'][200]['content']['application/json'];
const opening: Schemas['NewConversation'] = { name: 'garden' };
const { id } = await call<Opened>('POST', '/conversations', opening);
const asking: Schemas['NewTurn'] = { prompt: 'What grows?', on_busy: 'reject' };
const turn = await call<Schemas['Turn']>('POST', `/conversations/${id}/turns`, asking);

// What is not in the description is no field, and no value.
// @ts-expect-error
const unknown: Schemas['NewTurn'] = { prompt: 'Hi', on_busy: 'wait' };
// @ts-expect-error
void turn.content;
void unknown;

const texts = new Map<string, string>();
const put = ({ part_id, part }: { part_id: string; part: Schemas['Part'] }) => {
  if (part.type === 'text') texts.set(part_id, part.content);
};
const answer = async (request: Schemas['QuestionRequest']) => {
  const given: Schemas['RequestAnswer'] = {
    type: 'answers',
    answers: request.questions.map(({ options }) => [options[0]!.label]),
  };
  await call<Schemas['Answered']>('POST', `/turns/${turn.id}/requests/${request.id}`, given);
};

for await (const { event, data } of follow(turn.id)) {
  if (event === 'snapshot') {
    texts.clear();
    data.parts.forEach(put);
    for (const request of data.requests) if (request.type === 'question') await answer(request);
  } else if (event === 'change') {
    switch (data.type) {
      case 'part_added':
      case 'part_replaced':
      case 'part_final':
        put(data);
        break;
      case 'part_delta':
        if (data.kind === 'text') texts.set(data.part_id, (texts.get(data.part_id) ?? '') + data.delta);
        break;
      case 'question':
        await answer(data.request);
        break;
    }
  } else if (event === 'finished') {
    const kept = data.answer.parts.map((part) => (part.type === 'text' ? part.content : ''));
    console.log(JSON.stringify({ status: data.status, shown: [...texts.values()].join(''), kept: kept.join('') }));
  }
}
export {};
