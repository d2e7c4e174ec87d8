/** What a download reports; the names and stages are those of transformers.js. */
export interface ProgressInfo {
  /**
   * `initiate`: the file is about to be looked at. `download`: its transfer begins. `progress`: bytes
   * came. `done`: it is in the cache. A file that was in the cache already goes from `initiate` to `done`.
   */
  status: 'initiate' | 'download' | 'progress' | 'done';
  /** Repository id. */
  name: string;
  /** Path within the repository. */
  file: string;
  /** Bytes that are here, those of an earlier, broken-off transfer included. */
  loaded?: number;
  /** Bytes of the file. */
  total?: number;
  /** 100 * loaded / total. */
  progress?: number;
}

/** Receives {@link ProgressInfo}. What it throws ends the download and reaches the caller as it is. */
export type ProgressCallback = (info: ProgressInfo) => void;

/** Shortest time between two `progress` reports of a file, in milliseconds. */
const INTERVAL = 100;

/** Reports the transfer of one file, not more often than a person can see. */
export class FileProgress {
  private last = 0;
  private thrown?: { error: unknown };

  constructor(
    private readonly callback: ProgressCallback | undefined,
    private readonly name: string,
    private readonly file: string,
    private readonly total: number,
  ) {}

  initiate(): void {
    this.report('initiate');
  }

  download(): void {
    this.report('download');
  }

  progress(loaded: number): void {
    const now = Date.now();
    if (loaded < this.total && now - this.last < INTERVAL) return;
    this.last = now;
    this.report('progress', loaded);
  }

  done(): void {
    this.report('done', this.total);
  }

  /** True for what the callback threw. */
  threw(error: unknown): boolean {
    return this.thrown !== undefined && this.thrown.error === error;
  }

  private report(status: ProgressInfo['status'], loaded?: number): void {
    const { name, file, total } = this;
    const counted =
      loaded === undefined
        ? undefined
        : { loaded, progress: total === 0 ? 100 : (100 * loaded) / total };
    try {
      this.callback?.({ status, name, file, total, ...counted });
    } catch (error) {
      this.thrown = { error };
      throw error;
    }
  }
}
