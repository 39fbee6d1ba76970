// @ts-check
/**
 * The stream of the agent's events, kept open over lost connections.
 *
 * It owns the WebSocket and its reconnects; what an event means is `store.js`.
 */

/** @typedef {import("./store.js").AgentEvent} AgentEvent */

const FIRST_DELAY_MS = 400;
const MAX_DELAY_MS = 8000;

export class EventSocket {
  /**
   * @param {{
   *   sessionId: string,
   *   lastSeq: () => number,
   *   onEvent: (event: AgentEvent) => void,
   *   onLink: (link: "connecting" | "online" | "reconnecting") => void,
   *   onProblem: (problem: import("./store.js").Problem) => void,
   * }} options
   */
  constructor(options) {
    this.options = options;
    this.sessionId = options.sessionId;
    /** @type {WebSocket | null} */
    this.socket = null;
    this.delayMs = FIRST_DELAY_MS;
    this.timer = 0;
    this.closed = false;
    /** Whether a replay was asked for and has not begun. */
    this.awaitsReplay = false;
    this.newestSeq = 0;
    window.addEventListener("online", () => this.hurry());
    document.addEventListener("visibilitychange", () => this.hurry());
  }

  /** Open the stream; from then on it reopens by itself. */
  open() {
    const url = new URL("ws", document.baseURI);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    if (this.sessionId) url.searchParams.set("session_id", this.sessionId);
    const socket = new WebSocket(url);
    this.socket = socket;
    socket.addEventListener("open", () => {
      this.delayMs = FIRST_DELAY_MS;
      this.options.onLink("online");
      this.awaitsReplay = Boolean(this.sessionId);
      this.newestSeq = 0;
      if (this.sessionId) this.send({ type: "resume", after_seq: this.options.lastSeq() });
    });
    socket.addEventListener("message", (message) => this.receive(message.data));
    socket.addEventListener("close", () => {
      if (this.socket !== socket || this.closed) return;
      this.options.onLink("reconnecting");
      this.timer = window.setTimeout(() => this.open(), this.delayMs);
      this.delayMs = Math.min(this.delayMs * 2, MAX_DELAY_MS);
    });
  }

  /** @param {unknown} data */
  receive(data) {
    if (typeof data !== "string") return;
    const event = JSON.parse(data);
    if (event.error) return this.options.onProblem(event.error);
    if (event.session_id) this.sessionId = event.session_id;
    if (!this.isBeforeReplay(event)) this.options.onEvent(event);
  }

  /**
   * Tell whether an event overtook the replay: the agent sends its newest event at once, and again in order.
   * @param {AgentEvent} event
   */
  isBeforeReplay(event) {
    const seq = event.seq ?? 0;
    if (!this.awaitsReplay) return false;
    const overtakes = this.newestSeq ? seq > this.newestSeq : seq > this.options.lastSeq() + 1;
    this.awaitsReplay = overtakes;
    if (!this.newestSeq) this.newestSeq = seq;
    return overtakes;
  }

  /** Reopen now instead of waiting, when the network or the window came back. */
  hurry() {
    if (this.closed || document.visibilityState === "hidden") return;
    if (this.socket && this.socket.readyState <= WebSocket.OPEN) return;
    window.clearTimeout(this.timer);
    this.open();
  }

  /**
   * Send a message; false when there is no connection.
   * @param {Record<string, unknown>} message
   * @returns {boolean}
   */
  send(message) {
    if (this.socket?.readyState !== WebSocket.OPEN) return false;
    this.socket.send(JSON.stringify(message));
    return true;
  }

  /** Close for good. */
  close() {
    this.closed = true;
    window.clearTimeout(this.timer);
    this.socket?.close(1000);
  }
}
