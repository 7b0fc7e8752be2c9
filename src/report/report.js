/* report.js - draws the data that stands in this page: curves, heat maps, tables, text. No libraries, no network.
 *
 * All text of runs reaches the document as text nodes; nothing is built from strings of HTML. */
(() => {
'use strict';
const data = JSON.parse(document.getElementById('data').textContent);
const runs = data.runs, many = runs.length > 1;
const byId = id => document.getElementById(id);
const isNum = v => typeof v === 'number' && isFinite(v);
const SVG = 'http://www.w3.org/2000/svg';

/* --- elements --- */
const put = (node, attrs, kids) => {
  for (const k in attrs) {
    const v = attrs[k];
    if (v === undefined || v === null || v === false) continue;
    if (k.startsWith('on')) node.addEventListener(k.slice(2), v);
    else if (k === 'style') for (const p in v) node.style.setProperty(p, v[p]);
    else node.setAttribute(k, v === true ? '' : v);
  }
  for (const kid of kids.flat(3)) if (kid !== null && kid !== undefined && kid !== false) node.append(kid);
  return node;
};
const el = (name, attrs, ...kids) => put(document.createElement(name), attrs, kids);
const svg = (name, attrs, ...kids) => put(document.createElementNS(SVG, name), attrs, kids);

/* --- numbers --- */
const minus = s => s.replace('-', '\u2212');
const fixed = (v, d) => isNum(v) ? minus(v.toFixed(d)) : '\u2013';
const group = v => isNum(v) ? Math.round(v).toString().replace(/\B(?=(\d{3})+$)/g, '\u2009') : '\u2013';
const si = v => {
  if (!isNum(v)) return '\u2013';
  const a = Math.abs(v);
  if (a >= 1e15) return minus(v.toExponential(1));
  const u = [[1e12, ' T'], [1e9, ' G'], [1e6, ' M'], [1e3, ' k']].find(([m]) => a >= m * .99995);
  if (!u) return minus(String(+v.toPrecision(3)));
  return minus(String(+(v / u[0]).toPrecision(3))) + u[1].replace(' ', '\u2009');
};
/* The same with three digits throughout, for columns. */
const si3 = v => {
  const t = si(v), m = /^([\u2212]?[\d.]+)(\u2009.)$/.exec(t);
  return m ? (+m[1].replace('\u2212', '-')).toPrecision(3).replace('-', '\u2212') + m[2] : t;
};
const short = v => !isNum(v) ? '\u2013' : v === 0 ? '0' : Math.abs(v) >= 1e4 ? si(v) : Math.abs(v) < 1e-3 ? minus(v.toExponential(1)) : minus(String(+v.toPrecision(3)));
const percent = v => !isNum(v) ? '\u2013' : minus((100 * v).toFixed(Math.abs(v) < .0995 ? 1 : 0)) + '\u2009%';
const times = v => !isNum(v) ? '\u2013' : v.toFixed(v < 9.95 ? 2 : 1) + '\u00d7';
const clock = s => {
  if (!isNum(s)) return '\u2013';
  if (s < 90) return Math.round(s) + '\u2009s';
  const m = Math.round(s / 60);
  return m < 60 ? m + '\u2009min' : Math.floor(m / 60) + '\u2009h\u2009' + String(m % 60).padStart(2, '0') + '\u2009min';
};
const median = list => { const s = list.filter(isNum).sort((a, b) => a - b); return s.length ? s[s.length >> 1] : NaN; };
const last = s => { if (s) for (let i = s.y.length - 1; i >= 0; i--) if (isNum(s.y[i])) return s.y[i]; return NaN; };
const sum = a => a.reduce((t, v) => t + (isNum(v) ? v : 0), 0);
const color = i => `var(--c${i % 8})`;
/* Experts get hues a golden angle apart, with two depths of colour, so that neighbours differ; their numbers stand beside. */
const hue = e => `oklch(calc(var(--expert-l) ${e % 2 ? '-' : '+'} .025) calc(var(--expert-c) ${e % 2 ? '+' : '-'} .012) ${(25 + e * 137.508) % 360})`;
const mix = (v, name) => `color-mix(in oklab, var(${name}) ${Math.round(100 * v)}%, var(--bg))`;

/* Text as the model sees it: spaces, breaks and unseen characters get a sign. */
const seen = text => {
  const out = [];
  for (const ch of text === '' ? '\u2205' : text) {
    const c = ch.codePointAt(0);
    const sign = ch === ' ' ? '\u00b7' : ch === '\n' ? '\u21b5' : ch === '\t' ? '\u21e5' : ch === '\r' ? '\u240d' : c < 32 ? String.fromCharCode(0x2400 + c)
      : c === 127 ? '\u2421' : /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cn}\p{Co}\p{Cs}]/u.test(ch) ? 'U+' + c.toString(16).toUpperCase().padStart(4, '0') : null;
    if (sign) out.push(el('s', {}, sign));
    else if (out.length && typeof out[out.length - 1] === 'string') out[out.length - 1] += ch;
    else out.push(ch);
  }
  return out;
};
const readable = text => text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, c => c === '\n' || c === '\t' ? c : '\ufffd');

/* --- controls --- */
const segments = (title, options, value, change) => {
  const name = 's' + (segments.n = (segments.n || 0) + 1);
  return el('fieldset', {}, el('legend', {}, title), el('span', { class: 'seg' }, options.map(([v, text]) =>
    el('label', {}, el('input', { type: 'radio', name, value: v, checked: v === value, onchange: () => change(v) }), text))));
};
const redraws = [];
const onWidth = (host, draw) => {
  let width = 0;
  const go = force => { const w = host.clientWidth; if (w && (force || w !== width)) { width = w; draw(w); } };
  new ResizeObserver(() => go(false)).observe(host);
  go(true);
  return () => go(true);
};

/* --- axes --- */
const niceTicks = (lo, hi, count) => {
  const raw = (hi - lo) / Math.max(1, count), p = 10 ** Math.floor(Math.log10(raw || 1)), f = raw / p;
  const step = p * (f <= 1 ? 1 : f <= 2 ? 2 : f <= 2.5 ? 2.5 : f <= 5 ? 5 : 10), out = [];
  for (let k = Math.ceil(lo / step - 1e-9); k * step <= hi + step * 1e-9; k++) out.push(+(k * step).toPrecision(12));
  return out;
};
const logTicks = (lo, hi, room) => {
  const out = [], decades = Math.log10(hi / lo), marks = decades > 3 || room < 3 ? [1] : decades > 1.5 ? [1, 3] : [1, 2, 5];
  for (let d = Math.floor(Math.log10(lo)); d <= Math.log10(hi); d++) for (const m of marks) { const v = m * 10 ** d; if (v >= lo * .999 && v <= hi * 1.001) out.push(v); }
  return out;
};
const tickText = ticks => {
  const step = ticks.length > 1 ? Math.abs(ticks[1] - ticks[0]) : 1, top = Math.max(...ticks.map(Math.abs), 0);
  if (top >= 1e4) return si;
  if (top && top < 1e-3) return v => v === 0 ? '0' : minus(v.toExponential(Math.abs(v / 10 ** Math.floor(Math.log10(Math.abs(v))) % 1) > 1e-9 ? 1 : 0));
  let d = Math.max(0, Math.min(6, -Math.floor(Math.log10(step) + 1e-9)));
  while (d < 7 && ticks.some(t => Math.abs(t - +t.toFixed(d)) > step * 1e-6)) d++;
  return v => minus(v.toFixed(d));
};
const textWidth = (() => {
  const c = document.createElement('canvas').getContext('2d');
  const family = getComputedStyle(document.body).fontFamily;
  return (text, size) => { c.font = `${size}px ${family}`; return c.measureText(text).width; };
})();
/* Moves labels apart by at least `gap`, keeping their order and staying within lo..hi. */
const spread = (labels, gap, lo, hi) => {
  labels.sort((a, b) => a.at - b.at);
  let floor = lo;
  for (const l of labels) { l.y = Math.max(l.at, floor); floor = l.y + gap; }
  let ceil = hi;
  for (let i = labels.length - 1; i >= 0; i--) { labels[i].y = Math.min(labels[i].y, ceil); ceil = labels[i].y - gap; }
};
const robustRange = (list, clip) => {
  let lo = Infinity, hi = -Infinity;
  const all = [];
  for (const s of list) for (let i = 0; i < s.y.length; i++) if (isNum(s.y[i])) all.push(s.y[i]);
  if (!all.length) return null;
  for (const v of all) { if (v < lo) lo = v; if (v > hi) hi = v; }
  let cut = false;
  if (clip) {                             /* the first steps of a run would flatten all that follows; a curve of few points is shown whole */
    const late = [];
    for (const s of list) for (let i = Math.floor(s.y.length * .06); i < s.y.length; i++) if (isNum(s.y[i])) late.push(s.y[i]);
    const top = late.length ? late.reduce((a, b) => Math.max(a, b), -Infinity) : hi, frame = top + .06 * (top - lo);
    if (top > lo && hi > frame + .25 * (frame - lo)) { hi = frame; cut = true; }
  }
  if (hi === lo) { const d = Math.abs(hi) * .05 || .5; lo -= d; hi += d; }
  else if (lo > 0 && lo < .25 * hi) lo = 0;
  else lo = lo > 0 ? Math.max(0, lo - .06 * (hi - lo)) : lo;
  return { lo, hi, cut };
};

