// What the pages do better with a script. Every page works without it: what needs
// it is hidden in the markup and uncovered here.
"use strict";

const all = (selector) => document.querySelectorAll(selector);

// say changes a button's words for a moment, and tells a screen reader as well.
const say = (button, words) => {
  const label = button.querySelector("[data-label]");
  const status = document.getElementById("script-status");
  button.dataset.words ??= label.textContent;
  label.textContent = words;
  if (status) status.textContent = words;
  clearTimeout(Number(button.dataset.timer));
  button.dataset.timer = setTimeout(() => {
    label.textContent = button.dataset.words;
    if (status) status.textContent = "";
  }, 2500);
};

// The clipboard API is missing on plain http; selecting and copying is not.
const copy = async (source, text) => {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    getSelection().selectAllChildren(source);
    return document.execCommand("copy");
  }
};

const textOf = (source) => {
  const items = [...source.querySelectorAll("li")];
  if (items.length === 0) return source.dataset.plain || source.textContent.trim();
  return items.map((item) => item.textContent.trim()).join("\n");
};

for (const button of all("[data-copy]")) {
  const source = document.getElementById(button.dataset.copy);
  button.hidden = false;
  button.addEventListener("click", async () => {
    say(button, (await copy(source, textOf(source))) ? "Copied" : "Press Ctrl+C to copy");
  });
}

for (const button of all("[data-download]")) {
  const source = document.getElementById(button.dataset.download);
  button.hidden = false;
  button.addEventListener("click", () => {
    const text = `${source.dataset.heading}\n\n${textOf(source)}\n\n${source.dataset.footing}\n`;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
    link.download = button.dataset.file;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    say(button, "Downloaded");
  });
}

for (const button of all("[data-print]")) {
  button.hidden = false;
  button.addEventListener("click", () => print());
}

for (const button of all("[data-reveal]")) {
  const field = document.getElementById(button.dataset.reveal);
  const reveal = (shown) => {
    field.type = shown ? "text" : "password";
    button.querySelector("[data-label]").textContent = shown ? "Hide" : "Show";
  };
  button.hidden = false;
  button.addEventListener("click", () => reveal(field.type === "password"));
  // Browsers offer to save, and to complete, only what is sent as a password.
  field.form.addEventListener("submit", () => reveal(false));
}

// What stands after "#" in an address is not sent to a server, but browsers carry it along over redirects: here
// it is put back onto the address that the sign-in leads to.
for (const field of all('input[name="rd"]')) {
  if (location.hash && !field.value.includes("#")) field.value += location.hash;
}

// A form is sent once. It can be sent again when the page is come back to, or
// when the answer stays away for long.
const release = (form) => {
  delete form.dataset.sent;
  for (const button of form.querySelectorAll("button[type=submit]")) button.removeAttribute("aria-disabled");
};

for (const form of all("form")) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) {
      event.preventDefault();
      return;
    }
    form.dataset.sent = "yes";
    for (const button of form.querySelectorAll("button[type=submit]")) button.setAttribute("aria-disabled", "true");
    setTimeout(release, 8000, form);
  });
}
addEventListener("pageshow", () => all("form").forEach(release));

// The server writes times in UTC; the reader's own clock reads better.
const local = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
for (const time of all("time[datetime]")) {
  const when = new Date(time.dateTime);
  if (Number.isNaN(when.valueOf())) continue;
  time.title = time.textContent;
  time.textContent = local.format(when);
}
