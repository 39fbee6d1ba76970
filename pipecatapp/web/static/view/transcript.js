// @ts-check
/**
 * The conversation on the page: what was said, tools, notes, questions to the user.
 *
 * It draws items of the store and announces finished sentences to screen readers; it decides nothing.
 */

import { answerParts } from "../store.js";
import { button, make, setText } from "./dom.js";

/**
 * @typedef {import("../store.js").Item} Item
 * @typedef {import("../store.js").ToolItem} ToolItem
 * @typedef {import("../store.js").AssistantItem} AssistantItem
 * @typedef {import("../store.js").ApprovalItem} ApprovalItem
 */

/** How close to the end counts as reading the newest (pixels). */
const NEAR_END_PX = 120;

export class Transcript {
  /**
   * @param {{list: HTMLElement, scroller: HTMLElement, announcer: HTMLElement, welcome: HTMLElement,
   *   onDecision: (requestId: string, decision: "allow" | "deny") => void}} options
   */
  constructor(options) {
    this.options = options;
    /** @type {Map<string, {item: Item, element: HTMLElement}>} */
    this.drawn = new Map();
    this.isAtEnd = true;
    const { scroller } = options;
    scroller.addEventListener("scroll", () => {
      this.isAtEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR_END_PX;
    });
    new ResizeObserver(() => this.follow()).observe(scroller);
  }

  /** Keep the newest in sight, unless the reader has scrolled up. */
  follow() {
    if (this.isAtEnd && this.drawn.size) this.options.scroller.scrollTop = this.options.scroller.scrollHeight;
  }

  /** @param {readonly Item[]} items */
  render(items) {
    const { list, welcome } = this.options;
    welcome.hidden = items.length > 0;
    let changed = false;
    const kept = new Set(items.map((item) => item.id));
    for (const [id, { element }] of this.drawn) {
      if (kept.has(id)) continue;
      element.remove();
      this.drawn.delete(id);
    }
    for (const item of items) {
      const before = this.drawn.get(item.id);
      if (before?.item === item) continue;
      changed = true;
      const element = before?.element ?? make("li", { class: `item item-${item.role}` });
      if (!before) list.append(element);
      this.draw(element, item);
      this.announce(before?.item, item);
      this.drawn.set(item.id, { item, element });
    }
    if (changed) this.follow();
  }

  /** @param {HTMLElement} element @param {Item} item */
  draw(element, item) {
    switch (item.role) {
      case "user":
        element.classList.toggle("is-interim", item.interim);
        element.replaceChildren(make("span", { class: "who", text: "You" }), make("p", { class: "bubble", text: item.text }));
        break;
      case "assistant":
        this.drawAnswer(element, item);
        break;
      case "tool":
        element.replaceChildren(toolCard(item));
        break;
      case "approval":
        element.replaceChildren(this.approvalCard(item));
        break;
      case "note":
        element.classList.toggle("is-warning", item.tone === "warning");
        element.replaceChildren(make("p", { class: "note", text: item.text }));
        break;
    }
  }

  /** @param {HTMLElement} element @param {AssistantItem} item */
  drawAnswer(element, item) {
    const { said, ahead } = answerParts(item);
    if (!element.firstChild) {
      const bubble = make("p", { class: "bubble" }, [make("span", { class: "said" }), make("span", { class: "ahead" })]);
      element.append(make("span", { class: "who", text: "Twin" }), bubble, make("span", { class: "meta" }));
    }
    const [saidElement, aheadElement] = element.querySelectorAll(".said, .ahead");
    setText(saidElement, said);
    setText(aheadElement, ahead);
    const meta = [];
    if (item.interrupted) meta.push("interrupted");
    if (item.done && item.latencyS >= 0.05) meta.push(`${item.latencyS.toFixed(1)} s`);
    setText(/** @type {Element} */ (element.querySelector(".meta")), meta.join(" · "));
    element.classList.toggle("is-pending", !said && !ahead);
  }

  /** @param {ApprovalItem} item */
  approvalCard(item) {
    const card = make("div", { class: "card" }, [
      make("p", { class: "card-title", text: item.decision ? "Asked for permission" : "May I do this?" }),
      make("p", { class: "card-line", text: `${item.name.replaceAll("_", " ")}: ${values(item.arguments)}` }),
    ]);
    if (item.decision) {
      card.append(make("p", { class: "card-result", text: DECISIONS[item.decision] ?? item.decision }));
      return card;
    }
    const decide = this.options.onDecision;
    card.append(
      make("div", { class: "row" }, [
        button("Allow", () => decide(item.requestId, "allow"), "button is-primary"),
        button("Do not", () => decide(item.requestId, "deny")),
      ]),
    );
    return card;
  }

  /** @param {Item | undefined} before @param {Item} item */
  announce(before, item) {
    let line = "";
    if (item.role === "user" && !item.interim && (before?.role !== "user" || before.interim)) line = `You: ${item.text}`;
    if (item.role === "assistant" && item.done && (before?.role !== "assistant" || !before.done)) line = `Twin: ${item.text}`;
    if (item.role === "note" && !before) line = item.text;
    if (item.role === "approval" && !before) line = `Twin asks for permission: ${item.name.replaceAll("_", " ")}`;
    if (!line) return;
    const { announcer } = this.options;
    announcer.append(make("p", { text: line }));
    while (announcer.childElementCount > 20) announcer.firstElementChild?.remove();
  }
}

/** @type {Record<string, string>} */
const DECISIONS = { allow: "Allowed", deny: "Not allowed", edit: "Allowed with changes", timeout: "Nobody answered in time" };

/** @param {Record<string, unknown>} record */
function values(record) {
  return Object.values(record)
    .map((value) => (typeof value === "string" ? value : JSON.stringify(value)))
    .join(", ");
}

/** @param {ToolItem} item */
function toolCard(item) {
  const card = make("div", { class: `card card-tool is-${item.phase}` }, [
    make("p", { class: "card-title", text: item.name.replaceAll("_", " ") }),
  ]);
  const given = values(item.arguments);
  if (given) card.append(make("p", { class: "card-line", text: given }));
  const result = item.phase === "running" ? "working…" : item.result;
  card.append(make("p", { class: "card-result", text: result }));
  return card;
}
