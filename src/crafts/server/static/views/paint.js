// Paint: nuclei by class, and the picture that is made of them beside.
import { html, useEffect, useRef, useState } from "../vendor/preact-htm.js";
import { get, post } from "../api.js";
import { cancel, complain, say, send, toast, update, useKept, useStore } from "../store.js";
import { Button, Choice, Empty, Icon, Seed, Slider, randomSeed } from "../ui.js";
import { COLOURS, draw, isFree, shapeAt, touched } from "./nuclei.js";
import { Prompt } from "./prompt.js";

const MASKS = [".png", ".tif", ".tiff", ".geojson", ".json", ".npy", ".mat"];
const kept = { past: [], now: [], future: [], job: null };

/** What is painted, with undo without limit; it stays while the page is open. */
function useLayout() {
  const [, redraw] = useState(0);
  const again = () => redraw((n) => n + 1);
  return {
    nuclei: kept.now, canUndo: kept.past.length > 0, canRedo: kept.future.length > 0,
    begin() { kept.past.push(kept.now); kept.future = []; },
    set(nuclei) { kept.now = nuclei; again(); },
    change(nuclei) { this.begin(); this.set(nuclei); },
    undo() { if (kept.past.length) { kept.future.push(kept.now); kept.now = kept.past.pop(); again(); } },
    redo() { if (kept.future.length) { kept.past.push(kept.now); kept.now = kept.future.pop(); again(); } },
  };
}

