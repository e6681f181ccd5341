// Uploads a file by unmodified tus-js-client; pauses and resumes as a new process would, when asked to.
import fs from 'node:fs';
import fsp from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { PassThrough } from 'node:stream';
import { FileUrlStorage, Upload } from 'tus-js-client';
import { Failed, integer, must, run } from './lib/run.mjs';

const OPTIONS = {
  // `ietf-draft-03` is interop version 5, `ietf-draft-05` is interop version 6.
  protocol: { type: 'string', default: 'tus' },
  chunk: { type: 'string' },
  'pause-at': { type: 'string' },
  parallel: { type: 'string' },
  // Creation-with-upload: the first bytes ride on the creating request.
  'data-in-creation': { type: 'boolean', default: false },
  // Creation-defer-length: the size is told with the last chunk. Needs --chunk.
  'defer-length': { type: 'boolean', default: false },
  title: { type: 'string' },
  privacy: { type: 'string', default: 'public' },
  endpoint: { type: 'string', default: '/api/v1/uploads' },
};
const PROTOCOLS = { tus: 'tus-v1', 'ietf-draft-03': 'ietf-draft-03', 'ietf-draft-05': 'ietf-draft-05' };

await run(['BASE', 'TOKEN', 'FILE'], OPTIONS, async (input, results) => {
  must(PROTOCOLS[input.protocol], `--protocol must be one of ${Object.keys(PROTOCOLS)}`);
  const memory = await fsp.mkdtemp(path.join(os.tmpdir(), 'playhouse-tus-'));
  try {
    const storage = new FileUrlStorage(path.join(memory, 'uploads.json'));
    const options = settings(input, storage, results);
    const pauseAt = integer(input['pause-at'], 'pause-at');
    if (pauseAt !== undefined) results.paused_at = await sendUntil(input.FILE, options, pauseAt);
    const upload = await send(input.FILE, options, pauseAt !== undefined);
    results.url = upload.url;
    must(results.video_id, 'no response carried Playhouse-Video-Id');
  } finally {
    await fsp.rm(memory, { recursive: true });
  }
});

function settings(input, storage, results) {
  results.requests = [];
  const deferred = input['defer-length'];
  const chunk = integer(input.chunk, 'chunk');
  must(!deferred || chunk, '--defer-length needs --chunk');
  return {
    endpoint: new URL(input.endpoint, input.BASE).href,
    protocol: PROTOCOLS[input.protocol],
    chunkSize: chunk ?? Number.POSITIVE_INFINITY,
    parallelUploads: integer(input.parallel, 'parallel') ?? 1,
    uploadDataDuringCreation: input['data-in-creation'],
    uploadLengthDeferred: deferred,
    retryDelays: [0, 500, 1000, 3000],
    urlStorage: storage,
    headers: { Authorization: `Bearer ${input.TOKEN}` },
    metadata: {
      filename: path.basename(input.FILE),
      title: input.title ?? path.basename(input.FILE),
      description: 'Uploaded by tus-js-client.',
      category: 'test',
      tags: 'test,clip',
      privacy: input.privacy,
    },
    onAfterResponse: (req, res) => {
      results.requests.push(`${req.getMethod()} ${res.getStatus()}`);
      results.video_id = res.getHeader('Playhouse-Video-Id') ?? results.video_id;
      if (req.getMethod() === 'HEAD') (results.resumed_from ??= []).push(Number(res.getHeader('Upload-Offset')));
    },
  };
}

/** Sends until so many bytes have left, then drops the connection; resolves with the bytes that had left. */
function sendUntil(file, options, bytes) {
  return new Promise((resolve, reject) => {
    const upload = new Upload(fs.createReadStream(file), {
      ...options,
      onError: (error) => reject(new Failed(`before the pause: ${error.message}`)),
      onSuccess: () => reject(new Failed('the upload was complete before the pause')),
      onProgress: (sent) => {
        if (sent >= bytes) upload.abort().then(() => resolve(sent), reject);
      },
    });
    upload.start();
  });
}

/** With a deferred length a plain stream, whose end nobody knows, as from a recorder; else the file. */
function source(file, options) {
  const bytes = fs.createReadStream(file);
  return options.uploadLengthDeferred ? bytes.pipe(new PassThrough()) : bytes;
}

/** Sends all of it; a resumed upload is found again by what the first part stored on disk. */
function send(file, options, resume) {
  return new Promise((resolve, reject) => {
    const upload = new Upload(source(file, options), {
      ...options,
      onError: (error) => reject(new Failed(error.message)),
      onSuccess: () => resolve(upload),
    });
    if (!resume) return upload.start();
    upload.findPreviousUploads().then((found) => {
      must(found.length === 1, `expected one stored upload to resume, found ${found.length}`);
      upload.resumeFromPreviousUpload(found[0]);
      upload.start();
    }).catch(reject);
  });
}
