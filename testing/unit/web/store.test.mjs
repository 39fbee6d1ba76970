// What each event does to the conversation on the page.
import assert from "node:assert/strict";
import test from "node:test";

import { INITIAL, MAX_ITEMS, answerParts, reduce } from "../../../pipecatapp/web/static/store.js";

/** Play events in order, numbered as the agent numbers them. */
function play(events, from = INITIAL) {
  return events.reduce(
    (state, event, index) => reduce(state, { seq: from.seq + index + 1, time: from.time + index + 1, session_id: "s1", ...event }),
    from,
  );
}

const spokenTurn = [
  { kind: "session_started" },
  { kind: "call_connected", pc_id: "a#1" },
  { kind: "user_started_speaking" },
  { kind: "user_transcript", text: "What is", final: false },
  { kind: "user_transcript", text: "What is my dog called?", final: true },
  { kind: "user_stopped_speaking" },
  { kind: "turn_started", turn_id: "t1", text: "What is my dog called?", channel: "voice" },
  { kind: "assistant_delta", turn_id: "t1", text: "Your dog is called" },
  { kind: "bot_started_speaking" },
  { kind: "assistant_spoken", turn_id: "t1", text: "Your dog is" },
  { kind: "assistant_delta", turn_id: "t1", text: " Biscuit." },
];

test("an interim transcript is one line that grows until it is final", () => {
  const interim = play(spokenTurn.slice(0, 4));
  assert.deepEqual(interim.items.map(({ text, interim }) => [text, interim]), [["What is", true]]);
  const final = play(spokenTurn.slice(0, 7));
  assert.deepEqual(final.items.map(({ text, interim }) => [text, interim]), [["What is my dog called?", false]]);
});

test("the next utterance is a line of its own", () => {
  const state = play([...spokenTurn, { kind: "user_transcript", text: "And", final: false }]);
  assert.deepEqual(state.items.map((item) => item.role), ["user", "assistant", "user"]);
});

test("an answer shows what is said apart from what is still to be said", () => {
  const state = play(spokenTurn);
  assert.deepEqual(answerParts(state.items[1]), { said: "Your dog is", ahead: " called Biscuit." });
});

test("spoken pieces join with a space and match the written answer whatever its white space", () => {
  const state = play([
    ...spokenTurn,
    { kind: "assistant_spoken", turn_id: "t1", text: "called" },
    { kind: "assistant_spoken", turn_id: "t1", text: " Biscuit." },
  ]);
  assert.equal(state.items[1].spoken, "Your dog is called Biscuit.");
  assert.deepEqual(answerParts(state.items[1]), { said: "Your dog is called Biscuit.", ahead: "" });
});

test("a written answer counts as said while it comes", () => {
  const state = play([
    { kind: "turn_started", turn_id: "t1", text: "Hi", channel: "text" },
    { kind: "assistant_delta", turn_id: "t1", text: "Hello" },
  ]);
  assert.deepEqual(answerParts(state.items[1]), { said: "Hello", ahead: "" });
});

test("a finished turn shows what entered the conversation, and that it was cut", () => {
  const state = play([
    ...spokenTurn,
    { kind: "interrupted", turn_id: "t1" },
    { kind: "turn_finished", turn_id: "t1", text: "Your dog is", interrupted: true, tool_calls: [], latency_ms: 800 },
  ]);
  assert.deepEqual(answerParts(state.items[1]), { said: "Your dog is", ahead: "" });
  assert.equal(state.items[1].interrupted, true);
  assert.equal(state.items[1].latencyS, 0.8);
  assert.equal(state.botSpeaking, false);
  assert.equal(state.turnId, "");
});

test("a turn that ended without a word leaves no empty answer", () => {
  const state = play([
    { kind: "turn_started", turn_id: "t1", text: "Hi", channel: "voice" },
    { kind: "turn_finished", turn_id: "t1", text: "", interrupted: true, tool_calls: [], latency_ms: 0 },
  ]);
  assert.deepEqual(state.items.map((item) => item.role), ["user"]);
});

test("a greeting needs no turn", () => {
  const state = play([{ kind: "assistant_spoken", turn_id: "greeting", text: "Hello, I am Twin." }]);
  assert.deepEqual(answerParts(state.items[0]), { said: "Hello, I am Twin.", ahead: "" });
});

test("the latest end of speech decides who is speaking", () => {
  const speaking = play(spokenTurn);
  assert.equal(speaking.botSpeaking, true);
  assert.equal(speaking.userSpeaking, false);
  assert.equal(play([{ kind: "bot_stopped_speaking" }], speaking).botSpeaking, false);
});

test("a tool call shows its arguments, then its result", () => {
  const started = play([
    { kind: "tool_started", turn_id: "t1", call_id: "c1", name: "calculator", arguments: { expression: "17*23" } },
  ]);
  assert.deepEqual([started.items[0].phase, started.items[0].arguments], ["running", { expression: "17*23" }]);
  const done = play([{ kind: "tool_finished", turn_id: "t1", call_id: "c1", name: "calculator", ok: true, result: "391" }], started);
  assert.deepEqual([done.items[0].phase, done.items[0].result], ["ok", "391"]);
  const failed = play([{ kind: "tool_finished", turn_id: "t1", call_id: "c1", name: "calculator", ok: false, result: "no" }], started);
  assert.equal(failed.items[0].phase, "failed");
});

