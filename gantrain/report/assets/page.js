// What all pages use: their data, elements, and how numbers are written.
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const el = (name, content, attributes = {}) => {
  const made = document.createElement(name);
  if (content !== undefined && content !== null) made.textContent = content;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
};
const number = (value) => value === null || value === undefined ? "—"
  : Math.abs(value) >= 1e5 || (value !== 0 && Math.abs(value) < 1e-3) ? value.toExponential(2)
  : String(Number(value.toPrecision(4)));
const kimg = (images) => `${(images / 1000).toLocaleString("en", { maximumFractionDigits: 2 })} kimg`;