let chartCount = 0;
/* A line chart in `host`. spec(): { series: [{ name, color, x, y, faint, thin, label, end }], x: {text, format}, y: {text, format}, title, height, clip, log, zero } */
const chart = (host, spec) => {
  host.classList.add('chart');
  const id = ++chartCount, live = el('p', { class: 'sr', 'aria-live': 'polite' });
  return onWidth(host, width => {
    const s = spec(), shown = s.series.filter(c => c.y.some(isNum));
    host.replaceChildren();
    if (!shown.length) { host.append(el('p', { class: 'note' }, s.none || 'Nothing was logged.')); return; }
    const range = robustRange(shown, s.clip);
    if (s.zero) range.lo = Math.min(0, range.lo);
    if (s.top !== undefined) range.hi = Math.max(range.hi, s.top);
    const height = s.height || 340, small = height < 220, top = small ? 24 : 30, bottom = small ? 36 : 44, size = 13;
    const yTicks = niceTicks(range.lo, range.hi, small ? 4 : 6), yText = s.y.format || tickText(yTicks);
    if (!s.clip || !range.cut) { const step = yTicks.length > 1 ? yTicks[1] - yTicks[0] : 0; if (step && range.hi - yTicks[yTicks.length - 1] > .6 * step) yTicks.push(yTicks[yTicks.length - 1] + step); range.hi = Math.max(range.hi, yTicks[yTicks.length - 1]); }
    const left = 10 + Math.max(...yTicks.map(t => textWidth(yText(t), 12)));
    const named = shown.filter(c => c.label);
    const right = named.length ? Math.min(width * .34, 20 + Math.max(...named.map(c => textWidth(c.label, size)))) : 8;
    const W = width - left - right, H = height - top - bottom;
    let x0 = Infinity, x1 = -Infinity;
    for (const c of shown) for (let i = 0; i < c.x.length; i++) if (isNum(c.y[i]) && isNum(c.x[i])) { x0 = Math.min(x0, c.x[i]); x1 = Math.max(x1, c.x[i]); }
    const log = s.log && x1 > 0;
    if (log) { x0 = Infinity; for (const c of shown) for (let i = 0; i < c.x.length; i++) if (isNum(c.y[i]) && c.x[i] > 0) x0 = Math.min(x0, c.x[i]); }
    else x0 = Math.min(x0, 0 + (x0 > .2 * x1 ? x0 : 0));
    if (!(x1 > x0)) x1 = x0 + 1;
    const X = v => left + W * (log ? Math.log(Math.max(v, x0) / x0) / Math.log(x1 / x0) : (v - x0) / (x1 - x0));
    const Y = v => top + H * (1 - (v - range.lo) / (range.hi - range.lo));
    const xTicks = log ? logTicks(x0, x1, W / 70) : niceTicks(x0, x1, Math.max(2, Math.floor(W / (small ? 70 : 90))));
    const xText = s.x.format || si;
    const picture = svg('svg', { viewBox: `0 0 ${width} ${height}`, height, role: 'img', tabindex: 0, 'aria-labelledby': `ct${id}` },
      svg('title', { id: `ct${id}` }, s.title + ': ' + shown.filter(c => !c.faint).map(c => `${c.name} ends at ${(s.y.read || short)(last(c))}`).join(', ') + '. Arrow keys move along the curves.'));
    picture.append(svg('defs', {}, svg('clipPath', { id: `cp${id}` }, svg('rect', { x: left - 1, y: top - 4, width: W + 2, height: H + 6 }))));
    for (const t of yTicks) {
      const y = Y(t);
      if (y < top - 1 || y > top + H + 1) continue;
      picture.append(svg('line', { class: 'grid', x1: left, x2: left + W, y1: y, y2: y }), svg('text', { x: left - 8, y: y + 4, 'text-anchor': 'end' }, yText(t)));
    }
    picture.append(svg('text', { x: 0, y: small ? 10 : 12 }, s.y.text + (range.cut ? (small || width < 500 ? '' : ' (the first steps are above the frame)') : '')));
    picture.append(svg('line', { class: 'axis', x1: left, x2: left + W, y1: top + H, y2: top + H }));
    let edge = -Infinity;
    for (const t of xTicks) {
      const x = X(t), text = xText(t), half = textWidth(text, 12) / 2, at = Math.min(x, width - half);
      if (!text || at - half < edge + 8) continue;
      edge = at + half;
      picture.append(svg('line', { class: 'axis', x1: x, x2: x, y1: top + H, y2: top + H + 4 }), svg('text', { x: at, y: top + H + 18, 'text-anchor': 'middle' }, text));
    }
    picture.append(svg('text', { x: left + W, y: height - 3, 'text-anchor': 'end' }, s.x.text));
    const lines = svg('g', { 'clip-path': `url(#cp${id})` });
    for (const c of shown) {
      let d = '', pen = false;
      for (let i = 0; i < c.x.length; i++) {
        if (!isNum(c.y[i]) || !isNum(c.x[i]) || (log && c.x[i] <= 0)) { pen = false; continue; }
        d += (pen ? 'L' : 'M') + X(c.x[i]).toFixed(1) + ' ' + Y(c.y[i]).toFixed(1);
        pen = true;
      }
      if (!d.includes('L')) d += 'h.01';
      if (c.dots && c.y.length <= 12) for (let i = 0; i < c.x.length; i++) if (isNum(c.y[i]) && isNum(c.x[i]) && !(log && c.x[i] <= 0)) lines.append(svg('circle', { cx: X(c.x[i]).toFixed(1), cy: Y(c.y[i]).toFixed(1), r: 2.6, style: { fill: c.color } }));
      lines.append(svg('path', { class: 'line', d, style: { stroke: c.color, 'stroke-width': c.faint ? 1 : c.thin ? 1.5 : 2.1, 'stroke-opacity': c.faint ? .32 : 1 } }));
    }
    picture.append(lines);
    const labels = named.map(c => { let i = c.y.length - 1; while (!isNum(c.y[i])) i--; return { c, x: X(c.x[i]), at: Math.max(top, Math.min(top + H, Y(c.y[i]))) }; });
    spread(labels, 16, top + 2, top + H - 2);
    for (const l of labels) {
      const from = l.x + 3, to = left + W + 10;
      picture.append(svg('path', { d: `M${from} ${l.at}L${to - 2} ${l.y}`, style: { stroke: l.c.color, 'stroke-width': 1, 'stroke-opacity': .7, fill: 'none' } }),
        svg('circle', { cx: to, cy: l.y, r: 3.2, style: { fill: l.c.color } }), svg('text', { class: 'end', x: to + 7, y: l.y + 4.5 }, fit(l.c.label, right - 18, size)));
    }
    const hair = svg('line', { class: 'hair', y1: top, y2: top + H, visibility: 'hidden' }), dots = svg('g', {});
    picture.append(hair, dots);
    const tip = el('div', { class: 'tip', hidden: true, 'aria-hidden': 'true' });
    const lead = shown.reduce((a, b) => b.x.length > a.x.length ? b : a);
    const nearest = (c, v) => {
      let a = 0, b = c.x.length - 1;
      while (b - a > 1) { const m = (a + b) >> 1; if (c.x[m] < v) a = m; else b = m; }
      return Math.abs(c.x[b] - v) < Math.abs(c.x[a] - v) ? b : a;
    };
    let at = lead.x.length - 1;
    const show = (i, say) => {
      at = Math.max(0, Math.min(lead.x.length - 1, i));
      const v = lead.x[at], rows = [];
      dots.replaceChildren();
      for (const c of shown) {
        if (c.faint) continue;
        const k = nearest(c, v);
        if (!isNum(c.y[k])) continue;
        rows.push([c, c.y[k]]);
        if (Y(c.y[k]) >= top - 4) dots.append(svg('circle', { cx: X(c.x[k]), cy: Y(c.y[k]), r: 3.6, style: { fill: c.color, stroke: 'var(--bg)', 'stroke-width': 1.5 } }));
      }
      rows.sort((p, q) => q[1] - p[1]);
      hair.setAttribute('x1', X(v)); hair.setAttribute('x2', X(v)); hair.setAttribute('visibility', 'visible');
      const read = s.y.read || short;
      tip.replaceChildren(el('b', {}, s.x.read(v)), el('table', {}, el('tbody', {}, rows.map(([c, y]) =>
        el('tr', {}, el('td', {}, el('span', { class: 'dot', style: { background: c.color } }), c.name), el('td', { class: 'num' }, read(y)))))));
      tip.hidden = false;
      const w = tip.offsetWidth, x = X(v) + 14 + w > width ? X(v) - 14 - w : X(v) + 14;
      tip.style.left = Math.max(0, Math.min(x, width - w)) + 'px';
      tip.style.top = top + 'px';
      if (say) live.textContent = s.x.read(v) + ': ' + rows.map(([c, y]) => c.name + ' ' + read(y)).join(', ');
    };
    const hide = () => { tip.hidden = true; hair.setAttribute('visibility', 'hidden'); dots.replaceChildren(); };
    const point = e => {
      const r = picture.getBoundingClientRect(), f = Math.max(0, Math.min(1, (e.clientX - r.left - left) / W));
      show(nearest(lead, log ? x0 * (x1 / x0) ** f : x0 + f * (x1 - x0)), false);
    };
    put(picture, { onpointermove: point, onpointerdown: point, onpointerleave: hide, onblur: hide, onkeydown: e => {
      const step = e.shiftKey ? 10 : 1;
      if (e.key === 'ArrowLeft') show(at - step, true);
      else if (e.key === 'ArrowRight') show(at + step, true);
      else if (e.key === 'Home') show(0, true);
      else if (e.key === 'End') show(lead.x.length - 1, true);
      else if (e.key === 'Escape') { hide(); return; }
      else return;
      e.preventDefault();
    } }, []);
    host.append(picture, tip, live);
  });
};
const fit = (text, room, size) => {
  if (textWidth(text, size) <= room) return text;
  let n = text.length;
  while (n > 1 && textWidth(text.slice(0, n) + '\u2026', size) > room) n--;
  return text.slice(0, n) + '\u2026';
};

