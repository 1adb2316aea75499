
// ---- The list of conversations ----

// What day it is here, for the headings of the list.
const knowsClock = document.cookie.includes("chat-offset=");
const root = document.querySelector(".brand")?.pathname ?? "/";
document.cookie = `chat-offset=${-new Date().getTimezoneOffset()}; path=${root}; max-age=31536000; samesite=lax`;

const idOf = (path) => path.match(/\/conversations\/([0-9a-f-]{36})/)?.[1];

const STATES = { busy: "answering", waiting: "waiting for you", failed: "failed", "": "" };

// How the open conversation stands is known here first.
const mark = () => {
  const link = document.querySelector("#list [aria-current]");
  const messages = find("messages");
  if (!link || !messages) return;
  let state = messages.lastElementChild?.querySelector(".failure") ? "failed" : "";
  if (pending()) state = "busy";
  if (messages.querySelector(".request:not(.answered)")) state = "waiting";
  link.className = state;
  const dot = link.querySelector(".dot");
  dot.ariaLabel = STATES[state];
  dot.title = STATES[state];
};

let asks = 0;

// The list as it is now, as much of it as is shown.
const refreshList = async () => {
  const list = find("list");
  if (!list || location.search.includes("older=")) return;
  asks += 1;
  const own = asks;
  const wanted = new URLSearchParams({ shelf: list.dataset.shelf, shown: list.querySelectorAll("li").length });
  const current = idOf(location.pathname);
  if (current) wanted.set("current", current);
  const response = await ask(`${root}conversations/list?${wanted}`).catch(() => null);
  const html = response?.ok && await response.text().catch(() => null);
  if (!html || own !== asks || !list.isConnected) return;
  const focused = list.contains(document.activeElement) && document.activeElement;
  const href = focused?.getAttribute?.("href");
  list.replaceWith(fragment(html));
  if (href) find("list").querySelector(`a[href="${CSS.escape(href)}"]`)?.focus({ preventScroll: true });
  mark();
  watchMore();
};

// What is older comes below what is there, without what is there already.
const more = async (link, moves) => {
  if (link.dataset.asked) return;
  link.dataset.asked = "true";
  const response = await ask(link.href);
  if (!response.ok) throw new Error(LOST);
  const fresh = fragment(await response.text()).querySelector("#list");
  if (!link.isConnected) return;
  for (const item of fresh.querySelectorAll("li")) if (find(item.id)) item.remove();
  const first = fresh.querySelector("li a");
  for (const group of fresh.querySelectorAll(".group")) {
    const last = [...find("list").querySelectorAll(".group")].at(-1);
    if (last?.querySelector("h2").textContent === group.querySelector("h2").textContent) last.querySelector("ul").append(...group.querySelectorAll("li"));
    else if (group.querySelector("li")) link.before(group);
  }
  const next = fresh.querySelector(".more");
  if (next) link.replaceWith(next);
  else link.remove();
  if (moves) first?.focus();
  watchMore();
};

// Whoever comes to the end of the list gets more of it.
const ends = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) more(target).catch(() => delete target.dataset.asked);
  }
});

const watchMore = () => {
  ends.disconnect();
  const link = document.querySelector("#list .more");
  if (link) ends.observe(link);
};

// ---- Options of a conversation, above the page ----

const options = async (link) => {
  const sheet = find("sheet");
  const response = await ask(link.href);
  const choices = response.ok && fragment(await response.text()).querySelector(".choices");
  if (!choices) return location.assign(link.href);
  const close = Object.assign(document.createElement("button"), { type: "button", className: "plain dismiss", textContent: "Close" });
  sheet.replaceChildren(choices, close);
  sheet.showModal();
  sheet.querySelector("input").select();
};

// What has become of it, in the page that is open.
const changed = (form, act) => {
  if (!form.matches("#sheet form, #undo")) return location.assign(form.action.replace(/\/options$/, ""));
  find("sheet").close();
  const isOpen = idOf(form.action) === idOf(location.pathname);
  if (isOpen && act === "delete") location.reload();
  if (isOpen && find("title")) document.title = `${find("title").textContent} · OpenCode Chat`;
  const undo = find("undo");
  if (!document.activeElement?.closest("a, dialog[open]") && undo) undo.querySelector("button").focus();
};

document.addEventListener("click", (event) => {
  if (event.target.matches("#sheet")) event.target.close();
  const dismiss = event.target.closest(".dismiss");
  if (dismiss) (dismiss.closest("dialog")?.close() ?? dismiss.closest("form").remove());
  const link = event.target.closest("#list .more, a.options");
  if (!link || event.metaKey || event.ctrlKey || event.shiftKey) return;
  event.preventDefault();
  const done = link.matches(".more") ? more(link, true) : options(link);
  done.catch(() => location.assign(link.href));
});
