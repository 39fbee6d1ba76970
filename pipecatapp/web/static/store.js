// @ts-check
/**
 * The conversation as the page knows it: a pure reducer over the agent's events.
 *
 * It owns what each event of `events.py` means for the conversation. It does no IO and draws nothing; what this
 * browser does (microphone, connection) is `ui.js`.
 */

/**
 * @typedef {{kind: string, seq?: number, time?: number, session_id?: string, [field: string]: any}} AgentEvent
 * @typedef {{id: string, role: "user", text: string, interim: boolean}} UserItem
 * @typedef {{id: string, role: "assistant", turnId: string, channel: "voice" | "text", draft: string,
 *   spoken: string, text: string, done: boolean, interrupted: boolean, latencyS: number}} AssistantItem
 * @typedef {{id: string, role: "tool", callId: string, name: string, arguments: Record<string, unknown>,
 *   phase: "running" | "ok" | "failed", result: string}} ToolItem
 * @typedef {{id: string, role: "approval", requestId: string, name: string, arguments: Record<string, unknown>,
 *   decision: string}} ApprovalItem
 * @typedef {{id: string, role: "note", tone: "calm" | "warning", text: string}} NoteItem
 * @typedef {UserItem | AssistantItem | ToolItem | ApprovalItem | NoteItem} Item
 * @typedef {{code: string, message: string, hint: string}} Problem
 * @typedef {{
 *   sessionId: string, seq: number, time: number, items: readonly Item[], nextId: number,
 *   openUserId: string, pcId: string, userSpeaking: boolean, botSpeaking: boolean, turnId: string,
 *   channel: "voice" | "text", memoryVersion: number, problem: Problem | null,
 * }} State
 */

/** @type {State} */
export const INITIAL = Object.freeze({
  sessionId: "",
  seq: 0,
  time: 0,
  items: Object.freeze([]),
  nextId: 1,
  openUserId: "",
  pcId: "",
  userSpeaking: false,
  botSpeaking: false,
  turnId: "",
  channel: "text",
  memoryVersion: 0,
  problem: null,
});

/** Most items that are kept; older ones leave the page, not the agent's memory. */
export const MAX_ITEMS = 400;

/** Why a call ended, for a person; a reason that is not here needs no word. @type {Record<string, string>} */
const ENDINGS = {
  lost: "The call was lost.",
  unreached: "The call found no way here. Something between us holds UDP back: a firewall, a VPN, a network for guests.",
  idle: "The call ended because nobody spoke for a while.",
  replaced: "The call moved to another window.",
  failed: "The call failed.",
  shutdown: "Twin is restarting. The call ended.",
};

/** @param {State} state @param {(id: string) => Item} make @returns {State} */
function add(state, make) {
  const items = [...state.items, make(`item-${state.nextId}`)];
  return { ...state, items: items.slice(-MAX_ITEMS), nextId: state.nextId + 1 };
}

/** @param {State} state @param {(item: Item) => boolean} which @param {Record<string, unknown>} change @returns {State} */
function change(state, which, change) {
  return {
    ...state,
    items: state.items.map((item) => (which(item) ? /** @type {Item} */ ({ ...item, ...change }) : item)),
  };
}

/** @param {State} state @param {string} text @param {"calm" | "warning"} [tone] @returns {State} */
function note(state, text, tone = "calm") {
  return add(state, (id) => ({ id, role: "note", tone, text }));
}

/** @param {State} state @param {string} turnId @returns {AssistantItem | undefined} */
function answerOf(state, turnId) {
  const found = state.items.find((item) => item.role === "assistant" && item.turnId === turnId);
  return /** @type {AssistantItem | undefined} */ (found);
}

/** @param {State} state @param {string} turnId @param {(item: AssistantItem) => Partial<AssistantItem>} update @returns {State} */
function answer(state, turnId, update) {
  let next = state;
  if (!answerOf(next, turnId)) {
    const channel = turnId === state.turnId ? state.channel : "voice";
    next = add(next, (id) => ({
      id, role: "assistant", turnId, channel, draft: "", spoken: "", text: "", done: false, interrupted: false, latencyS: 0,
    }));
  }
  const item = /** @type {AssistantItem} */ (answerOf(next, turnId));
  return change(next, (other) => other === item, update(item));
}

/** @param {State} state @param {string} text @param {boolean} interim @returns {State} */
function heard(state, text, interim) {
  if (state.openUserId) {
    return change(state, (item) => item.id === state.openUserId, { text, interim });
  }
  if (!text) return state;
  const next = add(state, (id) => ({ id, role: "user", text, interim }));
  return { ...next, openUserId: `item-${state.nextId}` };
}

/** Join two pieces of an answer with one space, unless the text has its own. @param {string} left @param {string} right */
function join(left, right) {
  return !left || !right || /\s$/.test(left) || /^\s/.test(right) ? left + right : `${left} ${right}`;
}

/**
 * What each kind of event does. The keys are the vocabulary of `events.py`, no more and no fewer.
 * @type {Record<string, (state: State, event: AgentEvent) => State>}
 */
