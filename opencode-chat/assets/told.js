
// ---- Being told of what happens where nobody looks ----

const icon = document.querySelector("link[rel=icon]");
const plainIcon = icon?.href;
const plain = (title) => title.replace(/^● /, "");

// A mark in the title and the icon of a page that is out of sight, until it is in sight again.
const markPage = (is) => {
  document.title = is ? `● ${plain(document.title)}` : plain(document.title);
  if (icon) icon.href = is ? icon.dataset.told : plainIcon;
};

// What was last told of all conversations that are not idle, by id.
let board = null;
let boardVersion = null;
const watchers = new Set();

const notify = async (id, title, words) => {
  if (!("Notification" in window) || Notification.permission !== "granted") return;
  // Whoever sees it needs no word of it.
  if (!document.hidden && idOf(location.pathname) === id) return;
  watchers.delete(id);
  tabs.postMessage({ whoSees: id });
  await new Promise((resolve) => { setTimeout(resolve, 300); });
  if (watchers.has(id)) return;
  const shown = new Notification(title, { body: words, tag: id, icon: plainIcon });
  shown.onclick = () => {
    window.focus();
    if (idOf(location.pathname) !== id) location.assign(`${root}conversations/${id}`);
    shown.close();
  };
};

const mention = (id, title, words, isLeader) => {
  if (document.hidden && idOf(location.pathname) === id) markPage(true);
  if (isLeader) notify(id, title, words);
};

// The board as it is now: what has changed since the last one is told.
const hearBoard = ({ version, states }, isLeader) => {
  const now = new Map(states.map(([id, state, title]) => [id, { state, title }]));
  const before = board;
  board = now;
  if (before) {
    for (const [id, { state, title }] of now) {
      const old = before.get(id)?.state;
      if (state === old) continue;
      if (state === "waiting") mention(id, title, "The agent waits for you.", isLeader);
      if (state === "failed" && old) mention(id, title, "The answer ended with an error.", isLeader);
    }
    for (const [id, { title }] of before) if (!now.has(id) && before.get(id).state !== "failed") mention(id, title, "The answer is complete.", isLeader);
  }
  const isNew = version !== boardVersion;
  boardVersion = version;
  if (isNew && before && !document.hidden) {
    refreshList();
    refresh();
  }
};

// One page of a browser listens for all of its pages.
const follow = () => {
  const stream = new EventSource(`${root}conversations/events`);
  stream.onmessage = ({ data }) => {
    const news = JSON.parse(data);
    tabs.postMessage({ board: news });
    hearBoard(news, true);
  };
  return stream;
};

const listen = () => {
  if (!find("list")) return;
  if (navigator.locks) {
    navigator.locks.request(`conversations of ${root}`, () => new Promise(() => { follow(); }));
    return;
  }
  // Without locks, as over plain http: each page that is in sight for itself.
  let stream = null;
  const turn = () => {
    if (document.hidden) stream?.close();
    else if (!stream || stream.readyState === EventSource.CLOSED) stream = follow();
  };
  document.addEventListener("visibilitychange", turn);
  turn();
};

tabs.addEventListener("message", ({ data }) => {
  if (data.board) hearBoard(data.board, false);
  if (data.whoSees && !document.hidden && idOf(location.pathname) === data.whoSees) tabs.postMessage({ sees: data.whoSees });
  if (data.sees) watchers.add(data.sees);
});

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) markPage(false);
});

// Notifications are asked for by whoever wants them.
const offerNotices = () => {
  const button = document.querySelector(".notices");
  if (button) button.hidden = !("Notification" in window) || Notification.permission !== "default";
};

document.addEventListener("click", async ({ target }) => {
  if (!target.matches(".notices")) return;
  await Notification.requestPermission();
  offerNotices();
});
