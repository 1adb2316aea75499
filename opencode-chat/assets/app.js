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
  // Those of a text have no name: they stay in their order.
  const folds = fresh.querySelectorAll(".block details");
  old.querySelectorAll("details:not([id])").forEach((details, at) => {
    if (!folds[at] || !("touched" in details.dataset)) return;
    folds[at].open = details.open;
    folds[at].dataset.touched = "";
  });
};

const replace = (old, fresh) => {
  const focused = old.contains(document.activeElement) ? document.activeElement : null;
  const isSummary = focused?.matches("summary");
  const foldId = isSummary && focused.parentElement.id;
  keep(old, fresh);
  const wide = [...old.querySelectorAll("pre, table")].map(({ scrollLeft }) => scrollLeft);
  const now = [...fresh.querySelectorAll("pre, table")];
  old.replaceWith(fresh);
  wide.forEach((left, at) => {
    if (left && now[at]) now[at].scrollLeft = left;
  });
  if (foldId) find(foldId)?.querySelector("summary").focus({ preventScroll: true });
};

// The HTML of blocks, as it was sent.
const sent = new Map();

const apply = (changes) => {
  // What was scrolled since the last frame counts, though its event is still to come.
  look();
  for (const [operation, target, html, tail] of changes) {
    if (operation === "visit") {
      visit(target);
      return;
    }
    const element = find(target);
    const isAsked = element?.matches(".request") && element.contains(document.activeElement);
    if (operation === "remove") element?.remove();
    if (operation === "remove-from") while (element?.nextElementSibling) element.nextElementSibling.remove();
    if (operation === "remove-from") element?.remove();
    if (isAsked && !html) onwards();
    if (!element || !html) continue;
    // What grows comes without the beginning that is there already.
    const whole = operation === "grow" ? sent.get(target).slice(0, html) + tail : html;
    const fresh = fragment(whole);
    const block = fresh.firstElementChild;
    if (block?.matches(".block[id]")) sent.set(block.id, whole);
    if (operation === "replace" || operation === "grow") replace(element, fresh);
    if (operation !== "append") continue;
    for (const child of [...fresh.children]) {
      const same = child.id && find(child.id);
      if (same) replace(same, child);
      else element.append(child);
    }
  }
  mark();
  noteRequests();
  localize();
  if (follows) toEnd();
  else showBehind();
};

// ---- Scrolling is the reader's: any way up lets go of the end, reaching it takes hold again ----

const isAtEnd = () => innerHeight + scrollY >= document.documentElement.scrollHeight - 4;
let follows = true;
// Where the page was last, how high it was, and how much text it had when the end was let go of.
let last = { top: 0, height: 0, length: 0 };

const toEnd = () => {
  follows = true;
  scrollTo({ top: document.documentElement.scrollHeight, behavior: "instant" });
  showBehind();
};

// The button that goes to the end, and how much is new there.
const showBehind = () => {
  const button = document.querySelector(".to-end");
  const messages = find("messages");
  if (!button || !messages) return;
  button.hidden = follows || isAtEnd();
  if (button.hidden) return;
  const words = Math.round((messages.textContent.length - last.length) / 6);
  button.textContent = words > 0 ? `To the end: about ${words} new ${words === 1 ? "word" : "words"}` : "To the end";
};

const letGo = () => {
  if (!follows || scrollY <= 0) return;
  follows = false;
  last.length = find("messages")?.textContent.length ?? 0;
  showBehind();
};

document.addEventListener("wheel", ({ deltaY }) => {
  if (deltaY < 0) letGo();
}, { passive: true });

let finger = 0;
document.addEventListener("touchstart", ({ touches }) => {
  finger = touches[0].clientY;
}, { passive: true });
document.addEventListener("touchmove", ({ touches }) => {
  if (touches[0].clientY > finger) letGo();
  finger = touches[0].clientY;
}, { passive: true });