/* A heat map in `host`. spec(): { rows, cols, value(r, c), paint(v), dark(v), text(v), read(r, c), rowTitle, colTitle, title, gap (columns before it) } */
const heat = (host, spec) => {
  host.classList.add('map');
  const id = ++chartCount;
  let rowAt = 0, colAt = 0;
  return onWidth(host, width => {
    const s = spec(), R = s.rows.length, C = s.cols.length;
    host.replaceChildren();
    const left = Math.min(width * .3, 12 + Math.max(...s.rows.map(t => textWidth(t, 12)), textWidth(s.rowTitle || '', 12)));
    const extra = s.gap !== undefined && s.gap < C ? 10 : 0, cw = Math.min(s.square ? 34 : 64, (width - left - extra) / C), ch = s.square ? cw : Math.max(22, Math.min(32, cw));
    const top = 38, H = top + R * ch + 2, X = c => left + c * cw + (extra && c >= s.gap ? extra : 0);
    const numbers = s.text && cw >= 33, every = Math.ceil(Math.max(...s.cols.map(t => textWidth(t, 12) + 4)) / cw);
    const picture = svg('svg', { viewBox: `0 0 ${width} ${H}`, height: H, role: 'img', tabindex: 0, 'aria-labelledby': `ct${id}` },
      svg('title', { id: `ct${id}` }, s.title + '. Arrow keys move between cells; the figures stand below.'));
    picture.append(svg('text', { x: left, y: 11 }, s.colTitle), svg('text', { x: 0, y: 30 }, s.rowTitle));
    s.cols.forEach((t, c) => { if (c % every === 0 || c >= s.gap) picture.append(svg('text', { x: X(c) + cw / 2, y: 30, 'text-anchor': 'middle' }, t)); });
    const cells = [];
    s.rows.forEach((t, r) => {
      const y = top + r * ch;
      picture.append(svg('text', { class: 'big', x: left - 10, y: y + ch / 2 + 4, 'text-anchor': 'end' }, fit(t, left - 12, 12)));
      s.cols.forEach((_, c) => {
        const v = s.value(r, c);
        const cell = svg('rect', { class: 'cell', x: X(c), y, width: cw, height: ch, rx: 3, style: { fill: isNum(v) ? s.paint(v) : 'var(--panel)' } });
        picture.append(cell);
        cells.push(cell);
        if (numbers && isNum(v)) picture.append(svg('text', { x: X(c) + cw / 2, y: y + ch / 2 + 4, 'text-anchor': 'middle', style: { fill: s.dark(v) ? 'var(--on-heat)' : 'var(--ink)', 'pointer-events': 'none' } }, s.text(v)));
      });
    });
    const read = el('p', { class: 'read', 'aria-live': 'polite' }, s.hint || 'Point at, tap or focus a cell to read it.');
    const show = (r, c) => {
      cells[rowAt * C + colAt].classList.remove('on');
      rowAt = Math.max(0, Math.min(R - 1, r)); colAt = Math.max(0, Math.min(C - 1, c));
      const cell = cells[rowAt * C + colAt];
      cell.classList.add('on');
      read.textContent = s.read(rowAt, colAt);
    };
    rowAt = Math.min(rowAt, R - 1); colAt = Math.min(colAt, C - 1);
    const point = e => {
      const b = picture.getBoundingClientRect(), r = Math.floor((e.clientY - b.top - top) / ch);
      let c = s.cols.findIndex((_, k) => e.clientX - b.left >= X(k) && e.clientX - b.left < X(k) + cw);
      if (r >= 0 && r < R && c >= 0) show(r, c);
    };
    put(picture, { onpointermove: point, onpointerdown: point, onkeydown: e => {
      const d = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[e.key];
      if (!d) return;
      show(rowAt + d[0], colAt + d[1]);
      e.preventDefault();
    } }, []);
    host.append(picture, read);
  });
};
/* Ratios around 1, on a log scale from a quarter to four times. */
const ratioPart = v => Math.max(-1, Math.min(1, Math.log2(Math.max(v, 1e-9)) / 2));
const paintRatio = v => { const p = ratioPart(v); return mix(Math.abs(p), p < 0 ? '--less' : '--more'); };
const darkRatio = v => Math.abs(ratioPart(v)) > .78;
const ratioRamp = (less, more) => el('p', { class: 'ramp' }, el('span', {}, '\u00bc\u00d7 ' + less), el('i', { 'aria-hidden': 'true' }), el('span', {}, '4\u00d7 ' + more));

const table = (cls, head, rows, caption) => el('div', { class: 'wide' }, el('table', { class: cls }, caption && el('caption', {}, el('span', {}, caption)),
  el('thead', {}, el('tr', {}, head.map((h, i) => el('th', { scope: 'col', class: i ? 'num' : null }, h)))),
  el('tbody', {}, rows.map(r => el('tr', {}, r.map((c, i) => i ? el('td', { class: 'num' }, c) : el('th', { scope: 'row' }, c)))))));

