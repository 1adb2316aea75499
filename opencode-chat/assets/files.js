// ---- Files that go with the next prompt ----

const composer = document.querySelector(".composer");
const chips = composer?.querySelector(".chips");
const picker = find("files");
let attached = [];
let uploading = null;

const sizeOf = (size) => {
  if (size < 1024) return `${size} ${size === 1 ? "byte" : "bytes"}`;
  let [value, unit] = [size / 1024, 0];
  for (; value >= 999.5 && unit < 3; unit += 1) value /= 1024;
  return `${value < 9.95 ? value.toFixed(1).replace(/\.0$/, "") : value.toFixed(0)} ${["KB", "MB", "GB", "TB"][unit]}`;
};

// Names come from anywhere: what hides or reorders is written out, as in the pages.
const visible = (text) => text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\uffa0]/gu,
  (c) => (c === "\u200c" || c === "\u200d" ? c : `\\u{${c.codePointAt(0).toString(16)}}`));

// What is heard of it.
const tell = (words) => {
  composer.querySelector("[role=status]").textContent = words;
};

const countFiles = (count) => (count === 1 ? "1 file" : `${count} files`);

const spoil = (entry, words) => {
  entry.bad = words;
  entry.chip.classList.add("bad");
  entry.chip.querySelector(".facts").textContent = words;
};

const chipOf = (file) => {
  const chip = composer.querySelector("template").content.firstElementChild.cloneNode(true);
  chip.querySelector(".name").textContent = visible(file.name);
  chip.querySelector(".name").title = visible(file.name);
  chip.querySelector(".facts").textContent = sizeOf(file.size);
  chip.querySelector("progress").ariaLabel = `Upload of ${visible(file.name)}`;
  chip.querySelector("button").ariaLabel = `Remove ${visible(file.name)}`;
  return chip;
};

const attach = (files) => {
  const { maxUpload, maxFiles } = composer.dataset;
  for (const file of files) {
    const entry = { file, chip: chipOf(file), bad: null };
    entry.chip.querySelector("button").addEventListener("click", () => detach(entry));
    attached.push(entry);
    chips.append(entry.chip);
    if (file.size > Number(maxUpload)) spoil(entry, `${sizeOf(file.size)}, and ${sizeOf(Number(maxUpload))} is the most`);
    else if (attached.length > Number(maxFiles)) spoil(entry, `More than ${maxFiles} files`);
  }
  chips.hidden = !attached.length;
  composer.querySelector("[role=alert]").textContent = "";
  if (files.length) tell(`${countFiles(files.length)} attached`);
  find("prompt").focus();
};

const detach = (entry) => {
  if (uploading?.entries.includes(entry)) return;
  const at = attached.indexOf(entry);
  attached.splice(at, 1);
  entry.chip.remove();
  chips.hidden = !attached.length;
  // The keyboard goes on where it was.
  const next = attached[Math.min(at, attached.length - 1)];
  (next?.chip.querySelector("button") ?? find("prompt")).focus();
  tell(`${visible(entry.file.name)} removed`);
};

const detachAll = (entries) => {
  attached = attached.filter((entry) => !entries.includes(entry));
  for (const { chip } of entries) chip.remove();
  chips.hidden = !attached.length;
};

// How far each file is: they go one after the other, and the form's own bytes before them.
const progress = (entries, sent, total) => {
  const sizes = entries.reduce((sum, { file }) => sum + file.size, 0);
  let left = sent - (total - sizes);
  for (const { file, chip } of entries) {
    const done = file.size ? Math.min(Math.max(left / file.size, 0), 1) : Number(left >= 0);
    chip.querySelector("progress").value = done;
    chip.classList.toggle("sent", done === 1);
    left -= file.size;
  }
};