document.addEventListener("keydown", ({ key, shiftKey, target }) => {
  const writes = target.matches("textarea, input") && target.value;
  const isUp = ["ArrowUp", "PageUp", "Home"].includes(key) || (key === " " && shiftKey);
  if (isUp && (!writes || key === "PageUp")) letGo();
});

const look = () => {
  const { scrollHeight: height } = document.documentElement;
  // A page that gets shorter moves too, and nobody moved it.
  if (scrollY < last.top && height >= last.height) letGo();
  else if (scrollY > last.top && isAtEnd()) follows = true;
  last.top = scrollY;
  last.height = height;
  showBehind();
};

document.addEventListener("scroll", look, { passive: true });

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
  mark();
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
  heard = Date.now();
  own.onopen = hear;
  own.addEventListener("beat", hear);
  own.onmessage = ({ data, lastEventId }) => {
    hear();
    apply(JSON.parse(data));
    // Where this page goes on after it was hidden.
    const shown = pending();
    if (shown && lastEventId) shown.dataset.after = lastEventId;
  };
  own.addEventListener("done", ({ data }) => {
    close();
    apply(JSON.parse(data));
    watch();
    refreshList();
  });
  own.onerror = () => {
    offline(true);
    if (own.readyState !== EventSource.CLOSED || source !== own) return;
    close();
    setTimeout(watch, 3000);
    // Refused rather than lost: why is told to a request only.
    ask(location.href, { method: "HEAD" }).catch((problem) => {
      if (problem instanceof SignedOut && !source) offline(true, problem);
    });
  };
};

const offline = (is, problem) => {
  const notice = find("offline");
  if (!notice) return;
  notice.dataset.lost ??= notice.textContent;
  notice.hidden = !is;
  if (problem) show(notice, problem);
  else if (!is) notice.textContent = notice.dataset.lost;
};

// What was said from another tab, or another device. Tabs of one browser tell each other.
const refresh = async () => {
  if (!find("messages")) return;
  const response = await ask(location.pathname).catch(() => null);
  if (!response?.ok) return;
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const there = [...page.querySelectorAll("#messages > [id]")];
  const ids = new Set(there.map(({ id }) => id));
  const here = [...find("messages").children];
  // Behind the last one that both have, another version is shown.
  const gone = here[here.findLastIndex(({ id }) => ids.has(id)) + 1];
  if (gone) apply([["remove-from", gone.id]]);
  const fresh = there.filter(({ id }) => !find(id));
  apply(fresh.map((message) => ["append", "messages", message.outerHTML]));
  watch();
};

const tabs = new BroadcastChannel("conversations");
tabs.onmessage = ({ data }) => {
  if (document.hidden) return;
  if (data === location.pathname) refresh();
  if (typeof data === "string") refreshList();
};

document.addEventListener("visibilitychange", () => {
  watch();
  if (document.hidden) return;
  refresh();
  refreshList();
});

// ---- Forms ----

const LOST = "The application does not answer. Nothing was lost: try again.";

// What stands before the application wants the reader to sign in.
class SignedOut extends Error {
  constructor() {
    super("You are signed out. Nothing was lost: sign in again in another tab, then try again here.");
  }
}

// An answer that is not the application's own, such as a page to sign in. All of its own are marked.
const foreign = (status) => {
  if (status === 413) return new Error("What stands before the application takes no more at once. Nothing was lost: send less.");
  return status === 429 || status >= 500 ? new Error(LOST) : new SignedOut();
};

// An answer of the application; it answers no script with a redirect.
const ask = async (address, options) => {
  let response;
  try {
    response = await fetch(address, { ...options, redirect: "manual" });
  } catch {
    throw new Error(LOST);
  }
  if (response.headers.has(MARK)) return response;
  throw foreign(response.status);
};

const MARK = "opencode-chat";

const show = (place, problem) => {
  place.textContent = problem.message;
  if (!(problem instanceof SignedOut)) return;
  const link = Object.assign(document.createElement("a"), { href: location.href, target: "_blank", textContent: "Sign in" });
  place.append(" ", link);
};

