// The page of a job: its text as it comes. The page has the text so far, and a stream continues after it.
"use strict";

(() => {
  const panel = document.getElementById("attempts");
  if (!panel) return;
  const template = panel.querySelector("template");
  const opened = performance.now();
  let after = panel.dataset.after;
  let stream = null;
  let section = panel.querySelector("section");
  let text = ""; // what came since the last frame
  let tokens = 0;

  const isOpen = () => document.getElementById("head")?.dataset.open === "1";
  const changed = () => document.body.dispatchEvent(new CustomEvent("live:job"));

  function newSection(number) {
    panel.querySelectorAll(".mark").forEach((mark) => mark.remove());
    section?.querySelector(".say-text").classList.add("dim");
    section = template.content.firstElementChild.cloneNode(true);
    const title = section.querySelector("h2 span");
    title.textContent = title.textContent.replace("#", number);
    section.dataset.tokens = "0";
    section.dataset.begun = String(performance.now());
    panel.prepend(section);
    panel.hidden = panel.querySelector(".waiting").hidden = false;
    panel.querySelector(".waiting").hidden = true;
  }

  // Once a frame, however many tokens have come: one more text node, and the counts.
  function write() {
    if (!section) newSection(1);
    const place = section.querySelector(".say-text");
    const follows = place.scrollHeight - place.scrollTop - place.clientHeight < 40;
    place.append(text);
    if (follows) place.scrollTop = place.scrollHeight;
    section.dataset.tokens = String(Number(section.dataset.tokens) + tokens);
    section.querySelector(".tokens").textContent = Number(section.dataset.tokens).toLocaleString("en");
    const elapsed = section.dataset.begun
      ? (performance.now() - Number(section.dataset.begun)) / 1000
      : Number(section.dataset.elapsed) + (performance.now() - opened) / 1000;
    section.querySelector(".rate").textContent = (Number(section.dataset.tokens) / Math.max(elapsed, 0.1)).toFixed(0);
    text = "";
    tokens = 0;
  }

  function onToken(event) {
    after = event.lastEventId;
    if (!tokens) requestAnimationFrame(write);
    text += JSON.parse(event.data).text;
    tokens += 1;
  }

  const handlers = {
    token: onToken,
    attempt(event) {
      if (tokens) write();
      after = event.lastEventId;
      newSection(JSON.parse(event.data).attempt);
      changed();
    },
    progress(event) {
      after = event.lastEventId;
      changed();
    },
    gap(event) { // without a count, the log comes again from its begin
      if ("missing" in JSON.parse(event.data)) return;
      panel.querySelectorAll("section").forEach((each) => each.remove());
      section = null;
    },
    end(event) {
      after = event.lastEventId;
      close();
      panel.querySelectorAll(".mark").forEach((mark) => mark.remove());
      changed();
    },
  };

  function close() {
    stream?.close();
    stream = null;
  }

  // A hidden tab asks nothing; when it is visible again, the stream continues where it was.
  function listen() {
    if (document.hidden || !isOpen()) return close();
    if (stream && stream.readyState !== EventSource.CLOSED) return;
    stream = new EventSource(panel.dataset.stream + (after ? `?after=${encodeURIComponent(after)}` : ""));
    for (const [name, handler] of Object.entries(handlers)) stream.addEventListener(name, handler);
  }

  // The panel is left alone when the page changes, unless an error page had replaced it.
  function onSwap() {
    const shown = document.getElementById("attempts");
    if (shown && shown !== panel) return location.reload();
    listen();
  }

  document.addEventListener("visibilitychange", listen);
  document.addEventListener("htmx:after:swap", onSwap);
  setInterval(() => { if (!document.hidden && isOpen()) { listen(); changed(); } }, 5000);
  listen();
})();
