// What pages do by themselves: colours, relative times, addresses without empty filters.
(() => {
  "use strict";

  const THEMES = ["auto", "light", "dark"];

  function theme() {
    return document.documentElement.dataset.theme || "auto";
  }

  function showTheme() {
    const button = document.querySelector("[data-theme-switch]");
    if (button) button.querySelector(".theme-word").textContent = theme();
  }

  function switchTheme() {
    const next = THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length];
    if (next === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    try {
      if (next === "auto") localStorage.removeItem("hookledger-theme");
      else localStorage.setItem("hookledger-theme", next);
    } catch {
      // kept for this page only
    }
    showTheme();
    document.dispatchEvent(new CustomEvent("themechange"));
  }

  const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

  function ago(at) {
    const seconds = (Date.now() - at) / 1000;
    const size = Math.abs(seconds);
    if (size < 1) return "now";
    const [unit, name] = UNITS.find(([one]) => size >= one);
    const told = `${Math.floor(size / unit)} ${name}`;
    return seconds > 0 ? `${told} ago` : `in ${told}`;
  }

  function renewTimes() {
    for (const one of document.querySelectorAll("time[datetime]:not(.at)")) {
      const told = ago(Date.parse(one.dateTime));
      if (one.textContent !== told) one.textContent = told;
    }
  }

  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-theme-switch]")) switchTheme();
    const menu = document.querySelector("details.menu[open]");
    if (menu && !menu.contains(event.target)) menu.open = false;
  });
  document.addEventListener("keydown", (event) => {
    const menu = document.querySelector("details.menu[open]");
    if (event.key === "Escape" && menu) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });

  // An address to share says only what was chosen.
  document.addEventListener("htmx:configRequest", (event) => {
    const given = event.detail.formData;
    if (event.detail.verb !== "get" || !given) return;
    for (const name of [...new Set(given.keys())]) {
      const kept = given.getAll(name).filter((value) => value !== "");
      given.delete(name);
      for (const value of kept) given.append(name, value);
    }
  });

  // A filter that was typed and then left asks twice; going back must not need two steps for it.
  document.addEventListener("htmx:beforeHistoryUpdate", (event) => {
    const history = event.detail.history;
    if (history.path === window.location.pathname + window.location.search) history.type = "replace";
  });

  // What cannot be loaded says so, where a broken picture or a player that waits for ever would stand.
  function cannotBeLoaded(shown) {
    if (!shown.matches(".files img, .files video, .files audio")) return;
    const place = document.createElement("div");
    place.className = "nothing";
    place.textContent = "cannot be loaded";
    (shown.closest(".nothing, .files a") || shown).replaceWith(place);
  }
  document.addEventListener("error", (event) => event.target instanceof Element && cannotBeLoaded(event.target), true);

  // Copying takes a script; without one the button is not shown.
  async function copy(button) {
    const said = document.getElementById("spoken");
    try {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
      button.textContent = "Copied";
    } catch {
      const range = document.createRange();
      range.selectNodeContents(document.getElementById(button.dataset.copy));
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      button.textContent = "Selected: copy with the keyboard";
    }
    if (said) said.textContent = button.textContent;
  }

  document.addEventListener("DOMContentLoaded", () => {
    showTheme();
    for (const button of document.querySelectorAll("[data-copy]")) {
      button.hidden = false;
      button.addEventListener("click", () => copy(button));
    }
    // On a phone not all pages fit into the bar: the present one must.
    const tabs = document.querySelector(".tabs");
    const current = tabs && tabs.querySelector("[aria-current]");
    if (current) tabs.scrollLeft = current.offsetLeft - tabs.offsetLeft - 24;
    for (const one of document.querySelectorAll(".files img")) if (one.complete && !one.naturalWidth) cannotBeLoaded(one);
    setInterval(renewTimes, 5000);
    // What a person has opened stays open when the page is renewed in place.
    if (window.Idiomorph) {
      window.Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, node) =>
        !(name === "open" && node.tagName === "DETAILS");
    }
  });
})();
