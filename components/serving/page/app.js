// The page's state and what happens when somebody types, picks a shopper or acts on a product.

import * as api from "/page/api.js";
import { showHistory } from "/page/history.js";
import { keepingFocus, showProducts } from "/page/render.js";

const SHOWN = 12;
const WAIT_MS = 25; // after a key, so that fast typing asks once
const SLOW_MS = 250; // after which the page says that it is searching
const byId = (id) => document.getElementById(id);
const [query, user, against, columns] = ["query", "user", "against", "columns"].map(byId);
const session = crypto.getRandomValues(new Uint32Array(2)).join("-");
const state = { running: null, timer: 0, shown: null, shoppers: [] };

function later() {
  clearTimeout(state.timer);
  state.timer = setTimeout(search, WAIT_MS);
}

// Searches for what the form says. The lists come first; reasons and history fill in behind them.
async function search(announcement) {
  clearTimeout(state.timer);
  state.running?.abort();
  const running = (state.running = new AbortController());
  const asked = { text: query.value.trim(), shopper: user.value.trim(), against: against.value };
  remember(asked);
  if (!asked.text) return clear(asked, running.signal);
  const begun = performance.now();
  const slow = setTimeout(() => busy(true), SLOW_MS);
  try {
    const [left, right] = await Promise.all([beside(asked, running.signal), towers(asked, running.signal)]);
    const [leftRows, rightRows] = await Promise.all([rowsOf(left, running.signal), rowsOf(right, running.signal)]);
    if (running.signal.aborted) return;
    const answer = { asked, left, right, leftRows, rightRows };
    clearTimeout(slow);
    busy(false);
    show(answer);
    report(answer, performance.now() - begun, announcement);
    if (asked.shopper) await explained(answer, running.signal);
  } catch (error) {
    if (error.name !== "AbortError") problem(error.message);
  } finally {
    clearTimeout(slow);
    if (!running.signal.aborted) busy(false);
  }
}

// The list to compare with; null where it would be the same as the shopper's.
function beside({ text, shopper, against: what }, signal) {
  if (what === "lexical") return api.lexical(text, signal);
  if (what === "previous") return api.search({ ...instance(text, shopper), release: "previous" }, signal);
  return shopper ? api.search(instance(text, ""), signal) : null;
}

function towers({ text, shopper }, signal) {
  return api.search(instance(text, shopper), signal);
}

// A half-typed query is no search of the shopper's: only acting on a product writes it into the history.
function instance(text, shopper) {
  return { query: text, k: SHOWN, record: false, ...(shopper ? { user_id: shopper } : { session_id: session }) };
}

async function explained(answer, signal) {
  const { text, shopper } = answer.asked;
  const [reasons, past] = await Promise.all([
    api.explain(instance(text, shopper), signal),
    api.history(shopper, signal),
  ]);
  const rows = await rowsOf(reasons, signal);
  if (signal.aborted) return;
  show({ ...answer, right: reasons, rightRows: rows }, false);
  degraded(answer.left, reasons);
  showHistory(byId("history"), past, reasons.behaviours, rows);
  byId("views").hidden = false;
}

async function rowsOf(answer, signal) {
  if (!answer) return new Map();
  const near = answer.products.flatMap((product) => (product.nearest || []).map((item) => item.product_id));
  const weighing = (answer.behaviours || []).map((item) => item.product_id);
  const ids = [...answer.products.map((product) => product.product_id), ...near, ...weighing];
  return ids.length ? api.products(ids, answer.release, signal) : new Map();
}

function show({ asked, left, right, leftRows, rightRows }, fresh = true) {
  const { text, shopper } = asked;
  const who = shopper || "Nobody";
  const other = { anonymous: "Nobody", lexical: "By words (BM25)", previous: `${who}, release ${left?.release}` }[asked.against];
  const hints = { anonymous: "the same query without a shopper", lexical: "titles that share words with the query",
    previous: "what the release before would show" };
  const places = asked.against === "anonymous" ? null : new Map(left?.products.map((item, n) => [item.product_id, n + 1]));
  const same = state.shown?.shopper === shopper && state.shown.text === text;
  const ids = new Set(right.products.map((product) => product.product_id));
  if (fresh) state.shown = { shopper, text, ids, before: same ? state.shown.ids : null };
  columns.dataset.query = text;
  keepingFocus(columns, () => {
    byId("left").hidden = !left;
    if (left) showProducts(byId("left"), { title: other, hint: hints[asked.against], answer: left, rows: leftRows });
    showProducts(byId("right"), {
      title: asked.against === "previous" ? `${who}, release ${right.release}` : shopper || "Nobody, by the towers",
      hint: shopper ? "Choose a product as this shopper would; the list follows." : "Pick a shopper to search and act as one.",
      answer: right, rows: rightRows, act: shopper ? act : null, before: state.shown.before, places,
    });
  });
  byId("examples").hidden = true;
  if (!shopper) byId("history").hidden = true;
  byId("views").hidden = !left && !shopper;
  byId("views").querySelector("[data-view=history]").hidden = !shopper;
  byId("views").querySelector("[data-view=left]").hidden = !left;
  if (columns.dataset.view === "history" ? !shopper : columns.dataset.view === "left" && !left) view("right");
}

