import type { ErrorCode } from './errors'

/** What each event tells beside its name: ids, numbers, and times in milliseconds unless the name says otherwise. */
export interface EventFields {
  /** A new generation arrived. `primary` is the id of its newest credential. */
  fetched: { generation: number; primary: string }
  /** The source has nothing newer. */
  not_modified: { generation: number }
  /** A fetch failed, and is tried again by itself. What is held stays in use. */
  fetch_failed: { error: ErrorCode; retry_in_ms: number }
  /** A newer credential was taken into use at once. `from` is absent at the start. */
  swapped: { from?: string; to: string; generation: number }
  /** A newer credential is there, and is tried by one request at a time. */
  candidate: { credential: string; in_use: string }
  /** The candidate is now in use; `proven` says whether the API was seen to accept it. */
  promoted: { from: string; to: string; proven: boolean }
  /**
   * The API rejected a credential; or it could not be put on a request, and `reason` says why. The candidate is tried again
   * in `probe_in_ms`.
   */
  rejected: { credential: string; candidate: boolean; probe_in_ms?: number; reason?: string }
  /** The credential in use was rejected again and again while an older one was accepted. */
  fell_back: { from: string; to: string }
  /** The provider went back to a credential that was in use before. */
  rolled_back: { from: string; to: string }
  /** The credential in use ended, and nothing else is usable. */
  expired: { credential: string }
  /** The provider revoked credentials, or the whole `set`. */
  revoked: { credentials: readonly string[]; set: boolean }
  /**
   * Every credential was rejected, and nothing newer could be had: requests fail fast for so long. If the API never accepted
   * anything, look at the key, at the set that the source was asked for, and at the scheme and the header that the API wants.
   */
  exhausted: { credential: string; for_ms: number; never_accepted: boolean }
  /** It works again. The generations are there if the source went back to an older one. */
  recovered: { credential?: string; from_generation?: number; to_generation?: number }
  /** The newest credential has been there for so long, and is still not in use. */
  lagging: { credential: string; seconds: number }
  /** The push channel was silent for so long, or was closed because it sent too much. Polling goes on. */
  push_lost: { seconds: number }
  /** The machine slept, or its wall clock was set. */
  clock_jumped: { by_ms: number }
  /** This observer was too slow. */
  lagged: { missed: number }
}

/** The event of this name. */
export type EventOf<N extends EventName> = N extends EventName
  ? Readonly<EventFields[N]> & {
      /** Its stable name, the same in every language. */
      readonly name: N
      /** The same in a sentence. */
      readonly text: string
    }
  : never

/** Something that happened to the credentials: its `name` says which fields it has. */
export type Event = EventOf<EventName>

export type EventName =
  | 'fetched'
  | 'not_modified'
  | 'fetch_failed'
  | 'swapped'
  | 'candidate'
  | 'promoted'
  | 'rejected'
  | 'fell_back'
  | 'rolled_back'
  | 'expired'
  | 'revoked'
  | 'exhausted'
  | 'recovered'
  | 'lagging'
  | 'push_lost'
  | 'clock_jumped'
  | 'lagged'

/** How many events wait for a slow reader; it is told how many it missed. */
const MOST = 1024

/** What happens from now on. Reading it does not keep the process alive. */
export class Events implements AsyncIterableIterator<Event> {
  #waiting: Event[] = []
  #missed = 0
  #ended = false
  #readers: ((result: IteratorResult<Event, undefined>) => void)[] = []

  /** @internal */
  take(event: Event | undefined): void {
    if (this.#ended) return
    if (event === undefined) {
      this.#end()
      return
    }
    const reader = this.#readers.shift()
    if (reader !== undefined) {
      reader({ done: false, value: event })
      return
    }
    this.#waiting.push(event)
    if (this.#waiting.length > MOST) {
      this.#waiting.shift()
      this.#missed += 1
    }
  }

  next(): Promise<IteratorResult<Event, undefined>> {
    if (this.#missed > 0) {
      const missed = this.#missed
      this.#missed = 0
      const text = `${missed} events were missed`
      return Promise.resolve({ done: false, value: { name: 'lagged', text, missed } })
    }
    const value = this.#waiting.shift()
    if (value !== undefined) return Promise.resolve({ done: false, value })
    if (this.#ended) return Promise.resolve({ done: true, value: undefined })
    return new Promise((resolve) => this.#readers.push(resolve))
  }

  return(): Promise<IteratorResult<Event, undefined>> {
    this.#waiting = []
    this.#end()
    return Promise.resolve({ done: true, value: undefined })
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  #end(): void {
    this.#ended = true
    for (const reader of this.#readers.splice(0)) reader({ done: true, value: undefined })
  }
}
