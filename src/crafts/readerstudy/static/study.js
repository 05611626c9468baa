// One item: keyboard, zoom, marks, time, and an answer that is saved at every change.
const form = document.getElementById("answer");
if (form) read(form);
else onEnter(() => document.getElementById("go")?.click());

function onEnter(act) {
  addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.target.closest("a, button, textarea")) act();
  });
}

function read(form) {
  const frame = document.getElementById("frame");
  const picture = document.getElementById("picture");
  const saved = document.getElementById("saved");
  const marks = JSON.parse(form.dataset.marks);
  const canMark = document.getElementById("unmark") !== null;
  let seconds = Number(form.dataset.seconds);
  let idle = Number(form.dataset.idle);
  let touched = performance.now();
  let before = touched;
  let zoom = 1;
  let queue = Promise.resolve();

  // Time counts while the page is seen and somebody was active in the last 20 seconds.
  for (const name of ["pointermove", "pointerdown", "keydown", "wheel", "scroll", "touchstart"])
    addEventListener(name, () => { touched = performance.now(); }, { passive: true, capture: true });
  setInterval(() => {
    const now = performance.now();
    const active = document.visibilityState === "visible" && now - touched < 20000;
    if (active) seconds += (now - before) / 1000;
    else idle += (now - before) / 1000;
    before = now;
  }, 250);

  function collect() {
    const fields = new FormData(form);
    const answer = { artefacts: marks, seconds, idle_seconds: idle };
    for (const name of ["realness", "confidence", "rating"])
      if (fields.get(name) !== null) answer[name] = Number(fields.get(name));
    for (const name of ["diagnosis", "remark"])
      if (fields.get(name) !== null) answer[name] = fields.get(name);
    return answer;
  }

  // Messages go one after the other, each until it is acknowledged; its key makes it count once.
  function save(done) {
    const key = [...crypto.getRandomValues(new Uint8Array(16))]
      .map((byte) => byte.toString(16).padStart(2, "0")).join("");
    const body = JSON.stringify({ ...collect(), key, done });
    queue = queue.then(() => send(body));
    return queue;
  }

  async function send(body) {
    for (let wait = 250; ; wait = Math.min(wait * 2, 4000)) {
      saved.textContent = "Saving …";
      try {
        const answer = await fetch(form.action, {
          method: "POST", body, headers: { "content-type": "application/json" },
        });
        if (answer.ok || answer.status === 409) {
          const told = await answer.json();
          saved.textContent = told.saved ? "Saved" : told.said;
          return told;
        }
      } catch { /* the server is away; try again */ }
      saved.textContent = "Not saved yet; trying again. Keep this page open.";
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }

  form.addEventListener("change", () => save(false));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const told = await save(true);
    if (told.saved) location.assign(form.dataset.up + told.next);
  });

  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("textarea")) return;
    const choice = form.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
    if (choice) { choice.checked = true; save(false); event.preventDefault(); }
    else if (event.key === "Enter" && !event.target.closest("a, button")) { event.preventDefault(); form.requestSubmit(); }
    else if (event.key === "b") document.getElementById("back")?.click();
    else if (event.key === "+" || event.key === "=") scale(zoom * 1.5);
    else if (event.key === "-") scale(zoom / 1.5);
    else if (event.key === "0") scale(1);
    else if (event.key === " " && canMark && event.target === frame) { event.preventDefault(); mark(middle()); }
  });

  function scale(wanted) {
    const [x, y] = middle();
    zoom = Math.min(Math.max(wanted, 1), 16);
    picture.style.width = `${100 * zoom}%`;
    frame.scrollLeft = x * picture.clientWidth - frame.clientWidth / 2;
    frame.scrollTop = y * picture.clientHeight - frame.clientHeight / 2;
    show();
  }

  function middle() {
    const x = (frame.scrollLeft + frame.clientWidth / 2 - picture.offsetLeft) / picture.clientWidth;
    const y = (frame.scrollTop + frame.clientHeight / 2 - picture.offsetTop) / picture.clientHeight;
    return [clamp(x), clamp(y)];
  }

  function clamp(share) { return Math.min(Math.max(share, 0), 1); }

  function mark(place) {
    if (marks.length < 50) marks.push(place);
    show();
    save(false);
  }

  function show() {
    frame.querySelectorAll(".mark-place").forEach((dot) => dot.remove());
    for (const [x, y] of marks) {
      const dot = document.createElement("span");
      dot.className = "mark-place";
      dot.style.left = `${picture.offsetLeft + x * picture.clientWidth}px`;
      dot.style.top = `${picture.offsetTop + y * picture.clientHeight}px`;
      frame.append(dot);
    }
  }

  document.getElementById("in").addEventListener("click", () => scale(zoom * 1.5));
  document.getElementById("out").addEventListener("click", () => scale(zoom / 1.5));
  document.getElementById("fit").addEventListener("click", () => scale(1));
  if (canMark) {
    document.getElementById("unmark").addEventListener("click", () => { marks.pop(); show(); save(false); });
    picture.addEventListener("click", (event) =>
      mark([clamp(event.offsetX / picture.clientWidth), clamp(event.offsetY / picture.clientHeight)]));
  }
  picture.complete ? show() : picture.addEventListener("load", show);
  frame.focus({ preventScroll: true });
}
