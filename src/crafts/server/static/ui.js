// Small parts that all views are built of.
import { html, useEffect, useRef, useState } from "./vendor/preact-htm.js";
import { say } from "./store.js";

const PATHS = {
  make: "M12 3v3m0 12v3m9-9h-3M6 12H3m14.5-5.5-2 2m-7 7-2 2m11 0-2-2m-7-7-2-2",
  paint: "M4 20c3 0 4-1.500 4-3.500a2.500 2.500 0 0 1 5 0C13 19 10 21 4 20Zm8-7 8-9 1 1-7 10",
  dataset: "M4 5h6v6H4zM14 5h6v6h-6zM4 15h6v5H4zM14 15h6v5h-6z",
  judge: "M12 4v16M5 20h14M4 8h16M4 8l-2 6h5zm16 0-2 6h5z",
  slide: "M3 6h18v12H3zM7 6v12M11 10h6M11 14h4",
  dice: "M4 4h16v16H4zM8.500 8.500h.01M15.500 8.500h.01M12 12h.01M8.500 15.500h.01M15.500 15.500h.01",
  close: "M6 6l12 12M18 6 6 18",
  pin: "M9 4h6l-1 6 3 3v2H7v-2l3-3zM12 15v6",
  save: "M12 4v11m-4-4 4 4 4-4M5 20h14",
  code: "M9 7l-5 5 5 5m6-10 5 5-5 5",
  copy: "M8 8h11v12H8zM5 16V4h11",
  again: "M20 12a8 8 0 1 1-2.500-5.800M20 4v4h-4",
  undo: "M9 7 4 12l5 5M4 12h10a6 6 0 0 1 0 8h-3",
  redo: "m15 7 5 5-5 5m5-5H10a6 6 0 0 0 0 8h3",
  bin: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  light: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8Zm0-5v2m0 14v2M3 12h2m14 0h2M5.600 5.600 7 7m10 10 1.400 1.400M18.400 5.600 17 7M7 17l-1.400 1.400",
  pause: "M8 5v14M16 5v14", play: "m8 5 11 7-11 7z",
  left: "m14 6-6 6 6 6", right: "m10 6 6 6-6 6", plus: "M12 5v14M5 12h14", minus: "M5 12h14",
  help: "M9 9a3 3 0 1 1 4.500 2.600c-1 .600-1.500 1.200-1.500 2.400m0 3h.01M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18Z",
  stamp: "M12 7a7 5 0 1 0 0 10 7 5 0 0 0 0-10Z", brush: "M5 19c2-6 4-2 7-7s4-6 7-7", eraser: "m8 19-4-4L15 4l6 6-9 9zM8 19h12",
  open: "M4 7h6l2 2h8v10H4zM12 12v5m-2.500-2.500L12 12l2.500 2.500", eye: "M2 12s4-6 10-6 10 6 10 6-4 6-10 6-10-6-10-6Zm10-3a3 3 0 1 0 0 6 3 3 0 0 0 0-6Z",
};

export const Icon = ({ name }) => html`
  <svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false"><path d=${PATHS[name]} /></svg>`;

export const Button = ({ icon, label, kind = "", quiet, children, ...rest }) => html`
  <button type="button" class=${`button ${kind} ${quiet ? "only" : ""}`} aria-label=${quiet ? label : undefined}
    title=${quiet ? label : undefined} ...${rest}>
    ${icon && html`<${Icon} name=${icon} />`}${!quiet && html`<span>${children || label}</span>`}
  </button>`;

export function Choice({ label, value, options, onChange }) {
  return html`<fieldset class="choice"><legend>${label}</legend><div>
    ${options.map((one) => html`<label key=${one.value} class=${one.value === value ? "on" : ""} title=${one.note || ""}>
      <input type="radio" name=${label} value=${one.value} checked=${one.value === value} onChange=${() => onChange(one.value)} />
      <span>${one.label}</span></label>`)}
  </div></fieldset>`;
}

/** A number that is typed; what is half typed stays while the page is drawn anew. */
function Typed({ value, onChange, ...rest }) {
  const [text, type] = useState(null);
  const done = (event) => { type(null); onChange(event.target.valueAsNumber); };
  return html`<input type="number" value=${text ?? value} onInput=${(event) => type(event.target.value)} onChange=${done} onBlur=${() => type(null)} ...${rest} />`;
}

