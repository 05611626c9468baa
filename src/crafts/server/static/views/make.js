// Make: a prompt, a few choices, and a gallery that fills as pictures are finished.
import { html, useState } from "../vendor/preact-htm.js";
import { cancel, complain, current, forget, jobsOf, loadJobs, say, send, update, useKept, useStore } from "../store.js";
import { Bar, Button, Choice, Copy, Empty, Icon, Slider, Seed, Stepper, ago, randomSeed, seconds } from "../ui.js";
import { Chips, Prompt } from "./prompt.js";

const FIRST = { prompt: "Colon adenocarcinoma, gland-forming, high power view.", preset: "fast", num: 4, seed: 7, guidance: 0, negative: "", strict: false, more: {} };
/** Fields of a request that the page draws by hand, or decides; all others follow from their schema. */
const DRAWN = ["prompts", "num_images", "seed", "preset", "guidance_scale", "negative_prompt", "strict", "batch_size"];
const EXAMPLES = [
  "Colon adenocarcinoma, gland-forming, high power view.", "Prostate, non-malignant tissue, low-power view.",
  "Lung, squamous carcinoma, H&E.", "Breast, invasive carcinoma, high power.", "Benign oral mucosa, overview.", "Kidney, papillary carcinoma.",
];

/** What is sent for what was chosen; one picture a pass, so that each is shown when it is done. */
export const requestOf = (choice, more = {}) => ({
  kind: "pictures", prompts: [choice.prompt.trim()], num_images: choice.num, seed: choice.seed, preset: choice.preset,
  batch_size: 1, ...(choice.guidance ? { guidance_scale: choice.guidance } : {}), ...(choice.negative ? { negative_prompt: choice.negative } : {}),
  ...(choice.strict ? { strict: true } : {}), ...choice.more, ...more,
});

export function choiceOf(request) {
  return {
    prompt: request.prompts[0], preset: request.preset, num: request.num_images, seed: request.seed,
    guidance: request.guidance_scale || 0, negative: request.negative_prompt || "", strict: request.strict || false,
    more: Object.fromEntries(others().map(([name, field]) => [name, request[name] ?? field.default]).filter(([name, value]) => value != null && value !== current().about.fields[name].default)),
  };
}

const others = () => Object.entries(current().about?.fields || {}).filter(([name]) => !DRAWN.includes(name));

let setChoice = () => {};
/** Bring settings into the fields; told, so that nothing is overwritten in silence. */
export function takeSettings(request, part = {}) {
  const before = JSON.parse(localStorage.getItem("crafts.make") || "{}");
  const next = { ...choiceOf(request), ...part };
  localStorage.setItem("crafts.make", JSON.stringify(next));
  setChoice(next);
  update({ before, open: null });
  if (!location.hash.startsWith("#/make")) location.hash = "/make";
  say("settings taken over");
}

