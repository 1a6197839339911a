// Shared by all pages: the page's data, elements, and the format of numbers.
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);

// Creates an element with text and attributes.
function el(name, text, attributes = {}) {
  const element = document.createElement(name);
  if (text !== undefined && text !== null) element.textContent = text;
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

function number(value) {
  if (value === null || value === undefined) return "—";
  const size = Math.abs(value);
  if (size >= 1e5 || (value !== 0 && size < 1e-3)) return value.toExponential(2).replace(/\.?0+e/, "e");
  return String(Number(value.toPrecision(4)));
}

const kimg = (images) => `${(images / 1000).toLocaleString("en", { maximumFractionDigits: 2 })} kimg`;
