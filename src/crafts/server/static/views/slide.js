// Slide: a deep zoom into large pictures; squares are cut when they are looked at.
import { html, useEffect, useRef, useState } from "../vendor/preact-htm.js";
import { get } from "../api.js";
import { complain } from "../store.js";
import { Button, Empty } from "../ui.js";

const LENGTHS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000];

/** OpenSeadragon is a script of the old kind: it leaves a global. */
function library() {
  if (window.OpenSeadragon) return Promise.resolve(window.OpenSeadragon);
  return new Promise((done, fail) => {
    const script = document.createElement("script");
    script.src = "/static/vendor/openseadragon.js";
    script.onload = () => done(window.OpenSeadragon);
    script.onerror = () => fail(new Error("The viewer could not be loaded."));
    document.head.append(script);
  });
}

export function Slide() {
  const [slides, set] = useState(null);
  const [open, show] = useState(null);
  const wanted = location.hash.split("?")[1];
  useEffect(() => { get("/slides").then(({ slides: found }) => { set(found); show(found.find((one) => one.id === wanted) || found[0] || null); }).catch((error) => { set([]); complain(error); }); }, []);
  if (slides && !slides.length) return html`<div class="head"><h1>Slide</h1></div><${Empty} title="No slide here yet"><p>Ask for a size beyond one tile in <a href="#/make">Make</a>, under More. Whoever runs the server can put slides (SVS, NDPI, MRXS, TIFF …) into the folder <b>shared</b> of its data folder; they are read where they lie.</p><//>`;
  return html`<div class="head"><h1>Slide</h1></div><div class="slide">
    <nav class="list" aria-label="Slides">${(slides || []).map((one) => html`<button type="button" class="item" key=${one.id} aria-current=${one === open ? "true" : undefined} onClick=${() => show(one)}>${one.name}</button>`)}</nav>
    ${open && html`<${Viewer} key=${open.id} slide=${open} />`}</div>`;
}

function Viewer({ slide }) {
  const box = useRef();
  const viewer = useRef();
  const [facts, know] = useState(null);
  const [scale, measure] = useState(null);
  useEffect(() => {
    let ended = false;
    Promise.all([get(`/slides/${slide.id}`), library()]).then(([found, OpenSeadragon]) => {
      if (ended) return;
      know(found);
      viewer.current = OpenSeadragon({
        element: box.current, drawer: "canvas", showNavigationControl: false, showNavigator: true, navigatorPosition: "BOTTOM_RIGHT", animationTime: 0.6, maxZoomPixelRatio: 4, gestureSettingsMouse: { clickToZoom: false }, crossOriginPolicy: false,
        tileSources: { width: found.width, height: found.height, tileSize: found.tile_size, tileOverlap: found.overlap, minLevel: 0, maxLevel: found.max_level, getTileUrl: (level, x, y) => `/api/v1/slides/${slide.id}/${level}/${x}_${y}.jpg` },
      });
      if (found.mpp) viewer.current.addHandler("update-viewport", () => {
        const zoom = viewer.current.viewport.viewportToImageZoom(viewer.current.viewport.getZoom(true));
        const length = LENGTHS.find((one) => (one / found.mpp) * zoom > 70) || 10000;
        measure({ length, width: Math.round((length / found.mpp) * zoom) });
      });
    }).catch(complain);
    return () => { ended = true; viewer.current?.destroy(); };
  }, []);
  const middle = () => { const { viewport } = viewer.current; const at = viewport.viewportToImageCoordinates(viewport.getCenter(true)); return `x=${Math.max(0, Math.round(at.x))}&y=${Math.max(0, Math.round(at.y))}`; };
  const save = () => Object.assign(document.createElement("a"), { href: `/api/v1/slides/${slide.id}/tile.png?${middle()}`, download: "tile.png" }).click();
  const zoom = (factor) => { viewer.current?.viewport.zoomBy(factor); viewer.current?.viewport.applyConstraints(); };
  return html`<section aria-label=${slide.name}><div class="viewer"><div ref=${box} style=${{ width: "100%", height: "100%" }} role="application" aria-label=${`Deep zoom of ${slide.name}; arrow keys move, plus and minus zoom`}></div>
      <div class="zoom"><${Button} quiet icon="plus" label="Nearer" onClick=${() => zoom(1.6)} /><${Button} quiet icon="minus" label="Farther" onClick=${() => zoom(1 / 1.6)} /><${Button} quiet icon="open" label="The whole" onClick=${() => viewer.current?.viewport.goHome()} />
        <${Button} quiet icon="save" label="Save the middle as a tile of the model's size and power" disabled=${!facts} onClick=${save} /></div>
      ${scale && html`<p class="scale"><i style=${{ width: `${scale.width}px` }}></i>${scale.length < 1000 ? `${scale.length} µm` : `${scale.length / 1000} mm`}</p>`}</div>
    ${facts && html`<p class="note">${facts.width.toLocaleString()} × ${facts.height.toLocaleString()} px${facts.mpp ? `, ${facts.mpp.toPrecision(3)} µm per pixel` : ", resolution unknown"}</p>`}</section>`;
}
