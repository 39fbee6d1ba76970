// @ts-check
/**
 * The page: it joins the store, the views, the call and the stream of events.
 *
 * It owns the current state and what a press, a key or an event leads to; it draws nothing itself.
 */

import { listElsewhere } from "./api.js";
import { Call } from "./audio.js";
import { EventSocket } from "./socket.js";
import { INITIAL, reduce } from "./store.js";
import { explain, initialUi, privacy, reduceUi } from "./ui.js";
import { byId, setText } from "./view/dom.js";
import { MemoryPanel } from "./view/memory.js";
import { StatusView } from "./view/status.js";
import { Transcript } from "./view/transcript.js";

const SESSION_KEY = "twin-session";
const SECURE_PORT = "8443";

let state = INITIAL;
let ui = initialUi(window.isSecureContext && Boolean(navigator.mediaDevices));
let drawing = false;

const confirmDialog = byId("confirm", HTMLDialogElement);
const callButton = byId("call", HTMLButtonElement);
const memory = byId("memory", HTMLElement);
const memoryToggle = byId("memory-toggle", HTMLButtonElement);
const textBox = byId("text", HTMLInputElement);

const status = new StatusView({
  root: document.body,
  status: byId("status", HTMLElement),
  link: byId("link", HTMLElement),
  callButton,
  callLabel: byId("call-label", HTMLElement),
  interrupt: byId("interrupt", HTMLButtonElement),
  meter: byId("meter", HTMLMeterElement),
  problem: byId("problem", HTMLElement),
  problemMessage: byId("problem-message", HTMLElement),
  problemHint: byId("problem-hint", HTMLElement),
});

const transcript = new Transcript({
  list: byId("transcript", HTMLElement),
  scroller: byId("scroller", HTMLElement),
  announcer: byId("announcer", HTMLElement),
  welcome: byId("welcome", HTMLElement),
  onDecision: (requestId, decision) =>
    socket.send({ type: "approval_response", request_id: requestId, decision }),
});

const panel = new MemoryPanel({
  facts: byId("facts", HTMLElement),
  noFacts: byId("no-facts", HTMLElement),
  forgetAll: byId("forget-all", HTMLButtonElement),
  states: byId("states", HTMLElement),
  saveForm: byId("save", HTMLFormElement),
  saveName: byId("save-name", HTMLInputElement),
  message: byId("memory-message", HTMLElement),
  confirm: askConfirmation,
});

const call = new Call({
  speaker: byId("speaker", HTMLAudioElement),
  onPhase: (phase) => {
    apply({ type: "call", call: phase });
    if (phase === "live") requestAnimationFrame(drawLevels);
  },
  onProblem: (error) => {
    const problem = explain(error);
    apply({ type: "problem", problem });
    // A caller who was refused hears it too: they may not be looking at the page.
    if (problem.code === "busy") call.play("api/offer/busy.wav");
  },
});

const socket = new EventSocket({
  sessionId: sessionStorage.getItem(SESSION_KEY) ?? "",
  lastSeq: () => state.seq,
  onEvent: receive,
  onLink: (link) => {
    apply({ type: "link", link });
    if (link === "online") {
      panel.refresh();
      tellPrivacy();
    }
  },
  onProblem: (problem) => apply({ type: "problem", problem }),
});

/** @param {import("./store.js").AgentEvent} event */
function receive(event) {
  const isAnother = state.sessionId && event.session_id && event.session_id !== state.sessionId;
  state = reduce(isAnother ? INITIAL : state, event);
  if (event.session_id) sessionStorage.setItem(SESSION_KEY, event.session_id);
  if (event.kind === "interrupted") call.hush();
  if (event.kind === "bot_started_speaking") call.unhush();
  draw();
}

/** @param {import("./ui.js").UiAction} action */
function apply(action) {
  ui = reduceUi(ui, action);
  draw();
}

/** Say who outside the house is asked, as often as the agent is met anew. */
async function tellPrivacy() {
  try {
    setText(byId("privacy", HTMLElement), privacy(await listElsewhere()));
  } catch (error) {
    apply({ type: "problem", problem: explain(error) });
  }
}

/** Draw once per frame, however many events came. */
function draw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    status.render(ui, state);
    transcript.render(state.items);
    if (ui.link === "online") panel.render(state.memoryVersion);
  });
}

function drawLevels() {
  status.renderLevels(call.levels());
  if (call.phase === "live") requestAnimationFrame(drawLevels);
}

/** @param {string} question @param {string} action @returns {Promise<boolean>} */
function askConfirmation(question, action) {
  byId("confirm-question", HTMLElement).textContent = question;
  byId("confirm-yes", HTMLButtonElement).textContent = action;
  confirmDialog.returnValue = "no";
  confirmDialog.showModal();
  return new Promise((resolve) =>
    confirmDialog.addEventListener("close", () => resolve(confirmDialog.returnValue === "yes"), { once: true }),
  );
}

/** @param {string} text @returns {boolean} True when it was sent. */
function sendText(text) {
  if (!text.trim()) return false;
  const sent = socket.send({ type: "user_message", text: text.trim() });
  const problem = sent ? null : explain(new TypeError());
  apply({ type: "problem", problem });
  return sent;
}

/** @param {boolean} open */
function showMemory(open) {
  memory.classList.toggle("is-open", open);
  memoryToggle.setAttribute("aria-expanded", String(open));
  if (open) byId("memory-close", HTMLElement).focus();
  else memoryToggle.focus();
}

function bind() {
  callButton.addEventListener("click", () => (call.phase === "idle" ? call.start(state.sessionId) : call.stop()));
  byId("interrupt", HTMLElement).addEventListener("click", () => socket.send({ type: "interrupt" }));
  byId("problem-close", HTMLElement).addEventListener("click", () => {
    state = { ...state, problem: null };
    apply({ type: "problem", problem: null });
  });
  byId("compose", HTMLFormElement).addEventListener("submit", (event) => {
    event.preventDefault();
    if (sendText(textBox.value)) textBox.value = "";
  });
  byId("ideas", HTMLElement).addEventListener("click", (event) => {
    if (event.target instanceof HTMLButtonElement) sendText(event.target.textContent ?? "");
  });
  memoryToggle.addEventListener("click", () => showMemory(!memory.classList.contains("is-open")));
  byId("memory-close", HTMLElement).addEventListener("click", () => showMemory(false));
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || confirmDialog.open) return;
    if (memory.classList.contains("is-open")) showMemory(false);
    else if (call.phase !== "idle") call.stop();
  });
  window.addEventListener("pagehide", () => call.stop());
}

function explainSecurity() {
  byId("secure", HTMLElement).hidden = ui.secure;
  const url = new URL("./", document.baseURI);
  url.protocol = "https:";
  url.port = SECURE_PORT;
  const link = byId("secure-link", HTMLAnchorElement);
  link.href = url.href;
  link.textContent = url.href;
}

bind();
explainSecurity();
draw();
socket.open();
