
// ---- What the agent asks ----

// A click that was on its way when a permission came up does not count.
const SETTLES = 500;
const known = new WeakSet();

const noteRequests = () => {
  for (const form of document.querySelectorAll(".request")) {
    if (known.has(form)) continue;
    known.add(form);
    const ready = () => { form.dataset.ready = ""; };
    if (form.action.includes("/permissions/")) setTimeout(ready, SETTLES);
    else ready();
  }
};

// To what is asked next, at its words and not at a button; else to the box to write in.
const onwards = () => {
  const legend = document.querySelector(".request:not(.answered) legend");
  if (!legend) return find("prompt")?.focus({ preventScroll: true });
  legend.tabIndex = -1;
  legend.focus({ preventScroll: true });
  legend.closest(".request").scrollIntoView({ block: "nearest" });
};

// Moments in the reader's own way.
const localize = () => {
  for (const time of document.querySelectorAll("time[datetime]:not([title])")) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.valueOf())) continue;
    const isToday = at.toDateString() === new Date().toDateString();
    time.title = time.textContent;
    time.textContent = at.toLocaleString([], isToday ? { timeStyle: "short" } : { dateStyle: "medium", timeStyle: "short" });
  }
};

// ---- Seconds that are left, and seconds without a word ----

const endsAt = new WeakMap();
let heard = 0;

const hear = () => {
  heard = Date.now();
  offline(false);
};

setInterval(() => {
  const now = Date.now();
  for (const left of document.querySelectorAll("[data-seconds]")) {
    if (!endsAt.has(left)) endsAt.set(left, now + left.dataset.seconds * 1000);
    const seconds = Math.ceil((endsAt.get(left) - now) / 1000);
    left.textContent = seconds > 0 ? ` · Next try in ${seconds} s` : " · Trying now…";
  }
  if (!source || document.hidden) return;
  const silent = Math.floor((now - heard) / 1000);
  if (silent < 3) return;
  offline(true, new Error(`Nothing is heard from the application for ${silent} s. It may be the network. Trying again…`));
  if (silent < 10) return;
  close();
  watch();
}, 1000);
