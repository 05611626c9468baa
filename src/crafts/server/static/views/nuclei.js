// Nuclei as outlines: shapes, hits, and how they are drawn.
export const COLOURS = {
  epithelial: "#e69f00", neoplastic: "#d6453d", inflammatory: "#3b8ed6", lymphocyte: "#56b4e9", plasma: "#7a6ff0", neutrophil: "#27b0a0", eosinophil: "#f07db4",
  connective: "#4fa64f", dead: "#8c8c8c", unknown: "#b9a8c9",
};

/** A nucleus around a place: a smooth outline with a random turn, longer where its class is. */
export function shapeAt(x, y, size, kind, turn = Math.random() * Math.PI) {
  const long = { connective: 2.1, neoplastic: 1.35, epithelial: 1.4, lymphocyte: 1.05 }[kind] || 1.2;
  const a = (size / 2) * Math.sqrt(long) * (0.92 + Math.random() * 0.16), b = (size / 2) / Math.sqrt(long) * (0.92 + Math.random() * 0.16);
  const wave = Math.random() * 6.28;
  const points = Array.from({ length: 22 }, (_, index) => {
    const angle = (index / 22) * 2 * Math.PI, rim = 1 + 0.05 * Math.sin(2 * angle + wave);
    const u = a * rim * Math.cos(angle), v = b * rim * Math.sin(angle);
    return [round(x + u * Math.cos(turn) - v * Math.sin(turn)), round(y + u * Math.sin(turn) + v * Math.cos(turn))];
  });
  return { class: kind, points };
}

const round = (value) => Math.round(value * 10) / 10;
const middles = new WeakMap();

/** Middle and radius of a nucleus. */
export function middle(nucleus) {
  if (!middles.has(nucleus)) {
    const n = nucleus.points.length;
    const x = nucleus.points.reduce((sum, [value]) => sum + value, 0) / n, y = nucleus.points.reduce((sum, [, value]) => sum + value, 0) / n;
    middles.set(nucleus, { x, y, r: nucleus.points.reduce((sum, [px, py]) => sum + Math.hypot(px - x, py - y), 0) / n });
  }
  return middles.get(nucleus);
}

export const isFree = (nuclei, x, y, r) => nuclei.every((one) => { const m = middle(one); return Math.hypot(m.x - x, m.y - y) > (m.r + r) * 0.95; });
export const touched = (nucleus, x, y, r) => { const m = middle(nucleus); return Math.hypot(m.x - x, m.y - y) < m.r + r; };

/** Draw nuclei; the picture of a canvas is as fine as the screen. */
export function draw(canvas, nuclei, side, { fill = 0.85, line = 1, back } = {}) {
  const width = Math.max(1, Math.round(canvas.clientWidth * (window.devicePixelRatio || 1)));
  if (canvas.width !== width) { canvas.width = width; canvas.height = width; }
  const pen = canvas.getContext("2d"), scale = width / side;
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, side, side);
  if (back) { pen.fillStyle = back; pen.fillRect(0, 0, side, side); }
  pen.lineWidth = line;
  for (const { class: kind, points } of nuclei) {
    pen.beginPath();
    points.forEach(([x, y], index) => (index ? pen.lineTo(x, y) : pen.moveTo(x, y)));
    pen.closePath();
    pen.globalAlpha = fill;
    pen.fillStyle = pen.strokeStyle = COLOURS[kind] || COLOURS.unknown;
    if (fill) pen.fill();
    pen.globalAlpha = 1;
    if (line) pen.stroke();
  }
  return pen;
}