const upload = (form) => new Promise((resolve, reject) => {
  const data = new FormData(form);
  data.delete("files");
  // Behind everything else: the application reads them as they come.
  const entries = [...attached];
  for (const { file, chip } of entries) {
    data.append("files", file, file.name);
    chip.classList.add("sending");
  }
  const request = new XMLHttpRequest();
  uploading = { request, entries };
  form.classList.add("uploading");
  showHalt();
  tell(`Sending ${countFiles(entries.length)}`);
  request.open("POST", form.action);
  request.setRequestHeader("Accept", "application/json");
  request.responseType = "json";
  request.upload.onprogress = ({ loaded, total }) => progress(entries, loaded, total);
  const done = (then) => () => {
    uploading = null;
    form.classList.remove("uploading");
    for (const { chip } of entries) chip.classList.remove("sending");
    progress(entries, 0, Number.MAX_SAFE_INTEGER);
    showHalt();
    tell("");
    then();
  };
  request.onload = done(() => {
    // A page to sign in, to which a redirect led, is not the application's.
    if (!request.getResponseHeader(MARK)) return reject(foreign(request.status));
    if (request.status < 300 && request.response) return resolve(request.response);
    const entry = entries[request.response?.file];
    if (entry) spoil(entry, "Not taken");
    return reject(new Error(request.response?.error ?? "The application gave an answer that cannot be read."));
  });
  const fail = (words) => done(() => reject(new Error(words)));
  request.onerror = fail("The upload was cut off, a file has changed, or you are signed out. Nothing was sent: try again.");
  request.onabort = fail("The upload was stopped. Nothing was sent.");
  request.send(data);
});

const sendFiles = (form) => {
  const bad = attached.find((entry) => entry.bad);
  if (bad) throw new Error(`“${visible(bad.file.name)}” cannot be sent. Remove it, then send again.`);
  return upload(form);
};

addEventListener("beforeunload", (event) => {
  if (uploading) event.preventDefault();
});

// ---- By button, by drag, by paste ----

picker?.addEventListener("change", () => {
  attach([...picker.files]);
  picker.value = "";
});

const hasFiles = (event) => composer && event.dataTransfer?.types.includes("Files");
const target = document.querySelector(".drop");
let over = 0;

const showTarget = (is) => {
  over = is ? over : 0;
  target.hidden = !is;
};

document.addEventListener("dragenter", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  over += 1;
  showTarget(true);
});

document.addEventListener("dragover", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  event.dataTransfer.dropEffect = "copy";
});

document.addEventListener("dragleave", (event) => {
  if (!hasFiles(event)) return;
  over -= 1;
  // Past the window's edge there is no element to come to.
  if (over <= 0 || !event.relatedTarget) showTarget(false);
});

document.addEventListener("drop", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  showTarget(false);
  const items = [...event.dataTransfer.items].filter((item) => item.kind === "file");
  const isFolder = (item) => item.webkitGetAsEntry?.()?.isDirectory;
  const folders = items.filter(isFolder);
  attach(items.filter((item) => !isFolder(item)).map((item) => item.getAsFile()).filter(Boolean));
  if (folders.length) composer.querySelector("[role=alert]").textContent = "A folder cannot be sent. Choose the files in it.";
});

document.addEventListener("paste", (event) => {
  const files = [...(event.clipboardData?.files ?? [])];
  // Programs put a picture of copied text beside it: the text is meant.
  if (!composer || !files.length || event.clipboardData.types.includes("text/plain")) return;
  event.preventDefault();
  attach(files);
});

// ---- Files of messages ----

// The beginning of a text comes when somebody unfolds it.
document.addEventListener("toggle", async ({ target: details }) => {
  const link = details.open && details.querySelector("a.later");
  if (!link || "asked" in link.dataset) return;
  link.dataset.asked = "";
  link.textContent = "Loading…";
  try {
    const response = await ask(link.href, { headers: { Accept: "application/json" } });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error);
    apply(answer);
  } catch (problem) {
    delete link.dataset.asked;
    link.textContent = problem.message;
  }
}, true);

// A picture that cannot be had leaves its card.
document.addEventListener("error", ({ target: image }) => {
  if (image.matches?.(".picture img")) image.closest(".picture").remove();
}, true);

// A picture that comes late pushes down what is read.
document.addEventListener("load", ({ target: image }) => {
  if (follows && image.matches?.(".picture img")) toEnd();
}, true);
