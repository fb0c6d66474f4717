// Keeps a page true while it is open: the server says what has changed, and the part of the page that shows it is
// asked for again. A hidden page does not listen; once seen again, or connected again, it is renewed as a whole.
(() => {
  "use strict";

  const CALM = 1000; // milliseconds between two renewals of a list
  const AGAIN = [500, 1000, 2000, 5000, 10000]; // waits before connecting again

  let source = null;
  let failures = 0;
  let retry = null;
  let lastRenewal = 0;
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
    if (news.everything || part.dataset.live !== "workflow") return true;
    return news.workflows.some(([name, id]) => name === part.dataset.source && id === part.dataset.id);
  }

  function renew() {
    pending = null;
    lastRenewal = Date.now();
    const part = shown();
    if (part) window.htmx.trigger(part, "live");
  }

  function heard(news) {
    const part = shown();
    if (!part || !concerns(part, news) || pending !== null) return;
    const calm = part.dataset.live === "workflow" ? 150 : CALM;
    pending = setTimeout(renew, Math.max(0, lastRenewal + calm - Date.now()));
  }

  function connect() {
    disconnect();
    if (document.hidden || !shown()) return;
    source = new EventSource("/live");
    source.addEventListener("hello", () => {
      failures = 0;
      show("on", "live");
      // Whatever happened since the page was made, or while nobody listened, is seen now.
      heard({ everything: true, workflows: [] });
    });
    source.addEventListener("change", (event) => heard(JSON.parse(event.data)));
    source.addEventListener("bye", () => window.location.reload());
    source.onerror = () => {
      disconnect();
      show("off", "reconnecting");
      const wait = AGAIN[Math.min(failures, AGAIN.length - 1)];
      failures += 1;
      retry = setTimeout(connect, wait * (0.75 + Math.random() / 2));
    };
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
    connect();
  });
})();
