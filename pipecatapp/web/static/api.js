// @ts-check
/**
 * The agent's HTTP interface, as functions.
 *
 * It owns the paths and how an error arrives; nothing is kept.
 */

/**
 * @typedef {{id: string, text: string, created_s?: number}} Fact
 * @typedef {{name: string, created_s?: number, size_bytes?: number}} SavedState
 * @typedef {{sdp: string, type: RTCSdpType, pc_id: string, session_id?: string}} Answer
 */

/**
 * Call the agent.
 * @param {string} method
 * @param {string} path Relative to the page.
 * @param {unknown} [body] Sent as JSON.
 * @returns {Promise<any>} The JSON that came back.
 * @throws {import("./store.js").Problem} The agent refused; a TypeError when it cannot be reached.
 */
async function call(method, path, body) {
  const response = await fetch(new URL(path, document.baseURI), {
    method,
    headers: body === undefined ? {} : { "content-type": "application/json" },
    body: body === undefined ? null : JSON.stringify(body),
  });
  const data = await response.json().catch(() => ({}));
  if (response.ok) return data;
  throw {
    code: data?.error?.code ?? `http-${response.status}`,
    message: data?.error?.message ?? `Twin answered with an error (${response.status}).`,
    hint: data?.error?.hint ?? "",
  };
}

/** @param {string} sdp @param {string} sessionId @returns {Promise<Answer>} */
export function offerCall(sdp, sessionId) {
  return call("POST", "api/offer", { sdp, type: "offer", request_data: { session_id: sessionId } });
}

/** @param {string} pcId @param {RTCIceCandidate[]} candidates */
export function sendCandidates(pcId, candidates) {
  return call("PATCH", "api/offer", {
    pc_id: pcId,
    candidates: candidates.map((candidate) => ({
      candidate: candidate.candidate,
      sdp_mid: candidate.sdpMid ?? "",
      sdp_mline_index: candidate.sdpMLineIndex ?? 0,
    })),
  });
}

/** @returns {Promise<Fact[]>} */
export async function listFacts() {
  return (await call("GET", "api/memory")).facts ?? [];
}

/** @param {string} id */
export function forgetFact(id) {
  return call("DELETE", `api/memory/${encodeURIComponent(id)}`);
}

export function forgetAll() {
  return call("DELETE", "api/memory");
}

/** @returns {Promise<string[]>} Names of the experts that are asked outside the house. */
export async function listElsewhere() {
  /** @type {{name: string, endpoints?: {elsewhere?: string}[]}[]} */
  const experts = (await call("GET", "api/experts")).experts ?? [];
  return experts
    .filter((expert) => (expert.endpoints ?? []).some((endpoint) => endpoint.elsewhere))
    .map((expert) => expert.name);
}

/** @returns {Promise<SavedState[]>} */
export async function listStates() {
  const states = (await call("GET", "api/state")).states ?? [];
  return states.map((/** @type {string | SavedState} */ state) => (typeof state === "string" ? { name: state } : state));
}

/** @param {string} name */
export function saveState(name) {
  return call("POST", "api/state/save", { name });
}

/** @param {string} name */
export function loadState(name) {
  return call("POST", "api/state/load", { name });
}
