/** Something that happened to the credentials: its name, and fields that are ids and numbers. */
export interface Event {
  /** Its stable name, the same in every language. */
  readonly name: EventName
  /** The same in a sentence. */
  readonly text: string
  readonly generation?: number
  readonly from?: string | null
  readonly to?: string | null
  readonly credential?: string
  /** Of `rejected`: why it could not be put on a request. Absent if it was sent, and the API rejected it. */
  readonly reason?: string
  /**
   * Of `exhausted`: that the API never accepted anything of this handle. Then look at the key, at the set that the source
   * was asked for, and at the scheme and the header that the API wants.
   */
  readonly never_accepted?: boolean
  /** Of `recovered`, if the source went back to an older generation. */
  readonly from_generation?: number
  readonly to_generation?: number
  readonly [field: string]: unknown
}

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
