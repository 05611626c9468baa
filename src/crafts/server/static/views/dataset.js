// Data set: classes and numbers in, a labelled set with gate, count and card out.
import { html, useEffect, useState } from "../vendor/preact-htm.js";
import { cancel, complain, forget, jobsOf, send, useStore } from "../store.js";
import { Bar, Button, Choice, Empty, Icon, Seed, Stepper, ago } from "../ui.js";

const FORMATS = [["imagefolder", "folders", "a folder a class, readable by datasets and torchvision"], ["hf", "Hugging Face", "parquet"], ["webdataset", "WebDataset", "tar files"], ["coco", "COCO", "with outlines of nuclei"]];

export function DataSet() {
  const { words } = useStore();
  const [rows, setRows] = useState(null);
  const [options, set] = useState({ per: 4, format: "imagefolder", gate: true, preset: "fast", masks: false, seed: 0 });
  const [sending, wait] = useState(false);
  useEffect(() => {
    if (rows || !words) return;
    const known = words.classes.filter((one) => one.prompt && one.label !== "tissue").sort((a, b) => b.tiles - a.tiles);
    setRows(known.map((one, index) => ({ label: one.label, prompt: one.prompt, on: index < 4, id: one.label })));
  }, [words]);
  const change = (id, part) => setRows(rows.map((row) => (row.id === id ? { ...row, ...part } : row)));
  const used = (rows || []).filter((row) => row.on && row.label.trim() && row.prompt.trim());
  const make = async () => {
    wait(true);
    try {
      await send({ kind: "dataset", classes: used.map(({ label, prompt }) => ({ label, prompt })), per_class: options.per, format: options.format,
        gate: options.gate, masks: options.masks || options.format === "coco" ? "segmenter" : "none", preset: options.preset, seed: options.seed });
    } catch (error) { complain(error); }
    wait(false);
  };
  return html`<div class="head"><h1>Data set</h1><p>Name classes and how many pictures of each. What the quality gate lets pass is kept; asked = kept + given up, always, and the card of the set says so.</p></div>
    <div class="two"><section class="card" aria-label="Classes">
        <div class="spread"><h2>Classes</h2><${Button} icon="plus" onClick=${() => setRows([{ label: "", prompt: "", on: true, id: String(Math.random()) }, ...(rows || [])])}>Add a class<//></div>
        ${!rows ? html`<div class="tile ghost loading"></div>` : html`<div class="rows scroll" tabindex="0" role="group" aria-label="Classes and their wording">${rows.map((row) => html`<div class="line" key=${row.id}>
          <input type="checkbox" aria-label=${`use the class ${row.label || "without a name"}`} checked=${row.on} onChange=${(event) => change(row.id, { on: event.target.checked })} />
          <input type="text" aria-label="name of the class" placeholder="name" maxlength="80" value=${row.label} onInput=${(event) => change(row.id, { label: event.target.value })} />
          <input type="text" name="prompt" aria-label=${`prompt of ${row.label || "the class"}`} placeholder="prompt" maxlength="2000" value=${row.prompt} onInput=${(event) => change(row.id, { prompt: event.target.value })} />
          <${Button} quiet icon="bin" label=${`Leave out ${row.label || "this class"}`} onClick=${() => setRows(rows.filter((one) => one.id !== row.id))} /></div>`)}</div>`}
        <div class="settings"><${Stepper} label="Pictures of each" value=${options.per} min=${1} max=${1000} onChange=${(per) => set({ ...options, per })} />
          <${Choice} label="Preset" value=${options.preset} onChange=${(preset) => set({ ...options, preset })} options=${["fast", "balanced", "paper"].map((value) => ({ value, label: value }))} />
          <label class="field">Format<select value=${options.format} onChange=${(event) => set({ ...options, format: event.target.value })}>${FORMATS.map(([value, label, note]) => html`<option key=${value} value=${value}>${label}: ${note}</option>`)}</select></label>
          <${Seed} value=${options.seed} onChange=${(seed) => set({ ...options, seed })} /></div>
        <div class="row wrap"><label class="check"><input type="checkbox" checked=${options.gate} onChange=${(event) => set({ ...options, gate: event.target.checked })} />Quality gate</label>
          <label class="check"><input type="checkbox" checked=${options.masks || options.format === "coco"} disabled=${options.format === "coco"} onChange=${(event) => set({ ...options, masks: event.target.checked })} />Masks of nuclei</label></div>
        <div class="row wrap"><${Button} kind="main" icon="dataset" disabled=${sending || !used.length} onClick=${make}>Make the set<//><span class="note">${used.length} classes × ${options.per} = ${used.length * options.per} pictures</span></div>
      </section>
      <section aria-label="Sets"><${Sets} /></section></div>`;
}

function Sets() {
  const { loaded } = useStore();
  const jobs = jobsOf("dataset");
  if (loaded && !jobs.length) return html`<${Empty} title="No set yet"><p>A set with its card, splits and masks is ready to download here when it is made.</p><//>`;
  return jobs.map((job) => html`<article class="card job" key=${job.id} aria-label=${`Data set ${job.number}`}>
    <header class="spread"><div><h2>${job.request.classes.length} classes × ${job.request.per_class}</h2><p class="note">${job.request.format} · ${job.request.gate ? "with gate" : "without gate"} · seed ${job.request.seed} · ${ago(job.created)}</p></div>
      <div class="row tools">${["queued", "running"].includes(job.state) ? html`<${Button} icon="close" onClick=${() => cancel(job)}>Cancel<//>` : html`
        ${job.download && html`<a class="button" href=${job.download} download><${Icon} name="save" /><span>Download zip</span></a>`}
        <${Button} quiet icon="bin" label="Delete this set" onClick=${() => confirm("Delete this set?") && forget(job)} />`}</div></header>
    ${job.state === "running" && html`<${Bar} share=${job.share} label="Data set" />`}
    <p class="note" role="status">${job.state === "queued" ? "Waiting." : job.state === "failed" ? "" : job.note || (job.state === "done" ? describe(job) : job.state)}</p>
    ${job.state === "failed" && job.error && html`<p class="wrong" role="alert">${job.error.where}: ${job.error.came}. ${job.error.do}</p>`}
    ${job.facts.kept != null && html`<dl class="facts"><dt>asked</dt><dd>${job.facts.asked}</dd><dt>kept</dt><dd>${job.facts.kept}</dd><dt>given up</dt><dd>${job.facts.given_up}</dd></dl>`}</article>`);
}

const describe = (job) => `Finished in ${Math.max(1, Math.round((job.ended - job.started) / 60))} min.`;
