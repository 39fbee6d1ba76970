// @ts-check
/**
 * The stream of the agent's events, kept open over lost connections.
 *
 * It owns the WebSocket and its reconnects; what an event means is `store.js`.
 */

/** @typedef {import("./store.js").AgentEvent} AgentEvent */

const FIRST_DELAY_MS = 400;
const MAX_DELAY_MS = 8000;
/** Close code with which the agent says that it does not know the session. */
const UNKNOWN_SESSION = 4404;

export class EventSocket {
  /**
   * @param {{
   *   sessionId: string,
   *   lastSeq: () => number,
   *   onEvent: (event: AgentEvent) => void,
   *   onLink: (link: "connecting" | "online" | "reconnecting") => void,
   *   onForgotten: () => void,
   * }} options `onForgotten` is called when the agent does not know the session any more.
   */
  constructor(options) {
    this.options = options;
    this.sessionId = options.sessionId;
    /** @type {WebSocket | null} */
    this.socket = null;
    this.delayMs = FIRST_DELAY_MS;
    this.timer = 0;
    this.closed = false;
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
      if (this.sessionId) this.send({ type: "resume", after_seq: this.options.lastSeq() });
    });
    socket.addEventListener("message", (message) => this.receive(message.data));
    socket.addEventListener("close", (event) => {
      if (this.socket !== socket || this.closed) return;
      if (event.code === UNKNOWN_SESSION) {
        this.sessionId = "";
        this.options.onForgotten();
      }
      this.options.onLink("reconnecting");
      this.timer = window.setTimeout(() => this.open(), this.delayMs);
      this.delayMs = Math.min(this.delayMs * 2, MAX_DELAY_MS);
    });
  }

  /** @param {unknown} data */
  receive(data) {
    if (typeof data !== "string") return;
    const event = /** @type {AgentEvent} */ (JSON.parse(data));
    if (event.session_id && !this.sessionId) this.sessionId = event.session_id;
    this.options.onEvent(event);
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
