// Shows /status/now and /status/hour. All text is set as textContent: names of servers and users are
// never markup.
"use strict";

const EVERY = 3000, HOUR_EVERY = 30000, SLOW = 10000, PATIENCE = 15000;
const SVG = "http://www.w3.org/2000/svg";
const NONE = "–";
const state = { now: null, hour: null, failed: 0, answered: 0, hourAt: 0, timer: 0, busy: false };

const byId = (id) => document.getElementById(id);

function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children.map(String));
  return element;
}

function draw(name, attributes = {}, text = null) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== null) element.textContent = text;
  return element;
}

function setText(element, text) {
  // Unchanged text stays, so that a selection and a screen reader's place stay too.
  if (element.textContent !== text) element.textContent = text;
}

// Numbers as people read them.

const known = (value) => value !== null && value !== undefined;

function bytes(value) {
  if (!known(value)) return NONE;
  const units = ["B", "kB", "MB", "GB", "TB"];
  let index = 0;
  while (value >= 999.5 && index < units.length - 1) { value /= 1024; index += 1; }
  return `${value >= 99.5 || index === 0 ? Math.round(value) : value.toPrecision(2)} ${units[index]}`;
}

function span(seconds) {
  if (!known(seconds)) return NONE;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds % 3600 / 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor(seconds % 86400 / 3600)} h`;
}

function brief(seconds) {
  if (!known(seconds)) return NONE;
  return seconds < 1 ? `${Math.max(1, Math.round(1000 * seconds))} ms` : `${seconds.toPrecision(3)} s`;
}

function rate(value) {
  if (!known(value)) return NONE;
  if (value === 0) return "0";
  return value < 10 ? value.toFixed(value < 0.095 ? 2 : 1) : String(Math.round(value));
}

function percent(value) {
  if (!known(value)) return NONE;
  return `${(100 * value).toFixed(value < 0.0995 ? 1 : 0)} %`;
}

const clock = (seconds) => new Date(1000 * seconds).toLocaleTimeString();
const count = (value) => known(value) ? Math.round(value).toLocaleString() : NONE;
const plural = (number, one, many) => number === 1 ? `1 ${one}` : `${count(number)} ${many}`;

// A table whose rows are found again by their key, so that focus and selection stay.

function table(holder, columns, rows, nothing) {
  let found = holder.querySelector("table");
  const empty = holder.querySelector("p");
  if (!rows.length) {
    if (found) found.remove();
    if (!empty) holder.append(make("p", { class: "dim" }, nothing));
    else setText(empty, nothing);
    return;
  }
  if (empty) empty.remove();
  if (!found) {
    found = make("table");
    const head = make("tr");
    for (const column of columns) {
      head.append(make("th", { scope: "col", class: column.kind || "" }, column.title));
    }
    const top = make("thead");
    top.append(head);
    found.append(top, make("tbody"));
    holder.append(found);
  }
  const body = found.tBodies[0];
  const before = new Map([...body.rows].map((row) => [row.dataset.key, row]));
  rows.forEach((item, index) => {
    const key = String(columns[0].value(item));
    let row = before.get(key);
    before.delete(key);
    if (!row) {
      row = make("tr");
      row.dataset.key = key;
      columns.forEach((column, place) => {
        row.append(place ? make("td") : make("th", { scope: "row" }));
      });
    }
    if (body.rows[index] !== row) body.insertBefore(row, body.rows[index] || null);
    columns.forEach((column, place) => fill(row.cells[place], column, item));
  });
  for (const row of before.values()) row.remove();
}

function fill(cell, column, item) {
  const name = [column.kind || "", column.mark ? column.mark(item) : ""].join(" ").trim();
  if (cell.className !== name) cell.className = name;
  if (column.bar) {
    let bar = cell.querySelector("progress");
    if (!bar) {
      bar = make("progress", { max: 1 });
      cell.append(bar, make("span"));
    }
    const part = column.bar(item);
    if (part === null) bar.removeAttribute("value");
    else bar.value = part;
    bar.setAttribute("aria-label", `${column.title}: ${column.value(item)}`);
    setText(cell.querySelector("span"), ` ${column.value(item)}`);
  } else {
    setText(cell, String(column.value(item)));
  }
}

function facts(holder, items) {
  const before = new Map([...holder.children].map((box) => [box.firstChild.textContent, box]));
  for (const [title, text, mark] of items) {
    let box = before.get(title);
    if (!box) {
      box = make("div");
      box.append(make("dt", {}, title), make("dd"));
      holder.append(box);
    }
    before.delete(title);
    setText(box.lastChild, text);
    box.lastChild.className = mark || "";
  }
  for (const box of before.values()) box.remove();
}

// What each part of the page shows.

const bad = (item) => item.given_up || !item.ready;
const word = (item) => item.given_up ? "given up" : item.ready ? item.state : `${item.state}, not ready`;
const mark = (item) => item.given_up || ["fatal", "exited", "stopped", "backoff"].includes(item.state) ? "bad" : item.ready ? "good" : "warn";
const sign = (item) => ({ good: "✓", warn: "…", bad: "✗" })[mark(item)];

const PROCESSES = [
  { title: "name", value: (item) => item.name },
  { title: "state", value: (item) => `${sign(item)} ${word(item)}`, mark },
  { title: "uptime", kind: "number", value: (item) => span(item.uptime) },
  { title: "restarts", kind: "number", value: (item) => item.restarts, mark: (item) => item.restarts ? "warn" : "" },
  { title: "processor", kind: "number", value: (item) => percent(item.processor), mark: (item) => item.synapse && item.processor > 0.9 ? "warn" : "" },
  { title: "private", kind: "number", value: (item) => bytes(item.private) },
  { title: "shared", kind: "number", value: (item) => bytes(item.shared) },
  { title: "connections", kind: "number", value: (item) => known(item.connections) ? `${item.connections} of ${item.most_connections}` : NONE, mark: (item) => known(item.connections) && item.connections >= item.most_connections ? "warn" : "" },
  { title: "requests/s", kind: "number", value: (item) => item.synapse ? rate(item.requests) : NONE },
  { title: "median", kind: "number", value: (item) => brief(item.median) },
  { title: "99th percentile", kind: "number", value: (item) => brief(item.slow) },
  { title: "roles", kind: "roles", value: (item) => item.roles.join(", ") || NONE },
];
const ROUTES = [
  { title: "route", value: (item) => item.name },
  { title: "requests/s", kind: "number", value: (item) => rate(item.requests) },
  { title: "failing/s", kind: "number", value: (item) => rate(item.failed), mark: (item) => item.failed ? "bad" : "" },
  { title: "median", kind: "number", value: (item) => brief(item.median) },
  { title: "99th percentile", kind: "number", value: (item) => brief(item.slow) },
  { title: "workers", kind: "long", value: (item) => item.workers.join(", ") || NONE },
];
const STREAMS = [
  { title: "stream", value: (item) => item.name },
  { title: "position", kind: "number", value: (item) => count(item.position) },
  { title: "writers", kind: "long", value: (item) => item.writers.join(", ") },
  { title: "for", kind: "number", value: (item) => item.seconds ? span(item.seconds) : NONE, mark: (item) => item.seconds >= 5 ? "bad" : "" },
  { title: "readers behind", kind: "long", value: behind, mark: (item) => item.behind.length && item.behind[0][1] > 100 ? "warn" : "" },
];
const BUDGET = [
  { title: "for", value: (item) => item.name },
  { title: "planned", kind: "number", value: (item) => bytes(item.planned) },
  { title: "used", bar: (item) => known(item.used) ? Math.min(1, item.used / item.planned) : 0, value: (item) => known(item.used) ? `${bytes(item.used)}, ${percent(item.used / item.planned)}` : "unknown", mark: (item) => item.used > item.planned ? "bad" : "" },
];
const UPDATES = [
  { title: "update", value: (item) => item.name },
  { title: "done", bar: (item) => item.done, value: (item) => known(item.done) ? percent(item.done) : known(item.rows) ? `${count(item.rows)} rows so far` : "waiting, or of unknown length" },
];
const DESTINATIONS = [
  { title: "server", kind: "long", value: (item) => item.name },
  { title: "since", value: (item) => span(Math.max(0, state.now.now - item.since)) },
  { title: "next try", value: (item) => item.again > state.now.now ? `in ${span(item.again - state.now.now)}` : "when there is something to send" },
];
const EVENTS = [
  { title: "time", value: (item) => clock(item.at) },
  { title: "process", value: (item) => item.name },
  { title: "what happened", kind: "long", value: (item) => item.text },
];

function behind(item) {
  if (!item.behind.length) return "none";
  const most = item.behind.slice(0, 4).map(([name, entries]) => `${name} by ${count(entries)}`);
  const more = item.behind.length - most.length;
  return most.join(", ") + (more > 0 ? ` and ${more} more` : "");
}

function verdict(now) {
  const down = now.processes.filter(bad);
  // The states of processes are newer than the health.
  if (now.health && !(now.health.state === "ready" && down.length)) {
    const marks = { ready: "good", degraded: "warn", starting: "warn", failing: "bad" };
    const signs = { ready: "✓", degraded: "!", starting: "…", failing: "✗" };
    const name = now.health.state;
    const all = name === "ready" ? `ready: all ${plural(now.processes.length, "process", "processes")} work` : name;
    return [marks[name] || "warn", `${signs[name] || "!"} ${all}`];
  }
  if (!now.processes.length) return ["bad", "✗ the state of the processes is unknown"];
  if (!down.length) return ["good", `✓ all ${now.processes.length} processes are ready`];
  return ["bad", `✗ not ready: ${down.map((item) => item.name).join(", ")}`];
}

function problems(now) {
  const found = { ...now.problems, ...(now.health ? now.health.problems : {}) };
  for (const item of now.processes) {
    if (bad(item) && !found[item.name]) found[item.name] = `is ${word(item)}${item.end ? `: ${item.end}` : ""}`;
  }
  const section = byId("problems"), list = section.querySelector("ul");
  const lines = Object.entries(found).map(([name, text]) => `${name} ${text}`);
  section.hidden = !lines.length;
  while (list.children.length > lines.length) list.lastChild.remove();
  while (list.children.length < lines.length) list.append(make("li"));
  lines.forEach((line, index) => setText(list.children[index], line));
}

function show(now) {
  setText(byId("server"), now.server);
  const title = verdict(now);
  setText(byId("verdict"), title[1]);
  byId("verdict").className = title[0];
  document.title = `${title[1].slice(0, 1)} ${now.server}`;
  setText(byId("meta"), `Ganglion ${now.version}${now.metrics ? "" : "; with SYNAPSE_ENABLE_METRICS=yes the page shows streams, memory and connections of each process too"}`);
  problems(now);
  const total = now.total;
  const processor = now.processes.reduce((sum, item) => sum + (item.processor || 0), 0);
  const connections = Object.values(now.sizes.connections).reduce((sum, number) => sum + number, 0);
  facts(byId("summary"), [
    ["requests per second", rate(total.requests)],
    ["of them failing", rate(total.failed), total.failed ? "bad" : ""],
    ["median", brief(total.median)],
    ["99th percentile", brief(total.slow)],
    ["processors in use", processor.toFixed(2)],
    ["restarts", String(now.processes.reduce((sum, item) => sum + item.restarts, 0))],
  ]);
  table(byId("processes"), PROCESSES, now.processes, "The supervisor does not answer.");
  table(byId("routes"), ROUTES, now.routes.filter((item) => item.requests > 0), "No request in the last minute.");
  table(byId("streams"), STREAMS, now.streams, now.metrics ? "No process has given its positions yet." : "The positions of streams are in Synapse's metrics: set SYNAPSE_ENABLE_METRICS=yes.");
  table(byId("budget"), BUDGET, now.budget.rows, "The budget is unknown.");
  facts(byId("sizes"), [
    ["database", bytes(now.sizes.database)],
    ["growth in the last hour", growth()],
    ["connections to PostgreSQL", known(now.sizes.most_connections) ? `${connections} of ${now.sizes.most_connections}` : NONE],
    ["media of this server", media(now.sizes.media, "local")],
    ["copies of remote media", media(now.sizes.media, "remote")],
  ]);
  table(byId("updates"), UPDATES, now.updates, "None: all are done.");
  table(byId("destinations"), DESTINATIONS, now.destinations.items, "None.");
  const more = now.destinations.number - now.destinations.items.length;
  let note = byId("more-destinations");
  if (more > 0 && !note) {
    note = make("p", { id: "more-destinations", class: "dim" });
    byId("destinations").after(note);
  }
  if (note) setText(note, more > 0 ? `and ${plural(more, "other", "others")}` : "");
  table(byId("events"), EVENTS, now.events, "None since the control application started.");
  topology(now);
}

function growth() {
  const sizes = (state.hour && state.hour.series.database || []).filter(known);
  if (sizes.length < 2) return NONE;
  const grown = sizes[sizes.length - 1] - sizes[0];
  return `${grown < 0 ? "−" : "+"}${bytes(Math.abs(grown))}`;
}

function media(sizes, whose) {
  return sizes ? `${bytes(sizes[whose])}, of the last day ${bytes(sizes[`new_${whose}`])}` : NONE;
}

// The picture: clients and other servers, nginx, the pools of workers, Redis and PostgreSQL.

const ROW = 22, PAD = 8, LETTERS = 20;

function topology(now) {
  const holder = byId("topology");
  const width = Math.max(300, Math.round(holder.clientWidth || 900));
  const key = JSON.stringify([width, now.groups, now.processes.map((item) => [item.name, mark(item), known(item.requests) && rate(item.requests)])]);
  if (holder.dataset.key === key) return;
  holder.dataset.key = key;
  const picture = (width < 640 ? narrow : broad)(now, width);
  const down = now.processes.filter(bad).map((item) => item.name);
  picture.setAttribute("role", "img");
  picture.setAttribute("aria-label", `Clients and other servers reach nginx, which passes requests to ${plural(now.groups.length, "pool", "pools")} of processes; these use Redis and PostgreSQL. ${down.length ? `Not ready: ${down.join(", ")}.` : "All are ready."} The table of processes has the details.`);
  holder.replaceChildren(picture);
}

function svg(width, height) {
  return draw("svg", { viewBox: `0 0 ${width} ${height}` });
}

function box(picture, x, y, width, height, title, small, item) {
  picture.append(draw("rect", { class: item ? `chip ${mark(item)}` : "box", x, y, width, height, rx: 5 }));
  const middle = small ? y + height / 2 - 3 : y + height / 2 + 4;
  picture.append(draw("text", { x: x + width / 2, y: middle, "text-anchor": "middle" }, item ? `${sign(item)} ${title}` : title));
  if (small) picture.append(draw("text", { class: "small", x: x + width / 2, y: middle + 15, "text-anchor": "middle" }, small));
}

const line = (picture, path, busy) => picture.append(draw("path", { class: busy ? "edge busy" : "edge", d: path }));

function pools(now, width) {
  const byName = new Map(now.processes.map((item) => [item.name, item]));
  return now.groups.map((group) => {
    const longest = Math.min(LETTERS, Math.max(...group.members.map((name) => name.length)));
    const chip = 34 + 7.4 * longest, across = Math.max(1, Math.floor((width - PAD) / (chip + 6)));
    const members = group.members.map((name) => byName.get(name) || { name, ready: false, state: "unknown", requests: 0 });
    const rows = Math.ceil(members.length / across);
    return { ...group, members, chip, across, requests: members.reduce((sum, item) => sum + (item.requests || 0), 0), height: 20 + rows * (ROW + 5) + 4 };
  });
}

function drawPool(picture, pool, x, y, width) {
  picture.append(draw("rect", { class: "box", x, y, width, height: pool.height, rx: 5 }));
  const routes = pool.routes.length ? `${plural(pool.routes.length, "route", "routes")}, ${rate(pool.requests)}/s` : "no requests from nginx";
  picture.append(draw("text", { class: "small", x: x + PAD, y: y + 14 }, pool.members.length > 1 || pool.name !== pool.members[0].name ? `${pool.name}: ${routes}` : routes));
  pool.members.forEach((item, index) => {
    const left = x + PAD + index % pool.across * (pool.chip + 6), top = y + 20 + Math.floor(index / pool.across) * (ROW + 5);
    picture.append(draw("rect", { class: `chip ${mark(item)}`, x: left, y: top, width: pool.chip, height: ROW, rx: 4 }));
    const name = item.name.length > LETTERS ? `${item.name.slice(0, LETTERS - 7)}…${item.name.slice(-6)}` : item.name;
    const text = draw("text", { x: left + 6, y: top + 15 }, `${sign(item)} ${name}`);
    text.append(draw("title", {}, `${item.name}: ${word(item)}`));
    picture.append(text);
  });
}

function stores(now) {
  return now.processes.filter((item) => item.name === "redis" || item.name === "postgres");
}

const LABELS = { redis: "Redis", postgres: "PostgreSQL" };

function broad(now, width) {
  const left = 120, router = left + 40, start = router + 100 + 45, end = width - 130, inner = end - 45 - start;
  const all = pools(now, inner);
  const height = Math.max(150, all.reduce((sum, pool) => sum + pool.height + 8, 8));
  const picture = svg(width, height);
  const nginx = now.processes.find((item) => item.name === "nginx");
  for (const [title, part] of [["Clients", 0.3], ["Other servers", 0.7]]) {
    const y = height * part;
    line(picture, `M${left} ${y}H${router}`, now.total.requests > 0);
    box(picture, 0, y - 19, left, 38, title);
  }
  box(picture, router, 4, 100, height - 8, "nginx", `${rate(now.total.requests)}/s`, nginx);
  const bus = end - 22, found = stores(now);
  let y = 8, first = null, last = 0;
  for (const pool of all) {
    const middle = y + pool.height / 2;
    if (pool.routes.length) line(picture, `M${router + 100} ${middle}H${start}`, pool.requests > 0);
    line(picture, `M${start + inner} ${middle}H${bus}`);
    drawPool(picture, pool, start, y, inner);
    if (first === null) first = middle;
    last = middle;
    y += pool.height + 8;
  }
  const places = found.map((_, index) => height * (index + 1) / (found.length + 1));
  if (first !== null && found.length) line(picture, `M${bus} ${Math.min(first, ...places)}V${Math.max(last, ...places)}`);
  found.forEach((item, index) => {
    line(picture, `M${bus} ${places[index]}H${end}`);
    box(picture, end, places[index] - 22, 130, 44, LABELS[item.name], item.state, item);
  });
  return picture;
}

function narrow(now, width) {
  const all = pools(now, width - 44);
  const top = 118, found = stores(now);
  const height = all.reduce((sum, pool) => sum + pool.height + 8, top) + 66;
  const picture = svg(width, height);
  const half = (width - 8) / 2;
  ["Clients", "Other servers"].forEach((title, index) => {
    const x = index * (half + 8);
    line(picture, `M${x + half / 2} 34V58`, now.total.requests > 0);
    box(picture, x, 2, half, 32, title);
  });
  box(picture, 0, 58, width, 44, "nginx", `${rate(now.total.requests)}/s`, now.processes.find((item) => item.name === "nginx"));
  let y = top, entry = 0, exit = 0;
  for (const pool of all) {
    const middle = y + pool.height / 2;
    if (pool.routes.length) { line(picture, `M8 ${middle}H22`, pool.requests > 0); entry = middle; }
    line(picture, `M${width - 22} ${middle}H${width - 8}`);
    drawPool(picture, pool, 22, y, width - 44);
    exit = exit || middle;
    y += pool.height + 8;
  }
  if (entry) line(picture, `M8 102V${entry}`, now.total.requests > 0);
  if (found.length) line(picture, `M${width - 8} ${exit}V${y + 14}`);
  found.forEach((item, index) => box(picture, index * (half + 8), y + 14, half, 44, LABELS[item.name], item.state, item));
  return picture;
}

// Charts of the last hour.

const CHARTS = [
  ["requests per second", "requests", rate], ["failing requests per second", "failed", rate],
  ["median of requests", "median", brief], ["99th percentile of requests", "slow", brief],
  ["processors in use", "processor", (value) => known(value) ? value.toFixed(2) : NONE],
  ["connections to PostgreSQL", "connections", count],
];

function charts() {
  const holder = byId("hour"), { times, series } = state.hour;
  const minutes = times.length ? (times[times.length - 1] - times[0]) / 60 : 0;
  setText(byId("hour-title"), minutes > 55 ? "Last hour" : `Last ${Math.max(10, Math.round(minutes))} minutes`);
  CHARTS.forEach(([title, name, text], index) => {
    let figure = holder.children[index];
    if (!figure) {
      figure = make("figure");
      const caption = make("figcaption");
      caption.append(make("strong", {}, title), make("span"));
      figure.append(draw("svg", { viewBox: "0 0 240 60", preserveAspectRatio: "none", role: "img" }), caption);
      holder.append(figure);
    }
    const values = series[name] || [], numbers = values.filter(known);
    const most = Math.max(0, ...numbers), last = numbers[numbers.length - 1];
    const summary = numbers.length ? `now ${text(last)}, most ${text(most)}` : "no value yet";
    setText(figure.querySelector("span"), summary);
    const picture = figure.querySelector("svg");
    picture.setAttribute("aria-label", `${title} over this time: ${summary}`);
    picture.replaceChildren(draw("path", { class: "axis", d: "M0 59.5H240" }), draw("path", { class: "curve", d: curve(times, values, most) }));
  });
}

function curve(times, values, most) {
  const end = times[times.length - 1] || 0;
  // A server that has just started shows its first minutes large.
  const shown = Math.min(3600, Math.max(600, end - times[0]));
  let path = "", pen = false;
  values.forEach((value, index) => {
    const x = 240 * (1 - (end - times[index]) / shown);
    if (!known(value) || x < 0) { pen = false; return; }
    path += `${pen ? "L" : "M"}${x.toFixed(1)} ${(58 - 54 * (most ? value / most : 0)).toFixed(1)}`;
    if (!pen) path += "h.5";
    pen = true;
  });
  return path;
}

// Asking, while somebody looks.

async function ask(path) {
  const patience = new AbortController();
  const timer = setTimeout(() => patience.abort(), PATIENCE);
  try {
    const answer = await fetch(path, { signal: patience.signal, cache: "no-store" });
    if (answer.status === 401) location.reload();
    if (!answer.ok) throw new Error(`it answers ${answer.status}`);
    return await answer.json();
  } finally {
    clearTimeout(timer);
  }
}

async function turn() {
  clearTimeout(state.timer);
  if (document.hidden || state.busy) return;
  state.busy = true;
  try {
    if (!state.hour || Date.now() - state.hourAt > HOUR_EVERY) {
      state.hour = await ask("/status/hour");
      state.hourAt = Date.now();
      charts();
    }
    const now = await ask("/status/now");
    if (!now || !Array.isArray(now.processes)) throw new Error("its answer cannot be read");
    state.now = now;
    state.answered = Date.now();
    state.failed = 0;
    document.body.classList.remove("old");
    show(state.now);
  } catch (error) {
    state.failed += 1;
    const since = state.answered ? ` since ${new Date(state.answered).toLocaleTimeString()}` : "";
    setText(byId("verdict"), `✗ no answer${since}: ${error.name === "AbortError" ? "it takes too long" : error.message}`);
    byId("verdict").className = "bad";
    document.title = "✗ no answer";
    document.body.classList.add("old");
  }
  state.busy = false;
  if (!document.hidden) state.timer = setTimeout(turn, state.failed ? SLOW : EVERY);
}

document.addEventListener("visibilitychange", turn);
window.addEventListener("resize", () => { if (state.now) topology(state.now); });
turn();
