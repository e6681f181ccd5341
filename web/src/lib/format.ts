/** Numbers and dates as people read them. */

/** Seconds as `m:ss` or `h:mm:ss`. */
export function clock(seconds: number): string {
  const whole = Number.isFinite(seconds) ? Math.max(0, Math.floor(seconds)) : 0;
  const h = Math.floor(whole / 3600);
  const m = Math.floor((whole % 3600) / 60);
  const s = String(whole % 60).padStart(2, '0');
  return h > 0 ? `${h}:${String(m).padStart(2, '0')}:${s}` : `${m}:${s}`;
}

/** Seconds before the newest of a live stream, as `−1:05`. */
export function clockBack(seconds: number): string {
  return seconds < 1 ? clock(0) : `−${clock(seconds)}`;
}

/** How far behind its publisher a live stream is watched. */
export function behind(seconds: number): string {
  return seconds < 1 ? 'Under 1 s behind' : `${Math.round(seconds)} s behind`;
}

/** Bits per second. */
export function bitRate(bitsPerSec: number): string {
  return bitsPerSec < 1_000_000 ? `${Math.round(bitsPerSec / 1000)} kb/s` : `${(bitsPerSec / 1_000_000).toFixed(1)} Mb/s`;
}

/** Seconds in words, for screen readers: `1 minute 5 seconds`. */
export function spoken(seconds: number): string {
  const whole = Number.isFinite(seconds) ? Math.max(0, Math.round(seconds)) : 0;
  const parts = [
    plural(Math.floor(whole / 3600), 'hour'),
    plural(Math.floor((whole % 3600) / 60), 'minute'),
    plural(whole % 60, 'second'),
  ].filter((part) => !part.startsWith('0 '));
  return parts.join(' ') || '0 seconds';
}

/** `1 view`, `2 views`. */
export function plural(count: number, noun: string): string {
  return `${count.toLocaleString('en')} ${noun}${count === 1 ? '' : 's'}`;
}

/** How many watch a live stream now. */
export function watching(viewers: number): string {
  return `${viewers.toLocaleString('en')} watching`;
}

/** Bytes with three significant digits and decimal units. */
export function bytes(count: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let value = count;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  const digits = unit === 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${value.toFixed(digits)} ${units[unit]}`;
}

/** How long something will take, roughly. */
export function remaining(seconds: number): string {
  if (seconds < 5) return 'a few seconds left';
  if (seconds < 60) return `${Math.ceil(seconds / 5) * 5} seconds left`;
  if (seconds < 3600) return `${plural(Math.ceil(seconds / 60), 'minute')} left`;
  return `${plural(Math.round(seconds / 3600), 'hour')} left`;
}

/** A past moment as `5 minutes ago`; a date when it is older than a month. */
export function ago(moment: string, now = Date.now()): string {
  const at = Date.parse(moment);
  if (Number.isNaN(at)) return '';
  const seconds = Math.max(0, (now - at) / 1000);
  if (seconds < 45) return 'just now';
  if (seconds < 3600) return `${plural(Math.max(1, Math.round(seconds / 60)), 'minute')} ago`;
  if (seconds < 86_400) return `${plural(Math.round(seconds / 3600), 'hour')} ago`;
  if (seconds < 30 * 86_400) return `${plural(Math.round(seconds / 86_400), 'day')} ago`;
  return new Date(at).toLocaleDateString('en', { year: 'numeric', month: 'short', day: 'numeric' });
}

/** `summer_holiday-01.mp4` as a first title: `summer holiday 01`. */
export function titleOf(fileName: string): string {
  return fileName.replace(/\.[^.]{1,5}$/, '').replace(/[_-]+/g, ' ').trim().slice(0, 255) || fileName;
}

/** Comma-separated tags as a list without blanks or repeats. */
export function parseTags(text: string): string[] {
  return [...new Set(text.split(',').map((tag) => tag.trim()).filter(Boolean))];
}

/** A user agent as `Firefox on Linux`. */
export function device(agent: string): string {
  const browser =
    /Edg\//.test(agent) ? 'Edge'
    : /OPR\//.test(agent) ? 'Opera'
    : /Firefox\//.test(agent) ? 'Firefox'
    : /Chrom(e|ium)\//.test(agent) ? 'Chrome'
    : /Safari\//.test(agent) ? 'Safari'
    : null;
  const system =
    /Android/.test(agent) ? 'Android'
    : /iPhone|iPad/.test(agent) ? 'iOS'
    : /Windows/.test(agent) ? 'Windows'
    : /Mac OS X/.test(agent) ? 'macOS'
    : /Linux/.test(agent) ? 'Linux'
    : null;
  if (browser && system) return `${browser} on ${system}`;
  return browser ?? (agent.split(/[\s/]/)[0] || 'Unknown device');
}
