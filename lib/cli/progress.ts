import { type Bar, MultiBar, Presets } from 'cli-progress';
import type { ProgressCallback, ProgressInfo } from 'komt';

function megabytes(bytes: number): string {
  return bytes >= 1e9 ? `${(bytes / 1e9).toFixed(2)} GB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

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
    const size = `${megabytes(event.loaded ?? 0)} of ${megabytes(event.total)}`;
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
