// As much of XML as descriptions of presentations need: elements, attributes, text; no document types.

/** The root element: `{ name, attributes, children, text }`. Throws for what is not well formed. */
export function parseXml(source) {
  const tokens = /<\?[^]*?\?>|<!--[^]*?-->|<(\/?)([\w:.-]+)((?:\s+[\w:.-]+\s*=\s*(?:"[^"<]*"|'[^'<]*'))*)\s*(\/?)>|([^<]+)/y;
  const top = { name: '', attributes: {}, children: [], text: '' };
  const open = [top];
  while (tokens.lastIndex < source.length) {
    const at = tokens.lastIndex;
    const match = tokens.exec(source);
    if (!match) throw new Error(`not well formed at ${source.slice(at, at + 40)}`);
    const [, closes, name, attributes, isEmpty, text] = match;
    if (text !== undefined) open.at(-1).text += unescape(text.trim());
    else if (closes) {
      if (open.pop().name !== name || open.length === 0) throw new Error(`</${name}> closes nothing`);
    } else if (name) {
      const element = { name, attributes: readAttributes(attributes), children: [], text: '' };
      open.at(-1).children.push(element);
      if (!isEmpty) open.push(element);
    }
  }
  if (open.length !== 1 || top.children.length !== 1) throw new Error('not one whole element');
  return top.children[0];
}

function readAttributes(text) {
  const found = {};
  for (const [, name, value] of text.matchAll(/([\w:.-]+)\s*=\s*("[^"]*"|'[^']*')/g)) {
    if (name in found) throw new Error(`two attributes ${name}`);
    found[name] = unescape(value.slice(1, -1));
  }
  return found;
}

function unescape(text) {
  return text.replace(/&(lt|gt|quot|apos|amp|#\d+);/g, (_, name) => ({ lt: '<', gt: '>', quot: '"', apos: "'", amp: '&' })[name] ?? String.fromCodePoint(Number(name.slice(1))));
}

/** Children of that name. */
export function all(element, name) {
  return element.children.filter((child) => child.name === name);
}

/** The first child of that name. */
export function one(element, name) {
  return element.children.find((child) => child.name === name);
}

/** Seconds of an xs:duration; NaN when it is none. */
export function seconds(text) {
  const match = /^PT(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?$/.exec(text ?? '');
  return match ? Number(match[1] ?? 0) * 3600 + Number(match[2] ?? 0) * 60 + Number(match[3] ?? 0) : NaN;
}
