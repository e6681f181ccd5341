/** What a publisher's program is to be told. */
import { bitRate, plural } from '../lib/format';
import type { IngestStats } from '../lib/types';

/** The server as OBS wants it: without the key, which has a field of its own there. */
export function serverOf(rtmp: string, key: string): string {
  return rtmp.endsWith(`/${key}`) ? rtmp.slice(0, -key.length - 1) : rtmp;
}

export function ffmpegCommand(rtmp: string): string {
  return `ffmpeg -re -i clip.mp4 -c:v libx264 -preset veryfast -g 60 -c:a aac -f flv ${rtmp}`;
}

/** A figure of how publishing goes. */
export interface Figure {
  label: string;
  text: string;
  /** Worth a look. */
  bad?: boolean;
}

const sum = (counts: Record<string, number>) => Object.values(counts).reduce((all, one) => all + one, 0);

/** `wrapped: 2, jumps: 1` of what is not zero. */
const kinds = (counts: Record<string, number>) =>
  Object.entries(counts).filter(([, count]) => count > 0).map(([kind, count]) => `${kind.replaceAll('_', ' ')}: ${count}`).join(', ');

const counted = (counts: Record<string, number>) => (sum(counts) === 0 ? 'none' : `${sum(counts)} (${kinds(counts)})`);

/** What its publisher had better change. */
export function warningsOf(stats: IngestStats): string[] {
  const { gop_secs: gop, ladder } = stats;
  const given = ladder?.rungs.filter(({ dropped }) => dropped).map(({ height, width }) => `${Math.min(height, width)}p`) ?? [];
  const all = [
    gop !== null && gop > 4 && `There is a key frame only every ${Math.round(gop * 10) / 10} s: viewers start and seek slowly. Set the interval to 2 s.`,
    sum(stats.dropped) > 0 && 'Frames had to be left out: the encoder may be overloaded, or sends pictures before a key frame.',
    sum(stats.repairs) > 100 && 'Many times had to be repaired: the encoder or its capture device loses its rhythm.',
    given.length > 0 && `This server does not keep up with encoding ${given.join(', ')}; viewers get the other sizes.`,
  ];
  return all.filter((one) => one !== false);
}

/** What is known of it; what is not known yet is left out. */
export function figuresOf(stats: IngestStats, archive: boolean): Figure[] {
  const { width, height, bits_per_sec: rate, gop_secs: gop } = stats;
  const codecs = [stats.video_codec, stats.audio_codec].filter(Boolean).join(', ');
  const all: (Figure | false)[] = [
    { label: 'Publisher', text: stats.connected ? 'connected' : stats.slate ? 'away; viewers see your picture' : 'away', bad: !stats.connected },
    archive && { label: 'Recording', text: stats.recording ? 'yes' : 'no: the disk does not take it', bad: !stats.recording },
    rate > 0 && { label: 'Bit rate', text: bitRate(rate) },
    stats.frame_rate > 0 && { label: 'Frame rate', text: `${Math.round(stats.frame_rate * 100) / 100} per second` },
    width !== null && height !== null && { label: 'Pictures', text: `${width}×${height}` },
    codecs !== '' && { label: 'Codecs', text: codecs },
    gop !== null && { label: 'Key frames', text: `every ${Math.round(gop * 10) / 10} s`, bad: gop > 4 },
    { label: 'Repaired times', text: counted(stats.repairs) },
    { label: 'Left out', text: counted(stats.dropped) },
    { label: 'Interruptions', text: stats.epochs > 1 ? String(stats.epochs - 1) : 'none' },
    stats.gaps > 0 && { label: 'Missing', text: plural(stats.gaps, 'segment') },
  ];
  return all.filter((figure) => figure !== false);
}
