import { EventEmitter } from 'node:events'
import { inspect } from 'node:util'

import * as native from '../native'
import { calling, givenUpBy, KeyswapError, settled } from './errors'
import { Events } from './events'
import type { Event, EventName } from './generated/events'
import type { KeySwapOptions } from './generated/options'
import { type Policy, POLICY_TIMES } from './generated/policy'
import type { Stats } from './generated/stats'
import { type Source, type SourceFunction, sourceOf } from './sources'

export interface WaitOptions {
  /** In milliseconds; by default there is no limit. */
  timeout?: number
  signal?: AbortSignal
}

/** One usable credential. Neither `console.log` nor JSON shows its material. */
export class Credential {
  readonly #native: native.NativeCredential
  #key: string | undefined
  readonly id: string
  readonly version: string | undefined
  readonly scopes: readonly string[]
  readonly createdAt: Date | undefined
  readonly notBefore: Date | undefined
  readonly activateAt: Date | undefined
  readonly expiresAt: Date | undefined
  readonly graceExpiresAt: Date | undefined

  /** @internal */
  constructor(from: native.NativeCredential) {
    this.#native = from
    this.id = from.id
    this.version = from.version ?? undefined
    this.scopes = from.scopes
    const times = from.times.map((at) => (at == null ? undefined : new Date(at)))
    this.createdAt = times[0]
    this.notBefore = times[1]
    this.activateAt = times[2]
    this.expiresAt = times[3]
    this.graceExpiresAt = times[4]
  }

  /** A piece of material, in the clear: for the request, and nothing else. Throws a RangeError if it has none of that name. */
  reveal(name = 'key'): string {
    if (name === 'key' && this.#key !== undefined) return this.#key
    const piece = this.#native.reveal(name)
    if (piece == null) throw new RangeError(`${this.id} has no material named ${JSON.stringify(name)}`)
    if (name === 'key') this.#key = piece
    return piece
  }
}

/** The set that is held. */
export interface CredentialSet {
  readonly generation: number
  readonly primary: Credential | undefined
  /** Newest first. */
  readonly previous: readonly Credential[]
  readonly next: Credential | undefined
  readonly revoked: readonly string[]
}

/**
 * Follows one source and always holds a fresh credential.
 *
 * ```ts
 * const keys = await KeySwap.follow('https://keys.example.com/keyswap/v1/sets/trading')
 * keys.current.reveal()
 * ```
 *
 * `source` is the URL of a rotation endpoint, what `endpoint`, `file` or `env` made, or a function that
 * returns a set such as `{ current: { id: 'k2', key: '...' } }`, or a promise of one. It does not keep the
 * process alive.
 */
export class KeySwap implements AsyncDisposable, Disposable {
  /** @internal */
  readonly native: native.NativeKeySwap
  /** Written by the core, right after the snapshot of that epoch can be read. */
  readonly #epochs: Int32Array
  #seen: number | undefined
  #current: Credential | undefined
  #isClosed = false
  #emitter: EventEmitter | undefined
  readonly #name: string | undefined
  /** Resolves with the key in use: for SDKs that take an asynchronous function, such as openai's `apiKey`. */
  readonly akey: () => Promise<string>
  /** Returns the key in use: for libraries that take a function. */
  readonly key: () => string

