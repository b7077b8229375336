// The public endpoint and the page's look-ups. Every call gives JSON or throws an Error with the server's sentence.

async function call(path, body, signal) {
  const options = { signal };
  if (body !== undefined) {
    options.method = "POST";
    options.headers = { "content-type": "application/json" };
    options.body = JSON.stringify(body);
  }
  const response = await fetch(path, options).catch((error) => {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer; is it still running? The next key asks again.");
  });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.error || `The server answered ${response.status}.`);
  return answer;
}

export async function search(instance, signal) {
  const answer = await call("/v1/models/retrieval:predict", { instances: [instance] }, signal);
  return answer.predictions[0];
}

export async function explain(instance, signal) {
  const answer = await call("/v1/models/retrieval:explain", { instances: [instance] }, signal);
  return answer.explanations[0];
}

export function lexical(query, signal) {
  return call(`/page/lexical?q=${encodeURIComponent(query)}`, undefined, signal);
}

export function addEvents(events) {
  return call("/v1/events", { events });
}

export function about() {
  return call("/page/about");
}

export async function shoppers() {
  return (await call("/page/shoppers?limit=100")).shoppers;
}

export function history(user, signal) {
  return call(`/page/history?user_id=${encodeURIComponent(user)}`, undefined, signal);
}

const known = new Map();

// Catalogue rows by product id, asked for once per release.
export async function products(ids, release, signal) {
  const missing = [...new Set(ids)].filter((id) => !known.has(`${release}/${id}`));
  if (missing.length) {
    const query = missing.map((id) => `id=${encodeURIComponent(id)}`).join("&");
    const answer = await call(`/page/products?release=${encodeURIComponent(release)}&${query}`, undefined, signal);
    for (const id of missing) known.set(`${release}/${id}`, answer.products[id] || {});
  }
  return new Map(ids.map((id) => [id, known.get(`${release}/${id}`) || {}]));
}
