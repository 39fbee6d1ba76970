// @ts-check
/** The memory panel: what the agent knows, forgetting it, and saved states. */

import * as api from "../api.js";
import { button, make, setText } from "./dom.js";

/** A saved state is named in letters, digits, `-` and `_`, so that it is a safe file name. */
const STATE_NAME = /^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/;

export class MemoryPanel {
  /**
   * @param {{facts: HTMLElement, noFacts: HTMLElement, forgetAll: HTMLButtonElement, states: HTMLElement,
   *   saveForm: HTMLFormElement, saveName: HTMLInputElement, message: HTMLElement,
   *   confirm: (question: string, action: string) => Promise<boolean>}} options
   */
  constructor(options) {
    this.options = options;
    this.version = -1;
    options.forgetAll.addEventListener("click", () => this.forgetAll());
    options.saveForm.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.save();
    });
  }

  /** Fetch again when the conversation has written to the memory. @param {number} version */
  render(version) {
    if (version === this.version) return;
    this.version = version;
    void this.refresh();
  }

  async refresh() {
    await this.attempt(async () => {
      const [facts, states] = await Promise.all([api.listFacts(), api.listStates()]);
      const { options } = this;
      options.facts.replaceChildren(...facts.map((fact) => this.factRow(fact)));
      options.noFacts.hidden = facts.length > 0;
      options.forgetAll.hidden = facts.length === 0;
      options.states.replaceChildren(...states.map((state) => this.stateRow(state)));
    });
  }

  /** @param {api.Fact} fact */
  factRow(fact) {
    const forget = () => this.forget(fact);
    return make("li", { class: "fact" }, [
      make("span", { text: fact.text }),
      button("Forget", forget, "button is-quiet", `Forget: ${fact.text}`),
    ]);
  }

  /** @param {api.SavedState} state */
  stateRow(state) {
    return make("li", { class: "fact" }, [
      make("span", { text: state.name }),
      button("Load", () => this.load(state.name), "button is-quiet", `Load the saved memory ${state.name}`),
    ]);
  }

  /** @param {api.Fact} fact */
  async forget(fact) {
    if (!(await this.options.confirm(`Forget “${fact.text}”?`, "Forget"))) return;
    await this.attempt(() => api.forgetFact(fact.id), "Forgotten.");
    await this.refresh();
  }

  async forgetAll() {
    const question = "Forget everything Twin knows, and every conversation? This cannot be undone.";
    if (!(await this.options.confirm(question, "Forget everything"))) return;
    await this.attempt(() => api.forgetAll(), "Everything is forgotten.");
    await this.refresh();
  }

  async save() {
    const name = this.options.saveName.value.trim();
    if (!STATE_NAME.test(name)) return this.say("A name has letters, digits, - and _ only.");
    await this.attempt(() => api.saveState(name), `Saved as ${name}.`);
    this.options.saveName.value = "";
    await this.refresh();
  }

  /** @param {string} name */
  async load(name) {
    const question = `Replace everything Twin knows now by “${name}”?`;
    if (!(await this.options.confirm(question, "Load"))) return;
    await this.attempt(() => api.loadState(name), `Loaded ${name}.`);
    await this.refresh();
  }

  /** @param {() => Promise<unknown>} action @param {string} [success] */
  async attempt(action, success = "") {
    try {
      await action();
      if (success) this.say(success);
    } catch (error) {
      const message = error && typeof error === "object" && "message" in error ? String(error.message) : "";
      this.say(error instanceof TypeError || !message ? "Twin cannot be reached." : message);
    }
  }

  /** @param {string} text */
  say(text) {
    setText(this.options.message, text);
  }
}
