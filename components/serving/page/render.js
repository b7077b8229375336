// From answers to elements. Text is always set as text, never as markup: titles and ids come from a shop's log.

const ACTIONS = ["cart", "favourite", "order"];

export function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function movement(rank, before, elsewhere) {
  if (before === undefined) return null;
  if (before === null) return ["up", "new", `not among ${elsewhere}`];
  const steps = before - rank;
  if (steps === 0) return ["", "=", `same place as in ${elsewhere}`];
  const direction = steps > 0 ? "up" : "down";
  const many = Math.abs(steps);
  return [direction, `${steps > 0 ? "▲" : "▼"}${many}`, `${many} ${many === 1 ? "place" : "places"} ${direction} from ${elsewhere}`];
}

// Why a product is there: key terms of the query it carries, behaviours it is close to, what boosting added.
function reasons(product, rows) {
  const list = element("ul", "why");
  const add = (label, text) => {
    const item = element("li");
    item.append(element("b", "", label), ` ${text}`);
    list.append(item, " ");
  };
  for (const term of product.terms || []) add(`${term.kind}:`, term.value);
  for (const item of product.nearest || []) {
    add("like", `${rows.get(item.product_id)?.title || item.product_id} (${(100 * item.share).toFixed(0)}\u00a0%)`);
  }
  if (product.boost) add("boost", `${product.boost > 0 ? "+" : "−"}${Math.abs(product.boost).toFixed(3)}`);
  return list.childNodes.length ? list : null;
}

function titleOf(row, product, act) {
  const text = row.title || product.product_id;
  if (!act) return element("div", "title", text);
  const button = element("button", "title", text);
  button.type = "button";
  button.dataset.does = `${product.product_id} click`;
  button.addEventListener("click", () => act(product.product_id, "click"));
  return button;
}

function actions(row, product, act) {
  const buttons = element("div", "acts");
  for (const action of ACTIONS) {
    const button = element("button", "", action);
    button.type = "button";
    button.dataset.does = `${product.product_id} ${action}`;
    button.setAttribute("aria-label", `${action}: ${row.title || product.product_id}`);
    button.addEventListener("click", () => act(product.product_id, action));
    buttons.append(button);
  }
  return buttons;
}

function productItem(product, rank, { rows, act, before, places }) {
  const row = rows.get(product.product_id) || {};
  const arrived = before && !before.has(product.product_id);
  const item = element("li", arrived ? "arrived" : "");
  item.dataset.product = product.product_id;
  const place = element("div", "rank", String(rank));
  const earlier = places ? (places.get(product.product_id) ?? null) : product.anonymous_rank;
  const moved = movement(rank, earlier, places ? "the list beside it" : "the first 100 for nobody");
  if (moved) {
    const mark = element("span", `move ${moved[0]}`, moved[1]);
    mark.title = moved[2];
    place.append(mark, element("span", "unseen", moved[2]));
  }
  const body = element("div", "body");
  body.append(titleOf(row, product, act));
  const price = row.price === null || row.price === undefined ? null : row.price.toFixed(2);
  const path = (row.category || "").split(" > ").slice(-1)[0];
  const line = element("div", "line");
  line.append(element("div", "meta", [row.brand, path, price].filter(Boolean).join(" · ")));
  if (act) line.append(actions(row, product, act));
  body.append(line);
  const why = reasons(product, rows);
  if (why) body.append(why);
  item.append(place, body);
  return item;
}

// One list. `rows`: catalogue rows by id. `act(product id, action)` is absent where nobody is there to act. `before`:
// ids shown until now, to mark what arrived. `places`: ranks in the list beside it, to mark what moved.
export function showProducts(section, { title, hint, answer, rows, act = null, before = null, places = null }) {
  section.querySelector("h2").textContent = title;
  section.querySelector(".hint").textContent = hint;
  const list = section.querySelector("ol");
  const items = answer.products.map((product, n) => productItem(product, n + 1, { rows, act, before, places }));
  list.replaceChildren(...items);
  if (!items.length) list.append(element("li", "empty", "No product matches."));
  section.hidden = false;
}

// Runs `change`, which replaces elements inside `root`, and puts the focus back on the element that does the same.
export function keepingFocus(root, change) {
  const does = root.contains(document.activeElement) ? document.activeElement.dataset.does : undefined;
  change();
  if (!does) return;
  const same = [...root.querySelectorAll("[data-does]")].find((item) => item.dataset.does === does);
  (same || root.querySelector("[data-does]"))?.focus({ preventScroll: true });
}

// The same product in the other list is marked while the pointer or the focus is on it.
for (const [enters, marks] of [["pointerover", true], ["pointerout", false], ["focusin", true], ["focusout", false]]) {
  document.addEventListener(enters, (event) => {
    const id = event.target.closest?.("[data-product]")?.dataset.product;
    if (!id) return;
    for (const item of document.querySelectorAll(`[data-product="${CSS.escape(id)}"]`)) item.classList.toggle("same", marks);
  });
}
