// A shopper's history: what weighs in this search, the latest behaviours and searches.

import { element } from "/page/render.js";

const NAMES = { 1: "clicked", 2: "favourited", 3: "put into the cart", 4: "ordered" };
const SHOWN = 10;

// `weighing`: [{product_id, weight}] of the search, heaviest first; `rows`: catalogue rows by id.
export function showHistory(aside, history, weighing, rows) {
  const titleOf = (id) => rows.get(id)?.title || history.products[id]?.title || id;
  const heaviest = Math.max(...weighing.map((item) => item.weight), 1e-9);
  const weights = weighing.map(({ product_id, weight }) => {
    const item = element("li");
    const bar = element("div", "bar");
    bar.style.width = `${Math.max(2, (100 * weight) / heaviest)}%`;
    item.append(`${titleOf(product_id)} `, element("span", "quiet", `${(100 * weight).toFixed(0)}\u00a0%`), bar);
    return item;
  });
  aside.querySelector(".weights").replaceChildren(...weights);
  aside.querySelector("#weighing").hidden = !weights.length;

  const items = history.behaviours.map((behaviour) => {
    const item = element("li", "", `${NAMES[behaviour.action]} ${titleOf(behaviour.product_id)}`);
    item.append(element("span", "quiet when", moment(behaviour.timestamp)));
    return item;
  });
  const list = aside.querySelector(".behaviours");
  list.replaceChildren(...items.slice(0, SHOWN));
  if (!items.length) list.append(element("li", "empty", "Nothing yet: a new shopper."));
  if (items.length > SHOWN) list.append(more(list, items.slice(SHOWN)));

  const queries = history.queries.map((item) => element("li", "", item.query));
  aside.querySelector(".queries").replaceChildren(...queries);
  aside.querySelector("#searched").hidden = !queries.length;
  aside.hidden = false;
}

function more(list, items) {
  const last = element("li");
  const button = element("button", "plain", `${items.length} more`);
  button.type = "button";
  button.addEventListener("click", () => {
    last.remove();
    list.append(...items);
  });
  last.append(button);
  return last;
}

function moment(microseconds) {
  return new Date(microseconds / 1000).toISOString().slice(0, 16).replace("T", " ");
}