export function Stepper({ label, value, min, max, onChange }) {
  const set = (next) => onChange(Math.max(min, Math.min(max, Number.isFinite(next) ? Math.round(next) : min)));
  const id = `step-${label.replaceAll(" ", "-")}`;
  return html`<div class="field stepper"><label for=${id}>${label}</label>
    <span class="row">
      <button type="button" class="button only" aria-label=${`fewer: ${label}`} disabled=${value <= min} onClick=${() => set(value - 1)}><${Icon} name="minus" /></button>
      <${Typed} id=${id} min=${min} max=${max} value=${value} onChange=${set} />
      <button type="button" class="button only" aria-label=${`more: ${label}`} disabled=${value >= max} onClick=${() => set(value + 1)}><${Icon} name="plus" /></button>
    </span></div>`;
}

export function Seed({ value, onChange }) {
  return html`<div class="field seed"><label for="seed">Seed</label><span class="row">
    <${Typed} id="seed" min=${0} max=${Number.MAX_SAFE_INTEGER} value=${value} onChange=${(next) => onChange(Math.max(0, Math.trunc(next) || 0))} />
    <${Button} quiet icon="dice" label="Another seed" onClick=${() => onChange(randomSeed())} /></span></div>`;
}

export function Slider({ label, value, min, max, step = 1, shown, onChange }) {
  return html`<div class="field"><label><span class="spread"><span>${label}</span><output>${shown ?? value}</output></span>
    <input type="range" min=${min} max=${max} step=${step} value=${value} aria-valuetext=${String(shown ?? value)}
      onInput=${(event) => onChange(event.target.valueAsNumber)} /></label></div>`;
}

/** A dialog of the browser: it keeps the focus, and Escape closes it. */
export function Dialog({ label, onClose, wide, children }) {
  const ref = useRef();
  useEffect(() => {
    const before = document.activeElement;
    const dialog = ref.current;
    dialog.showModal();
    return () => { dialog.close(); before?.focus?.(); };
  }, []);
  // the browser may close it without asking; a dialog that is gone from the page has no say
  return html`<dialog ref=${ref} class=${wide ? "wide" : ""} aria-label=${label} onClose=${() => ref.current?.isConnected && onClose()}
    onClick=${(event) => { if (event.target === ref.current) onClose(); }}>
    <div class="sheet">${children}</div></dialog>`;
}

export const Empty = ({ title, children }) => html`
  <div class="empty"><svg viewBox="0 0 120 72" aria-hidden="true">
    <ellipse cx="34" cy="30" rx="17" ry="12" transform="rotate(-20 34 30)" /><ellipse cx="66" cy="44" rx="13" ry="9" transform="rotate(28 66 44)" />
    <ellipse cx="88" cy="24" rx="11" ry="8" transform="rotate(-8 88 24)" /><ellipse cx="46" cy="58" rx="7" ry="5" /></svg>
    <h2>${title}</h2>${children}</div>`;

export function Copy({ text, label, icon = "copy" }) {
  const [done, set] = useState(false);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = Object.assign(document.createElement("textarea"), { value: text });
      (document.querySelector("dialog[open]") || document.body).append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    set(true);
    say("copied");
    setTimeout(() => set(false), 1600);
  };
  return html`<${Button} icon=${icon} onClick=${copy}>${done ? "Copied" : label}<//>`;
}

export const seconds = (value) => {
  if (value == null) return "";
  if (value < 1.5) return "1 s";
  if (value < 90) return `${Math.round(value)} s`;
  return value < 5400 ? `${Math.round(value / 60)} min` : `${Math.round(value / 360) / 10} h`;
};

export const ago = (time) => {
  const passed = Date.now() / 1000 - time;
  if (passed < 60) return "now";
  if (passed < 5400) return `${Math.round(passed / 60)} min ago`;
  return new Date(time * 1000).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
};

export const Bar = ({ share, label }) => html`
  <div class=${share > 0 ? "bar" : "bar unknown"} role="progressbar" aria-label=${label} aria-valuemin="0" aria-valuemax="100"
    aria-valuenow=${Math.round(share * 100)}><i style=${{ width: `${Math.max(2, share * 100)}%` }}></i></div>`;

export const randomSeed = () => crypto.getRandomValues(new Uint32Array(1))[0] >>> 1;
