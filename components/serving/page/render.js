// From answers to elements. Text is always set as text, never as markup: titles and ids come from a shop's log.

export const ACTIONS = ["click", "cart", "favourite", "order"];
const NAMES = { 1: "clicked", 2: "favourited", 3: "put into the cart", 4: "ordered" };

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function movement(rank, before) {
  if (before === undefined) return null;
  if (before === null) return ["up", "new", "not among the anonymous results"];
  const steps = before - rank;
  if (steps === 0) return ["", "=", "same place as for nobody"];
  const direction = steps > 0 ? "up" : "down";
  return [direction, `${steps > 0 ? "▲" : "▼"}${Math.abs(steps)}`, `${Math.abs(steps)} places ${direction} by this shopper`];
}

function reasons(product, rows) {
  const line = element("div", "why");
  const add = (label, text) => {
    if (line.childNodes.length) line.append(" · ");
    line.append(element("b", "", label), ` ${text}`);
  };
  for (const term of product.terms || []) add(`${term.kind}:`, term.value);
  const near = (product.nearest || []).map((item) => `${rows.get(item.product_id)?.title || item.product_id}`);
  if (near.length) add("like", near.join(" and "));
  return line.childNodes.length ? line : null;
}

// One product. `before` is its rank for nobody (null: not among them, undefined: not known); `act` is called with
// (product id, action) or is null when nobody is there to act.
function productItem(product, rank, rows, act, arrived) {
  const row = rows.get(product.product_id) || {};
  const title = row.title || product.product_id;
  const item = element("li", arrived ? "arrived" : "");
  const place = element("div", "rank", String(rank));
  const moved = movement(rank, product.anonymous_rank);
  if (moved) {
    const mark = element("span", `move ${moved[0]}`, moved[1]);
    mark.title = moved[2];
    place.append(mark);
  }
  const body = element("div");
  body.append(element("div", "title", title));
  const price = row.price === null || row.price === undefined ? null : row.price.toFixed(2);
  body.append(element("div", "meta", [row.brand, row.category, price].filter(Boolean).join(" · ")));
  const why = reasons(product, rows);
  if (why) body.append(why);
  if (act) {
    const buttons = element("div", "acts");
    for (const action of ACTIONS) {
      const button = element("button", "", action);
      button.type = "button";
      button.setAttribute("aria-label", `${action} ${title}`);
      button.addEventListener("click", () => act(product.product_id, action));
      buttons.append(button);
    }
    body.append(buttons);
  }
  item.append(place, body);
  return item;
}

export function showProducts(section, title, answer, rows, act, before) {
  section.querySelector("h2").textContent = title;
  const list = section.querySelector("ol");
  const items = answer.products.map((product, index) => {
    const arrived = before && !before.has(product.product_id);
    return productItem(product, index + 1, rows, act, arrived);
  });
  list.replaceChildren(...items);
  if (!items.length) list.append(element("li", "empty", "No product matches."));
  section.hidden = false;
}

export function showHistory(aside, history, weights) {
  const heaviest = Math.max(...weights.values(), 1e-9);
  const items = history.behaviours.map((behaviour) => {
    const row = history.products[behaviour.product_id] || {};
    const when = new Date(behaviour.timestamp / 1000).toISOString().slice(0, 16).replace("T", " ");
    const item = element("li", "", `${NAMES[behaviour.action]} ${row.title || behaviour.product_id}`);
    item.append(element("span", "quiet", ` ${when}`));
    const weight = weights.get(behaviour.product_id);
    if (weight) {
      const bar = element("div", "bar");
      bar.style.width = `${Math.max(2, (100 * weight) / heaviest)}%`;
      bar.setAttribute("role", "img");
      bar.setAttribute("aria-label", `weighs ${(100 * weight).toFixed(0)} % in this search`);
      item.append(bar);
    }
    return item;
  });
  aside.querySelector(".behaviours").replaceChildren(...items);
  if (!items.length) aside.querySelector(".behaviours").append(element("li", "empty", "Nothing yet: a cold shopper."));
  const queries = history.queries.map((item) => element("li", "", item.query));
  aside.querySelector(".queries").replaceChildren(...queries);
  aside.querySelector("#queries-title").hidden = !queries.length;
  aside.hidden = false;
}
