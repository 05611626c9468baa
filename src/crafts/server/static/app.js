// The shell: what view is open, light or dark, the queue, and what is said to all.
import { html, render, useEffect, useState } from "./vendor/preact-htm.js";
import { post } from "./api.js";
import { begin, busy, pause, update, useStore } from "./store.js";
import { Button, Dialog, Icon, seconds } from "./ui.js";
import { Compare, Picture, Tray } from "./views/picture.js";
import { Make } from "./views/make.js";
import { Paint } from "./views/paint.js";
import { DataSet } from "./views/dataset.js";
import { Judge } from "./views/judge.js";
import { Slide } from "./views/slide.js";

const VIEWS = [
  ["make", "Make", Make], ["paint", "Paint", Paint], ["dataset", "Data set", DataSet],
  ["judge", "Judge", Judge], ["slide", "Slide", Slide],
];
const KEYS = [
  ["Ctrl + Enter", "make the pictures"], ["/", "go to the prompt"], ["1 to 5", "open a view"],
  ["← →", "the picture before or after, when one is open"], ["P", "pin the open picture to compare"],
  ["Ctrl + Z, Ctrl + Shift + Z", "undo and redo, in Paint"], ["Esc", "close"], ["?", "this list"],
];

const at = () => VIEWS.find(([name]) => name === location.hash.slice(2).split("?")[0]) || VIEWS[0];

function useView() {
  const [view, set] = useState(at);
  useEffect(() => {
    const moved = () => { set(at()); window.scrollTo(0, 0); };
    addEventListener("hashchange", moved);
    return () => removeEventListener("hashchange", moved);
  }, []);
  return view;
}

function useKeys(setHelp) {
  useEffect(() => {
    const pressed = (event) => {
      if (event.target.closest?.("input, textarea, select, dialog, [role=application]") || event.ctrlKey || event.metaKey || event.altKey) return;
      const place = "12345".indexOf(event.key);
      if (place >= 0) location.hash = `/${VIEWS[place][0]}`;
      else if (event.key === "/") { event.preventDefault(); document.querySelector("#prompt")?.focus(); }
      else if (event.key === "?") setHelp(true);
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, []);
}

function Theme() {
  const [theme, set] = useState(() => localStorage.getItem("crafts.theme") || "");
  useEffect(() => {
    document.documentElement.dataset.theme = theme;
    localStorage.setItem("crafts.theme", theme);
  }, [theme]);
  const dark = theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  return html`<${Button} quiet icon="light" label=${dark ? "Light colours" : "Dark colours"} onClick=${() => set(dark ? "light" : "dark")} />`;
}

function Queue() {
  const paused = useStore().about?.paused;
  const waiting = busy();
  if (!waiting.length && !paused) return null;
  const known = waiting.map((job) => job.eta_s).filter((eta) => eta != null);
  const eta = known.length ? ` · ${seconds(Math.max(...known))}` : "";
  return html`<p class="queue">${!paused && html`<span class="pulse" aria-hidden="true"></span>`}${waiting.length} ${waiting.length === 1 ? "job" : "jobs"}${paused ? " · paused" : eta}</p>
    <${Button} quiet icon=${paused ? "play" : "pause"} label=${paused ? "Go on with the queue" : "Pause the queue"} onClick=${() => pause(!paused)} />`;
}

function Gate() {
  const [token, set] = useState("");
  const [wrong, fail] = useState("");
  const open = async (event) => {
    event.preventDefault();
    try { await post("/session", { token }); location.reload(); } catch (error) { fail(error.status === 401 ? "This token is not known here." : error.message); }
  };
  return html`<main class="gate"><form onSubmit=${open}><img src="/static/icon.svg" alt="" width="48" height="48" />
    <h1>crafts studio</h1><p>This server asks for a token. Whoever runs it has one for you.</p>
    <label class="field">Token<input type="password" autocomplete="current-password" value=${token} onInput=${(event) => set(event.target.value)} /></label>
    ${wrong && html`<p class="wrong" role="alert">${wrong}</p>`}
    <button class="button main" disabled=${!token}>Open</button></form></main>`;
}

function Notices({ state }) {
  if (!state.online) return html`<p class="notice bad" role="alert">The server does not answer. What is finished is kept; this page goes on by itself when it is back.</p>`;
  if (state.about?.fault) return html`<p class="notice bad" role="alert">${state.about.fault}</p>`;
  if (state.about && !state.about.ready) return html`<p class="notice" role="status"><span class="pulse" aria-hidden="true"></span>The model is being loaded; you can write your prompt meanwhile.</p>`;
  return null;
}

function App() {
  const state = useStore();
  const [name, , View] = useView();
  const [help, setHelp] = useState(false);
  useKeys(setHelp);
  useEffect(() => { begin(); }, []);
  useEffect(() => { document.title = `${VIEWS.find(([one]) => one === name)[1]} – crafts studio`; }, [name]);
  if (state.closed) return html`<${Gate} />`;
  return html`<a class="skip" href="#content" onClick=${(event) => { event.preventDefault(); document.querySelector("#content").focus(); }}>To the content</a>
    <header class="top"><a class="brand" href="#/make" aria-label="crafts studio, to the start"><img src="/static/icon.svg" alt="" width="28" height="28" /><b>crafts</b> <span>studio</span></a>
      <nav aria-label="Views">${VIEWS.map(([one, label]) => html`<a key=${one} href=${`#/${one}`} aria-current=${one === name ? "page" : undefined}><${Icon} name=${one} /><span>${label}</span></a>`)}</nav>
      <div class="tools"><${Queue} /><${Theme} /><${Button} quiet icon="help" label="Keys and about" onClick=${() => setHelp(true)} /></div></header>
    <main id="content" tabindex="-1"><${Notices} state=${state} /><${View} /></main>
    <footer><p>Synthetic pictures for research only. <b>Not a medical device:</b> none may serve a diagnosis.</p></footer>
    <${Tray} />
    ${state.open && html`<${Picture} />`}${state.comparing && html`<${Compare} />`}
    ${help && html`<${Dialog} label="Keys and about" onClose=${() => setHelp(false)}><div class="spread"><h2>Keys</h2><${Button} quiet icon="close" label="Close" onClick=${() => setHelp(false)} /></div>
      <dl class="facts keys">${KEYS.map(([key, what]) => html`<dt><kbd>${key}</kbd></dt><dd>${what}</dd>`)}</dl>
      ${state.about && html`<h2>This server</h2><dl class="facts"><dt>crafts</dt><dd>${state.about.version}</dd><dt>model</dt><dd>${state.about.model}, ${state.about.side} px, on ${state.about.device}</dd><dt>licence of the weights</dt><dd>${state.about.licence}</dd></dl>`}<//>`}
    <div class="toasts">${state.toasts.map((one) => html`<p key=${one.id} class=${`toast ${one.level}`} role=${one.level === "bad" ? "alert" : "status"}>${one.text}
      <${Button} quiet icon="close" label="Dismiss" onClick=${() => update({ toasts: state.toasts.filter((other) => other !== one) })} /></p>`)}</div>
    <p class="unseen" aria-live="polite">${state.said}</p>`;
}

const root = document.querySelector("#app");
root.textContent = "";
render(html`<${App} />`, root);