/* --- steps and tokens --- */
const tokensAt = run => {
  const t = run.curves.tokens;
  if (!t || t.x.length < 2) return null;
  return step => {
    let a = 0, b = t.x.length - 1;
    if (step <= t.x[0]) return t.x[0] > 0 ? t.y[0] * step / t.x[0] : t.y[0];
    while (b - a > 1) { const m = (a + b) >> 1; if (t.x[m] <= step) a = m; else b = m; }
    return t.y[a] + (t.y[b] - t.y[a]) * (step - t.x[a]) / (t.x[b] - t.x[a]);
  };
};
/* Names and options may hold marks that turn text round; token texts keep theirs and show them as signs (seen). */
const tidy = v => typeof v === 'string' ? readable(v) : Array.isArray(v) ? v.map(tidy) : v && typeof v === 'object' ? Object.fromEntries(Object.entries(v).map(([k, x]) => [readable(k), tidy(x)])) : v;
for (const r of runs) {
  for (const k of ['name', 'heldout', 'train', 'aux', 'config']) r[k] = tidy(r[k]);
  if (r.final) r.final.domains = tidy(r.final.domains);
  r.analysis = tidy(r.analysis);
}
runs.forEach((r, i) => { r.i = i; r.color = color(i); r.toTokens = tokensAt(r); });
const state = { unit: runs.some(r => Object.keys(r.heldout.byte).length) ? 'byte' : 'token', x: runs.every(r => r.toTokens) ? 'tokens' : 'steps', log: false };
const along = (run, s) => state.x === 'tokens' && run.toTokens ? s.x.map(run.toTokens) : s.x;
const xAxis = () => state.x === 'tokens' ? { text: 'tokens', read: v => si(v) + ' tokens' } : { text: 'steps', read: v => 'step ' + group(v) };
/* Means over windows that are centred, so that a falling curve is not shown late; towards the ends they shrink. */
const smooth = s => {
  const n = s.y.length, most = Math.ceil(n / 24);
  const y = s.y.map((v, i) => {
    const r = Math.min(most, i, n - 1 - i), near = s.y.slice(i - r, i + r + 1).filter(isNum);
    return isNum(v) ? sum(near) / near.length : null;
  });
  return { x: s.x, y };
};
const redrawCurves = () => redraws.forEach(f => f());
const domainsOf = list => [...new Set(list.flatMap(r => Object.keys(r.heldout[state.unit])))].filter(d => d !== 'all');
const trainedOn = list => [...new Set(list.flatMap(r => Object.keys(r.train)))];

/* --- loss --- */
const lossSection = () => {
  const host = byId('loss-charts');
  const have = u => runs.some(r => Object.keys(r.heldout[u]).length), anyLoss = runs.some(r => r.curves.loss);
  if (!have('byte') && !have('token') && !anyLoss) {
    byId('loss').hidden = runs.every(r => r.final && r.final.analysed && !r.config);
    return;
  }
  const perToken = () => state.unit === 'token' || !have('byte');
  /* Training loss is per token; where a token is a byte it is per byte as well. */
  const trainFits = r => perToken() || (isNum(last(r.heldout.byte.all)) && Math.abs(last(r.heldout.byte.all) - last(r.heldout.token.all)) < 1e-9 * last(r.heldout.byte.all));
  const unitText = () => perToken() ? 'nats per token' : 'nats per byte';
  const change = key => v => { state[key] = v; redrawCurves(); build(); };
  const controls = el('div', { class: 'controls' },
    have('byte') && have('token') && segments('Loss', [['byte', 'per byte'], ['token', 'per token']], state.unit, change('unit')),
    state.x === 'tokens' && segments('Against', [['tokens', 'tokens'], ['steps', 'steps']], state.x, change('x')),
    segments('Scale', [['linear', 'linear'], ['log', 'logarithmic']], 'linear', v => { state.log = v === 'log'; redrawCurves(); }));
  const title = el('h3', {}, 'Over training'), note = el('p', {}), big = el('div', {}), rest = el('div', {});
  host.append(title, note, controls, big, rest);
  const spec = () => {
    const series = [];
    for (const r of runs) {
      const h = r.heldout[state.unit], loss = r.curves.loss;
      if (loss && trainFits(r)) {
        const c = many ? r.color : 'var(--c7)', s = smooth(loss);
        series.push({ name: 'training', color: c, x: along(r, loss), y: loss.y, faint: true });
        if (!many) series.push({ name: 'training, smoothed', label: 'training', color: c, thin: true, x: along(r, s), y: s.y });
      }
      if (many) { if (h.all) series.push({ name: r.name, label: r.name, color: r.color, x: along(r, h.all), y: h.all.y }); }
      else {
        domainsOf([r]).forEach((d, i) => series.push({ name: d, label: d, color: color(i), thin: true, x: along(r, h[d]), y: h[d].y }));
        if (h.all) series.push({ name: 'all', label: 'all', color: 'var(--ink)', x: along(r, h.all), y: h.all.y });
      }
    }
    return { title: 'Held-out loss over training', series, x: xAxis(), y: { text: unitText(), read: v => fixed(v, 3) }, height: many ? 340 : 420, clip: !state.log, log: state.log };
  };
  redraws.push(chart(big, spec));
  const build = () => {
    const train = runs.some(r => r.curves.loss && trainFits(r));
    note.textContent = (many ? 'Held-out loss over all text' : 'Held-out loss by domain') + (train ? (many ? '; the faint lines are the training loss.' : ', and the training loss.') : '. The training loss is counted per token and shows there.');
    rest.replaceChildren();
    small.length = 0;
    const trained = runs.filter(trainFits), inTraining = trainedOn(trained), domains = [...new Set([...domainsOf(runs), ...inTraining])];
    if (!domains.length || (!many && !inTraining.length)) return;
    const grid = el('div', { class: 'few' }), dot = (color, text) => el('li', {}, el('span', { class: 'dot', style: { background: color } }), text);
    put(rest, {}, [el('h3', {}, 'By domain'), inTraining.length ? el('p', {}, 'Held-out loss' + (many ? '; the faint lines are the training loss, smoothed.' : ', and the training loss of each logged step, smoothed.')) : null,
      el('ul', { class: 'key' }, many ? runs.map(r => dot(r.color, r.name)) : [dot('var(--more)', 'held out'), dot('var(--c7)', 'training')]), grid]);
    for (const d of domains) {
      const box = el('div', {});
      grid.append(el('div', {}, el('h4', {}, d), box));
      small.push(chart(box, () => {
        const series = [];
        for (const r of trained) {
          if (!r.train[d]) continue;
          const s = smooth(r.train[d]);
          series.push({ name: many ? r.name + ', training' : 'training', color: many ? r.color : 'var(--c7)', thin: true, faint: many, x: along(r, s), y: s.y });
        }
        for (const r of runs) {
          const s = r.heldout[state.unit][d];
          if (s) series.push({ name: many ? r.name : 'held out', label: fixed(last(s), 3), color: many ? r.color : 'var(--more)', dots: true, x: along(r, s), y: s.y });
        }
        return { title: 'Loss on ' + d, height: 178, clip: !state.log, log: state.log, x: xAxis(), y: { text: unitText(), read: v => fixed(v, 3) }, series };
      }));
    }
  };
  const small = [];
  redraws.push(() => small.forEach(f => f()));
  build();
};

/* --- routing --- */
const sparse = runs.filter(r => r.final && r.final.layers.length), routed = runs.filter(r => r.routing.length);
const focus = { run: sparse[0], layer: 0, watchers: [] };
const refocus = () => focus.watchers.forEach(f => f());
const layerName = l => 'layer ' + l.layer;
const expertName = (l, e) => e < l.experts ? String(e) : 'z' + (e - l.experts);
const slots = l => l.experts + l.zero;
const fairShare = l => 1 / Math.max(1, slots(l));
const loadOf = (l, e) => { const t = sum(l.load); return t > 0 && isNum(l.load[e]) ? l.load[e] / t / fairShare(l) : NaN; };
/* How much more of expert e's slots come from domain d than of all slots. */
const liftOf = (l, d, e) => {
  const row = l.by_domain[d] || [], total = sum(l.by_domain.map(sum)), own = sum(l.by_domain.map(r => r[e])), all = sum(row);
  return own > 0 && all > 0 && isNum(row[e]) ? (row[e] / own) / (all / total) : NaN;
};
const runPicker = () => sparse.length > 1 && segments('Run', sparse.map(r => [String(r.i), r.name]), String(focus.run.i), v => { focus.run = runs[+v]; focus.layer = Math.min(focus.layer, focus.run.final.layers.length - 1); refocus(); });
const layerSlider = () => {
  const out = el('output', {}), input = el('input', { type: 'range', min: 0, step: 1, 'aria-label': 'Sparse layer', oninput: () => { focus.layer = +input.value; refocus(); } });
  const sync = () => {
    const n = focus.run.final.layers.length;
    input.max = n - 1; input.value = focus.layer; input.disabled = n < 2;
    out.textContent = layerName(focus.run.final.layers[focus.layer]);
    input.setAttribute('aria-valuetext', out.textContent);
  };
  focus.watchers.push(sync);
  sync();
  return el('label', { class: 'slide' }, 'Layer', input, out);
};
const watch = draw => { focus.watchers.push(draw); draw(); };

