// How the stream of events survives a reconnect.
import assert from "node:assert/strict";
import test from "node:test";

globalThis.window = { addEventListener() {}, setTimeout() {}, clearTimeout() {} };
globalThis.document = { addEventListener() {}, baseURI: "https://twin.example/", visibilityState: "visible" };

class FakeWebSocket extends EventTarget {
  static OPEN = 1;
  static last;
  readyState = 0;
  sent = [];
  constructor(url) {
    super();
    this.url = String(url);
    FakeWebSocket.last = this;
  }
  send(text) {
    this.sent.push(JSON.parse(text));
  }
  open() {
    this.readyState = 1;
    this.dispatchEvent(new Event("open"));
  }
  receive(...events) {
    for (const event of events) this.dispatchEvent(Object.assign(new Event("message"), { data: JSON.stringify(event) }));
  }
}
globalThis.WebSocket = FakeWebSocket;

const { EventSocket } = await import("../../../pipecatapp/web/static/socket.js");

function connect(sessionId, lastSeq) {
  const seen = [];
  const problems = [];
  const socket = new EventSocket({
    sessionId,
    lastSeq: () => lastSeq,
    onEvent: (event) => seen.push(event.seq),
    onLink() {},
    onProblem: (problem) => problems.push(problem.code),
  });
  socket.open();
  FakeWebSocket.last.open();
  return { seen, problems, wire: FakeWebSocket.last };
}
const numbered = (...seqs) => seqs.map((seq) => ({ kind: "user_started_speaking", seq, session_id: "s1" }));

test("a new page asks for no replay", () => {
  const { seen, wire } = connect("", 0);
  wire.receive(...numbered(1, 2));
  assert.deepEqual(wire.sent, []);
  assert.deepEqual(seen, [1, 2]);
});

test("a reloaded page gets the conversation in order, though the newest event comes first", () => {
  const { seen, wire } = connect("s1", 0);
  assert.match(wire.url, /^wss:\/\/twin\.example\/ws\?session_id=s1$/);
  assert.deepEqual(wire.sent, [{ type: "resume", after_seq: 0 }]);
  wire.receive(...numbered(7, 8, 1, 2, 3));
  assert.deepEqual(seen, [1, 2, 3]);
});

test("a reconnect that missed nothing passes on what comes next", () => {
  const { seen, wire } = connect("s1", 7);
  wire.receive(...numbered(7, 8));
  assert.deepEqual(seen, [7, 8]);
});

test("a restarted agent, which counts from one, is heard", () => {
  const { seen, wire } = connect("s1", 50);
  wire.receive(...numbered(1, 1, 2));
  assert.deepEqual(seen, [1, 1, 2]);
});

test("a refusal is passed on in words", () => {
  const { problems, wire } = connect("", 0);
  wire.receive({ error: { code: "too-many-sessions", message: "Full.", hint: "" } });
  assert.deepEqual(problems, ["too-many-sessions"]);
});
