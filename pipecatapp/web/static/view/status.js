// @ts-check
/** The status line, the call button, the level rings, the problem banner: they show `ui.js`. */

import { describe } from "../ui.js";
import { setText } from "./dom.js";

/**
 * @typedef {import("../ui.js").Ui} Ui
 * @typedef {import("../store.js").State} State
 */

export class StatusView {
  /**
   * @param {{root: HTMLElement, status: HTMLElement, link: HTMLElement, callButton: HTMLButtonElement,
   *   callLabel: HTMLElement, interrupt: HTMLButtonElement, meter: HTMLMeterElement, problem: HTMLElement,
   *   problemMessage: HTMLElement, problemHint: HTMLElement}} elements
   */
  constructor(elements) {
    this.elements = elements;
  }

  /** @param {Ui} ui @param {State} state */
  render(ui, state) {
    const { root, status, link, callButton, callLabel, interrupt, meter } = this.elements;
    const { mood, text } = describe(ui, state);
    root.dataset.mood = mood;
    setText(status, text);
    link.dataset.link = ui.link;
    setText(link, ui.link === "online" ? "Connected" : ui.link === "connecting" ? "Connecting" : "Reconnecting");
    const calling = ui.call !== "idle";
    callButton.setAttribute("aria-pressed", String(calling));
    callButton.disabled = !ui.secure || (ui.link !== "online" && !calling);
    setText(callLabel, calling ? "Stop" : "Start");
    interrupt.hidden = !(state.botSpeaking || state.turnId);
    meter.hidden = ui.call !== "live";
    this.renderProblem(ui, state);
  }

  /** @param {Ui} ui @param {State} state */
  renderProblem(ui, state) {
    const { problem, problemMessage, problemHint } = this.elements;
    const shown = ui.problem ?? state.problem;
    problem.hidden = !shown;
    setText(problemMessage, shown?.message ?? "");
    setText(problemHint, shown?.hint ?? "");
  }

  /** @param {{microphone: number, voice: number}} levels Each 0 to 1. */
  renderLevels(levels) {
    const { callButton, meter } = this.elements;
    callButton.style.setProperty("--mic-level", levels.microphone.toFixed(2));
    callButton.style.setProperty("--voice-level", levels.voice.toFixed(2));
    meter.value = levels.microphone;
  }
}