export function Make() {
  const state = useStore();
  const [choice, keep] = useKept("make", FIRST);
  const [sending, set] = useState(false);
  setChoice = keep;
  const make = async (part = {}) => {
    if (sending || !choice.prompt.trim()) return;
    set(true);
    try { await send(requestOf({ ...choice, ...part })); } catch (error) { complain(error); }
    set(false);
  };
  const jobs = jobsOf("pictures");
  return html`<div class="make">
    <section class="card composer" aria-label="What to make">
      <${Prompt} value=${choice.prompt} onChange=${(prompt) => keep({ prompt })} onSend=${() => make()} />
      <${Chips} value=${choice.prompt} onChange=${(prompt) => keep({ prompt })} />
      <${Settings} choice=${choice} keep=${keep} about=${state.about} />
      <div class="row send"><${Button} kind="main" icon="make" disabled=${sending || !choice.prompt.trim()} onClick=${() => make()}>
          ${choice.num > 1 ? `Make ${choice.num} pictures` : "Make a picture"}<//>
        <${Button} icon="dice" onClick=${() => { const seed = randomSeed(); keep({ seed }); make({ seed }); }}>With a new seed<//>
        ${state.before && html`<${Button} icon="undo" onClick=${() => { keep(state.before); update({ before: null }); }}>Earlier settings<//>`}
        <span class="note">${estimate(choice, state.about)}</span></div>
    </section>
    <${Gallery} jobs=${jobs} state=${state} onExample=${(prompt) => { keep({ prompt }); make({ prompt }); }} />
  </div>`;
}

function estimate(choice, about) {
  const each = about?.seconds?.[choice.preset];
  return each ? `about ${seconds(each * choice.num)}` : "";
}

function Settings({ choice, keep, about }) {
  const presets = about?.presets || { fast: {}, balanced: {}, paper: {} };
  const usual = presets[choice.preset]?.guidance;
  return html`<div class="settings">
    <${Choice} label="Preset" value=${choice.preset} onChange=${(preset) => keep({ preset })}
      options=${["fast", "balanced", "paper"].map((value) => ({ value, label: value, note: presets[value]?.steps ? `${presets[value].steps} steps` : "" }))} />
    <${Stepper} label="Pictures" value=${choice.num} min=${1} max=${64} onChange=${(num) => keep({ num })} />
    <${Seed} value=${choice.seed} onChange=${(seed) => keep({ seed })} />
    <details class="more"><summary>More</summary><div class="settings">
      <${Slider} label="Guidance" min=${0} max=${12} step=${0.5} value=${choice.guidance} shown=${choice.guidance ? Math.max(1, choice.guidance) : `the model's${usual ? ` (${usual})` : ""}`}
        onChange=${(guidance) => keep({ guidance: guidance && Math.max(1, guidance) })} />
      <label class="field grow">Steer away from<input type="text" maxlength="2000" value=${choice.negative} placeholder="nothing" onInput=${(event) => keep({ negative: event.target.value })} /></label>
      ${others().map(([name, field]) => html`<${Other} key=${name} name=${name} field=${field} value=${choice.more?.[name]} onChange=${(value) => keep({ more: { ...choice.more, [name]: value } })} />`)}
      <label class="check"><input type="checkbox" checked=${choice.strict} onChange=${(event) => keep({ strict: event.target.checked })} />Refuse words that the model does not know</label>
    </div></details></div>`;
}

/** A field of which only its schema is known; undefined is its default. */
function Other({ name, field, value, onChange }) {
  const kinds = [field, ...(field.anyOf || [])];
  const known = (key) => kinds.find((kind) => key in kind)?.[key];
  const label = name.replaceAll("_", " ");
  const type = kinds.map((kind) => kind.type).find((kind) => kind && kind !== "null");
  const at = (text) => onChange(text === "" ? undefined : ["integer", "number"].includes(type) ? Number(text) : text);
  if (type === "boolean") return html`<label class="check" title=${field.description}><input type="checkbox" checked=${value ?? field.default} onChange=${(event) => onChange(event.target.checked)} />${label}</label>`;
  if (known("enum")) return html`<label class="field" title=${field.description}>${label}<select value=${value ?? field.default ?? ""} onChange=${(event) => at(event.target.value)}>${known("enum").map((one) => html`<option key=${one} value=${one}>${one}</option>`)}</select></label>`;
  const usual = field.default ?? field.unset ?? field.metavar ?? "";
  if (type === "string") return html`<label class="field" title=${field.description}>${label}<input type="text" maxlength="2000" value=${value ?? ""} placeholder=${usual} onInput=${(event) => at(event.target.value)} /></label>`;
  return html`<label class="field" title=${field.description}>${label}<input type="number" step=${type === "integer" ? 1 : "any"} min=${known("minimum")} max=${known("maximum")} value=${value ?? ""} placeholder=${usual} onInput=${(event) => at(event.target.value)} /></label>`;
}

function Gallery({ jobs, state, onExample }) {
  const [filter, set] = useState("");
  if (!state.loaded) return html`<div class="tiles loading" aria-label="Loading">${Array.from({ length: 8 }, (_, index) => html`<div key=${index} class="tile ghost"></div>`)}</div>`;
  if (!jobs.length) return html`<${Empty} title="Nothing made yet">
    <p>Press <b>Make</b>, or begin with one of these. Pictures appear here as each is finished.</p>
    <div class="row wrap center">${EXAMPLES.map((text) => html`<button type="button" key=${text} class="chip" onClick=${() => onExample(text)}>${text}</button>`)}</div><//>`;
  const small = filter.trim().toLowerCase();
  const shown = jobs.filter((job) => !small || `${job.request.prompts.join(" ")} seed ${job.request.seed} ${job.request.preset}`.toLowerCase().includes(small));
  return html`<section aria-label="Gallery">
    <div class="spread gallery-head"><h1>Gallery</h1>${jobs.length > 3 && html`<label class="filter"><span class="unseen">Filter by prompt, seed or preset</span><input type="search" placeholder="Filter by prompt, seed or preset" value=${filter} onInput=${(event) => set(event.target.value)} /></label>`}</div>
    ${shown.map((job) => html`<${Group} key=${job.id} job=${job} />`)}
    ${!shown.length && html`<p class="note">No prompt has these words.</p>`}
    ${state.next && html`<p class="center"><${Button} onClick=${() => loadJobs(true).catch(complain)}>Show earlier ones<//></p>`}</section>`;
}

