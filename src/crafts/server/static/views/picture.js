// A picture by itself with where it comes from, and two of them compared.
import { html, useEffect, useState } from "../vendor/preact-htm.js";
import { complain, current, jobsOf, send, toast, update, useStore } from "../store.js";
import { Button, Choice, Copy, Dialog, Icon, randomSeed } from "../ui.js";
import { choiceOf, requestOf, takeSettings } from "./make.js";

const find = ({ job, name }) => {
  const found = current().jobs.get(job);
  const picture = found?.pictures.find((one) => one.name === name);
  return picture ? { job: found, picture } : null;
};
const all = () => jobsOf("pictures").flatMap((job) => job.pictures.map((picture) => ({ job: job.id, name: picture.name })));
const isPinned = (one) => current().pins.some((pin) => pin.job === one.job && pin.name === one.name);

export function pin(one) {
  const { pins } = current();
  update({ pins: isPinned(one) ? pins.filter((pin) => pin.job !== one.job || pin.name !== one.name) : [...pins.slice(-1), one] });
}

const LABELS = {
  prompt: "prompt", negative_prompt: "away from", seed: "seed", k: "number", model: "model", preset: "preset", num_steps: "steps",
  guidance_scale: "guidance", mpp: "µm per pixel", unknown_words: "unknown words", cut: "not seen", control: "steered by", licence: "licence of the weights",
  software: "software", model_sha256: "model hash", request: "request hash",
};
const shown = (name, value) => {
  if (name === "mpp") return value ?? "unknown";
  if (name === "control" && value) { try { return JSON.parse(value).map((one) => `${one.kind}, weight ${one.weight}`).join("; "); } catch { return value; } }
  return String(value ?? "");
};

export function Facts({ provenance, sha256, against }) {
  const rows = [...Object.keys(LABELS).map((name) => [LABELS[name], shown(name, provenance[name]), against && shown(name, against[name])]), ["file hash", sha256]];
  return html`<dl class="facts">${rows.filter(([, value]) => value !== "" && value != null).map(([label, value, other]) => html`
    <dt>${label}</dt><dd class=${`${/hash/.test(label) ? "hash" : ""} ${against && other !== undefined && other !== value ? "differs" : ""}`}>${value}</dd>`)}</dl>`;
}