const send = async (form, button) => {
  if (form === composer) {
    if (!prompt.value.trim() && !attached.length) throw new Error("Write what you want to ask, or attach a file.");
    const size = promptSize();
    if (size > maxPrompt) throw new Error(tooLong(size));
    if (attached.length) return sendFiles(form);
  }
  const data = new FormData(form, button);
  data.delete("files");
  const action = button?.hasAttribute("formaction") ? button.formAction : form.action;
  // A prompt goes as it is: escaped for an address, most scripts take three times the room.
  const body = form === composer ? data : new URLSearchParams(data);
  const response = await ask(action, { method: "POST", body, headers: { Accept: "application/json" } });
  const answer = await response.json().catch(() => ({ error: "The application gave an answer that cannot be read." }));
  if (!response.ok) throw new Error(answer.error);
  return answer;
};

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.matches("[data-live]")) return;
  event.preventDefault();
  if (form.dataset.sending) return;
  if (form.matches(".request:not([data-ready])")) {
    form.querySelector("[role=alert]").textContent = "This has only just come up. Look at it, then press again.";
    return;
  }
  form.dataset.sending = "";
  const error = form.querySelector("[role=alert]");
  error.textContent = "";
  const said = prompt?.value;
  const files = [...attached];
  try {
    const changes = await send(form, event.submitter);
    if (form.matches(".request")) form.classList.add("answered");
    if (form === composer) {
      // What was typed or attached meanwhile goes with the next prompt.
      if (prompt.value.startsWith(said)) prompt.value = prompt.value.slice(said.length);
      prompt.dispatchEvent(new Event("input"));
      detachAll(files);
      toEnd();
    }
    const at = [...find("messages")?.children ?? []].indexOf(form.closest(".message"));
    apply(changes);
    if (form.matches(".versions")) refocus(at, event.submitter);
    else if (form.matches(".request")) onwards();
    else if (form.matches(".ways form, form.edit")) find("prompt").focus({ preventScroll: true });
    watch();
    tabs.postMessage(location.pathname);
    if (form.matches("[action$='/options']")) changed(form, event.submitter.value);
    refreshList();
  } catch (problem) {
    show(error, problem);
  } finally {
    delete form.dataset.sending;
  }
});

// The keyboard stays at the versions of a turn, however many are gone through.
const refocus = (at, button) => {
  const form = find("messages").children[at]?.querySelector(".versions");
  (form?.querySelector(`.${button.className}:enabled`) ?? form?.querySelector("button:enabled"))?.focus({ preventScroll: true });
};

// A prompt is edited where it stands.
const edit = async (link) => {
  const response = await ask(link.href);
  const form = fragment(await response.text()).querySelector("form.edit");
  if (!response.ok || !form) return location.assign(link.href);
  link.closest(".message").append(form);
  const words = form.querySelector("textarea");
  words.focus();
  words.setSelectionRange(words.value.length, words.value.length);
};

document.addEventListener("click", (event) => {
  if (event.metaKey || event.ctrlKey || event.shiftKey) return;
  const link = event.target.closest("a.edit, .message a.cancel");
  if (!link) return;
  event.preventDefault();
  if (link.matches(".edit")) {
    if (!link.closest(".message").querySelector("form.edit")) edit(link).catch(() => location.assign(link.href));
    return;
  }
  const message = link.closest(".message");
  link.closest("form").remove();
  message.querySelector("a.edit").focus();
});

// ---- Keys ----

const prompt = find("prompt");
const touch = matchMedia("(pointer: coarse)");

// The key goes to what helps to write: Chinese, Japanese, Korean, accents. Safari tells by 229 of the key that ends it.
const isComposing = (event) => event.isComposing || event.keyCode === 229;

prompt?.addEventListener("keydown", (event) => {
  // On a touch screen Enter starts a line: the button sends.
  if (event.key !== "Enter" || event.shiftKey || isComposing(event) || touch.matches) return;
  event.preventDefault();
  prompt.form.requestSubmit(prompt.form.querySelector(".send"));
});

