// Rules for EXT-X-DATERANGE (4.4.5.1): what each tag says, those of one name among themselves, and all of them over time.

const QUOTED = /^"[^"\r\n]*"$/;
const HEX = /^0x[0-9A-F]+$/i;
const DECIMAL = /^\d+(\.\d+)?$/;
const DATE = /^"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"$/;

/** Attribute → what its value must be. */
const FORMS = {
  ID: QUOTED, CLASS: QUOTED, 'START-DATE': DATE, 'END-DATE': DATE, DURATION: DECIMAL, 'PLANNED-DURATION': DECIMAL,
  'SCTE35-CMD': HEX, 'SCTE35-OUT': HEX, 'SCTE35-IN': HEX, 'END-ON-NEXT': /^YES$/, CUE: QUOTED,
};

const text = (value) => value?.slice(1, -1);
const date = (value) => Date.parse(text(value) ?? '');

function isAllowed(name, value) {
  if (name.startsWith('X-')) return QUOTED.test(value) || HEX.test(value) || DECIMAL.test(value);
  return FORMS[name]?.test(value) ?? true;
}

/** Rules for the tags of one answer. */
export function checkRanges(report, list, where) {
  const known = new Map();
  for (const { id, named, line } of list.dateRanges) {
    const wrong = Object.entries(named).filter(([name, value]) => !isAllowed(name, value)).map(([name]) => name);
    const ends = named['END-DATE'] === undefined || date(named['END-DATE']) >= date(named['START-DATE']);
    // A section begins with its table (SCTE 35, 9.6).
    const sections = ['SCTE35-CMD', 'SCTE35-OUT', 'SCTE35-IN'].filter((name) => named[name] && !/^0xFC/i.test(named[name]));
    const isWhole = Boolean(id) && named['START-DATE'] !== undefined && wrong.length + sections.length === 0 && ends;
    report.check('range.attributes', isWhole && list.segments.some((one) => one.date > 0), where, () => `${wrong} ${sections} in ${line}`);
    const all = known.get(id) ?? {};
    const different = Object.keys(named).filter((name) => name in all && all[name] !== named[name]);
    report.check('range.same-id', different.length === 0, where, () => `${different} differ in tags of ${id}`);
    known.set(id, { ...all, ...named });
  }
}

/** When a range is over, as far as its tags say; they are those of one name. */
function endOf(tags) {
  const all = Object.assign({}, ...tags.map(({ named }) => named));
  const lasts = Number(all.DURATION ?? all['PLANNED-DURATION'] ?? 0) * 1000;
  return all['END-DATE'] === undefined ? date(all['START-DATE']) + lasts : date(all['END-DATE']);
}

/** What was listed so far of one rendition. */
export class RangeHistory {
  /** What the newest answer listed, and when it came. */
  listed = [];
  at = 0;
  #gone = new Set();

  constructor(report, where) {
    this.report = report;
    this.where = where;
  }

  /** Takes an answer; those that were asked for before another one came are not judged. */
  absorb(list, answer) {
    if (answer.askedAt < this.at) return;
    const lines = new Set(list.dateRanges.map(({ line }) => line));
    const oldest = list.segments[0]?.date;
    for (const { id, line } of this.listed.filter((one) => !lines.has(one.line))) {
      const isStill = list.dateRanges.some((one) => one.id === id);
      this.report.check('range.constant', !isStill, this.where, () => `${line} is not there any more, but others of ${id}`);
      const end = endOf(this.listed.filter((one) => one.id === id));
      this.report.check('range.removal', isStill || !(end >= oldest), this.where, () => `${line} was removed, and segments of it are listed`);
      if (!isStill) this.#gone.add(id);
    }
    for (const { id } of list.dateRanges) {
      this.report.check('range.constant', !this.#gone.has(id), this.where, () => `${id} is used again`);
    }
    if (lines.size > 0) this.report.check('range.removal', true, this.where);
    this.listed = list.dateRanges;
    this.at = answer.headAt;
  }
}

/** What one rendition listed when an answer of another one was asked for: that lists it, too. */
export function checkSameRanges(report, known, list, answer, where) {
  if (known.at === 0 || known.at > answer.askedAt) return;
  const lines = new Set(list.dateRanges.map(({ line }) => line));
  const oldest = list.segments[0]?.date;
  for (const one of known.listed) {
    const isOver = !(endOf(known.listed.filter(({ id }) => id === one.id)) >= oldest);
    report.check('range.everywhere', isOver || lines.has(one.line), where, () => `${one.line} is in another rendition only`);
  }
}
