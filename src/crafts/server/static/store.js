// What all views share: jobs, the model, words; and what a visitor chose, kept in this browser.
import { useEffect, useState } from "./vendor/preact-htm.js";
import { call, follow, get, post, remove } from "./api.js";

const state = {
  jobs: new Map(), next: null, loaded: false, about: null, words: null, layouts: null,
  online: true, closed: false, pins: [], open: null, toasts: [], said: "",
};
const listeners = new Set();
let drawn = false;

function changed() {
  if (drawn) return;
  drawn = true;
  requestAnimationFrame(() => { drawn = false; listeners.forEach((listener) => listener()); });
}

export function update(values) { Object.assign(state, values); changed(); }
export const current = () => state;

export function useStore() {
  const [, draw] = useState(0);
  useEffect(() => {
    const listener = () => draw((n) => n + 1);
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, []);
  return state;
}

export function say(text) { update({ said: text }); }

export function toast(text, level = "plain") {
  const one = { text, level, id: Math.random() };
  update({ toasts: [...state.toasts.slice(-2), one], said: text });
  setTimeout(() => update({ toasts: state.toasts.filter((other) => other.id !== one.id) }), 6000);
}

export const complain = (error) => {
  if (error.status === 401) update({ closed: true });
  else toast(error.message, "bad");
};

export const jobsOf = (...kinds) =>
  [...state.jobs.values()].filter((job) => kinds.includes(job.kind)).sort((a, b) => b.number - a.number);

/** Let what waits and what runs wait, or go on. */
export const pause = (paused) => call("PUT", "/queue", { paused }).then((queue) => update({ about: { ...state.about, ...queue } })).catch(complain);

export const busy = () => [...state.jobs.values()].filter((job) => ["queued", "running"].includes(job.state));

function took(job) {
  const before = state.jobs.get(job.id);
  if (before && before.at > job.at) return;  // an answer that events have overtaken
  state.jobs.set(job.id, job);
  if (before && job.pictures.length > before.pictures.length)
    state.said = `${job.pictures.length} of ${job.total} pictures are finished`;
  if (before && before.state !== job.state) {
    if (job.state === "failed") toast(job.error ? `${job.error.where}: ${job.error.came}. ${job.error.do}` : "A job failed.", "bad");
    if (job.state === "done" && job.kind !== "pictures") toast(`${titleOf(job)} is ready.`, "good");
    if (before.state === "queued" && job.state === "running") loadAbout();
  }
  changed();
}

export const titleOf = (job) =>
  ({ pictures: "Pictures", dataset: "The data set", evaluate: "The evaluation", audit: "The audit" })[job.kind];

export async function loadJobs(more = false) {
  const page = await get(`/jobs?limit=24${more && state.next ? `&before=${state.next}` : ""}`);
  page.jobs.forEach(took);
  update({ next: page.next, loaded: true });
}

export async function loadAbout() {
  const about = await get("/about");
  update({ about });
  if (!about.ready && !about.fault) setTimeout(() => loadAbout().catch(() => {}), 700);
}

export async function send(request) {
  const key = [...crypto.getRandomValues(new Uint8Array(12))].map((n) => n.toString(16).padStart(2, "0")).join("");
  const job = await post("/jobs", request, { key });
  took(job);
  return job;
}

export const cancel = (job) => post(`/jobs/${job.id}/cancel`).then(took).catch(complain);

export async function forget(job) {
  try {
    await remove(`/jobs/${job.id}`);
    state.jobs.delete(job.id);
    update({ pins: state.pins.filter((pin) => pin.job !== job.id) });
  } catch (error) { complain(error); }
}

export async function begin() {
  try {
    const session = await get("/session");
    if (!session.open) return update({ closed: true });
    update({ closed: false });
    await Promise.all([loadAbout(), loadJobs()]);
    get("/words").then((words) => update({ words })).catch(() => {});
    follow({
      job: took,
      gone: (id) => { state.jobs.delete(id); changed(); },
      online: (online) => {
        if (online && !state.online) { loadJobs().catch(() => {}); loadAbout().catch(() => {}); }
        if (online !== state.online) update({ online });
      },
    });
  } catch (error) {
    if (error.status === 401) return update({ closed: true });
    update({ online: false });
    setTimeout(begin, 2000);
  }
}

/** A value that stays in this browser. */
export function useKept(name, first) {
  const [value, set] = useState(() => {
    try { return { ...first, ...JSON.parse(localStorage.getItem(`crafts.${name}`) || "{}") }; } catch { return first; }
  });
  const keep = (part) => set((old) => {
    const next = { ...old, ...(typeof part === "function" ? part(old) : part) };
    try { localStorage.setItem(`crafts.${name}`, JSON.stringify(next)); } catch { /* private window */ }
    return next;
  });
  return [value, keep];
}
