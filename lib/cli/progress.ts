import { type Bar, MultiBar, Presets } from 'cli-progress';
import type { ProgressCallback, ProgressInfo } from 'komt';
import { formatBytes } from '../format-bytes.js';

/** Shows downloads and loading as bars on stderr; does nothing where that is no terminal. */
export class LoadProgress {
  readonly #bars = new Map<string, Bar>();
  readonly #multi: MultiBar | null;

  constructor(stream: NodeJS.WriteStream = process.stderr) {
    this.#multi = stream.isTTY
      ? new MultiBar(
          {
            stream,
            clearOnComplete: true,
            hideCursor: true,
            format: '{file} {bar} {percentage}% {size}',
            barsize: 30,
          },
          Presets.shades_classic,
        )
      : null;
  }

  readonly callback: ProgressCallback = (event: ProgressInfo) => {
    if (!this.#multi || !event.total) return;
    const size = `${formatBytes(event.loaded ?? 0)} of ${formatBytes(event.total)}`;
    const file = event.file.slice(-32).padEnd(32);
    const bar = this.#bars.get(event.file);
    if (bar) {
      bar.update(event.loaded ?? 0, { size });
    } else {
      this.#bars.set(
        event.file,
        this.#multi.create(event.total, event.loaded ?? 0, { file, size }) as Bar,
      );
    }
  };

  stop(): void {
    this.#multi?.stop();
  }
}
