// The session guard, added to pages of an app (session_guard; docs/session-guard.md). It renews the session while
// somebody works, says when it will end, and once it is gone has them sign in over the page, and then repeats what was refused.
"use strict";
(() => {
  const { idle, sub: person } = document.currentScript.dataset;
  const base = new URL("..", document.currentScript.src); // the gateway's own pages
  if (!window.BroadcastChannel || !window.HTMLDialogElement || !document.adoptedStyleSheets) return; // an old browser
  if (base.origin !== self.origin) return; // a sandbox

  const send = window.fetch;
  const sameOrigin = (url) => new URL(url, document.baseURI).origin === base.origin;

  // The outermost page that can be reached: there is room for a sign-in. A frameset shows nothing but frames.
  let view = window;
  try {
    while (view.parent !== view && view.parent.document.body?.tagName !== "FRAMESET") view = view.parent;
  } catch {} // a page of another origin

  let end = 0; // of the session, by this machine's clock
  const who = async () => { // the sub of who is signed in, "" for nobody
    const res = await send(base + "me", { cache: "no-store" });
    if (res.status === 401) return "";
    if (!res.ok) throw new Error(`${res.status} from ${res.url}`);
    const me = await res.json();
    end = Date.now() + Date.parse(me.expiresAt) - Date.parse(res.headers.get("date"));
    return me.sub;
  };

  // What is shown, in a shadow tree, with a style sheet that no Content-Security-Policy forbids.
  const css = `
    :host { all: initial !important; color-scheme: light dark !important;
      --card: #fff; --ink: #1d2321; --soft: #55605b; --edge: #7a837e; --accent: #0d5c4d; --on: #fff; --focus: #1a63d1; }
    @media (prefers-color-scheme: dark) { :host {
      --card: #1a1f1d; --ink: #e8ece9; --soft: #a7b1ac; --edge: #7e8984; --accent: #7dd3ba; --on: #05231c; --focus: #8ab6ff; } }
    dialog, .note { box-sizing: border-box; margin: auto; padding: 1.25rem; border: 1px solid var(--edge); border-radius: 1rem;
      background: var(--card); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; box-shadow: 0 8px 40px rgb(0 0 0 / 25%); }
    dialog { width: min(30rem, calc(100vw - 1rem)); max-width: none; max-height: calc(100dvh - 1rem); overflow: auto; }
    dialog::backdrop { background: rgb(10 15 13 / 60%); }
    .note { position: fixed; z-index: 2147483647; inset: auto 0 1rem; width: min(40rem, calc(100vw - 1rem)); }
    h2, p { margin: 0 0 .5rem; } h2 { font-size: 1.125rem; } p { color: var(--soft); }
    iframe { display: block; width: 100%; height: min(34rem, 62dvh); border: 0; border-radius: .6rem; }
    div.row { display: flex; flex-wrap: wrap; gap: .6rem; margin-top: .75rem; }
    button { min-height: 2.75rem; padding: .4rem 1rem; border: 1px solid var(--edge); border-radius: .6rem; background: none;
      color: inherit; font: inherit; font-weight: 600; cursor: pointer; }
    button.first { border-color: var(--accent); background: var(--accent); color: var(--on); }
    :focus-visible { outline: 3px solid var(--focus); outline-offset: 2px; }`;
  const make = (name, attributes, ...children) => {
    const e = view.document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) e.setAttribute(key, value);
    e.append(...children);
    return e;
  };
  const button = (words, onclick, first) => Object.assign(make("button", { type: "button", class: first ? "first" : "" }, words), { onclick });
  const show = (element, mark) => {
    const host = make("sallyport-guard", mark);
    const root = host.attachShadow({ mode: "open" });
    const sheet = new view.CSSStyleSheet();
    sheet.replaceSync(css);
    root.adoptedStyleSheets = [sheet];
    root.append(element);
    view.document.documentElement.append(host);
    return host;
  };
  const dialog = (head, words, ...rest) => make("dialog", { "aria-labelledby": "head", "aria-describedby": "words" },
    make("h2", { id: "head" }, head), make("p", { id: "words" }, words), ...rest);

  // A sign-in over the page. It gives the sub of who is signed in then, "" where nobody wants to. Of several frames one shows it.
  const overlay = (url) => new Promise((resolve) => {
    const channel = new BroadcastChannel("sallyport");
    let takeOff = null;
    const finish = (sub) => {
      if (takeOff && !sub) channel.postMessage("not now");
      channel.close();
      removeEventListener("pagehide", leave);
      takeOff?.();
      resolve(sub);
    };
    const leave = () => finish("");
    channel.onmessage = async (event) => {
      if (event.data === "not now") return takeOff || finish("");
      const sub = await who().catch(() => "");
      if (sub) finish(sub);
    };
    addEventListener("pagehide", leave);
    if (view.document.querySelector("sallyport-guard[open]")) return;
    const apart = button("Open it in a window", () => view.open(url, "_blank", "popup,width=480,height=760"));
    const frame = make("iframe", { src: url, title: "Sign in" });
    const box = dialog("Please sign in to go on", "This page stays as it is, with everything that you typed.",
      frame, make("div", { class: "row" }, apart, button("Not now", leave)));
    frame.onload = () => {
      if (frame.contentDocument) return (frame.contentDocument.querySelector("[autofocus]") ?? frame).focus();
      frame.remove(); // the app's policy, or a proxy in front, allows no frames
      apart.className = "first";
      apart.textContent = "Sign in in a window";
      apart.focus();
    };
    box.onclose = leave;
    const before = view.document.activeElement;
    const host = show(box, { open: "" });
    takeOff = () => {
      box.onclose = null;
      box.close();
      host.remove();
      before?.focus?.();
    };
    box.showModal();
  });

  const stranger = () => new Promise((resolve) => {
    const keep = button("Keep the page", () => box.close(), true);
    keep.setAttribute("autofocus", ""); // an Enter that was meant for the page loses nothing
    const box = dialog("Somebody else is signed in", "This page belongs to another account, so nothing that it asked for was sent again. Reload it to go on: what was typed here is lost then.",
      make("div", { class: "row" }, keep, button("Reload the page", () => view.location.reload())));
    const host = show(box, {});
    box.onclose = () => { host.remove(); resolve(); };
    box.showModal();
  });

  let declined = false; // not now, the person said
  let underWay = null; // true: signed in again, and the same person
  const signIn = (url) => underWay ??= (async () => {
    const sub = await overlay(url);
    if (sub && sub !== person) await stranger();
    declined = !sub;
    if (sub) told.clear();
    tell(sub || await who() ? "" : "out");
    return sub === person;
  })().finally(() => { underWay = null; });

  const loginPage = (address, path) => {
    const url = new URL(address, base);
    const below = path.length < 500 ? "?" + new URLSearchParams({ rd: path }) : "";
    url.searchParams.set("rd", base.pathname + "signed-in" + below);
    return url;
  };

  // What is said at the foot of the page: "soon" the session will end, it is "out", or "" nothing. Each is said once.
  const told = new Set();
  let note = null;
  const tell = (state) => {
    if (view !== window || state && (told.has(state) || underWay && !declined)) return;
    note?.remove();
    note = null;
    if (!state) return;
    told.add(state);
    const time = new Date(end).toLocaleTimeString([], { timeStyle: "short" });
    const words = state === "out" ? "You are signed out. This page stays as it is; sign in to go on."
      : `You will be signed out at ${time}. Sign in again now, and nothing is interrupted.`;
    const status = make("p", { role: "status" });
    const again = () => signIn(loginPage("login?again=1", location.pathname)).catch(() => {});
    note = show(make("section", { class: "note", "aria-label": "Your session" }, status, make("div", { class: "row" },
      button("Sign in", again, true), button("Later", () => tell("")))), {});
    status.textContent = words; // after it is there, so that it is read out
  };
  const check = async () => {
    const near = () => end - Date.now() < 300e3;
    if (!near() || told.has(end > Date.now() ? "soon" : "out")) return;
    const sub = await who(); // another tab may have signed in
    if (!sub || near()) tell(sub ? "soon" : "out");
  };

  // While somebody works, the session is renewed four times in its idle time, and at least each five minutes.
  let renewed = Date.now();
  let waiting = 0;
  const renew = async () => {
    waiting = 0;
    renewed = Date.now();
    try {
      const res = await send(base + "refresh", { method: "POST" });
      if (res.status === 401) return tell("out");
      if (!res.ok || !note && !declined) return;
      declined = false;
      await who(); // another tab may have signed in
      if (end - Date.now() > 300e3) tell("");
    } catch {} // out of reach: the next sign of life tries again
  };
  const active = () => {
    if (waiting || document.visibilityState !== "visible") return;
    waiting = setTimeout(renew, Math.max(0, renewed + Math.min(idle * 250, 300e3) - Date.now()));
  };
  for (const type of ["keydown", "input", "pointerdown", "pointermove", "wheel", "touchmove", "scroll"]) {
    addEventListener(type, active, { capture: true, passive: true });
  }

  // regain answers a refusal: true where the person of this page is signed in again. Few wait for it at a time.
  let held = 0;
  const regain = async (body, url) => {
    const login = ["UNAUTHENTICATED", "2FA_REQUIRED"].includes(body?.code) && new URL(body.loginUrl, base);
    if (!login || login.origin !== base.origin || !login.pathname.startsWith(base.pathname) || held >= 32) return false;
    held++;
    try {
      if (!underWay && body.code === "UNAUTHENTICATED" && (await who()) === person) return true; // in another tab, say
      return !declined && await signIn(loginPage(login, new URL(url).pathname));
    } finally {
      held--;
    }
  };
  const isRefusal = (status, type, url) => status === 401 && /^application\/json\b/i.test(type) && sameOrigin(url);

  const copyOf = (input, init) => {
    try {
      if (init?.body instanceof ReadableStream || !sameOrigin(input.url ?? input)) return null;
      return new Request(input instanceof Request ? input.clone() : input, init);
    } catch {
      return null;
    }
  };
  const retried = async (res, copy) => {
    try {
      const json = isRefusal(res.status, res.headers.get("content-type"), res.url) && await res.clone().json();
      if (!json || !await regain(json, res.url)) return res;
    } catch {
      return res;
    }
    return send(copy);
  };
  window.fetch = function fetch(...args) {
    const copy = copyOf(...args);
    const answer = send(...args);
    return copy ? answer.then((res) => retried(res, copy)) : answer;
  };

  // An XMLHttpRequest whose answer is held back is opened and sent again, so that its own handlers get the new answer.
  const Native = window.XMLHttpRequest;
  const calls = new WeakMap();
  const events = ["readystatechange", "load", "loadend"];
  const again = async (request, call) => {
    let back = false;
    let body = null;
    try {
      const answer = request.responseType === "json" ? request.response : await new Response(request.response).json();
      back = await regain(answer, request.responseURL);
      body = call.body && await call.body.blob();
    } catch {}
    if (calls.get(request) !== call || request.readyState !== 4) return; // the app has given it up
    call.over = true;
    if (!back) {
      for (const type of events) request.dispatchEvent(new (type === "readystatechange" ? Event : ProgressEvent)(type));
      return;
    }
    call.opening = true;
    Native.prototype.open.apply(request, call.args);
    call.opening = false;
    const type = call.body?.headers.get("content-type");
    if (type && !call.headers.some(([name]) => name.toLowerCase() === "content-type")) call.headers.push(["Content-Type", type]);
    for (const header of call.headers) Native.prototype.setRequestHeader.apply(request, header);
    Native.prototype.send.call(request, body);
  };
  const listen = (event) => { // before every handler of the app's
    const request = event.currentTarget;
    const call = calls.get(request);
    const holds = call?.copied && !call.over && request.readyState === 4 &&
      isRefusal(request.status, request.getResponseHeader("content-type"), request.responseURL);
    if (holds || call?.opening) event.stopImmediatePropagation();
    if (holds && event.type === "loadend") again(request, call).catch(() => {});
  };
  window.XMLHttpRequest = class XMLHttpRequest extends Native {
    constructor(...args) {
      super(...args);
      for (const type of events) this.addEventListener(type, listen);
    }
    open(...args) {
      calls.set(this, { args, headers: [] });
      return super.open(...args);
    }
    setRequestHeader(...header) {
      super.setRequestHeader(...header);
      calls.get(this)?.headers.push(header);
    }
    send(body) {
      const call = calls.get(this);
      if (call && (call.args.length < 3 || call.args[2]) && !(body instanceof Document)) {
        try {
          call.body = body == null ? null : new Response(body);
          call.copied = true;
        } catch {}
      }
      return super.send(body);
    }
  };

  const tick = () => check().catch(() => {}); // out of reach: the next one tries again
  setInterval(tick, 15e3);
  tick();
})();
