// The dashboard's own script: live updates while the page is visible, and times in the reader's zone.
// Every page works without it; then it shows times in UTC and changes when it is reloaded.
"use strict";

const STEADY = 5000; // milliseconds for which rows keep their place while the pointer is over them
const RECONNECT = 2000; // milliseconds until a stream that was refused is tried again

function showTimes(root) {
  const format = new Intl.DateTimeFormat(document.documentElement.lang, {
    month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23",
  });
  for (const element of root.querySelectorAll("time[datetime]:not([data-shown])")) {
    const at = new Date(element.dateTime);
    element.title = element.dateTime;
    element.textContent = format.format(at);
    element.dataset.shown = "";
  }
}

// One stream a tab, which a hidden tab closes. Whenever it opens, the page is requested again once: what has changed since the
// page was made, or during a gap, is in no later event.
let stream = null;
let pointed = 0;
const waiting = new Set();

const EVERYTHING = ["jobs", "queues", "workers", "findings", "bulk", "store"];

// A store that goes away or is back concerns every page that is live.
function announce(names) {
  for (const name of names.includes("store") ? EVERYTHING : names) document.body.dispatchEvent(new CustomEvent(`live:${name}`));
}

function onChanged(names) {
  const quiet = Date.now() - pointed;
  if (quiet >= STEADY) return announce(names);
  if (waiting.size === 0) setTimeout(() => { const late = [...waiting]; waiting.clear(); announce(late); }, STEADY - quiet);
  names.forEach((name) => waiting.add(name));
}

function onOpen() {
  document.getElementById("clock").classList.remove("away");
  const topic = /live:(\w+)/.exec(document.getElementById("live")?.getAttribute("hx-trigger"));
  if (topic) announce([topic[1]]); // one is enough: the whole page is requested
}

// A browser connects again by itself, but not after an answer such as 503, e.g. from a proxy while the application restarts.
function onError() {
  document.getElementById("clock").classList.add("away");
  if (stream?.readyState !== EventSource.CLOSED) return;
  stream = null;
  setTimeout(listen, RECONNECT);
}

function listen() {
  if (document.hidden) {
    stream?.close();
    stream = null;
  } else if (!stream) {
    stream = new EventSource(document.body.dataset.live);
    stream.addEventListener("changed", (event) => onChanged(JSON.parse(event.data)));
    stream.addEventListener("open", (event) => event.data && onOpen());
    stream.addEventListener("error", onError);
  }
}

// A button that copies a command. A page without TLS may not copy; then it selects the command.
async function copy(button) {
  const command = button.closest(".finding").querySelector(".command");
  getSelection().selectAllChildren(command);
  if (!navigator.clipboard) return;
  await navigator.clipboard.writeText(command.textContent);
  const text = button.textContent;
  button.textContent = button.dataset.copied;
  setTimeout(() => { button.textContent = text; }, 1500);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copied]");
  if (button) copy(button);
});
document.addEventListener("visibilitychange", listen);
document.addEventListener("pointermove", (event) => { if (event.target.closest?.("tbody")) pointed = Date.now(); });
document.addEventListener("htmx:after:swap", () => showTimes(document));
showTimes(document);
listen();
