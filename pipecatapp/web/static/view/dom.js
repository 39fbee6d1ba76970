// @ts-check
/** Small helpers to build elements; data enters them as text only. */

/**
 * Return the element with an id of the page.
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} type
 * @returns {T}
 */
export function byId(id, type) {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`the page has no ${type.name} "${id}"`);
  return found;
}

/**
 * Make an element.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {{class?: string, text?: string, attributes?: Record<string, string>}} [options]
 * @param {Node[]} [children]
 * @returns {HTMLElementTagNameMap[K]}
 */
export function make(tag, options = {}, children = []) {
  const element = document.createElement(tag);
  if (options.class) element.className = options.class;
  if (options.text !== undefined) element.textContent = options.text;
  for (const [name, value] of Object.entries(options.attributes ?? {})) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/**
 * Make a button.
 * @param {string} text
 * @param {() => void} onPress
 * @param {string} [className]
 * @param {string} [label] What a screen reader says, when the text alone is not enough.
 */
export function button(text, onPress, className = "button", label = "") {
  const element = make("button", { class: className, text, attributes: { type: "button" } });
  if (label) element.setAttribute("aria-label", label);
  element.addEventListener("click", onPress);
  return element;
}

/** Set a text only when it differs, so that a screen reader is not told twice. @param {Element} element @param {string} text */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