const routingSection = () => {
  const host = byId('routing');
  if (!sparse.length && !routed.length) return;
  host.hidden = false;
  if (sparse.length) {
    const picker = runPicker();
    if (picker) host.append(el('div', { class: 'controls' }, picker));
    loadPart(host);
    expertPart(host);
  }
  if (routed.length) overTime(host);
};

const loadPart = host => {
  const map = el('div', {}), figures = el('div', {}), L = () => focus.run.final.layers;
  const widest = () => L().reduce((a, l) => slots(l) > slots(a) ? l : a);
  host.append(el('h3', {}, 'Load of every expert'), el('p', {}, 'Slots that chose an expert, before capacity drops, against an even split (1\u00d7), over ' + (sparse.every(r => r.final.analysed) ? 'the analysed text.' : 'the held-out text at the end of training.')), ratioRamp('starved', 'crowded'), map, figures);
  const redraw = heat(map, () => ({
    title: 'Load by layer and expert', rowTitle: 'layer', colTitle: 'expert', rows: L().map(l => String(l.layer)), cols: Array.from({ length: slots(widest()) }, (_, e) => expertName(widest(), e)), gap: widest().experts,
    value: (r, c) => c < slots(L()[r]) ? loadOf(L()[r], c) : NaN, paint: paintRatio, dark: darkRatio, text: v => v.toFixed(2),
    read: (r, c) => { const l = L()[r], v = loadOf(l, c); return isNum(v) ? `Layer ${l.layer}, expert ${expertName(l, c)}: ${times(v)} its even share, ${percent(v * fairShare(l))} of the slots.` : `Layer ${l.layer} has no expert ${c}.`; }
  }));
  watch(() => {
    redraw();
    figures.replaceChildren(el('h3', {}, 'Health of the layers'),
      table('data', ['Layer', 'MaxVio', 'Entropy, nats', 'of ln E', 'Dropped', 'Passed by', 'Specialisation'], L().map(l => [String(l.layer), fixed(l.maxvio, 3), fixed(l.entropy, 3), percent(l.entropy === null ? NaN : l.entropy / Math.log(Math.max(2, slots(l)))), percent(l.dropped), percent(l.passed), percent(l.specialisation)]),
        'MaxVio is how far the busiest expert lies above the even load (0 is even). Entropy is that of the router\u2019s choice. Specialisation is what an expert tells about the domain: I(domain; expert) / ln domains.'),
      el('details', {}, el('summary', {}, 'Load in numbers'), table('data', ['Expert', ...L().map(l => 'Layer ' + l.layer)], Array.from({ length: slots(widest()) }, (_, e) => [expertName(widest(), e), ...L().map(l => e < slots(l) ? times(loadOf(l, e)) : '')]))));
  });
};

const expertPart = host => {
  const F = () => focus.run.final, L = () => F().layers[focus.layer];
  const map = el('div', {}), co = el('div', {}), coBox = el('div', {}, el('h3', {}, 'Experts chosen together'), el('p', {}, 'Of the partners of a row\u2019s expert, how many are the column\u2019s.'), co), cards = el('div', { class: 'experts' });
  const figures = el('details', {}), pair = el('div', { class: 'pair' }, el('div', {}, el('h3', {}, 'Domains'), el('p', {}, 'Against the domain\u2019s share of all slots (1\u00d7).'), ratioRamp('avoided', 'preferred'), map, figures), coBox);
  host.append(el('h3', {}, 'What each expert sees'), el('p', {}, 'Choose a layer; domains, partners and tokens below follow it.'), layerSlider(), pair, el('h3', {}, 'Tokens'), el('p', {}, 'The tokens that each expert saw most, with their share of its slots. A raised dot is a space.'), cards);
  const domains = heat(map, () => ({
    title: 'What each expert sees by domain, ' + layerName(L()), rowTitle: 'domain', colTitle: 'expert', rows: F().domains, cols: Array.from({ length: slots(L()) }, (_, e) => expertName(L(), e)), gap: L().experts,
    value: (r, c) => liftOf(L(), r, c), paint: paintRatio, dark: darkRatio, text: v => v.toFixed(v < 9.95 ? 1 : 0),
    read: (d, e) => `Expert ${expertName(L(), e)}: ${percent((L().by_domain[d] || [])[e] / sum(L().by_domain.map(r => r[e])))} of its slots come from ${F().domains[d]}, ${times(liftOf(L(), d, e))} the domain\u2019s share.`
  }));
  const together = heat(co, () => {
    const m = L().coactivation;
    const pair = (r, c) => (m[r][c] || 0) + ((m[c] || [])[r] || 0);       /* pairs may stand on one side of the diagonal only */
    const own = m.map((row, r) => sum(row.map((_, c) => r === c ? 0 : pair(r, c))));
    const share = (r, c) => r === c || !(own[r] > 0) ? NaN : pair(r, c) / own[r];
    const most = Math.max(1e-9, ...m.flatMap((row, r) => row.map((_, c) => share(r, c)).filter(isNum)));
    return { square: true, title: 'Experts chosen together, ' + layerName(L()), rowTitle: '', colTitle: 'expert', rows: m.map((_, e) => expertName(L(), e)), cols: m.map((_, e) => expertName(L(), e)),
      value: share, paint: v => mix(v / most, '--more'), dark: v => v / most > .78, read: (r, c) => r === c ? `Expert ${expertName(L(), r)} itself.` : `Of the partners of expert ${expertName(L(), r)}, ${percent(share(r, c))} are expert ${expertName(L(), c)}.` };
  });
  watch(() => {
    const l = L(), hasCo = l.coactivation.length > 1, hasDomains = F().domains.length > 0 && l.by_domain.length > 0;
    coBox.hidden = !hasCo;
    pair.hidden = !hasDomains && !hasCo;
    if (hasDomains) {
      domains();
      figures.replaceChildren(el('summary', {}, 'Domains in numbers'), table('data', ['Expert', ...F().domains], Array.from({ length: slots(l) }, (_, e) => [expertName(l, e), ...F().domains.map((_, d) => times(liftOf(l, d, e)))])));
    }
    if (hasCo) together();
    cards.replaceChildren(...l.top.map((list, e) => {
      const best = F().domains.map((d, i) => [d, liftOf(l, i, e)]).filter(p => isNum(p[1])).sort((a, b) => b[1] - a[1])[0];
      return el('article', { style: { '--hue': hue(e) } }, el('h4', {}, 'Expert ' + expertName(l, e), el('span', {}, times(loadOf(l, e)) + ' load')), best && el('p', { class: 'best' }, best[0] + ' ' + times(best[1])),
        el('ol', {}, list.map(t => el('li', {}, el('bdi', { class: 'tok' }, seen(t[0])), el('span', {}, isNum(t[1]) ? percent(t[1]) : group(t[2]))))));
    }));
  });
};

const overTime = host => {
  const one = el('div', {});
  const draw = () => {
    const r = many && sparse.length ? focus.run : routed[0];
    one.replaceChildren(el('h3', {}, 'Balance over training'), el('p', {}, (many ? r.name + ': o' : 'O') + 'ne line a layer, from the first (faint) to the last (strong).'));
    const grid = el('div', { class: 'few', style: { 'grid-template-columns': 'repeat(auto-fill, minmax(min(100%, 300px), 1fr))' } });
    one.append(grid);
    const shade = i => r.routing.length < 2 ? 'var(--more)' : mix(.35 + .65 * i / (r.routing.length - 1), '--more');
    for (const [key, name, unit, read] of [['maxvio', 'MaxVio', 'busiest expert over even load, less 1', v => fixed(v, 3)], ['entropy', 'Entropy of the router', 'nats', v => fixed(v, 3)], ['dropped', 'Dropped by capacity', '% of slots', v => fixed(v, 2) + '\u2009%']]) {
      const scale = key === 'dropped' ? 100 : 1;
      const series = r.routing.filter(l => l[key] && l[key].y.some(isNum)).map((l, i, all) => ({ name: layerName(l), label: all.length > 8 && i % Math.ceil(all.length / 8) ? undefined : String(l.layer), thin: true, color: shade(r.routing.indexOf(l)), x: along(r, l[key]), y: l[key].y.map(v => isNum(v) ? v * scale : null) }));
      if (!series.length) continue;
      const box = el('div', {});
      grid.append(el('div', {}, el('h4', {}, name), box));
      if (key === 'dropped' && series.every(s => s.y.every(v => !v))) { box.append(el('p', { class: 'note' }, 'Nothing was dropped.')); continue; }
      chart(box, () => ({ title: name, series: series.map(s => s), x: xAxis(), y: { text: unit, read }, height: 220, zero: key !== 'entropy' }));
    }
  };
  host.append(one);
  draw();
  redraws.push(draw);
  if (many && sparse.length) focus.watchers.push((() => { let was = focus.run; return () => { if (was !== focus.run) { was = focus.run; draw(); } }; })());
};

