import { EventEmitter } from 'node:events'
import { inspect } from 'node:util'

import * as native from '../native'
import { givenUpBy, KeyswapError, settled, told } from './errors'
import { eventOf, Events } from './events'
import type { Event, EventName, EventOf } from './generated/events'
import type { KeySwapOptions } from './generated/options'
import { POLICY_TIMES } from './generated/policy'
import type { Stats } from './generated/stats'
import { read, seconds, written } from './options'
import type { Source } from './source'
import { type SourceFunction, sourceOf } from './sources'

/** What is called at events of that name, or at every one for `event`. */
export type Listener<N extends EventName | 'event'> = (event: N extends EventName ? EventOf<N> : Event) => void

export interface WaitOptions {
  /** In milliseconds; by default there is no limit. */
  timeout?: number
  signal?: AbortSignal
}

/** What the core says of a credential. */
interface Facts {
  readonly id: string
  readonly version: string | null
  readonly scopes: readonly string[]
  readonly createdAt: Date | null
  readonly notBefore: Date | null
  readonly activateAt: Date | null
  readonly expiresAt: Date | null
  readonly graceExpiresAt: Date | null
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
    const facts = read(from.facts()) as unknown as Facts
    this.id = facts.id
    this.version = facts.version ?? undefined
    this.scopes = facts.scopes
    this.createdAt = facts.createdAt ?? undefined
    this.notBefore = facts.notBefore ?? undefined
    this.activateAt = facts.activateAt ?? undefined
    this.expiresAt = facts.expiresAt ?? undefined
    this.graceExpiresAt = facts.graceExpiresAt ?? undefined
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
  /** What the whole set may be used for. */
  readonly scopes: readonly string[]
  /** The origins that the provider narrows its use to; empty means no narrowing. */
  readonly audience: readonly string[]
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
    const { policy = {}, name, mints } = options
    const made = sourceOf(source, mints)
    const json = JSON.stringify({ policy: written(policy, (name) => POLICY_TIMES.has(name)), name, mints })
    this.native = told(native.NativeKeySwap.follow(made.native, json, this.#epochs))
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
    const set = this.native.set()
    if (set == null) return undefined
    const shown = (one: native.NativeCredential | null | undefined): Credential | undefined =>
      one == null ? undefined : new Credential(one)
    return {
      ...set,
      primary: shown(set.primary),
      previous: set.previous.map((each) => new Credential(each)),
      next: shown(set.next),
    }
  }

  get stats(): Stats {
    return read(this.native.stats()) as unknown as Stats
  }

  /** Waits until a credential is usable. Rejects with the error of the fetch that runs, should it fail. */
  async ready(options: WaitOptions = {}): Promise<void> {
    this.#check()
    await givenUpBy(options.signal, new native.Job(), (job) =>
      this.native.ready(seconds(options.timeout), job),
    )
  }

  /** Fetches now, or as soon as the floor between two fetches allows. What was held is still held if that fails. */
  async refresh(options: WaitOptions = {}): Promise<void> {
    this.#check()
    await givenUpBy(options.signal, new native.Job(), (job) =>
      this.native.refresh(seconds(options.timeout), job),
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
    this.native.onEvent((told) => events.take(told == null ? undefined : eventOf(told as Record<string, unknown>)))
    return events
  }

  /** Calls the listener at each event of that name, or at every one for `event`. */
  on<N extends EventName | 'event'>(name: N, listener: Listener<N>): this {
    this.#emitting().on(name, listener)
    return this
  }

  once<N extends EventName | 'event'>(name: N, listener: Listener<N>): this {
    this.#emitting().once(name, listener)
    return this
  }

  off<N extends EventName | 'event'>(name: N, listener: Listener<N>): this {
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
    const current = new Credential(told(this.native.current()))
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
      this.native.onEvent((told) => {
        if (told == null) return
        const event = eventOf(told as Record<string, unknown>)
        emitter.emit(event.name, event)
        emitter.emit('event', event)
      })
    }
    return this.#emitter
  }
}
