// The page's state and what happens when somebody types, picks a shopper or acts on a product.

import * as api from "/page/api.js";
import { showHistory, showProducts } from "/page/render.js";

const SHOWN = 12;
const WAIT_MS = 30;
const byId = (id) => document.getElementById(id);
const [query, user, against] = [byId("query"), byId("user"), byId("against")];
const session = crypto.getRandomValues(new Uint32Array(2)).join("-");
const state = { running: null, timer: 0, releases: {}, shown: null };

function later() {
  clearTimeout(state.timer);
  state.timer = setTimeout(search, WAIT_MS);
}

async function search(announcement) {
  state.running?.abort();
  const running = (state.running = new AbortController());
  const [text, shopper] = [query.value.trim(), user.value.trim()];
  remember(text, shopper);
  if (!text) return clear(shopper, running.signal);
  const begun = performance.now();
  try {
    const [left, right, past] = await Promise.all([
      compared(text, shopper, running.signal),
      towers(text, shopper, running.signal),
      shopper ? api.history(shopper, running.signal) : null,
    ]);
    const [leftRows, rightRows] = await Promise.all([rowsOf(left, running.signal), right ? rowsOf(right, running.signal) : null]);
    if (running.signal.aborted) return;
    show(left, right, past, leftRows, rightRows, shopper);
    report(right || left, performance.now() - begun, announcement);
  } catch (error) {
    if (error.name !== "AbortError") problem(error.message);
  }
}

function compared(text, shopper, signal) {
  if (against.value === "lexical") return api.lexical(text, signal);
  const instance = { query: text, k: SHOWN, session_id: session };
  if (against.value !== "previous") return api.search(instance, signal);
  return api.search({ ...instance, release: "previous", ...(shopper ? { user_id: shopper } : {}) }, signal);
}

// The right column: the towers with reasons; not shown when the left one already is the towers for nobody.
function towers(text, shopper, signal) {
  if (shopper) return api.explain({ query: text, user_id: shopper, k: SHOWN }, signal);
  return against.value === "anonymous" ? null : api.search({ query: text, k: SHOWN, session_id: session }, signal);
}

function rowsOf(answer, signal) {
  const near = answer.products.flatMap((product) => (product.nearest || []).map((item) => item.product_id));
  return api.products([...answer.products.map((product) => product.product_id), ...near], answer.release, signal);
}

function show(left, right, past, leftRows, rightRows, shopper) {
  const titles = { anonymous: "Nobody", lexical: "By words", previous: `${shopper || "Nobody"}, release ${left.release}` };
  showProducts(byId("left"), titles[against.value], left, leftRows, null, null);
  byId("right").hidden = !right;
  byId("history").hidden = !past;
  if (!right) return;
  const text = query.value.trim();
  const before = state.shown?.shopper === shopper && state.shown.text === text ? state.shown.ids : null;
  showProducts(byId("right"), shopper || "Nobody, by the towers", right, rightRows, shopper ? act : null, before);
  state.shown = { shopper, text, ids: new Set(right.products.map((product) => product.product_id)) };
  if (past) showHistory(byId("history"), past, new Map(right.behaviours.map((item) => [item.product_id, item.weight])));
}

async function clear(shopper, signal) {
  byId("left").querySelector("ol").replaceChildren();
  byId("right").hidden = byId("history").hidden = true;
  byId("status").textContent = "Type something a shopper would type.";
  byId("problem").hidden = true;
  if (!shopper) return;
  try {
    showHistory(byId("history"), await api.history(shopper, signal), new Map());
  } catch (error) {
    if (error.name !== "AbortError") problem(error.message);
  }
}

async function act(productId, action) {
  const shopper = user.value.trim();
  const before = state.shown?.ids || new Set();
  try {
    await api.addEvents([
      { user_id: shopper, query: query.value.trim() },
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

function report(answer, milliseconds, announcement) {
  byId("problem").hidden = true;
  const parts = [`${answer.products.length} products in ${milliseconds.toFixed(0)} ms from release ${answer.release}.`];
  if (answer.degraded) parts.push(`Degraded: ${answer.degraded.join("; ")}.`);
  if (typeof announcement === "function") parts.unshift(announcement());
  byId("status").textContent = parts.join(" ");
}

function problem(sentence) {
  byId("problem").textContent = sentence;
  byId("problem").hidden = false;
}

function remember(text, shopper) {
  const parameters = new URLSearchParams();
  if (text) parameters.set("q", text);
  if (shopper) parameters.set("user", shopper);
  window.history.replaceState(null, "", parameters.size ? `?${parameters}` : location.pathname);
}

async function start() {
  const parameters = new URLSearchParams(location.search);
  query.value = parameters.get("q") || "";
  user.value = parameters.get("user") || "";
  byId("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    search();
  });
  query.addEventListener("input", later);
  user.addEventListener("input", later);
  against.addEventListener("change", () => search());
  search();
  try {
    const [about, shoppers] = await Promise.all([api.about(), api.shoppers()]);
    against.querySelector("[value=previous]").disabled = !about.releases.previous;
    const line = byId("about");
    line.textContent = `Model ${about.model}, release ${about.releases.stable}. `;
    if (about.simulated) {
      const mark = document.createElement("span");
      mark.className = "simulated";
      mark.textContent = "Simulated shop: products and shoppers are generated.";
      line.append(mark);
    }
    byId("shoppers").replaceChildren(
      ...shoppers.map((shopper) => new Option(`${shopper.behaviours} behaviours`, shopper.user_id)),
    );
  } catch (error) {
    problem(error.message);
  }
}

start();
