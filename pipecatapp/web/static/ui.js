// @ts-check
/**
 * What this browser is doing, as pure data: its link to the agent, its call, its microphone.
 *
 * It owns these phases and the sentence that describes them; the conversation is `store.js`.
 */

/**
 * @typedef {import("./store.js").State} State
 * @typedef {import("./store.js").Problem} Problem
 * @typedef {"connecting" | "online" | "reconnecting"} Link
 * @typedef {"idle" | "asking" | "connecting" | "live" | "reconnecting"} CallPhase
 * @typedef {{link: Link, call: CallPhase, secure: boolean, problem: Problem | null}} Ui
 * @typedef {{type: "link", link: Link} | {type: "call", call: CallPhase} |
 *   {type: "problem", problem: Problem | null}} UiAction
 * @typedef {"offline" | "idle" | "busy" | "listening" | "hearing" | "thinking" | "speaking"} Mood
 */

/** @param {boolean} secure True when the browser lets this page use a microphone. @returns {Ui} */
export function initialUi(secure) {
  return { link: "connecting", call: "idle", secure, problem: null };
}

/** @param {Ui} ui @param {UiAction} action @returns {Ui} */
export function reduceUi(ui, action) {
  switch (action.type) {
    case "link":
      return { ...ui, link: action.link };
    case "call":
      return { ...ui, call: action.call, problem: action.call === "asking" ? null : ui.problem };
    case "problem":
      return { ...ui, problem: action.problem };
  }
}

/**
 * Return what is going on, as a mood for the eye and a sentence for a person.
 * @param {Ui} ui
 * @param {State} state
 * @returns {{mood: Mood, text: string}}
 */
export function describe(ui, state) {
  if (ui.call === "asking") return { mood: "busy", text: "Allow the microphone to start" };
  if (ui.call === "connecting") return { mood: "busy", text: "Connecting the call…" };
  if (ui.call === "reconnecting") return { mood: "busy", text: "Lost the connection, calling again…" };
  if (ui.call === "live") {
    if (state.botSpeaking) return { mood: "speaking", text: "Speaking. Just talk to interrupt" };
    if (state.userSpeaking) return { mood: "hearing", text: "I hear you" };
    if (state.turnId) return { mood: "thinking", text: "Thinking…" };
    return { mood: "listening", text: "Listening" };
  }
  if (ui.link === "reconnecting") return { mood: "offline", text: "Lost the connection, trying again…" };
  if (ui.link === "connecting") return { mood: "offline", text: "Connecting to Twin…" };
  if (state.turnId) return { mood: "thinking", text: "Answering…" };
  return { mood: "idle", text: ui.secure ? "Ready. Press Start and speak" : "Ready. Type your question" };
}

/**
 * Return where what is said goes, as a sentence.
 * @param {readonly string[]} elsewhere Names of the experts that are asked outside the house.
 */
export function privacy(elsewhere) {
  if (!elsewhere.length) return "Everything you say stays in this house.";
  const names = elsewhere.join(", ").replace(/, ([^,]*)$/, " or $1");
  return `What you say stays in this house, but for what ${names} is asked.`;
}

/** Names of the errors of `getUserMedia`, in words. @type {Record<string, Problem>} */
const MICROPHONE_PROBLEMS = {
  NotAllowedError: {
    code: "microphone-denied",
    message: "The browser does not let this page use the microphone.",
    hint: "Allow the microphone in the address bar, then press Start again. You can type meanwhile.",
  },
  NotFoundError: {
    code: "microphone-missing",
    message: "No microphone was found.",
    hint: "Plug one in and press Start again. You can type meanwhile.",
  },
  NotReadableError: {
    code: "microphone-in-use",
    message: "The microphone cannot be opened.",
    hint: "Another program may be using it. Close that program and press Start again.",
  },
};

/**
 * Return an error as a person can read it.
 * @param {unknown} error What was thrown by the browser, or a `Problem`.
 * @returns {Problem}
 */
export function explain(error) {
  if (error && typeof error === "object" && "code" in error && "message" in error && "hint" in error) {
    return /** @type {Problem} */ (error);
  }
  const name = error instanceof Error ? error.name : "";
  return (
    MICROPHONE_PROBLEMS[name] ?? {
      code: "no-connection",
      message: "Twin cannot be reached.",
      hint: "Check that this device is in the same network and that Twin is running, then try again.",
    }
  );
}