async function clear({ shopper }, signal) {
  busy(false);
  for (const id of ["left", "right", "history", "views", "problem", "degraded"]) byId(id).hidden = true;
  byId("examples").hidden = !byId("examples").querySelector("li");
  byId("status").textContent = "Type something a shopper would type.";
  state.shown = null;
  if (!shopper) return;
  try {
    showHistory(byId("history"), await api.history(shopper, signal), [], new Map());
    view("history");
  } catch (error) {
    if (error.name !== "AbortError") problem(error.message);
  }
}

async function act(productId, action) {
  const before = state.shown?.ids || new Set();
  const { shopper, text } = state.shown;
  try {
    await api.addEvents([
      { user_id: shopper, query: text },
      { user_id: shopper, product_id: productId, action },
    ]);
    await search(() => {
      const arrived = [...state.shown.ids].filter((id) => !before.has(id)).length;
      return `${action} taken in; ${arrived} of ${state.shown.ids.size} products are new.`;
    });
  } catch (error) {
    problem(error.message);
  }
}

function report({ left, right }, milliseconds, announcement) {
  byId("problem").hidden = true;
  degraded(left, right);
  const parts = [`${right.products.length} products in ${milliseconds.toFixed(0)} ms from release ${right.release}.`];
  if (typeof announcement === "function") parts.unshift(announcement());
  byId("status").textContent = parts.join(" ");
}

function degraded(...answers) {
  const reasons = new Set(answers.flatMap((answer) => answer?.degraded || []));
  byId("degraded").hidden = !reasons.size;
  byId("degraded").textContent = reasons.size ? `Not the usual answer: ${[...reasons].join("; ")}.` : "";
}

function busy(yes) {
  columns.setAttribute("aria-busy", String(yes));
  if (yes) byId("status").textContent = "Searching…";
}

function problem(sentence) {
  byId("problem").textContent = sentence;
  byId("problem").hidden = false;
  byId("status").textContent = "";
}

// On a phone one column is shown at a time.
function view(name) {
  columns.dataset.view = name;
  for (const button of byId("views").children) button.setAttribute("aria-pressed", String(button.dataset.view === name));
}

function remember({ text, shopper, against: what }) {
  const parameters = new URLSearchParams();
  if (text) parameters.set("q", text);
  if (shopper) parameters.set("user", shopper);
  if (what !== "anonymous") parameters.set("beside", what);
  window.history.replaceState(null, "", parameters.size ? `?${parameters}` : location.pathname);
}

function describe(about) {
  against.querySelector("[value=previous]").disabled = !about.releases.previous;
  const line = byId("about");
  line.textContent = `Model ${about.model}, release ${about.releases.stable}. `;
  if (about.simulated) {
    const mark = document.createElement("span");
    mark.className = "simulated";
    mark.textContent = "Simulated shop: products and shoppers are generated.";
    line.append(mark);
  }
  const items = about.examples.map((text) => {
    const [item, button] = [document.createElement("li"), document.createElement("button")];
    Object.assign(button, { type: "button", textContent: text });
    button.addEventListener("click", () => {
      query.value = text;
      query.focus();
      search();
    });
    item.append(button);
    return item;
  });
  byId("examples").querySelector("ul").replaceChildren(...items);
  byId("examples").hidden = !items.length || Boolean(query.value.trim());
}

async function start() {
  const parameters = new URLSearchParams(location.search);
  query.value = parameters.get("q") || "";
  user.value = parameters.get("user") || "";
  const beside_ = parameters.get("beside");
  if (beside_ === "lexical") against.value = beside_;
  byId("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    search();
  });
  query.addEventListener("input", later);
  user.addEventListener("input", later);
  against.addEventListener("change", () => search());
  byId("views").addEventListener("click", (event) => event.target.dataset.view && view(event.target.dataset.view));
  byId("anyone").addEventListener("click", () => {
    user.value = state.shoppers[Math.floor(Math.random() * state.shoppers.length)].user_id;
    search();
  });
  search();
  try {
    const [about, shoppers] = await Promise.all([api.about(), api.shoppers()]);
    describe(about);
    if (beside_ === "previous" && about.releases.previous) {
      against.value = beside_;
      search();
    }
    state.shoppers = shoppers;
    byId("anyone").disabled = !shoppers.length;
    byId("shoppers").replaceChildren(
      ...shoppers.map((shopper) => new Option(`${shopper.behaviours} behaviours`, shopper.user_id)),
    );
  } catch (error) {
    problem(error.message);
  }
}

start();