test("a question to the user is open until it is decided", () => {
  const asked = play([{ kind: "approval_requested", request_id: "r1", name: "shell", arguments: { command: "ls" } }]);
  assert.equal(asked.items[0].decision, "");
  assert.equal(play([{ kind: "approval_resolved", request_id: "r1", decision: "deny" }], asked).items[0].decision, "deny");
});

test("a saved fact is noted and makes the memory panel refresh", () => {
  const state = play([{ kind: "memory_saved", fact_id: "f1", text: "My dog is called Biscuit." }]);
  assert.equal(state.memoryVersion, 1);
  assert.match(state.items[0].text, /Biscuit/);
});

test("recalled facts are shown only when there are some", () => {
  assert.equal(play([{ kind: "memory_recalled", turn_id: "t1", facts: [] }]).items.length, 0);
  assert.equal(play([{ kind: "memory_recalled", turn_id: "t1", facts: ["x"] }]).items.length, 1);
});

test("who answers is told only when it is not who was asked", () => {
  const answered = { kind: "answered_by", turn_id: "t1", by: "llama-api-main on b", because: "" };
  assert.equal(play([answered]).items.length, 0);
  const other = play([{ ...answered, because: "llama-api-main on a broke the connection" }]);
  assert.match(other.items[0].text, /on b answers: .* on a broke/);
});

test("another expert than the main one is named with the reason", () => {
  const chosen = { kind: "expert_chosen", turn_id: "t1", expert: "math", reason: "asked for by name", score: 1 };
  assert.equal(play([chosen]).items[0].text, "Asking the math expert: asked for by name.");
});

test("a lost call says so, a hung-up one does not", () => {
  const live = play([{ kind: "call_connected", pc_id: "a#1" }]);
  const lost = play([{ kind: "call_ended", pc_id: "a#1", reason: "lost" }], live);
  assert.equal(lost.pcId, "");
  assert.match(lost.items[0].text, /lost/);
  assert.equal(play([{ kind: "call_ended", pc_id: "a#1", reason: "hung-up" }], live).items.length, 0);
});

test("a call that found no way says what may hold it back, once for each time it is made again", () => {
  const ended = (/** @type {string} */ pc_id) => ({ kind: "call_ended", pc_id, reason: "unreached" });
  const state = play([ended("a#1"), ended("b#2")]);
  assert.equal(state.items.length, 1);
  assert.match(state.items[0].text, /UDP/);
  assert.equal(play([{ kind: "user_transcript", text: "hello", final: true }, ended("c#3")], state).items.length, 3);
});

test("the end of an older call does not end the newer one", () => {
  const state = play([{ kind: "call_connected", pc_id: "b#2" }, { kind: "call_ended", pc_id: "a#1", reason: "replaced" }]);
  assert.equal(state.pcId, "b#2");
});

test("an error is shown in words until the next turn", () => {
  const state = play([{ kind: "error", code: "llm", message: "The model is gone.", hint: "Wait." }]);
  assert.deepEqual(state.problem, { code: "llm", message: "The model is gone.", hint: "Wait." });
  assert.equal(play([{ kind: "turn_started", turn_id: "t2", text: "Hi", channel: "text" }], state).problem, null);
});

test("the measured latency of a turn stands beside its answer", () => {
  const state = play([...spokenTurn, { kind: "latency", turn_id: "t1", stages_s: { turn_end: 0.5, bot_started: 0.7 } }]);
  assert.equal(state.items[1].latencyS, 0.7);
});

test("an event that was replayed changes nothing", () => {
  const state = play(spokenTurn);
  assert.equal(reduce(state, { kind: "assistant_delta", turn_id: "t1", text: "again", seq: 8, time: 8 }), state);
});

test("a restarted agent counts from one again and is heard", () => {
  const state = reduce(play(spokenTurn), { kind: "user_started_speaking", seq: 1, time: 99 });
  assert.equal(state.userSpeaking, true);
  assert.equal(state.seq, 1);
});

test("an unknown kind changes nothing", () => {
  assert.equal(reduce(INITIAL, { kind: "weather", seq: 1, time: 1 }), INITIAL);
});

test("the page keeps a bounded conversation", () => {
  const events = Array.from({ length: MAX_ITEMS + 5 }, (_, index) => ({ kind: "memory_saved", fact_id: `${index}`, text: `${index}` }));
  const state = play(events);
  assert.equal(state.items.length, MAX_ITEMS);
  assert.match(state.items.at(-1).text, new RegExp(`${MAX_ITEMS + 4}$`));
});

test("the reducer changes no state that it was given", () => {
  const frozen = (value) => {
    if (value && typeof value === "object" && !Object.isFrozen(value)) Object.values(Object.freeze(value)).forEach(frozen);
    return value;
  };
  let state = frozen(INITIAL);
  spokenTurn.forEach((event, index) => {
    state = frozen(reduce(state, { seq: index + 1, time: index + 1, ...event }));
  });
  assert.equal(state.items.length, 2);
});