/* --- analysis --- */
const analysisSection = () => {
  const host = byId('analysis'), done = runs.filter(r => r.analysis);
  if (!done.length) return;
  host.hidden = false;
  const box = el('div', {}), show = r => box.replaceChildren(...analysisOf(r.analysis));
  if (done.length > 1) host.append(el('div', { class: 'controls' }, segments('Model', done.map(r => [String(r.i), r.name]), String(done[0].i), v => show(runs[+v]))));
  host.append(box);
  show(done[0]);
};
const picture = (spec) => { const box = el('div', {}); requestAnimationFrame(() => chart(box, spec)); return box; };
const overLayers = (title, layers, lines, unit, read, more) => picture(() => ({
  title, x: { text: 'layer', read: v => 'layer ' + v, format: v => v % 1 ? '' : String(v) }, y: { text: unit, read }, height: 260, zero: true, ...more,
  series: lines.map(s => ({ dots: true, thin: true, ...s, x: layers }))
}));
const known = list => list.some(isNum);
const share = v => fixed(v, 4);

const analysisOf = a => {
  const out = [];
  if (a.layers.length) out.push(...groupsPart(a), ...dropPart(a), ...balancePart(a));
  if (a.learning) out.push(...learningPart(a));
  if (a.languages) out.push(...languagesPart(a.languages));
  return out;
};

const groupsPart = a => {
  const layers = a.layers.map(l => l.layer), kinds = [['token', 'token id'], ['position', 'position'], ['domain', 'domain']];
  const lines = kinds.flatMap(([k, name], i) => [{ name, label: name, color: color(i), y: a.layers.map(l => l[k].u) },
    { name: name + ', shuffled', color: color(i), faint: true, y: a.layers.map(l => isNum(l[k].u) ? l[k].u - l[k].u_corrected : null) }]).filter(s => known(s.y));
  lines.push({ name: 'the token itself', label: 'ceiling', color: 'var(--c7)', y: a.layers.map(l => isNum(l.ceiling) && l.load_entropy > 0 ? l.ceiling / l.load_entropy : null) });
  const chance = g => isNum(g.u_corrected) && g.u_corrected < 3 * g.u_noise_sd ? ' ~' : '';
  return [el('h3', {}, 'What says which expert'),
    el('p', {}, 'The share of an expert\u2019s uncertainty that a group takes away, I(expert; group) / H(expert). Faint: the same with shuffled labels, what chance gives; domains are shuffled over whole documents. The ceiling is what a token says that is a group of its own.'),
    overLayers('What says which expert, by layer', layers, lines, 'share of H(expert)', v => fixed(v, 4), { height: 300 }),
    el('p', { class: 'note' }, `${group(a.tokens)} tokens of ${group(a.ids)} ids in ${group(a.docs)} documents of at most ${group(a.longest)}` + (a.domains.length ? ': ' + a.domains.map((d, i) => `${d} ${group(a.tokens_by_domain[i])} (${group(a.docs_by_domain[i])})`).join(', ') : '') + `. ${group(a.shuffles)} shuffles.`),
    el('details', {}, el('summary', {}, 'In numbers'), table('data', ['Layer', 'Ceiling', ...kinds.flatMap(([, name]) => [name, 'shuffled'])],
      a.layers.map(l => [String(l.layer), share(l.ceiling / l.load_entropy), ...kinds.flatMap(([k]) => [share(l[k].u) + chance(l[k]), share(isNum(l[k].u) ? l[k].u - l[k].u_corrected : NaN)])]), '~ is less than three standard deviations above the shuffled value: no more than chance.'),
      table('data', ['Layer', ...kinds.flatMap(([, name]) => ['spread by ' + name, 'shuffled'])], a.layers.map(l => [String(l.layer), ...kinds.flatMap(([k]) => [share(l[k].spread), share(l[k].spread_noise)])]),
        `Spread: standard deviation over experts of a group\u2019s shares, mean over groups of ${group(a.min_count)} tokens or more.`))];
};

const dropPart = a => {
  const D = a.domains.length, parts = Array.from({ length: a.buckets }, (_, b) => b + 1);
  const mean = row => parts.map((_, b) => { const v = a.layers.map(l => (l.drop[row] || [])[b]).filter(isNum); return v.length ? 100 * sum(v) / v.length : null; });
  const lines = [...(D > 1 ? a.domains.map((d, i) => ({ name: d, label: D > 8 ? undefined : d, color: color(i), thin: true, y: mean(i) })) : []), { name: 'all', label: 'all', color: 'var(--ink)', y: mean(D) }];
  if (!lines.some(s => known(s.y))) return [];
  lines.push({ name: 'shuffled', label: 'shuffled', color: 'var(--c7)', y: parts.map((_, b) => { const v = a.layers.map(l => l.drop_chance[b]).filter(isNum); return v.length ? 100 * sum(v) / v.length : null; }) });
  return [el('h3', {}, 'What a capacity would drop'), el('p', {}, `Share of slots that find their expert full when each may take ${short(a.capacity_factor)} times its even share of a document, in the order of positions; mean over the layers. Grey: with tokens put in the places of others, what chance and uneven loads give.` + (a.short_docs ? ` ${group(a.short_docs)} documents shorter than ${group(a.buckets)} tokens are left out.` : '')),
    picture(() => ({ title: 'Dropped slots by part of the document', x: { text: `part of the document, of ${a.buckets}`, read: v => `part ${v} of ${a.buckets}`, format: v => v % 1 ? '' : String(v) }, y: { text: '% of slots', read: v => fixed(v, 2) + '\u2009%' }, height: 260, zero: true, series: lines.map(s => ({ ...s, x: parts })) }))];
};

const balancePart = a => {
  const layers = a.layers.map(l => l.layer), most = l => Math.log(Math.max(2, l.experts + l.zero));
  const lines = a.domains.map((d, i) => ({ name: d, label: a.domains.length > 8 ? undefined : d, color: color(i), y: a.layers.map(l => isNum(l.entropy_by_domain[i]) ? l.entropy_by_domain[i] / most(l) : null) })).filter(s => known(s.y));
  const pairs = l => l.top_pairs.filter(p => p.z > 3).slice(0, 3).map(p => `${p.experts.join('+')} ${times(p.count / p.expected)}`).join(', ') || '\u2013';
  return [...(lines.length ? [el('h3', {}, 'How undecided the router is'), el('p', {}, 'Mean entropy of its probabilities over the largest possible: 1 is no preference, 0 a decision.'), overLayers('Router entropy by layer', layers, lines, 'H(p) / ln E', v => fixed(v, 3))] : []),
    el('h3', {}, 'Load, repeats and pairs'),
    table('data', ['Layer', 'Load, H / ln E', 'MaxVio', 'Repeats', 'by chance', 'Pairs, nats', 'by chance', 'Pairs above chance'],
      a.layers.map(l => [String(l.layer), fixed(l.load_entropy / most(l), 4), fixed(l.maxvio, 3), percent(l.repeats), percent(l.repeats_chance), fixed(l.pair_info, 4), fixed(l.pair_noise, 4), pairs(l)]),
      'Repeats: neighbouring tokens with the same first expert. Pairs: what the experts of one token say about each other beyond their loads, and the three most frequent against what loads alone give.')];
};

