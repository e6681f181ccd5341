/** Keyboard control of the player; the table is also what the help shows. */
import type { Player } from './player.svelte';

export const SHORTCUTS: { keys: string[]; does: string }[] = [
  { keys: ['Space', 'K'], does: 'Play or pause' },
  { keys: ['J', 'L'], does: 'Back or forward 10 seconds' },
  { keys: ['←', '→'], does: 'Back or forward 5 seconds' },
  { keys: ['↑', '↓'], does: 'Volume up or down' },
  { keys: ['M'], does: 'Mute' },
  { keys: ['F'], does: 'Full screen' },
  { keys: ['0', '…', '9'], does: 'Jump to 0–90 %' },
  { keys: ['Home', 'End'], does: 'Jump to the start or the end; End goes live' },
  { keys: ['<', '>'], does: 'Slower or faster; not while it is live' },
  { keys: ['?'], does: 'This help' },
];

const ACTIONS: Record<string, (player: Player) => void> = {
  k: (player) => player.toggle(),
  ' ': (player) => player.toggle(),
  j: (player) => player.seekBy(-10),
  l: (player) => player.seekBy(10),
  ArrowLeft: (player) => player.seekBy(-5),
  ArrowRight: (player) => player.seekBy(5),
  ArrowUp: (player) => player.volumeBy(0.05),
  ArrowDown: (player) => player.volumeBy(-0.05),
  m: (player) => player.toggleMute(),
  f: (player) => void player.toggleFullscreen(),
  Home: (player) => player.seek(player.start),
  End: (player) => (player.edge && !player.edge.over ? player.goLive() : player.seek(player.end)),
  '<': (player) => player.rateStep(-1),
  '>': (player) => player.rateStep(1),
};

/** Acts on a key press; false when the key is not ours or belongs to the element it was pressed on. */
export function pressKey(event: KeyboardEvent, player: Player, showHelp: () => void): boolean {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return false;
  const target = event.target instanceof Element ? event.target : null;
  if (belongsTo(target, event.key)) return false;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (key === '?') showHelp();
  else if (/^[0-9]$/.test(key)) player.seekToShare(Number(key) / 10);
  else if (ACTIONS[key]) ACTIONS[key](player);
  else return false;
  event.preventDefault();
  return true;
}

function belongsTo(target: Element | null, key: string): boolean {
  if (!target || !(target instanceof HTMLElement)) return false;
  if (target.isContentEditable || target.closest('textarea, select, dialog')) return true;
  if (target instanceof HTMLInputElement) {
    if (target.type !== 'range') return true;
    // Up and down on the seek slider stay volume; the volume slider keeps its own arrow keys.
    return key.startsWith('Arrow') && target.dataset.keys === 'own';
  }
  if (key === ' ') return target.matches('button, a, summary, [role="button"]');
  // Outside the player these scroll the page.
  const scrolls = ['ArrowUp', 'ArrowDown', 'Home', 'End'].includes(key);
  return scrolls && !target.closest('[data-player]');
}