function Group({ job }) {
  const { request } = job;
  const active = ["queued", "running"].includes(job.state);
  const facts = [`seed ${request.seed}`, request.preset, request.guidance_scale && `guidance ${request.guidance_scale}`, request.control?.length && "steered by a mask", ago(job.created)];
  return html`<article class="job card" aria-label=${`Pictures of: ${request.prompts[0]}`}>
    <header class="spread"><div><h2>${request.prompts[0]}</h2><p class="note">${facts.filter(Boolean).join(" · ")}</p></div>
      <div class="row tools">
        ${active ? html`<${Button} icon="close" onClick=${() => cancel(job)}>Cancel<//>` : html`
          <${Button} quiet icon="again" label="Same settings" onClick=${() => takeSettings(request)} />
          ${job.download && html`<a class="button only" href=${job.download} download title="Download all as zip" aria-label="Download all as zip"><${Icon} name="save" /></a>`}
          <${Copy} text=${job.command} label="Command" icon="code" />
          <${Button} quiet icon="bin" label="Delete these pictures" onClick=${() => confirm("Delete these pictures?") && forget(job)} />`}</div></header>
    ${job.state === "queued" && html`<p class="note" role="status">Waiting${job.ahead ? ` behind ${job.ahead}` : ""}${job.eta_s ? `, done in about ${seconds(job.eta_s)}` : ""}.</p>`}
    ${job.state === "running" && html`<${Bar} share=${job.share} label=${`Pictures of ${request.prompts[0]}`} />`}
    ${job.state === "failed" && job.error && html`<p class="wrong" role="alert">${job.error.where}: ${job.error.came}. ${job.error.do}</p>`}
    ${job.state === "cancelled" && html`<p class="note">Cancelled after ${job.done} of ${job.total}.</p>`}
    ${job.slide && html`<p><a class="button" href=${`#/slide?${job.slide}`}><${Icon} name="slide" /><span>Look at the slide</span></a></p>`}
    <div class="tiles">${job.pictures.map((picture) => html`<${Tile} key=${picture.name} job=${job} picture=${picture} />`)}
      ${active && Array.from({ length: Math.min(24, job.total - job.pictures.length) }, (_, index) => html`<div key=${`ghost${index}`} class=${`tile ghost ${index === 0 && job.state === "running" ? "working" : ""}`}>
        ${index === 0 && job.state === "running" && html`<span>${job.step ? `step ${Math.min(job.step, job.num_steps)} of ${job.num_steps}` : "begins"}</span>`}</div>`)}
    </div></article>`;
}

function Tile({ job, picture }) {
  const pinned = current().pins.some((pin) => pin.job === job.id && pin.name === picture.name);
  return html`<button type="button" class=${`tile ${pinned ? "pinned" : ""}`} onClick=${() => update({ open: { job: job.id, name: picture.name } })}
    aria-label=${`Open picture ${picture.k + 1}: ${picture.prompt}, seed ${picture.seed}`}>
    <img src=${picture.url} alt="" width=${picture.width} height=${picture.height} loading="lazy" decoding="async" /></button>`;
}