const learningPart = a => {
  const steps = a.learning, x = steps.map(s => s.step), n = a.layers.length;
  const shade = i => n < 2 ? 'var(--more)' : mix(.35 + .65 * i / (n - 1), '--more');
  const small = (title, text, key, chance) => el('div', {}, el('h4', {}, title), picture(() => ({ title, x: { text: 'steps', read: v => 'step ' + group(v) }, y: { text, read: v => fixed(v, 3) }, height: 240, zero: true, series: a.layers.flatMap((l, i) => {
    const of = k => steps.map(s => (s.layers[i] || {})[k]);
    return [{ name: layerName(l), label: n > 8 && i % Math.ceil(n / 8) ? undefined : String(l.layer), thin: true, dots: true, color: shade(i), x, y: of(key) }, { name: layerName(l) + ', chance', faint: true, color: 'var(--c7)', x, y: of(chance) }];
  }).filter(s => known(s.y)) })));
  return [el('h3', {}, 'When routing was learned'), el('p', {}, 'Each checkpoint against the last, on the same tokens; one line a layer, from the first (light) to the last (strong), grey what chance gives.'),
    el('div', { class: 'few', style: { 'grid-template-columns': 'repeat(auto-fill, minmax(min(100%, 300px), 1fr))' } },
      small('Shares of frequent ids in common', 'overlap', 'overlap', 'overlap_chance'), small('Tokens with the same first expert', 'share', 'same', 'same_chance'), small('What the token id says', 'share of H(expert)', 'u_token', 'u_token_noise'))];
};

const languagesPart = x => {
  const ref = x.names[0], others = x.names.map((name, g) => [name, g]).slice(1), L = x.divergence.length;
  const lines = [...others.map(([name, g], i) => ({ name, label: others.length > 8 ? undefined : name, color: color(i), y: x.divergence.map(r => r[g]) })),
    { name: `another sentence of ${ref}`, label: `${ref}, another`, color: 'var(--c7)', y: x.other_sentence.map(r => r[0]) }];
  const less = (l, g) => 1 - x.divergence[l][g] / x.other_sentence[l][g];
  return [el('h3', {}, 'Languages'), el('p', {}, `How far the router\u2019s probabilities for a sentence are from those for the same sentence in ${ref}, over their entropies; grey: another sentence of ${ref}, what content alone does. ${group(x.sentences)} parallel sentences` + (x.empty + x.too_long ? `, ${group(x.empty + x.too_long)} left out as empty or too long.` : '.')),
    overLayers(`Divergence from ${ref} by layer`, x.layer, lines, 'divergence', v => fixed(v, 4), { height: 300 }),
    el('details', {}, el('summary', {}, 'In numbers'), table('data', ['Layer', ...others.map(([n]) => n), `${ref}, another`, 'Experts of others'], x.divergence.map((r, l) => [String(x.layer[l]), ...others.map(([, g]) => `${fixed(r[g], 4)} \u00b1 ${fixed(x.error[l][g], 4)}`), fixed(x.other_sentence[l][0], 4), group(x.specific[l])])),
      table('data', ['Layer', ...others.map(([n]) => n)], Array.from({ length: L }, (_, l) => [String(x.layer[l]), ...others.map(([, g]) => percent(less(l, g)))]), 'How much less than with another sentence of that language: what the meaning makes alike. Near 0 it plays no part.')),
    table('data', ['', ...x.names], [['Nats a sentence', ...x.nats_per_sentence.map(v => fixed(v, 1))]], isNum(x.spearman_middle) ? `Rank correlation over ${others.length} languages of the divergence in the middle layers with nats a sentence: ${fixed(x.spearman_middle, 2)}.` : null)];
};

/* --- text --- */
const textSection = () => {
  const host = byId('text'), talks = runs.filter(r => r.final && r.final.sentence && r.final.sentence.tokens.length), told = runs.filter(r => r.samples.length);
  if (!talks.length && !told.length) return;
  host.hidden = false;
  if (talks.length) passage(host, talks);
  if (told.length) samples(host, told);
};

const passage = (host, talks) => {
  let run = talks.find(r => r === focus.run) || talks[0], at = Math.min(3, run.final.sentence.tokens.length - 1);
  let buttons = [];
  const text = el('div', { class: 'passage', role: 'group', 'aria-label': 'The sentence, one button a token' }), inspect = el('div', { class: 'inspect', 'aria-live': 'polite' }), controls = el('div', { class: 'controls' });
  const lead = el('p', {});
  host.append(el('h3', {}, 'A sentence through the layers'), lead, controls, text, inspect);
  const layers = () => run.final.sentence.layers, layerIndex = () => Math.min(focus.layer, layers().length - 1);
  if (talks.length > 1) controls.append(segments('Run', talks.map(r => [String(r.i), r.name]), String(run.i), v => { run = runs[+v]; at = Math.min(at, run.final.sentence.tokens.length - 1); build(); }));
  const slider = layers().length && focus.run ? layerSlider() : null;
  if (slider) controls.append(slider);
  const show = () => {
    const s = run.final.sentence, rows = layers().map((l, i) => [l[at], i]).filter(([v]) => v), next = s.next[at] || [];
    buttons.forEach((b, i) => { b.setAttribute('aria-pressed', i === at); b.tabIndex = i === at ? 0 : -1; });
    inspect.replaceChildren();
    const name = i => run.final.layers[i] ? String(run.final.layers[i].layer) : String(i);
    const total = v => sum(v.weights) || 1;
    if (rows.length) inspect.append(el('div', {}, el('h4', {}, 'Experts of ', el('bdi', { class: 'tok' }, seen(s.tokens[at]))), el('table', {},
      el('thead', {}, el('tr', {}, el('th', { scope: 'col' }, 'Layer'), el('th', { scope: 'col', style: { width: '58%' } }, 'Weights'), el('th', { scope: 'col', class: 'num' }, 'Expert: weight'))),
      el('tbody', {}, rows.map(([v, i]) => el('tr', {}, el('th', { scope: 'row' }, name(i)),
        el('td', {}, v.experts.length ? el('span', { class: 'split', 'aria-hidden': 'true' }, v.experts.map((e, k) => el('i', { style: { '--hue': hue(e), flex: String(Math.max(0, v.weights[k] || 0) / total(v)) + ' 0 0' } }, String(e)))) : 'passed by'),
        el('td', { class: 'num' }, v.experts.map((e, k) => `${e}: ${fixed(v.weights[k], 2)}`).join(', '))))))));
    if (next.length) {
      const best = Math.max(...next.map(n => n[1] || 0), 1e-9);
      inspect.append(el('div', {}, el('h4', {}, 'Most likely next'), el('table', {}, el('thead', {}, el('tr', {}, el('th', { scope: 'col' }, 'Token'), el('th', { scope: 'col', style: { width: '50%' } }, el('span', { class: 'sr' }, 'Bar')), el('th', { scope: 'col', class: 'num' }, 'Probability'))),
        el('tbody', {}, next.map(n => el('tr', {}, el('th', { scope: 'row' }, el('bdi', { class: 'tok' }, seen(n[0]))), el('td', {}, el('span', { class: 'meter', 'aria-hidden': 'true', style: { width: 100 * (n[1] || 0) / best + '%' } })), el('td', { class: 'num' }, percent(n[1]))))))));
    }
  };
  const paint = () => {
    const l = layers()[layerIndex()];
    buttons.forEach((b, i) => {
      const v = l && l[i], e = v && v.experts.length ? v.experts[0] : -1;
      b.style.setProperty('--hue', e >= 0 ? hue(e) : 'var(--panel)');
      b.lastChild.textContent = !l ? '' : e >= 0 ? String(e) : '\u2013';
      b.setAttribute('aria-label', run.final.sentence.tokens[i] + (l ? e >= 0 ? `, expert ${e}` : ', passed by' : ''));
    });
  };
  const build = () => {
    const s = run.final.sentence;
    lead.textContent = layers().length ? 'Each token is coloured by the first expert that the layer chose for it; the number is that expert. Point at, tap or move to a token (arrow keys) to see all its experts and what comes next.' : 'This model routes nothing. Point at, tap or move to a token (arrow keys) to see what it expects next.';
    if (slider) slider.hidden = !layers().length;
    buttons = s.tokens.map((t, i) => el('button', { type: 'button', onclick: () => { at = i; show(); }, onpointerenter: e => { if (e.pointerType === 'mouse') { at = i; show(); } }, onfocus: () => { at = i; show(); } }, seen(t), el('small', {})));
    text.replaceChildren(...buttons.flatMap((b, i) => s.tokens[i].endsWith('\n') ? [b, el('i', { class: 'break', 'aria-hidden': 'true' })] : [b]));
    paint();
    show();
  };
  put(text, { onkeydown: e => {
    const d = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -8, ArrowDown: 8 }[e.key];
    if (!d) return;
    buttons[Math.max(0, Math.min(buttons.length - 1, at + d))].focus();
    e.preventDefault();
  } }, []);
  focus.watchers.push(() => { if (sparse.includes(focus.run)) paint(); });
  build();
};

