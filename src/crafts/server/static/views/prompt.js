// One prompt: completion from the words of the model, chips that write into it, hints on words it does not know.
import { html, useEffect, useMemo, useRef, useState } from "../vendor/preact-htm.js";
import { post } from "../api.js";
import { useStore } from "../store.js";
import { Icon } from "../ui.js";

const MOST = 7;

function endings(words, part) {
  if (!words || part.length < 2) return [];
  const small = part.toLowerCase();
  const found = words.words.filter(([word]) => word.startsWith(small) && word !== small).slice(0, MOST);
  return found.map(([word, tiles]) => ({ word, tiles }));
}

/** The word before the cursor: [start, text]. */
function wordAt(text, place) {
  const found = /[\p{L}\p{N}&'-]+$/u.exec(text.slice(0, place));
  return found ? [found.index, found[0]] : [place, ""];
}

export function Prompt({ value, onChange, onSend, label = "Prompt", rows = 1, hint = true }) {
  const { words } = useStore();
  const [place, move] = useState(null);
  const [chosen, choose] = useState(-1);
  const area = useRef();
  const [start, part] = place == null ? [0, ""] : wordAt(value, place);
  const list = useMemo(() => endings(words, part), [words, part]);
  const shown = place != null && list.length > 0;

  const take = ({ word }) => {
    const rest = value.slice(place);
    const next = value.slice(0, start) + word + (/^[\s,.;:]/.test(rest) ? rest : ` ${rest}`);
    onChange(next);
    move(null);
    choose(-1);
    requestAnimationFrame(() => { area.current.focus(); area.current.setSelectionRange(start + word.length + 1, start + word.length + 1); });
  };

  const pressed = (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); move(null); return onSend?.(); }
    if (!shown) return;
    if (event.key === "ArrowDown") { event.preventDefault(); choose(chosen + 1 < list.length ? chosen + 1 : -1); }
    else if (event.key === "ArrowUp") { event.preventDefault(); choose(chosen < 0 ? list.length - 1 : chosen - 1); }
    else if ((event.key === "Enter" || event.key === "Tab") && chosen >= 0) { event.preventDefault(); take(list[chosen]); }
    else if (event.key === "Escape") { event.preventDefault(); event.stopPropagation(); move(null); }
  };

  return html`<div class="prompt">
    <label class="unseen" for="prompt">${label}</label>
    <div class="typing"><textarea id="prompt" ref=${area} rows=${rows} value=${value} maxlength="20000" spellcheck="false" autocomplete="off"
      placeholder="What the picture shows: organ, diagnosis, grade, power …"
      role="combobox" aria-expanded=${String(shown)} aria-controls="endings" aria-autocomplete="list" aria-describedby="prompt-hint"
      aria-activedescendant=${shown && chosen >= 0 ? `ending-${chosen}` : undefined}
      onInput=${(event) => { onChange(event.target.value); move(event.target.selectionStart); choose(-1); }}
      onKeyDown=${pressed} onBlur=${() => setTimeout(() => move(null), 120)}></textarea>
    <ul id="endings" role="listbox" aria-label="Words that the model knows" hidden=${!shown}>
      ${list.map((one, index) => html`<li key=${one.word} id=${`ending-${index}`} role="option" aria-selected=${String(index === chosen)}
        onMouseDown=${(event) => { event.preventDefault(); take(one); }}><b>${one.word.slice(0, part.length)}</b>${one.word.slice(part.length)}<small>${one.tiles} tiles</small></li>`)}
    </ul></div>
    <div id="prompt-hint">${hint && html`<${Hint} text=${value} typed=${place != null ? part : ""} onChange=${onChange} />`}</div>
  </div>`;
}

function Hint({ text, typed, onChange }) {
  const [found, set] = useState(null);
  const { about } = useStore();
  useEffect(() => {
    if (!text.trim()) return set(null);
    const wait = setTimeout(() => post("/words/check", { prompt: text.slice(0, 20000) }).then(set).catch(() => set(null)), 350);
    return () => clearTimeout(wait);
  }, [text]);
  if (!found) return null;
  const long = found.tokens > found.limit;
  return html`
    ${found.unknown.filter((one) => one.word !== typed).map((one) => html`<p key=${one.word} class="hint"><${Icon} name="help" /><span><b>${about?.model || "The model"}</b> has met no picture with <q>${one.word}</q>; it will show other tissue that only looks right.
      ${one.nearest.length > 0 && html` It knows ${one.nearest.map((near, index) => html`${index ? " " : ""}<button type="button" class="link" key=${near} onClick=${() => onChange(text.replace(one.word, near))}>${near}</button>`)}`}</span></p>`)}
    ${long && html`<p class="hint"><${Icon} name="help" /><span>${found.tokens} tokens: long prompts are read in parts of ${found.limit}, and their end counts less.</span></p>`}`;
}

/** Words by kind, which are written into the sentence or taken out of it. */
export function Chips({ value, onChange }) {
  const { words } = useStore();
  const [open, set] = useState("");
  const groups = (words?.groups || []).filter((group) => group.words.length);
  if (!groups.length) return null;
  const has = (word) => new RegExp(`(^|[^\\p{L}])${word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}($|[^\\p{L}])`, "iu").test(value);
  const toggle = (word) => {
    if (!has(word)) return onChange(value.trim() ? `${value.trim().replace(/[,.]$/, "")}, ${word}` : word);
    onChange(value.replace(new RegExp(`(,?\\s*)${word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}`, "i"), "").replace(/^[,\s]+/, ""));
  };
  const group = groups.find((one) => one.name === open);
  return html`<div class="chips"><div class="row wrap" role="group" aria-label="Words by kind">
      ${groups.map((one) => html`<button type="button" key=${one.name} class="chip head" aria-expanded=${String(one.name === open)} onClick=${() => set(one.name === open ? "" : one.name)}>${one.name}</button>`)}</div>
    ${group && html`<div class="row wrap words" role="group" aria-label=${group.name}>${group.words.map((word) => html`<button type="button" key=${word} class="chip" aria-pressed=${String(has(word))} onClick=${() => toggle(word)}>${word}</button>`)}</div>`}</div>`;
}
