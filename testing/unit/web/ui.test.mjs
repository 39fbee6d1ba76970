// What the page says about its own connection, call and microphone.
import assert from "node:assert/strict";
import test from "node:test";

import { INITIAL } from "../../../pipecatapp/web/static/store.js";
import { describe, explain, initialUi, privacy, reduceUi } from "../../../pipecatapp/web/static/ui.js";

const online = reduceUi(initialUi(true), { type: "link", link: "online" });
const live = reduceUi(online, { type: "call", call: "live" });

test("without a call the page invites to speak where it can listen, else to type", () => {
  assert.match(describe(online, INITIAL).text, /Press Start/);
  assert.match(describe({ ...online, secure: false }, INITIAL).text, /Type/);
});

test("in a call the status says whose turn it is", () => {
  const mood = (state) => describe(live, { ...INITIAL, ...state }).mood;
  assert.equal(mood({}), "listening");
  assert.equal(mood({ userSpeaking: true }), "hearing");
  assert.equal(mood({ turnId: "t1" }), "thinking");
  assert.equal(mood({ turnId: "t1", botSpeaking: true }), "speaking");
});

test("a lost link is said, and that it is being mended", () => {
  const lost = reduceUi(online, { type: "link", link: "reconnecting" });
  assert.match(describe(lost, INITIAL).text, /trying again/);
  assert.match(describe(reduceUi(online, { type: "call", call: "reconnecting" }), INITIAL).text, /calling again/);
});

test("each microphone error says what to do", () => {
  for (const [name, code] of [
    ["NotAllowedError", "microphone-denied"],
    ["NotFoundError", "microphone-missing"],
    ["NotReadableError", "microphone-in-use"],
  ]) {
    const problem = explain(new DOMException("x", name));
    assert.equal(problem.code, code);
    assert.notEqual(problem.hint, "");
  }
});

test("the agent's own words are kept, such as busy", () => {
  const busy = { code: "busy", message: "All lines are in use.", hint: "Try again in a minute." };
  assert.equal(explain(busy), busy);
});

test("a network error is no connection", () => {
  assert.equal(explain(new TypeError("fetch failed")).code, "no-connection");
});

test("starting a call clears the last problem", () => {
  const failed = reduceUi(online, { type: "problem", problem: explain(new TypeError()) });
  assert.equal(reduceUi(failed, { type: "call", call: "asking" }).problem, null);
});

test("who outside the house is asked is said", () => {
  assert.equal(privacy([]), "Everything you say stays in this house.");
  assert.equal(privacy(["oracle"]), "What you say stays in this house, but for what oracle is asked.");
  assert.match(privacy(["a", "b", "c"]), /for what a, b or c is asked/);
});