export function Picture() {
  const state = useStore();
  const found = find(state.open);
  const [large, enlarge] = useState(false);
  const list = all();
  const place = list.findIndex((one) => one.job === state.open.job && one.name === state.open.name);
  const go = (step) => list[place + step] && update({ open: list[place + step] });
  useEffect(() => {
    const pressed = (event) => {
      if (event.target.closest?.("input, textarea, select")) return;
      if (event.key === "ArrowLeft") go(-1);
      else if (event.key === "ArrowRight") go(1);
      else if (event.key === "p" || event.key === "P") pin(state.open);
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  });
  if (!found) return null;
  const { job, picture } = found;
  const again = async (parts, what) => {
    try { for (const part of parts) await send(requestOf(choiceOf(job.request), { control: job.request.control || [], ...part })); toast(what, "good"); update({ open: null }); } catch (error) { complain(error); }
  };
  const usual = picture.provenance.guidance_scale;
  const scales = [0.5, 1.5, 2.2].map((factor) => Math.max(1, Math.round(usual * factor * 2) / 2)).filter((scale) => scale !== usual);
  return html`<${Dialog} wide label="Picture" onClose=${() => update({ open: null })}>
    <div class="picture"><figure class=${large ? "large" : ""}>
        <img src=${picture.url} alt=${`Synthetic picture from the prompt: ${picture.prompt}`} onClick=${() => enlarge(!large)} />
        <figcaption class="row"><${Button} quiet icon="left" label="The picture before" disabled=${place <= 0} onClick=${() => go(-1)} />
          <span class="note">${place + 1} of ${list.length}</span><${Button} quiet icon="right" label="The next picture" disabled=${place + 1 >= list.length} onClick=${() => go(1)} />
          <span class="grow"></span><${Button} quiet icon="plus" label=${large ? "Fit into the window" : "Enlarge"} aria-pressed=${String(large)} onClick=${() => enlarge(!large)} /></figcaption></figure>
      <div class="about"><div class="spread"><h2>Where it comes from</h2><${Button} quiet icon="close" label="Close" onClick=${() => update({ open: null })} /></div>
        <p class="badge">synthetic · research only</p>
        <${Facts} provenance=${picture.provenance} sha256=${picture.sha256} />
        <div class="actions">
          <${Button} icon="again" onClick=${() => takeSettings(job.request)}>Same settings<//>
          <${Button} icon="dice" onClick=${() => again([{ seed: randomSeed() }], "Made again with a new seed.")}>New seed<//>
          <${Button} icon="make" title="Same noise, other guidance" onClick=${() => again(scales.map((guidance_scale) => ({ guidance_scale, num_images: picture.k + 1 })), "Same noise, other guidance.")}>Vary<//>
          <${Button} icon="pin" aria-pressed=${String(isPinned(state.open))} onClick=${() => pin(state.open)}>${isPinned(state.open) ? "Unpin" : "Pin to compare"}<//>
          <a class="button" href=${picture.url} download=${`crafts-${picture.seed}-${picture.k}.png`}><${Icon} name="save" /><span>Download</span></a>
          <${Copy} text=${job.command} label="Copy command" icon="code" /><${Copy} text=${job.python} label="Copy Python" />
        </div></div></div><//>`;
}

export function Tray() {
  const { pins } = useStore();
  const found = pins.map(find).filter(Boolean);
  if (!found.length) return null;
  return html`<aside class="tray" aria-label="Pinned pictures">${found.map(({ job, picture }) => html`<span class="pinned" key=${job.id + picture.name}>
      <img src=${picture.url} alt=${picture.prompt} width="44" height="44" /><${Button} quiet icon="close" label="Unpin" onClick=${() => pin({ job: job.id, name: picture.name })} /></span>`)}
    ${found.length < 2 ? html`<span class="note">Pin one more to compare</span>` : html`<${Button} kind="main" onClick=${() => update({ comparing: true })}>Compare<//>`}</aside>`;
}

export function Compare() {
  const state = useStore();
  const [mode, set] = useState("side");
  const [place, slide] = useState(50);
  const close = () => update({ comparing: false });
  const [first, second] = state.pins.map(find);
  if (!first || !second) return null;
  const alt = (one) => `Synthetic picture from the prompt: ${one.picture.prompt}`;
  const same = first.picture.seed === second.picture.seed && first.picture.k === second.picture.k;
  return html`<${Dialog} wide label="Compare two pictures" onClose=${close}><div class="compare">
    <div class="spread"><h2>Compare</h2><${Choice} label="How" value=${mode} onChange=${set} options=${[{ value: "side", label: "side by side" }, { value: "slider", label: "slider" }]} /><${Button} quiet icon="close" label="Close" onClick=${close} /></div>
    <p class="note">${same ? "Both began with the same noise: what differs comes from the settings." : "They began with different noise."}</p>
    ${mode === "side" ? html`<div class="pair">${[first, second].map((one) => html`<img key=${one.picture.url} src=${one.picture.url} alt=${alt(one)} />`)}</div>`
      : html`<div class="over"><img src=${first.picture.url} alt=${alt(first)} /><img class="above" src=${second.picture.url} alt=${alt(second)} style=${{ clipPath: `inset(0 0 0 ${place}%)` }} />
        <i style=${{ left: `${place}%` }}></i><input type="range" min="0" max="100" value=${place} aria-label="Where the second picture begins" onInput=${(event) => slide(event.target.valueAsNumber)} /></div>`}
    <div class="pair">${[[first, second], [second, first]].map(([one, other]) => html`<${Facts} key=${one.picture.url} provenance=${one.picture.provenance} sha256=${one.picture.sha256} against=${other.picture.provenance} />`)}</div>
  </div><//>`;
}
