// Sends forms without a reload, and applies what the server says has changed.
// Everything here is done by the pages themselves too, only with reloads.

const find = (id) => document.getElementById(id);
const pending = () => document.querySelector("[data-events]");

// ---- Changes: [operation, target, html] ----

const fragment = (html) => {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content;
};

// What the reader has folded or unfolded stays so when it is replaced.
const keep = (old, fresh) => {
  for (const details of old.querySelectorAll("details[id][data-touched]")) {
    const same = fresh.querySelector(`#${CSS.escape(details.id)}`);
    if (!same) continue;
    same.open = details.open;
    same.dataset.touched = "";
  }
};

const replace = (old, fresh) => {
  const focused = old.contains(document.activeElement) ? document.activeElement : null;
  const isSummary = focused?.matches("summary");
  const foldId = isSummary && focused.parentElement.id;
  keep(old, fresh);
  old.replaceWith(fresh);
  if (foldId) find(foldId)?.querySelector("summary").focus({ preventScroll: true });
};

const apply = (changes) => {
  const follow = isAtEnd();
  for (const [operation, target, html] of changes) {
    if (operation === "visit") {
      location.assign(target);
      return;
    }
    const element = find(target);
    if (operation === "remove") element?.remove();
    if (!element || !html) continue;
    const fresh = fragment(html);
    if (operation === "replace") replace(element, fresh);
    if (operation !== "append") continue;
    for (const child of [...fresh.children]) {
      const same = child.id && find(child.id);
      if (same) replace(same, child);
      else element.append(child);
    }
  }
  if (follow) toEnd();
};

// ---- Scrolling: the end is followed only while the reader is there ----

const isAtEnd = () => innerHeight + scrollY >= document.documentElement.scrollHeight - 60;
const toEnd = () => scrollTo({ top: document.documentElement.scrollHeight, behavior: "instant" });
let wasAtEnd = true;

document.addEventListener("scroll", () => {
  wasAtEnd = isAtEnd();
}, { passive: true });

// ---- The stream of the first answer that is not complete ----

let source = null;
let watched = null;

const close = () => {
  source?.close();
  source = null;
  watched = null;
};

const showHalt = () => {
  const halt = document.querySelector(".halt");
  if (halt) halt.hidden = !uploading && !document.querySelector("form.stop");
};

const watch = () => {
  const answer = pending();
  showHalt();
  if (find("messages")) document.querySelector(".side li [aria-current]")?.classList.toggle("busy", Boolean(answer));
  // A hidden page needs no connection: browsers have six for all pages of a server.
  if (!answer || document.hidden) {
    close();
    return;
  }
  if (source && watched === answer.dataset.turn) return;
  close();
  watched = answer.dataset.turn;
  const own = new EventSource(`${answer.dataset.events}?after=${encodeURIComponent(answer.dataset.after)}`);
  source = own;
  own.onopen = () => offline(false);
  own.onmessage = ({ data, lastEventId }) => {
    apply(JSON.parse(data));
    // Where this page goes on after it was hidden.
    const shown = pending();
    if (shown && lastEventId) shown.dataset.after = lastEventId;
  };
  own.addEventListener("done", ({ data }) => {
    close();
    apply(JSON.parse(data));
    watch();
  });
  own.onerror = () => {
    offline(true);
    if (own.readyState !== EventSource.CLOSED || source !== own) return;
    close();
    setTimeout(watch, 3000);
  };
};

const offline = (is) => {
  const notice = find("offline");
  if (notice) notice.hidden = !is;
};

// What was said from another tab, or another device. Tabs of one browser tell each other.
const refresh = async () => {
  if (!find("messages")) return;
  const response = await fetch(location.pathname).catch(() => null);
  if (!response?.ok) return;
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const fresh = [...page.querySelectorAll("#messages > [id]")].filter(({ id }) => !find(id));
  apply(fresh.map((message) => ["append", "messages", message.outerHTML]));
  watch();
};

const tabs = new BroadcastChannel("conversations");
tabs.onmessage = ({ data }) => {
  if (data === location.pathname && !document.hidden) refresh();
};

document.addEventListener("visibilitychange", () => {
  watch();
  if (!document.hidden) refresh();
});

// ---- Forms ----

const send = async (form, button) => {
  if (form === composer && attached.length) return sendFiles(form);
  const data = new FormData(form, button);
  data.delete("files");
  const action = button?.hasAttribute("formaction") ? button.formAction : form.action;
  let response;
  try {
    response = await fetch(action, {
      method: "POST",
      body: new URLSearchParams(data),
      headers: { Accept: "application/json" },
    });
  } catch {
    throw new Error("The application does not answer. Nothing was lost: try again.");
  }
  const answer = await response.json().catch(() => ({ error: "The application gave an answer that cannot be read." }));
  if (!response.ok) throw new Error(answer.error);
  return answer;
};

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.matches("[data-live]")) return;
  event.preventDefault();
  if (form.dataset.sending) return;
  form.dataset.sending = "";
  const error = form.querySelector("[role=alert]");
  error.textContent = "";
  try {
    const changes = await send(form, event.submitter);
    form.reset();
    form.querySelector("textarea")?.dispatchEvent(new Event("input"));
    if (form.matches(".request")) form.classList.add("answered");
    if (form === composer) {
      detachAll();
      toEnd();
    }
    apply(changes);
    watch();
    tabs.postMessage(location.pathname);
  } catch (problem) {
    error.textContent = problem.message;
  } finally {
    delete form.dataset.sending;
  }
});

// ---- Keys ----

const prompt = find("prompt");
const touch = matchMedia("(pointer: coarse)");

prompt?.addEventListener("keydown", (event) => {
  // On a touch screen Enter starts a line: the button sends.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || touch.matches) return;
  event.preventDefault();
  prompt.form.requestSubmit(prompt.form.querySelector(".send"));
});

if (prompt && !CSS.supports("field-sizing", "content")) {
  prompt.addEventListener("input", () => {
    prompt.style.height = "auto";
    prompt.style.height = `${prompt.scrollHeight}px`;
  });
}

const stop = () => uploading ? uploading.abort() : pending()?.querySelector("form.stop")?.requestSubmit();

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !event.isComposing && !event.defaultPrevented) stop();
});

// ---- Small things ----

const copy = async (button) => {
  const code = button.parentElement.querySelector("code") ?? button.parentElement;
  await navigator.clipboard.writeText(code.textContent.replace(/\n$/, ""));
  button.dataset.done = "";
  setTimeout(() => delete button.dataset.done, 1500);
};

document.addEventListener("click", (event) => {
  if (event.target.matches(".halt, .halt *")) stop();
  if (event.target.matches(".copy")) copy(event.target).catch(() => {});
  const summary = event.target.closest("summary");
  if (summary) summary.parentElement.dataset.touched = "";
});

// Code gets its button when somebody comes near.
document.addEventListener("pointerover", (event) => {
  const code = event.target.closest?.(".block > pre");
  if (!code || code.querySelector(".copy") || !navigator.clipboard) return;
  const button = Object.assign(document.createElement("button"), { className: "copy", type: "button", ariaLabel: "Copy" });
  code.append(button);
});

