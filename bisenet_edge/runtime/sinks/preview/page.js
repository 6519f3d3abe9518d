// The picture is one endless response; the figures are asked for once a second. When either ends, the page
// says so, keeps asking, and takes both up again when the service is back.
"use strict";
const POLL_MS = 1000;
const TIMEOUT_MS = 4000;
const QUIET_S = 3;
const byId = (id) => document.getElementById(id);
const view = byId("view");
let streaming = false;
let startedAt = null;

function tell(state, text) {
  byId("state").dataset.state = state;
  byId("state").textContent = text;
  view.classList.toggle("stale", state === "lost");
}

function stream() {
  streaming = true;
  view.src = "/stream.mjpg?" + Date.now();
}

// An endless picture never fires "load".
setInterval(() => {
  const there = view.naturalWidth > 0;
  view.hidden = !there;
  byId("blank").hidden = there;
}, 200);

view.addEventListener("error", () => { streaming = false; });

function put(id, value, text) {
  const known = value !== null && value !== undefined;
  byId(id).textContent = known ? text(value) : "not available";
  byId(id).classList.toggle("unknown", !known);
}

function putFigures(run) {
  const ms = (v) => v.toFixed(v < 100 ? 1 : 0) + " ms";
  const count = (v) => v.toLocaleString("en");
  put("fps", run.fps, (v) => v.toFixed(1));
  put("age50", run.age_p50_ms, ms);
  put("age99", run.age_p99_ms, ms);
  put("delivered", run.delivered, count);
  put("dropped", run.dropped, count);
  put("reopened", run.reopened, (v) => (v === 1 ? "once" : count(v) + " times"));
  put("temperature", run.temperature_c, (v) => v.toFixed(1) + " °C");
  put("power", run.power_mw, (v) => (v / 1000).toFixed(2) + " W");
}

function swatch([red, green, blue]) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const rect = document.createElementNS(space, "rect");
  svg.setAttribute("viewBox", "0 0 20 20");
  svg.setAttribute("aria-hidden", "true");
  for (const [name, value] of Object.entries({ x: 1, y: 1, width: 18, height: 18, rx: 3 })) rect.setAttribute(name, value);
  rect.setAttribute("fill", `rgb(${red}, ${green}, ${blue})`);
  svg.append(rect);
  return svg;
}

function buildLegend(labels) {
  byId("legend").replaceChildren(...labels.names.map((name, id) => {
    const item = document.createElement("li");
    const [word, share] = [document.createElement("span"), document.createElement("span")];
    word.textContent = name;
    item.append(swatch(labels.palette_rgb[id]), word, share);
    return item;
  }));
}

function putShares(names, areas) {
  names.forEach((name, id) => {
    const item = byId("legend").children[id];
    const share = areas[name] || 0;
    item.lastChild.textContent = share >= 0.0005 ? (100 * share).toFixed(1) + " %" : "–";
    item.classList.toggle("absent", share < 0.0005);
  });
}

function show(status) {
  const started = Math.round(Date.now() / 1000 - status.uptime_s);
  const restarted = startedAt === null || Math.abs(started - startedAt) > 2;
  if (restarted) {
    startedAt = started;
    buildLegend(status.labels);
  }
  if (restarted || !streaming) stream();
  if (status.run) putFigures(status.run);
  if (status.shown) {
    const [height, width] = status.shown.size;
    byId("caption").textContent =
      `Frame ${status.shown.index}, ${width}×${height}, drawn ${status.shown.age_ms} ms after its capture`;
    putShares(status.labels.names, status.shown.areas);
  }
  if (status.quiet_s === null) tell("wait", "Waiting for the first frame");
  else if (status.quiet_s > QUIET_S) tell("lost", `No frame for ${Math.round(status.quiet_s)} s`);
  else tell("live", "Live");
}

async function ask() {
  const timer = new AbortController();
  const timeout = setTimeout(() => timer.abort(), TIMEOUT_MS);
  try {
    const answer = await fetch("/status.json", { signal: timer.signal, cache: "no-store" });
    if (answer.status === 401) {
      streaming = false;
      tell("lost", "The token has changed: open the link that the service tells when it starts");
    } else if (answer.ok) {
      show(await answer.json());
    } else {
      throw new Error(answer.statusText);
    }
  } catch (error) {
    streaming = false;
    tell("lost", "Connection lost, trying again");
  } finally {
    clearTimeout(timeout);
    setTimeout(ask, POLL_MS);
  }
}

ask();
