import type { Event } from './generated/events'
import { camel } from './options'

/** How many events wait for a slow reader; it is told how many it missed. */
const MOST = 1024

/** What the core tells, with its name, its fields and its times as they are here. */
export function eventOf(told: Record<string, unknown>): Event {
  const event: Record<string, unknown> = {}
  // The core writes what it is into `event`, too, with its own name.
  const { event: _, ...fields } = told
  for (const [key, value] of Object.entries(fields)) {
    if (key === 'seconds') event['forMs'] = Number(value) * 1000
    else event[camel(key)] = key === 'name' ? camel(String(value)) : value
  }
  return Object.freeze(event) as unknown as Event
}

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
