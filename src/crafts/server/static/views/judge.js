// Judge: generated beside real tiles; the report stands in the page.
import { html, useEffect, useState } from "../vendor/preact-htm.js";
import { get } from "../api.js";
import { cancel, complain, forget, jobsOf, send, titleOf, useStore } from "../store.js";
import { Bar, Button, Choice, Empty, ago } from "../ui.js";

const ASKS = {
  evaluate: [["generated", "Generated tiles"], ["real", "Real tiles of patients that the model has not seen"], ["train", "Tiles it was trained on (may be left out)"]],
  audit: [["generated", "Generated tiles"], ["train", "Tiles it was trained on"], ["heldout", "Tiles it has not seen (may be left out)"]],
};

export function Judge() {
  const { jobs } = useStore();
  const [folders, setFolders] = useState(null);
  const [kind, setKind] = useState("evaluate");
  const [picked, pick] = useState({});
  const [open, show] = useState(null);
  const load = () => get("/folders").then((found) => setFolders(found.folders)).catch(complain);
  useEffect(() => { load(); }, [jobs.size]);
  const judged = jobsOf("evaluate", "audit");
  const asked = ASKS[kind];
  const ready = asked.slice(0, 2).every(([name]) => picked[name]);
  const run = async () => {
    const request = { kind };
    asked.forEach(([name]) => { if (picked[name]) request[name] = picked[name]; });
    try { show((await send(request)).id); } catch (error) { complain(error); }
  };
  const shown = judged.find((job) => job.id === open) || judged[0];
  return html`<div class="head"><h1>Judge</h1><p><b>Evaluate</b> says how far generated tiles are from real ones, beside real ones against each other. <b>Audit</b> looks for copies of training tiles.</p></div>
    <div class="slide"><section class="panel" aria-label="What to judge"><div class="card panel">
        <${Choice} label="What" value=${kind} onChange=${setKind} options=${[{ value: "evaluate", label: "Evaluate" }, { value: "audit", label: "Audit" }]} />
        ${asked.map(([name, label], index) => html`<${Pick} key=${name} name=${name} label=${label} folders=${folders} optional=${index === 2} value=${picked[name]} onChange=${(id) => pick({ ...picked, [name]: id })} />`)}
        <${Button} kind="main" icon="judge" disabled=${!ready} onClick=${run}>${kind === "evaluate" ? "Evaluate" : "Audit"}<//></div>
      <div class="list">${judged.map((job) => html`<button type="button" key=${job.id} class="item" aria-current=${job === shown ? "true" : undefined} onClick=${() => show(job.id)}><b>${titleOf(job)}</b><small class="note">${job.state} · ${ago(job.created)}</small></button>`)}</div></section>
      <section aria-label="Report">${shown ? html`<${Report} job=${shown} />` : html`<${Empty} title="No report yet"><p>Choose folders and run. Your finished pictures are among them; whoever runs the server can put others below <b>shared</b> in the data folder.</p><//>`}</section></div>`;
}

function Pick({ name, label, folders, optional, value, onChange }) {
  return html`<fieldset class="choice"><legend>${label}</legend>
    ${!folders ? html`<p class="note">Loading …</p>` : !folders.length ? html`<p class="note">No folder of tiles here yet.</p>` : html`<div class="pick">
      ${optional && html`<label><input type="radio" name=${name} checked=${!value} onChange=${() => onChange(undefined)} />none</label>`}
      ${folders.map((one) => html`<label key=${one.id}><input type="radio" name=${name} checked=${value === one.id} onChange=${() => onChange(one.id)} /><span title=${one.name}>${one.name}</span><small>${one.images}</small></label>`)}</div>`}</fieldset>`;
}

function Report({ job }) {
  if (job.state === "done") return html`<div class="panel"><div class="spread"><h2>${titleOf(job)}</h2><div class="row"><a class="button" href=${job.report} target="_blank" rel="noopener">Open by itself</a><${Button} quiet icon="bin" label="Delete this report" onClick=${() => confirm("Delete this report?") && forget(job)} /></div></div>
    <iframe class="report" title=${`Report: ${titleOf(job)}`} src=${job.report} sandbox="allow-popups"></iframe></div>`;
  if (job.state === "failed") return html`<div class="card panel"><h2>It could not be judged</h2><p class="wrong" role="alert">${job.error ? `${job.error.came}. ${job.error.do}` : ""}</p><${Button} icon="bin" onClick=${() => forget(job)}>Remove<//></div>`;
  if (job.state === "cancelled") return html`<div class="card"><p class="note">Cancelled.</p></div>`;
  return html`<div class="card panel"><div class="spread"><h2>${job.state === "queued" ? "Waiting" : "Judging"}</h2><${Button} icon="close" onClick=${() => cancel(job)}>Cancel<//></div><${Bar} share=${job.share} label="Judging" /><p class="note" role="status">${job.note}</p></div>`;
}