const HANDLERS = {
  session_started: (state) => state,
  call_connected: (state, event) => ({ ...state, pcId: event.pc_id, problem: null }),
  call_ended: (state, event) => {
    if (state.pcId && state.pcId !== event.pc_id) return state;
    const ended = { ...state, pcId: "", userSpeaking: false, botSpeaking: false };
    const text = ENDINGS[event.reason];
    const last = state.items[state.items.length - 1];
    // The page calls again by itself; what stops each of these calls is said once.
    return !text || (last?.role === "note" && last.text === text) ? ended : note(ended, text, "warning");
  },
  user_started_speaking: (state) => ({ ...state, userSpeaking: true }),
  user_stopped_speaking: (state) => ({ ...state, userSpeaking: false }),
  user_transcript: (state, event) => heard(state, event.text, !event.final),
  turn_started: (state, event) => {
    const said = heard(state, event.text, false);
    return { ...said, openUserId: "", turnId: event.turn_id, channel: event.channel, problem: null };
  },
  assistant_delta: (state, event) => answer(state, event.turn_id, (item) => ({ draft: item.draft + event.text })),
  assistant_spoken: (state, event) =>
    answer(state, event.turn_id, (item) => ({ spoken: join(item.spoken, event.text) })),
  bot_started_speaking: (state) => ({ ...state, botSpeaking: true }),
  bot_stopped_speaking: (state) => ({ ...state, botSpeaking: false }),
  turn_finished: (state, event) => {
    const over = event.turn_id === state.turnId ? { ...state, turnId: "" } : state;
    if (!event.text && !answerOf(state, event.turn_id)) return over;
    return answer(over, event.turn_id, (item) => ({
      text: event.text,
      done: true,
      interrupted: event.interrupted,
      latencyS: item.latencyS || event.latency_ms / 1000,
    }));
  },
  interrupted: (state, event) => {
    const quiet = { ...state, botSpeaking: false };
    return answerOf(quiet, event.turn_id) ? answer(quiet, event.turn_id, () => ({ interrupted: true })) : quiet;
  },
  tool_started: (state, event) =>
    add(state, (id) => ({
      id, role: "tool", callId: event.call_id, name: event.name, arguments: event.arguments, phase: "running", result: "",
    })),
  tool_finished: (state, event) =>
    change(state, (item) => item.role === "tool" && item.callId === event.call_id, {
      phase: event.ok ? "ok" : "failed",
      result: event.result,
    }),
  approval_requested: (state, event) =>
    add(state, (id) => ({
      id, role: "approval", requestId: event.request_id, name: event.name, arguments: event.arguments, decision: "",
    })),
  approval_resolved: (state, event) =>
    change(state, (item) => item.role === "approval" && item.requestId === event.request_id, { decision: event.decision }),
  memory_recalled: (state, event) =>
    event.facts.length ? note(state, `Remembered: ${event.facts.join(" · ")}`) : state,
  memory_saved: (state, event) => ({
    ...note(state, `Noted: ${event.text}`),
    memoryVersion: state.memoryVersion + 1,
  }),
  answered_by: (state, event) => (event.because ? note(state, `${event.by} answers: ${event.because}`) : state),
  expert_chosen: (state, event) => note(state, `Asking the ${event.expert} expert: ${event.reason}.`),
  latency: (state, event) =>
    answerOf(state, event.turn_id) && event.stages_s.bot_started
      ? answer(state, event.turn_id, () => ({ latencyS: event.stages_s.bot_started }))
      : state,
  error: (state, event) => ({ ...state, problem: { code: event.code, message: event.message, hint: event.hint ?? "" } }),
};

/** Every kind of event that the page knows. */
export const EVENT_KINDS = Object.freeze(Object.keys(HANDLERS).sort());

/**
 * Return the conversation after one more event.
 *
 * An event that was seen already (a reconnect replays some) changes nothing. A lower `seq` with a later `time`
 * is the same session after a restart of the agent, and counts.
 * @param {State} state
 * @param {AgentEvent} event
 * @returns {State}
 */
export function reduce(state, event) {
  const handler = HANDLERS[event.kind];
  const seq = event.seq ?? 0;
  const time = event.time ?? 0;
  if (!handler || (seq > 0 && seq <= state.seq && time <= state.time)) return state;
  const next = handler(state, event);
  const sessionId = event.session_id ?? state.sessionId;
  return seq > 0 ? { ...next, sessionId, seq, time: Math.max(time, state.time) } : next;
}

/**
 * Return an answer as two parts: what counts as said, and what is still only written.
 * @param {AssistantItem} item
 * @returns {{said: string, ahead: string}}
 */
export function answerParts(item) {
  if (item.done) return { said: item.text, ahead: "" };
  if (item.channel === "text" || !item.draft) return { said: item.draft || item.spoken, ahead: "" };
  let index = 0;
  for (const letter of item.spoken.replace(/\s/g, "")) {
    while (index < item.draft.length && /\s/.test(item.draft[index])) index += 1;
    if (item.draft[index] !== letter) break;
    index += 1;
  }
  return { said: item.draft.slice(0, index), ahead: item.draft.slice(index) };
}
