// A page of assistant-ui's parts over the router, as an application has one. Behind the `#` of its address: the chat and
// a token.
import { createContext, useContext } from 'react';
import { createRoot } from 'react-dom/client';
import { useChat } from '@ai-sdk/react';
import { useAISDKRuntime } from '@assistant-ui/ai-sdk';
import {
  AssistantRuntimeProvider,
  AttachmentPrimitive,
  ComposerPrimitive,
  MessagePrimitive,
  ThreadPrimitive,
  makeAssistantDataUI,
} from '@assistant-ui/react';
import { DefaultChatTransport, lastAssistantMessageIsCompleteWithApprovalResponses } from 'ai';

const [id, token] = location.hash.slice(1).split(':');
const headers = { authorization: `Bearer ${token}` };

const post = async (path, body) => {
  const response = await fetch(`/api${path}`, {
    method: 'POST',
    headers: { ...headers, ...(body && { 'content-type': 'application/json' }) },
    body: body && JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
};

/** The turn whose answer is shown last. */
const Turn = createContext(undefined);

const ToolCall = ({ toolName, args, result, isError, approval, respondToApproval }) => {
  const asks = approval && approval.approved === undefined && result === undefined;
  if (asks) return <button onClick={() => respondToApproval({ approved: true })}>Allow {toolName}</button>;
  return (
    <p>
      {toolName} {JSON.stringify(args)} {isError ? 'failed' : 'gave'} {JSON.stringify(result)}
    </p>
  );
};

const File = ({ data, filename, mimeType }) =>
  data.startsWith('data:') && mimeType.startsWith('image/') ? (
    <img src={data} alt="" />
  ) : (
    <a href={data}>{filename}</a>
  );

const Attachment = () => (
  <AttachmentPrimitive.Root>
    <AttachmentPrimitive.Name />
  </AttachmentPrimitive.Root>
);

const Questions = makeAssistantDataUI({
  name: 'request',
  render: function Question({ data }) {
    const turn = useContext(Turn);
    if (data.state !== 'pending') return <p>answered</p>;
    const { id, questions, permission } = data.request;
    // The tool call itself asks for its approval.
    if (permission) return null;
    const answer = (body) => () => post(`/turns/${turn}/requests/${id}`, body);
    return questions[0].options.map(({ label }) => (
      <button key={label} onClick={answer({ type: 'answers', answers: [[label]] })}>
        {questions[0].question} {label}
      </button>
    ));
  },
});

const UserMessage = () => (
  <MessagePrimitive.Root>
    <MessagePrimitive.Parts />
  </MessagePrimitive.Root>
);

const AssistantMessage = () => (
  <MessagePrimitive.Root>
    <MessagePrimitive.Parts components={{ File, tools: { Fallback: ToolCall } }} />
  </MessagePrimitive.Root>
);

const App = () => {
  const transport = new DefaultChatTransport({ api: '/api/ui/chat', headers });
  const chat = useChat({
    id,
    resume: true,
    transport,
    sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithApprovalResponses,
  });
  const stop = () => post(`/ui/chat/${encodeURIComponent(id)}/stop`);
  const runtime = useAISDKRuntime({ ...chat, stop });
  return (
    <Turn.Provider value={chat.messages.at(-1)?.metadata?.turn}>
      <AssistantRuntimeProvider runtime={runtime}>
        <Questions />
        <ThreadPrimitive.Root>
          <main>
            <ThreadPrimitive.Messages components={{ UserMessage, AssistantMessage }} />
          </main>
          <input
            type="file"
            aria-label="File"
            onChange={({ target }) => runtime.thread.composer.addAttachment(target.files[0])}
          />
          <ComposerPrimitive.Root>
            <ComposerPrimitive.Attachments components={{ Attachment }} />
            <ComposerPrimitive.Input autoFocus aria-label="Message" />
            <ComposerPrimitive.Send>Send</ComposerPrimitive.Send>
            <ComposerPrimitive.Cancel>Stop</ComposerPrimitive.Cancel>
          </ComposerPrimitive.Root>
        </ThreadPrimitive.Root>
        <output>{chat.status}</output>
      </AssistantRuntimeProvider>
    </Turn.Provider>
  );
};

createRoot(document.getElementById('root')).render(<App />);
