/** Where on which sheet the small picture of a moment is. */
import type { Storyboard } from '../lib/types';

export interface Tile {
  sheet: string;
  x: number;
  y: number;
}

export function tileAt(storyboard: Storyboard, seconds: number): Tile | null {
  const { columns, rows, interval, count, sheets, width, height, skipped } = storyboard;
  if (!(interval > 0) || count < 1) return null;
  const tile = Math.min(Math.max(0, Math.floor((seconds + skipped) / interval)), count - 1);
  const sheet = sheets[Math.floor(tile / (columns * rows))];
  const within = tile % (columns * rows);
  return sheet ? { sheet, x: (within % columns) * width, y: Math.floor(within / columns) * height } : null;
}