/* Texts with the same prompt stand together, so that runs can be read side by side. */
const samples = (host, told) => {
  const SHOWN = 4;
  const one = (r, s) => el('figure', {}, el('figcaption', {}, (many ? r.name + ', ' : '') + 'step ' + group(s.step)), el('pre', { tabindex: 0 }, el('b', {}, readable(s.prompt)), readable(s.text) + (s.cut ? '\u2026' : '')));
  const rows = new Map(), earlier = [];
  for (const r of told) {
    const end = r.samples[r.samples.length - 1].step;
    for (const s of r.samples) {
      if (s.step !== end) { earlier.unshift(one(r, s)); continue; }
      if (!rows.has(s.prompt)) rows.set(s.prompt, []);
      rows.get(s.prompt).push(one(r, s));
    }
  }
  const box = () => el('div', { class: 'samples', style: many ? { 'grid-template-columns': `repeat(auto-fill, minmax(min(100%, ${told.length > 2 ? 300 : 420}px), 1fr))` } : {} });
  const fold = (text, figures) => { if (figures.length) { const b = box(); b.append(...figures); host.append(el('details', {}, el('summary', {}, text), b)); } };
  const now = [...rows.values()], first = box();
  first.append(...now.slice(0, SHOWN).flat());
  host.append(el('h3', {}, 'Generated text'), el('p', {}, 'What the model wrote after a prompt (grey) at the end of training.'), first);
  fold('More prompts', now.slice(SHOWN).flat());
  fold('Earlier in training', earlier);
};

/* --- training --- */
const trainingSection = () => {
  const host = byId('training');
  const wants = [['tokens_per_s', 'Speed', 'tokens per second', si, true], ['lr', 'Learning rate', 'learning rate', short, true], ['grad_norm', 'Gradient norm', 'norm before clipping', short, true]];
  const aux = [...new Set(runs.flatMap(r => Object.keys(r.aux)))];
  if (!wants.some(w => runs.some(r => r.curves[w[0]])) && !aux.length) return;
  host.hidden = false;
  const rows = runs.map(r => {
    const v = r.curves.tokens_per_s, done = last(r.curves.tokens), recent = v ? median(v.y.slice(-Math.max(5, v.y.length >> 2))) : NaN;
    const left = isNum(r.steps_total) && isNum(r.step) && r.step < r.steps_total && r.step > 0 ? done / r.step * (r.steps_total - r.step) / recent : NaN;
    return [r.name, group(r.step) + (isNum(r.steps_total) ? ' of ' + group(r.steps_total) : ''), si3(done), si3(v ? median(v.y) : NaN), clock(r.seconds), r.final || r.step >= r.steps_total ? 'done' : isNum(left) ? 'about ' + clock(left) : '\u2013'];
  });
  host.append(table('data', ['Run', 'Steps', 'Tokens', 'Tokens/s, median', 'Time trained', 'Time left'], rows));
  const grid = el('div', { class: 'few', style: { 'margin-top': '32px', 'grid-template-columns': 'repeat(auto-fill, minmax(min(100%, 300px), 1fr))' } });
  if (many) host.append(el('ul', { class: 'key', style: { 'margin-top': '28px' } }, runs.map(r => el('li', {}, el('span', { class: 'dot', style: { background: r.color } }), r.name))));
  host.append(grid);
  const add = (title, unit, get, read, zero, clip) => {
    if (!runs.some(r => get(r))) return;
    const box = el('div', {});
    grid.append(el('div', {}, el('h4', {}, title), box));
    redraws.push(chart(box, () => ({
      title, height: 200, zero, clip, x: xAxis(), y: { text: unit, read },
      series: runs.filter(get).map(r => { const s = get(r); return { name: r.name, label: read(last(s)), thin: true, color: many ? r.color : 'var(--more)', x: along(r, s), y: s.y }; })
    })));
  };
  for (const [key, title, unit, read, zero] of wants) add(title, unit, r => r.curves[key], read, zero, key === 'grad_norm');
  for (const a of aux) add(a, 'added to the loss, nats', r => r.aux[a], short, false, true);
};

/* --- options --- */
const optionsSection = () => {
  const host = byId('options'), with_ = runs.filter(r => r.config);
  if (!with_.length) return;
  host.hidden = false;
  const flat = (v, path, out) => {
    if (v === null && !path) return out;
    if (v && typeof v === 'object' && !Array.isArray(v)) for (const k in v) flat(v[k], path ? path + '.' + k : k, out);
    else if (Array.isArray(v) && v.some(x => x && typeof x === 'object')) v.forEach((x, i) => flat(x, path + '.' + i, out));
    else out.set(path, v === null ? 'none' : Array.isArray(v) ? v.join(', ') : v === '' ? 'none' : String(v));
    return out;
  };
  const values = runs.map(r => flat(r.config, '', new Map())), defs = values.map(() => new Map());
  values.forEach((m, i) => { for (const [k, v] of [...m]) if (k.startsWith('derived.defaults.')) { defs[i].set(k.slice(17), v); m.delete(k); } });
  const hasDefs = defs.some(d => d.size);
  const keys = [...new Set(values.flatMap(m => [...m.keys()]))], groupOf = k => k.includes('.') ? k.slice(0, k.indexOf('.')) : 'run';
  const groups = [...new Set(keys.map(groupOf))].sort((a, b) => (a === 'run') - (b === 'run'));
  const differs = k => many && new Set(values.filter((_, i) => runs[i].config).map(m => m.get(k))).size > 1;
  const def = k => { for (const d of defs) if (d.has(k)) return d.get(k); return undefined; };
  const isSet = k => hasDefs && def(k) !== undefined && values.some(m => m.has(k) && m.get(k) !== def(k));
  let only = keys.some(k => many ? differs(k) : isSet(k));
  const box = el('div', { class: 'wide' });
  const build = () => box.replaceChildren(el('table', { class: 'opt' },
    el('thead', {}, el('tr', {}, el('th', { scope: 'col' }, 'Option'), runs.map(r => el('th', { scope: 'col' }, many ? r.name : 'Value')), hasDefs && el('th', { scope: 'col' }, 'Default'))),
    groups.map(g => {
      const rows = keys.filter(k => groupOf(k) === g && (!only || (many ? differs(k) : isSet(k))));
      return rows.length ? el('tbody', {}, el('tr', { class: 'group' }, el('th', { colspan: runs.length + 1 + hasDefs, scope: 'rowgroup' }, g)), rows.map(k => el('tr', { class: (many ? differs(k) : isSet(k)) ? 'set' : null },
        el('th', { scope: 'row' }, (k.includes('.') ? k.slice(k.indexOf('.') + 1) : k).split(/(?<=[_.])/).map((part, i) => [i ? el('wbr', {}) : null, part])), values.map(m => el('td', {}, m.has(k) ? m.get(k) : '\u2013')), hasDefs && el('td', { class: 'was' }, isSet(k) ? def(k) : '')))) : null;
    })));
  const what = many ? 'Options in which the runs differ are bold.' : hasDefs ? 'Options that differ from their default are bold; the default stands beside.' : 'The resolved configuration of this run.';
  host.append(el('p', { class: 'note' }, what));
  if (only) host.append(el('div', { class: 'controls', style: { 'margin-top': '0' } }, segments('Show', [['only', 'differences only'], ['all', 'all options']], 'only', v => { only = v === 'only'; build(); })));
  host.append(box);
  build();
};

/* --- the page --- */
const theme = () => {
  const button = byId('theme'), root = document.documentElement, prefers = matchMedia('(prefers-color-scheme: dark)');
  const dark = () => root.dataset.theme ? root.dataset.theme === 'dark' : prefers.matches;
  const sync = () => { button.textContent = dark() ? 'Light' : 'Dark'; button.setAttribute('aria-label', 'Switch to ' + button.textContent.toLowerCase() + ' colours'); };
  button.removeAttribute('aria-pressed');
  button.hidden = false;
  button.addEventListener('click', () => { root.dataset.theme = dark() ? 'light' : 'dark'; sync(); });
  prefers.addEventListener('change', sync);
  sync();
};
theme();
lossSection();
routingSection();
analysisSection();
textSection();
trainingSection();
optionsSection();
for (const a of document.querySelectorAll('nav a')) a.hidden = byId(a.hash.slice(1)).hidden;
})();
