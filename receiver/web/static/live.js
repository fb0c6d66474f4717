// Keeps a page true while it is open: it follows the API's event stream, and asks again for the part that has changed.
// The stream is taken up where it broke off; a hidden page does not listen, and is renewed once it is seen again.
(() => {
  "use strict";

  const CALM = 1000; // milliseconds between two renewals of a list
  const AGAIN = [500, 1000, 2000, 5000, 10000, 30000]; // waits before asking again after a refusal
  const ANYWAY = 30000; // milliseconds after which a page is renewed although nothing was heard
  // What a page is about, besides workflows: changes of that alone concern it.
  const ALSO = { workflow: ["attention"], attention: ["attention"], passes: ["passes"], audit: ["audit"], sources: ["passes", "attention"] };
  const NO_WORKFLOWS = ["passes", "audit"];

  let source = null;
  let place = ""; // the id of the last event
  let refusals = 0;
  let retry = null;
  let lastRenewal = Date.now();
  let pending = null;

  function show(state, word) {
    const mark = document.getElementById("live-state");
    if (!mark) return;
    mark.dataset.state = state;
    mark.querySelector(".live-word").textContent = word;
  }

  function say(text) {
    const spoken = document.getElementById("spoken");
    if (spoken) spoken.textContent = text;
  }

  function shown() {
    return document.querySelector("[data-live]");
  }

  function concerns(part, news) {
    const kind = part.dataset.live;
    if ((ALSO[kind] || []).some((one) => news.also.includes(one))) return true;
    if (NO_WORKFLOWS.includes(kind)) return false;
    if (news.everything) return true;
    if (kind !== "workflow") return news.workflows.length > 0;
    return news.workflows.some((one) => one.source === part.dataset.source && one.workflow === part.dataset.id);
  }

  function renew() {
    clearTimeout(pending);
    pending = null;
    lastRenewal = Date.now();
    const part = shown();
    if (part) window.htmx.trigger(part, "live");
  }

  function soon() {
    const part = shown();
    if (!part || pending !== null) return;
    const calm = part.dataset.live === "workflow" ? 150 : CALM;
    pending = setTimeout(renew, Math.max(0, lastRenewal + calm - Date.now()));
  }

  function heard(news) {
    const part = shown();
    if (part && concerns(part, news)) soon();
  }

  function address(part) {
    // A list is asked for as a whole: what exactly happened in it would be told for nothing.
    const query = new URLSearchParams({ hints: part.dataset.live === "workflow" ? "true" : "only" });
    if (part.dataset.live === "workflow") {
      query.set("source", part.dataset.source);
      query.set("workflow", part.dataset.id);
    }
    if (place) query.set("after", place);
    return `/v1/stream?${query}`;
  }

  function connect() {
    disconnect();
    const part = shown();
    if (document.hidden || !part) return;
    source = new EventSource(address(part));
    source.addEventListener("open", () => {
      refusals = 0;
      show("on", "live");
      soon(); // what hints would have told meanwhile is seen now
    });
    source.addEventListener("transition", (event) => {
      place = event.lastEventId;
      heard({ workflows: [JSON.parse(event.data)], everything: false, also: [] });
    });
    source.addEventListener("hint", (event) => heard(JSON.parse(event.data)));
    source.addEventListener("error", refused);
  }

  function refused() {
    show("off", "reconnecting");
    // Where the connection broke the browser comes again by itself, with the place it was at.
    if (source && source.readyState !== EventSource.CLOSED) return;
    disconnect();
    // Logged out, too many streams, or a place that is none any more: the page itself finds out which.
    if (refusals === 0) renew();
    else place = "";
    const wait = AGAIN[Math.min(refusals, AGAIN.length - 1)];
    refusals += 1;
    retry = setTimeout(connect, wait * (0.75 + Math.random() / 2));
  }

  function disconnect() {
    clearTimeout(retry);
    if (source) source.close();
    source = null;
  }

  let said = "";

  document.addEventListener("htmx:afterSettle", (event) => {
    const headline = document.getElementById("headline");
    if (!headline || event.detail.elt.id !== "workflow") return;
    const status = headline.querySelector(".status");
    const told = status ? status.innerText.trim() : "";
    if (told && told !== said) {
      said = told;
      say(`The workflow is now ${told}`);
    }
  });
  document.addEventListener("visibilitychange", () => (document.hidden ? disconnect() : connect()));
  window.addEventListener("pagehide", disconnect);
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) connect();
  });
  document.addEventListener("DOMContentLoaded", () => {
    const status = document.querySelector("#headline .status");
    said = status ? status.innerText.trim() : "";
    setInterval(() => {
      if (source && !document.hidden && Date.now() - lastRenewal >= ANYWAY) renew();
    }, 5000);
    connect();
  });
})();