export function Paint() {
  const state = useStore();
  const layout = useLayout();
  const [facts, know] = useState(null);
  const [choice, keep] = useKept("paint", { prompt: "Colon adenocarcinoma, high power view.", seed: 1, preset: "fast", weight: 1, tool: "brush", kind: "neoplastic", size: 22, density: 0.6, tissue: "colon" });
  const [busy, wait] = useState(false);
  useEffect(() => { if (state.about?.ready) get("/layouts").then(know).catch(complain); }, [state.about?.ready]);
  const job = kept.job && state.jobs.get(kept.job);
  const make = async () => {
    if (busy || !layout.nuclei.length) return;
    wait(true);
    try {
      const { id } = await post("/masks", { nuclei: layout.nuclei });
      const control = [{ kind: "nuclei", upload: id, ...(choice.weight === 1 ? {} : { weight: choice.weight }) }];
      kept.job = (await send({ kind: "pictures", prompts: [choice.prompt.trim()], num_images: 1, seed: choice.seed, preset: choice.preset, batch_size: 1, control })).id;
    } catch (error) { complain(error); }
    wait(false);
  };
  const invent = async (seed = randomSeed()) => {
    try { const found = await post("/layouts", { tissue: choice.tissue, seed }); layout.change(found.nuclei); say(`${found.nuclei.length} nuclei invented`); } catch (error) { complain(error); }
  };
  const read = async (file) => {
    const suffix = MASKS.find((end) => file.name.toLowerCase().endsWith(end));
    if (!suffix) return toast(`A mask is one of ${MASKS.join(", ")}.`, "bad");
    try {
      const found = await post(`/uploads/mask?suffix=${suffix}`, file, { raw: true }).catch((error) => {
        if (error.status === 422 && /instances, classes|values/.test(error.message)) return post(`/uploads/mask?suffix=${suffix}&values=instances`, file, { raw: true });
        throw error;
      });
      layout.change(found.nuclei);
      toast(`${found.nuclei.length} nuclei read from ${file.name}.`, "good");
    } catch (error) { complain(error); }
  };
  useEffect(() => {
    const pressed = (event) => {
      if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z" || event.target.closest?.("input, textarea")) return;
      event.preventDefault();
      if (event.shiftKey) layout.redo(); else layout.undo();
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  });
  const side = facts?.side || 256;
  return html`<div class="head"><h1>Paint</h1><p>Say where nuclei are and of which class; the picture follows. Paint, let a layout be invented, or drop a mask of yours.</p></div>
    <div class="paint"><section class="panel card" aria-label="Tools">
        <${Choice} label="Tool" value=${choice.tool} onChange=${(tool) => keep({ tool })} options=${[{ value: "brush", label: "Brush" }, { value: "stamp", label: "Stamp" }, { value: "eraser", label: "Erase" }]} />
        <${Classes} classes=${facts?.classes || Object.keys(COLOURS)} value=${choice.kind} nuclei=${layout.nuclei} onChange=${(kind) => keep({ kind, tool: choice.tool === "eraser" ? "brush" : choice.tool })} />
        <${Slider} label="Size" min=${6} max=${60} value=${choice.size} shown=${`${choice.size} px`} onChange=${(size) => keep({ size })} />
        <${Slider} label="Density of the brush" min=${0.1} max=${1} step=${0.05} value=${choice.density} shown=${`${Math.round(choice.density * 100)} %`} onChange=${(density) => keep({ density })} />
        <div class="field"><label>Invent a layout of<select value=${choice.tissue} onChange=${(event) => keep({ tissue: event.target.value })}>${(facts?.tissues || ["colon"]).map((one) => html`<option key=${one} value=${one}>${one}</option>`)}</select></label>
          <div class="row"><${Button} icon="dice" onClick=${() => invent()} disabled=${!facts}>Invent<//>
          <label class="button"><${Icon} name="open" /><span>Import</span><input class="unseen" type="file" accept=${MASKS.join(",")} onChange=${(event) => { if (event.target.files[0]) read(event.target.files[0]); event.target.value = ""; }} /></label></div></div>
      </section>
      <${Canvas} layout=${layout} choice=${choice} side=${side} onDrop=${read} />
      <${Result} job=${job} layout=${layout} side=${side} />
      <${Words} job=${job} layout=${layout} choice=${choice} keep=${keep} make=${make} busy=${busy} />
    </div>`;
}

function Classes({ classes, value, nuclei, onChange }) {
  const counts = {};
  nuclei.forEach((one) => { counts[one.class] = (counts[one.class] || 0) + 1; });
  return html`<fieldset class="choice"><legend>Class</legend><div class="classes">${classes.map((one) => html`<label key=${one}><input type="radio" name="class" checked=${one === value} onChange=${() => onChange(one)} /><i style=${{ background: COLOURS[one] }}></i>${one}<small>${counts[one] || ""}</small></label>`)}</div></fieldset>`;
}

function Canvas({ layout, choice, side, onDrop }) {
  const canvas = useRef();
  const stroke = useRef(null);
  const [over, hover] = useState(false);
  const [cross, move] = useState(null);
  useEffect(() => {
    const pen = draw(canvas.current, layout.nuclei, side);
    if (cross) { pen.strokeStyle = getComputedStyle(canvas.current).color; pen.lineWidth = 1; pen.beginPath(); pen.arc(cross.x, cross.y, choice.size / 2, 0, 7); pen.moveTo(cross.x - 3, cross.y); pen.lineTo(cross.x + 3, cross.y); pen.moveTo(cross.x, cross.y - 3); pen.lineTo(cross.x, cross.y + 3); pen.stroke(); }
  });
  useEffect(() => {
    const watch = new ResizeObserver(() => draw(canvas.current, kept.now, side));
    watch.observe(canvas.current);
    return () => watch.disconnect();
  }, [side]);
  const place = (event) => { const box = canvas.current.getBoundingClientRect(); return { x: ((event.clientX - box.left) / box.width) * side, y: ((event.clientY - box.top) / box.height) * side }; };
  const act = ({ x, y }, first) => {
    const { tool, size, kind, density } = choice;
    if (tool === "eraser") return layout.set(kept.now.filter((one) => !touched(one, x, y, size / 3)));
    if (tool === "stamp") { if (first) layout.set([...kept.now, shapeAt(x, y, size, kind)]); return; }
    const spread = size * (1.9 - density);
    const added = [];
    for (let attempt = 0; attempt < 4; attempt++) {
      const at = first && attempt === 0 ? { x, y } : { x: x + (Math.random() - 0.5) * 2 * spread, y: y + (Math.random() - 0.5) * 2 * spread };
      const room = (size / 2) * (0.75 + (1 - density) * 0.9);
      if (isFree([...kept.now, ...added], at.x, at.y, room)) added.push(shapeAt(at.x, at.y, size * (0.8 + Math.random() * 0.4), kind));
    }
    if (added.length) layout.set([...kept.now, ...added]);
  };
  const down = (event) => { event.preventDefault(); canvas.current.focus(); canvas.current.setPointerCapture(event.pointerId); layout.begin(); stroke.current = place(event); move(null); act(stroke.current, true); };
  const drag = (event) => {
    if (!stroke.current) return;
    const next = place(event);
    if (Math.hypot(next.x - stroke.current.x, next.y - stroke.current.y) < Math.max(2, choice.size * 0.35)) return;
    stroke.current = next;
    act(next, false);
  };
  const keys = (event) => {
    const step = (event.shiftKey ? 16 : 4) , at = cross || { x: side / 2, y: side / 2 };
    const way = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
    if (way) { event.preventDefault(); move({ x: Math.max(0, Math.min(side, at.x + way[0])), y: Math.max(0, Math.min(side, at.y + way[1])) }); }
    else if (event.key === " " || event.key === "Enter") { event.preventDefault(); layout.begin(); act(at, true); move(at); say(`${kept.now.length} nuclei`); }
  };
  return html`<section class="stage canvas" aria-label="Nuclei">
    <div class=${`frame ${over ? "over-drop" : ""}`} onDragOver=${(event) => { event.preventDefault(); hover(true); }} onDragLeave=${() => hover(false)}
      onDrop=${(event) => { event.preventDefault(); hover(false); if (event.dataTransfer.files[0]) onDrop(event.dataTransfer.files[0]); }}>
      ${!layout.nuclei.length && html`<${Empty} title="Paint here"><p>Draw with the brush, drop a mask, or press <b>Invent</b>.<br />With keys: arrows move, space paints.</p><//>`}
      <canvas ref=${canvas} tabindex="0" role="application" aria-label=${`Canvas with ${layout.nuclei.length} nuclei. Arrow keys move the cursor, space paints.`}
        onPointerDown=${down} onPointerMove=${drag} onPointerUp=${() => { stroke.current = null; }} onPointerCancel=${() => { stroke.current = null; }} onKeyDown=${keys}></canvas></div>
    <div class="row wrap"><${Button} quiet icon="undo" label="Undo" disabled=${!layout.canUndo} onClick=${() => layout.undo()} /><${Button} quiet icon="redo" label="Redo" disabled=${!layout.canRedo} onClick=${() => layout.redo()} />
      <${Button} quiet icon="bin" label="Remove all nuclei" disabled=${!layout.nuclei.length} onClick=${() => layout.change([])} /><span class="grow"></span><span class="note">${layout.nuclei.length} nuclei</span></div></section>`;
}

function Result({ job, layout, side }) {
  const [overlay, show] = useState(0.5);
  const canvas = useRef();
  const picture = job?.pictures[0];
  useEffect(() => { if (canvas.current) draw(canvas.current, overlay ? layout.nuclei : [], side, { fill: overlay * 0.4, line: 1 }); });
  const running = job && ["queued", "running"].includes(job.state);
  return html`<section class="stage result" aria-label="Picture"><div class="frame">
      ${picture ? html`<img src=${picture.url} alt=${`Synthetic picture from the painted nuclei: ${picture.prompt}`} />` : running ? html`<div class="tile ghost working"><span>${job.state === "queued" ? "waiting" : `step ${job.step} of ${job.num_steps}`}</span></div>` : html`<${Empty} title="The picture"><p>It appears here.</p><//>`}
      ${picture && html`<canvas class="view" ref=${canvas} aria-hidden="true" style=${{ opacity: overlay ? 1 : 0 }}></canvas>`}
      ${picture && running && html`<div class="tile ghost working"></div>`}</div>
    ${picture && html`<${Slider} label="Overlay of the nuclei" min=${0} max=${1} step=${0.05} value=${overlay} shown=${overlay ? `${Math.round(overlay * 100)} %` : "off"} onChange=${show} />`}
    ${job?.state === "failed" && html`<p class="wrong" role="alert">${job.error?.came}. ${job.error?.do}</p>`}</section>`;
}

function Words({ job, layout, choice, keep, make, busy }) {
  const picture = job?.pictures[0];
  const running = job && ["queued", "running"].includes(job.state);
  return html`<section class="card panel words" aria-label="What to make"><${Prompt} value=${choice.prompt} onChange=${(prompt) => keep({ prompt })} onSend=${make} />
      <div class="settings"><${Choice} label="Preset" value=${choice.preset} onChange=${(preset) => keep({ preset })} options=${["fast", "balanced", "paper"].map((value) => ({ value, label: value }))} />
        <${Seed} value=${choice.seed} onChange=${(seed) => keep({ seed })} />
        <${Slider} label="Weight of the mask" min=${0} max=${2} step=${0.1} value=${choice.weight} onChange=${(weight) => keep({ weight })} /></div>
      <div class="row wrap"><${Button} kind="main" icon="make" disabled=${busy || !layout.nuclei.length || !choice.prompt.trim()} onClick=${make}>Make the picture<//>
        ${running && html`<${Button} icon="close" onClick=${() => cancel(job)}>Cancel<//>`}
        ${picture && html`<${Button} icon="eye" onClick=${() => update({ open: { job: job.id, name: picture.name } })}>Where it comes from<//>`}</div></section>`;
}
