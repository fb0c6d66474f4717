// Chooses the colours before anything is drawn. Without a choice they follow the system.
(() => {
  "use strict";
  try {
    const chosen = localStorage.getItem("hookledger-theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch {
    // storage may be closed to us; then the system decides
  }
})();
