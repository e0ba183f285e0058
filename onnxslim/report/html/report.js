"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const make = (tag, text, name) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (name) element.className = name;
    return element;
  };
  const short = (text, limit) => (text.length > limit ? "\u2026" + text.slice(text.length - limit + 1) : text);

  async function inflate() {
    const packed = Uint8Array.from(atob(byId("data").textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }

  // ---------------------------------------------------------------- tables
  function sortable(table) {
    const body = table.tBodies[0];
    Array.from(table.tHead.rows[0].cells).forEach((head, column) => {
      head.tabIndex = 0;
      const sort = () => {
        const ascending = head.getAttribute("aria-sort") === "descending";
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
        const key = (row) => {
          const cell = row.cells[column];
          return cell.dataset.v !== undefined ? Number(cell.dataset.v) : null;
        };
        const rows = Array.from(body.rows, (row) => [row, key(row), row.cells[column].textContent]);
        rows.sort((a, b) => {
          if (a[1] === null && b[1] === null) return a[2].localeCompare(b[2]) * (ascending ? -1 : 1);
          if (a[1] === null || b[1] === null) return a[1] === null ? 1 : -1;
          return (ascending ? 1 : -1) * (a[1] - b[1]);
        });
        body.append(...rows.map((row) => row[0]));
      };
      head.addEventListener("click", sort);
      head.addEventListener("keydown", (event) => { if (event.key === "Enter") sort(); });
    });
    if (body.rows.length > 12) {
      const field = make("input", undefined, "filter");
      field.type = "search";
      field.placeholder = "Filter " + body.rows.length + " rows";
      field.setAttribute("aria-label", "Filter");
      field.addEventListener("input", () => {
        const wanted = field.value.toLowerCase();
        for (const row of body.rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
      });
      table.parentElement.before(field);
    }
  }
  document.querySelectorAll("table.sortable").forEach(sortable);
  window.addEventListener("beforeprint", () => document.querySelectorAll("details:not(.mute)").forEach((d) => { d.open = true; }));

  // ---------------------------------------------------------------- graph
  const SIGN = ["", "+", "\u2212", "~"];
  const STATUS = ["same", "added", "removed", "changed"];
  const SAID = ["in both, unchanged", "added", "removed", "changed"];
  const HEIGHT = 34;
  const SMALLEST = 0.04;
  const KINDS = [
    ["Conv, MatMul, \u2026", "#4a84c4", /Conv|MatMul|Gemm|LSTM|GRU|RNN|Attention|Einsum/],
    ["activation", "#c9822b", /Relu|Sigmoid|Tanh|Gelu|Swish|Softmax|Clip|Elu|Erf|Mish|HardS|Softplus/],
    ["normalization", "#8f63b8", /Norm|LRN/],
    ["shape and layout", "#6d7885", /Reshape|Transpose|Concat|Split|Slice|Gather|Squeeze|Unsqueeze|Shape|Flatten|Expand|Pad|Tile|Identity|Cast|Resize|DepthToSpace|Reorder/],
    ["pooling and reduction", "#2f9488", /Pool|Reduce|ArgMax|TopK/],
    ["quantization", "#b8447a", /Quantize|QLinear|Integer/],
    ["control flow", "#a33c3c", /^(If|Loop|Scan)$/],
  ];

  function viewer(graph) {
    const canvas = byId("canvas"), map = byId("map"), panel = byId("panel");
    const pen = canvas.getContext("2d"), mapPen = map.getContext("2d");
    const boxes = graph.boxes;
    const style = {};
    let view, rows, scale = 1, left = 0, top = 0, chosen = -1, hits = [], hit = -1, pending = false;
    const changes = boxes.map((b, i) => i).filter((i) => boxes[i].s !== 0);
    changes.sort((a, b) => graph.views.full.y[a] - graph.views.full.y[b] || graph.views.full.x[a] - graph.views.full.x[b]);

    function colours() {
      const found = getComputedStyle(document.documentElement);
      for (const name of ["bg", "fg", "mute", "line", "box", "edge", "good", "bad", "warn", "accent", "soft"]) style[name] = found.getPropertyValue("--" + name).trim();
    }
    const kindColour = (op) => { for (const kind of KINDS) if (kind[2].test(op)) return kind[1]; return null; };
    boxes.forEach((b) => { b.c = kindColour(b.o); });

    // heat overlays: any numeric fact
    const heats = new Map();
    const LABELS = { macs: "MACs", parameters: "parameters", activation_bytes: "activation memory", ms: "time (ms)", sqnr_db: "SQNR (dB)" };
    for (const b of boxes) for (const [key, value] of Object.entries(b.f)) if (typeof value === "number" && key in LABELS) heats.set(key, Math.max(heats.get(key) ?? 0, value));
    const colour = byId("colour");
    const addChoice = (value, text) => { const option = make("option", text); option.value = value; colour.append(option); };
    if (changes.length) addChoice("status", "what changed");
    addChoice("kind", "kind of operator");
    for (const key of heats.keys()) addChoice(key, LABELS[key]);

    function heat(part) {
      const t = Math.pow(Math.max(0, Math.min(1, part)), 0.5);
      return "hsl(" + Math.round(210 - 200 * t) + " 75% 50% / " + (0.12 + 0.68 * t).toFixed(2) + ")";
    }
    function fill(b) {
      const by = colour.value;
      if (by === "kind") return b.c ? b.c + "44" : style.box;
      if (by === "status") return b.s === 0 ? style.box : [null, style.good, style.bad, style.warn][b.s] + "33";
      const value = b.f[by];
      if (typeof value !== "number") return style.box;
      return by === "sqnr_db" ? heat(1 - Math.min(value, 60) / 60) : heat(value / heats.get(by));
    }

    function use(name) {
      view = graph.views[name];
      rows = new Map();
      view.box.forEach((_, i) => { const y = view.y[i]; if (!rows.has(y)) rows.set(y, []); rows.get(y).push(i); });
      view.at = new Map();
      view.box.forEach((box, i) => { if (box >= 0) view.at.set(box, i); });
      view.span = view.edges.map((e) => [Math.min(view.y[e[0]], view.y[e[1]]), Math.max(view.y[e[0]], view.y[e[1]])]);
      view.order = view.edges.map((_, i) => i).sort((a, b) => view.span[a][0] - view.span[b][0]);
      view.longest = view.span.reduce((m, s) => Math.max(m, s[1] - s[0]), 0);
    }

    // Setting a canvas's size empties it: done only where it differs, and painted before the frame is shown.
    function size() {
      for (const c of [canvas, map]) {
        const box = c.getBoundingClientRect(), ratio = window.devicePixelRatio || 1;
        const width = Math.max(1, Math.round(box.width * ratio)), height = Math.max(1, Math.round(box.height * ratio));
        if (c.width !== width) c.width = width;
        if (c.height !== height) c.height = height;
      }
      paint();
    }
    const draw = () => { if (!pending) { pending = true; requestAnimationFrame(paint); } };

    function paint() {
      pending = false;
      const ratio = window.devicePixelRatio || 1;
      pen.setTransform(1, 0, 0, 1, 0, 0);
      pen.fillStyle = style.bg;
      pen.fillRect(0, 0, canvas.width, canvas.height);
      pen.setTransform(scale * ratio, 0, 0, scale * ratio, -left * scale * ratio, -top * scale * ratio);
      const wide = canvas.width / ratio / scale, high = canvas.height / ratio / scale;
      const bottom = top + high, right = left + wide;
      edges(bottom);
      const detail = scale > 0.45;
      pen.textBaseline = "middle";
      for (const [y, items] of rows) {
        if (y > bottom || y + HEIGHT < top) continue;
        for (const i of items) {
          const x = view.x[i] - view.w[i] / 2;
          if (x > right || x + view.w[i] < left) continue;
          const box = view.box[i];
          if (box < 0) capsule(i, x, y, detail); else node(boxes[box], box, i, x, y, detail);
        }
      }
      overview(high);
    }

    function edges(bottom) {
      const tones = [style.edge, style.good, style.bad, style.edge];
      for (const index of view.order) {
        const span = view.span[index];
        if (span[0] > bottom) break;
        if (span[1] + HEIGHT < top) continue;
        const [a, b, status, route] = view.edges[index];
        pen.beginPath();
        pen.setLineDash(status === 2 ? [6, 4] : []);
        const lit = chosen >= 0 && (view.box[a] === chosen || view.box[b] === chosen);
        pen.strokeStyle = lit ? style.accent : tones[status];
        pen.lineWidth = lit ? 2.2 : status ? 1.6 : 1;
        let x = view.x[a], y = view.y[a] + HEIGHT;
        pen.moveTo(x, y);
        const points = [...route, view.x[b], view.y[b] - HEIGHT / 2];
        for (let k = 0; k < points.length; k += 2) {
          const nx = points[k], ny = points[k + 1] + HEIGHT / 2, mid = (y + ny) / 2;
          if (Math.abs(nx - x) < 1) pen.lineTo(nx, ny); else pen.bezierCurveTo(x, mid, nx, mid, nx, ny);
          x = nx; y = ny;
        }
        pen.stroke();
        if (scale > 0.45) {
          pen.setLineDash([]);
          pen.beginPath();
          pen.moveTo(x - 3.5, y - 7); pen.lineTo(x, y - 0.5); pen.lineTo(x + 3.5, y - 7);
          pen.stroke();
        }
      }
      pen.setLineDash([]);
    }

    function outline(x, y, w, radius) {
      pen.beginPath();
      pen.roundRect(x, y, w, HEIGHT, radius);
    }
    function node(b, index, i, x, y, detail) {
      const w = view.w[i], end = b.o === "input" || b.o === "output";
      outline(x, y, w, end ? HEIGHT / 2 : 5);
      pen.fillStyle = style.bg; pen.fill();
      pen.fillStyle = fill(b); pen.fill();
      const found = hits.length && hits.includes(index);
      pen.strokeStyle = index === chosen || found ? style.accent : b.s ? [null, style.good, style.bad, style.warn][b.s] : style.edge;
      pen.lineWidth = index === chosen ? 3.5 : found ? 2.5 : b.s ? 2 : 1;
      pen.setLineDash(b.s === 2 ? [5, 3] : []);
      pen.stroke();
      pen.setLineDash([]);
      if (!detail) return;
      pen.fillStyle = style.fg;
      pen.textAlign = "center";
      pen.font = "600 12px system-ui, sans-serif";
      const sign = SIGN[b.s] ? SIGN[b.s] + " " : "";
      const line = (text, at) => pen.fillText(text, x + w / 2, at, w - 8);
      if (end) { line(short(b.n, 28), y + HEIGHT / 2); return; }
      line(sign + b.o.split(":").pop(), y + 11.5);
      pen.font = "10px system-ui, sans-serif";
      pen.fillStyle = style.mute;
      line(short(b.n, 26), y + 25);
    }
    function capsule(i, x, y, detail) {
      outline(x, y, view.w[i], HEIGHT / 2);
      pen.fillStyle = style.soft; pen.fill();
      pen.strokeStyle = style.edge; pen.lineWidth = 1;
      pen.setLineDash([2, 3]); pen.stroke(); pen.setLineDash([]);
      if (!detail) return;
      pen.fillStyle = style.mute;
      pen.textAlign = "center";
      pen.font = "11px system-ui, sans-serif";
      pen.fillText(view.labels[i - view.box.indexOf(-1)], view.x[i], y + HEIGHT / 2);
    }

    function overview(high) {
      const w = map.width, h = map.height, total = Math.max(view.height, 1);
      mapPen.clearRect(0, 0, w, h);
      const tick = Math.max(2, h / 300);
      const tones = [style.edge, style.good, style.bad, style.warn];
      for (const wanted of [0, 3, 2, 1]) {
        mapPen.fillStyle = tones[wanted];
        view.box.forEach((box, i) => {
          if ((box < 0 ? 0 : boxes[box].s) !== wanted) return;
          const x = (view.x[i] / Math.max(view.width, 1)) * (w - 6);
          mapPen.globalAlpha = wanted ? 1 : 0.45;
          mapPen.fillRect(x, (view.y[i] / total) * h, wanted ? 6 : 3, tick);
        });
      }
      mapPen.globalAlpha = 1;
      mapPen.strokeStyle = style.accent;
      mapPen.lineWidth = 2;
      mapPen.strokeRect(1, (top / total) * h, w - 2, Math.max(4, (high / total) * h));
    }

    // ---------------------------------------------------------------- moving
    const stageWidth = () => canvas.clientWidth - map.clientWidth;
    function fit() {
      const whole = Math.min(1.25, stageWidth() / (view.width + 40), canvas.clientHeight / (view.height + 40));
      if (whole < SMALLEST) {
        zoom(SMALLEST / scale, stageWidth() / 2, canvas.clientHeight / 2);
        return;
      }
      scale = whole;
      left = (view.width - stageWidth() / scale) / 2;
      top = (view.height - canvas.clientHeight / scale) / 2;
      draw();
    }
    function start() {
      const whole = Math.min(stageWidth() / (view.width + 40), canvas.clientHeight / (view.height + 40));
      if (whole > 0.35) { fit(); return; }
      scale = Math.max(0.5, Math.min(1, stageWidth() / (view.width + 40)));
      const first = changes.length ? changes[0] : view.box.find((b) => b >= 0);
      centre(first, true);
      const wide = stageWidth() / scale;
      left = view.width <= wide ? (view.width - wide) / 2 : Math.min(Math.max(left, -24), view.width - wide + 24);
      top = Math.max(-24 / scale, view.y[view.at.get(first)] - 60 / scale);
    }
    function centre(box, keep) {
      let i = view.at.get(box);
      if (i === undefined) { setFold(false); i = view.at.get(box); }
      if (i === undefined) return;
      if (!keep) scale = Math.max(scale, 0.8);
      left = view.x[i] - stageWidth() / 2 / scale;
      top = view.y[i] + HEIGHT / 2 - canvas.clientHeight / 2 / scale;
      draw();
    }
    function zoom(factor, px, py) {
      const next = Math.max(SMALLEST / 2, Math.min(4, scale * factor));
      left += px / scale - px / next;
      top += py / scale - py / next;
      scale = next;
      draw();
    }
    function setFold(folded) {
      const name = folded && graph.views.folded ? "folded" : "full";
      byId("fold").checked = name === "folded";
      use(name);
    }
    function step(direction) {
      if (!changes.length) return;
      let at = changes.indexOf(chosen);
      at = at < 0 ? (direction > 0 ? 0 : changes.length - 1) : (at + direction + changes.length) % changes.length;
      choose(changes[at]);
      centre(chosen);
    }

    // ---------------------------------------------------------------- details
    function choose(box) {
      chosen = box;
      panel.replaceChildren();
      panel.hidden = box < 0;
      if (box >= 0) {
        const b = boxes[box];
        const close = make("button", "\u00d7", "close");
        close.type = "button";
        close.setAttribute("aria-label", "Close");
        close.addEventListener("click", () => { choose(-1); draw(); });
        panel.append(close, make("h3", b.o), make("div", b.n));
        if (changes.length) panel.append(make("div", SAID[b.s], STATUS[b.s]));
        const list = make("dl");
        for (const [key, value] of Object.entries(b.f)) {
          list.append(make("dt", LABELS[key] ?? key));
          for (const item of Array.isArray(value) ? value : [value]) list.append(make("dd", typeof item === "number" ? item.toLocaleString("en") : String(item)));
        }
        panel.append(list);
      }
      draw();
    }
    function under(event) {
      const frame = canvas.getBoundingClientRect();
      const x = left + (event.clientX - frame.left) / scale, y = top + (event.clientY - frame.top) / scale;
      for (const [row, items] of rows) {
        if (y < row || y > row + HEIGHT) continue;
        for (const i of items) if (Math.abs(x - view.x[i]) <= view.w[i] / 2) return i;
      }
      return -1;
    }

    function search() {
      const wanted = byId("find").value.trim().toLowerCase();
      hits = wanted ? boxes.map((_, i) => i).filter((i) => {
        const b = boxes[i];
        return b.n.toLowerCase().includes(wanted) || b.o.toLowerCase().includes(wanted) || JSON.stringify(b.f).toLowerCase().includes(wanted);
      }) : [];
      hit = -1;
      byId("hits").textContent = wanted ? hits.length + " found" : "";
      draw();
    }
    byId("find").addEventListener("input", search);
    byId("find").addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !hits.length) return;
      hit = (hit + (event.shiftKey ? hits.length - 1 : 1)) % hits.length;
      byId("hits").textContent = (hit + 1) + " of " + hits.length;
      choose(hits[hit]);
      centre(hits[hit]);
    });

    const fingers = new Map();
    let moved = 0;
    canvas.addEventListener("pointerdown", (event) => { fingers.set(event.pointerId, [event.clientX, event.clientY]); moved = 0; canvas.setPointerCapture(event.pointerId); });
    canvas.addEventListener("pointermove", (event) => {
      const last = fingers.get(event.pointerId);
      if (!last) return;
      const dx = event.clientX - last[0], dy = event.clientY - last[1];
      moved += Math.abs(dx) + Math.abs(dy);
      if (fingers.size === 1) { left -= dx / scale; top -= dy / scale; draw(); }
      else if (fingers.size === 2) {
        const other = [...fingers].find(([id]) => id !== event.pointerId)[1];
        const before = Math.hypot(last[0] - other[0], last[1] - other[1]), now = Math.hypot(event.clientX - other[0], event.clientY - other[1]);
        const frame = canvas.getBoundingClientRect();
        if (before > 0) zoom(now / before, (event.clientX + other[0]) / 2 - frame.left, (event.clientY + other[1]) / 2 - frame.top);
      }
      fingers.set(event.pointerId, [event.clientX, event.clientY]);
    });
    const lift = (event) => { fingers.delete(event.pointerId); };
    canvas.addEventListener("pointerup", (event) => {
      lift(event);
      if (moved > 5) return;
      const i = under(event);
      if (i >= 0 && view.box[i] < 0) { setFold(false); start(); return; }
      choose(i < 0 ? -1 : view.box[i]);
    });
    canvas.addEventListener("pointercancel", lift);
    canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey && document.activeElement !== canvas) return;
      event.preventDefault();
      const frame = canvas.getBoundingClientRect();
      zoom(Math.exp(-event.deltaY / 400), event.clientX - frame.left, event.clientY - frame.top);
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      const stride = 80 / scale, half = [stageWidth() / 2, canvas.clientHeight / 2];
      const acts = {
        ArrowLeft: () => { left -= stride; }, ArrowRight: () => { left += stride; },
        ArrowUp: () => { top -= stride; }, ArrowDown: () => { top += stride; },
        "+": () => zoom(1.25, ...half), "=": () => zoom(1.25, ...half), "-": () => zoom(0.8, ...half),
        0: fit, n: () => step(1), p: () => step(-1), Escape: () => choose(-1),
      };
      if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in acts)) return;
      event.preventDefault();
      acts[event.key]();
      draw();
    });
    const jump = (event) => {
      if (!event.buttons) return;
      const frame = map.getBoundingClientRect();
      top = ((event.clientY - frame.top) / frame.height) * view.height - canvas.clientHeight / 2 / scale;
      draw();
    };
    map.addEventListener("pointerdown", jump);
    map.addEventListener("pointermove", jump);

    byId("fit").addEventListener("click", fit);
    byId("in").addEventListener("click", () => zoom(1.25, stageWidth() / 2, canvas.clientHeight / 2));
    byId("out").addEventListener("click", () => zoom(0.8, stageWidth() / 2, canvas.clientHeight / 2));
    byId("before").addEventListener("click", () => step(-1));
    byId("after").addEventListener("click", () => step(1));
    byId("before").hidden = byId("after").hidden = !changes.length;
    byId("foldlabel").hidden = !graph.views.folded;
    byId("fold").addEventListener("change", () => { setFold(byId("fold").checked); start(); });
    colour.addEventListener("change", () => { legend(); draw(); });
    document.querySelectorAll("button.show").forEach((button) => button.addEventListener("click", (event) => {
      event.preventDefault();
      const wanted = Number(button.dataset.hunk), box = boxes.findIndex((b) => b.h === wanted);
      byId("graph").scrollIntoView();
      if (box >= 0) { choose(box); centre(box); }
    }));

    function legend() {
      const text = colour.value === "status"
        ? "+ added (green), \u2212 removed (red, dashed), ~ changed (amber)."
        : colour.value === "kind" ? "" : "The stronger the colour, the " + (colour.value === "sqnr_db" ? "lower" : "larger") + ".";
      const found = byId("legend");
      found.replaceChildren(document.createTextNode(text + (text ? " " : "") + "Drag to move; click into the graph and scroll to zoom; click a box for details."));
      if (colour.value !== "kind") return;
      for (const kind of KINDS) {
        const dot = document.createElementNS("http://www.w3.org/2000/svg", "svg"), rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
        dot.setAttribute("width", "10"); dot.setAttribute("height", "10");
        rect.setAttribute("width", "10"); rect.setAttribute("height", "10"); rect.setAttribute("fill", kind[1] + "88");
        dot.append(rect);
        found.append(" ", dot, " " + kind[0]);
      }
    }

    colours();
    setFold(true);
    legend();
    new ResizeObserver(size).observe(canvas);
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { colours(); draw(); });
    size();
    start();
    canvas.dataset.ready = String(boxes.length);
  }

  inflate().then((data) => {
    byId("save").addEventListener("click", () => {
      const link = make("a"), url = URL.createObjectURL(new Blob([JSON.stringify(data.document, null, 2)], { type: "application/json" }));
      link.href = url;
      link.download = (data.document.command || "report") + ".json";
      link.click();
      URL.revokeObjectURL(url);
    });
    if (data.graph && byId("canvas")) viewer(data.graph);
    document.documentElement.dataset.ready = "yes";
  });
})();