if (prompt && !CSS.supports("field-sizing", "content")) {
  prompt.addEventListener("input", () => {
    prompt.style.height = "auto";
    prompt.style.height = `${prompt.scrollHeight}px`;
  });
}

const stop = () => uploading ? uploading.request.abort() : pending()?.querySelector("form.stop")?.requestSubmit();

document.addEventListener("keydown", (event) => {
  // In a field of one line the browser itself would send the form.
  if (event.key === "Enter" && isComposing(event) && event.target.matches("input")) event.preventDefault();
  // Words alone decide nothing: they may mean yes.
  else if (event.key === "Enter" && event.target.matches(".request [name=message]")) {
    event.target.form.querySelector("[role=alert]").textContent = "Choose a button: allow it, or reject it with these words.";
  }
  if (event.key === "Escape" && !isComposing(event) && !event.defaultPrevented) stop();
});

// ---- The length of a prompt ----

const maxPrompt = Number(document.querySelector(".composer")?.dataset.maxPrompt);
const promptSize = () => new TextEncoder().encode(prompt.value).length;
const tooLong = (size) => `This prompt has ${sizeOf(size)} (${size} bytes), and ${sizeOf(maxPrompt)} (${maxPrompt} bytes) is the most. Shorten it, or attach it as a file.`;

prompt?.addEventListener("input", () => {
  const counter = prompt.form.querySelector(".count");
  // No character takes more than three bytes of its length.
  const size = prompt.value.length * 3 > maxPrompt * 0.9 ? promptSize() : 0;
  counter.hidden = size <= maxPrompt * 0.9;
  counter.classList.toggle("bad", size > maxPrompt);
  counter.textContent = size > maxPrompt ? tooLong(size) : `${maxPrompt - size} bytes left`;
});

// ---- Going to another page with what was typed and attached meanwhile ----

const visit = async (address) => {
  if (!prompt?.value && !attached.length) return location.assign(address);
  const response = await ask(address).catch(() => null);
  if (!response?.ok) return location.assign(address);
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const fresh = page.querySelector(".composer");
  composer.action = fresh.getAttribute("action");
  find("key").value = page.querySelector("#key").value;
  prompt.placeholder = page.querySelector("#prompt").placeholder;
  fresh.replaceWith(composer);
  page.querySelector(".drop")?.replaceWith(document.querySelector(".drop"));
  history.pushState({}, "", address);
  document.title = page.title;
  document.body.className = page.body.className;
  for (const part of [".side", ".page"]) document.querySelector(part).replaceWith(page.querySelector(part));
  watchMore();
  prompt.focus();
  watch();
};

addEventListener("popstate", () => location.reload());

// ---- Small things ----

// A page that came over plain http has no clipboard, and the old way.
const toClipboard = async (text) => {
  try {
    await navigator.clipboard.writeText(text);
    return;
  } catch {}
  const focused = document.activeElement;
  const area = Object.assign(document.createElement("textarea"), { value: text, className: "quiet" });
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  focused?.focus({ preventScroll: true });
  if (!done) throw new Error("nothing was copied");
};

const textOf = async (button) => {
  if (!button.dataset.source) return button.closest(".code").querySelector("code").textContent.replace(/\n$/, "");
  const response = await ask(button.dataset.source);
  if (!response.ok) throw new Error(LOST);
  return response.text();
};

// One button tells how it went, in its own words.
const copy = async (button) => {
  let words = "Copied";
  try {
    await toClipboard(await textOf(button));
  } catch {
    words = "Not copied";
  }
  button.textContent = words;
  setTimeout(() => {
    button.textContent = "Copy";
  }, 1500);
};

document.addEventListener("click", (event) => {
  if (event.target.matches(".halt, .halt *")) stop();
  if (event.target.matches(".copy")) copy(event.target);
  if (event.target.matches(".to-end")) toEnd();
  const summary = event.target.closest("summary");
  if (summary) summary.parentElement.dataset.touched = "";
});