  /** Begins to follow, and does not wait. Throws `KeyswapError` for what is not valid. */
  constructor(source: string | URL | Source | SourceFunction, options: KeySwapOptions = {}) {
    this.#epochs = new Int32Array(new SharedArrayBuffer(4))
    this.#name = options.name
    const policy = options.policy === undefined ? null : toJson(options.policy)
    const made = sourceOf(source, options.mints).make()
    this.native = calling(
      () => new native.NativeKeySwap(made, policy, options.name ?? null, this.#epochs),
    )
    this.key = () => this.current.reveal()
    this.akey = async () => {
      if (this.#seen === undefined) await this.ready({ timeout: 10_000 })
      return this.current.reveal()
    }
  }

  /** Begins to follow, and waits for the first set. Rejects with the error of the first fetch if it failed. */
  static async follow(
    source: string | URL | Source | SourceFunction,
    options: KeySwapOptions & WaitOptions = {},
  ): Promise<KeySwap> {
    const keys = new KeySwap(source, options)
    try {
      await keys.ready(options)
    } catch (error) {
      keys.close()
      throw error
    }
    return keys
  }

  /** The credential in use. Throws why nothing is usable. Reading it never waits, and calls nothing while nothing changes. */
  get current(): Credential {
    if (this.#seen === Atomics.load(this.#epochs, 0)) return this.#current!
    return this.#look()
  }

  /** The local number of what requests see, in 32 bits: it changes whenever that does. Cache by it. */
  get epoch(): number {
    return Atomics.load(this.#epochs, 0)
  }

  /** The set that is held; undefined before the first fetch, and after the provider revoked it. */
  get credentials(): CredentialSet | undefined {
    const shown = this.native.set()
    if (shown == null) return undefined
    const all = this.native.credentials().map((each) => new Credential(each))
    const previous = this.native.previousCount()
    return {
      generation: shown.generation,
      primary: all[0],
      previous: all.slice(1, 1 + previous),
      next: all[1 + previous],
      revoked: shown.revoked,
    }
  }

  get stats(): Stats {
    const stats = JSON.parse(this.native.stats()) as Stats
    const date = (at: unknown): Date | null => (typeof at === 'number' ? new Date(at) : null)
    return { ...stats, expiresAt: date(stats.expiresAt), lastSuccess: date(stats.lastSuccess) }
  }

  /** Waits until a credential is usable. Rejects with the error of the fetch that runs, should it fail. */
  async ready(options: WaitOptions = {}): Promise<void> {
    this.#check()
    await givenUpBy(options.signal, new native.Job(), (job) =>
      this.native.ready(options.timeout ?? null, job),
    )
  }

  /** Fetches now, or as soon as the floor between two fetches allows. What was held is still held if that fails. */
  async refresh(options: WaitOptions = {}): Promise<void> {
    this.#check()
    await givenUpBy(options.signal, new native.Job(), (job) =>
      this.native.refresh(options.timeout ?? null, job),
    )
  }

  /** Says that something newer may be there, for programs with a push channel of their own. */
  hint(generation?: number, options: { immediate?: boolean } = {}): void {
    this.native.hint(generation ?? null, options.immediate ?? true)
  }

  /** Looks at the clocks at once: for programs that come back from a pause of their own. */
  wake(): void {
    this.native.wake()
  }

  /** What happens from now on: `for await (const event of keys.events())`. It does not keep the process alive. */
  events(): Events {
    const events = new Events()
    calling(() => this.native.onEvent((told) => events.take(told == null ? undefined : parsed(told))))
    return events
  }

  /** Calls the listener at each event of that name, or at every one for `event`. */
  on(name: EventName | 'event', listener: (event: Event) => void): this {
    this.#emitting().on(name, listener)
    return this
  }

  once(name: EventName | 'event', listener: (event: Event) => void): this {
    this.#emitting().once(name, listener)
    return this
  }

  off(name: EventName | 'event', listener: (event: Event) => void): this {
    this.#emitter?.off(name, listener)
    return this
  }

  /** Ends it, for all that use it. Afterwards nothing is usable. */
  close(): void {
    this.#isClosed = true
    this.#seen = undefined
    this.native.close()
  }

  /** `close`, and waits until the provider was told that nothing is used any more: for a second at most. */
  async shutdown(): Promise<void> {
    this.close()
    await settled(this.native.shutdown())
  }

  [Symbol.dispose](): void {
    this.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close()
  }

  [inspect.custom](): string {
    const { generation, inUse } = this.stats
    const held = inUse === null ? 'nothing usable' : `generation ${generation}, ${inUse} in use`
    return `KeySwap { ${this.#name === undefined ? '' : `${this.#name}: `}${held} }`
  }

  toJSON(): object {
    const { generation, inUse } = this.stats
    return { generation, inUse }
  }

  #look(): Credential {
    this.#check()
    const seen = Atomics.load(this.#epochs, 0)
    const current = new Credential(calling(() => this.native.current()))
    // Before the first snapshot the word is as it was made, and means nothing yet.
    this.#seen = seen === this.native.epoch() ? seen : undefined
    this.#current = current
    return current
  }

  #check(): void {
    if (this.#isClosed) throw new KeyswapError('closed', 'the handle was closed')
  }

  #emitting(): EventEmitter {
    if (this.#emitter === undefined) {
      const emitter = (this.#emitter = new EventEmitter())
      calling(() =>
        this.native.onEvent((told) => {
          if (told == null) return
          const event = parsed(told)
          emitter.emit(event.name, event)
          emitter.emit('event', event)
        }),
      )
    }
    return this.#emitter
  }
}

function parsed(told: string): Event {
  return Object.freeze(JSON.parse(told) as Event)
}

/** The policy as the core reads it: names with underscores, times in seconds. */
function toJson(policy: Policy): string {
  const numbers: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(policy)) {
    if (value === undefined) continue
    const seconds = (each: unknown): unknown =>
      typeof each === 'number' && POLICY_TIMES.has(name) ? each / 1000 : each
    const written = name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
    numbers[written] = Array.isArray(value) ? value.map(seconds) : seconds(value)
  }
  return JSON.stringify(numbers)
}
