/*
 * One request of another library, on its way through a rotation. No rule of it is here: the core's attempt says what is
 * next.
 */

import { inspect } from 'node:util'

import * as native from '../native'
import { fromNative, givenUpBy, type KeyswapError, told } from './errors'
import { keepHere } from './here'
import { Credential } from './keys'
import { asRecord, type HeaderInput, namesOf, rawOf } from './options'
import { type Classifier, judge, type SignFunction, signed } from './schemes'

/**
 * What to do next. `send`: send the request with what `apply` adds, and tell `response` or `failed`. `wait`: call `wait`,
 * and keep the last response. `needBody`: call `response` again with the first `bodyLimit` bytes of the body. `return`: the
 * last response, or the library's own error, is the answer. `fail`: there is none, `error` says why.
 */
export type Step = 'send' | 'wait' | 'needBody' | 'return' | 'fail'

const STEPS = ['send', 'wait', 'needBody', 'return', 'fail'] as const

/** The hop that a redirect asks for. */
export interface NextHop {
  readonly method: string
  readonly url: string
  /** The headers that stay behind, in lower case. */
  readonly drops: readonly string[]
  /** Whether the body stays behind. */
  readonly dropsBody: boolean
}

/** What to add to a request. Neither `console.log` nor JSON shows it. */
export class Patch {
  readonly #native: native.NativePatch
  readonly #raw: readonly string[]
  readonly #names: readonly string[]
  readonly #record: Readonly<Record<string, string>>

  /** @internal */
  constructor(from: native.NativePatch) {
    const raw = from.reveal()
    const record: Record<string, string> = {}
    for (let at = 0; at + 1 < raw.length; at += 2) record[raw[at]!] = raw[at + 1]!
    this.#native = from
    this.#raw = raw
    this.#names = namesOf(raw)
    this.#record = record
  }

  /** @internal */
  get native(): native.NativePatch {
    return this.#native
  }

  /** @internal Raw headers, in the clear. */
  get raw(): readonly string[] {
    return this.#raw
  }

  /** The names of its headers, in lower case. */
  get names(): readonly string[] {
    return this.#names
  }

  /** The headers, in the clear, their names as the program or the set spells them: for the request, and nothing else. */
  reveal(): Record<string, string> {
    return { ...this.#record }
  }

  /** The URL with what goes into its query, in the clear; the same if nothing does. */
  revealURL(url: string | URL): string {
    return told(this.#native.revealUrl(String(url)))
  }

  /** Where a response leads whose request carried this; undefined if it is the answer. */
  follow(
    request: { method: string; url: string | URL; replayable?: boolean },
    status: number,
    location: string,
  ): NextHop | undefined {
    const { method, url, replayable = true } = request
    return told(this.#native.follow(method, String(url), replayable, status, location)) ?? undefined
  }

  [inspect.custom](): string {
    return `Patch { ${this.names.join(', ')} }`
  }
}

/** What is on a request that carries no credential. */
export const NOTHING = new Patch(native.NativePatch.nothing())

/** What an attempt needs of its authorizer. */
interface Making {
  readonly classifier: Classifier | undefined
  readonly statuses: ReadonlySet<number>
  readonly make: SignFunction | undefined
  readonly ended: () => void
}

/** One request on its way: one hop. Close it, at any time. */
export class Attempt {
  readonly #native: native.NativeAttempt
  readonly #making: Making

  /** @internal */
  constructor(from: native.NativeAttempt, making: Making) {
    this.#native = from
    this.#making = making
  }

  get step(): Step {
    return STEPS[told(this.#native.step)]!
  }

  /** The error of `fail`. */
  get error(): KeyswapError | undefined {
    const { error } = this.#native
    return error == null ? undefined : fromNative(error)
  }

  /** How many bytes `needBody` asks for. */
  get bodyLimit(): number {
    return this.#native.bodyLimit
  }

  /** Whether the last response was a rejection. If the first one was, too, it is the one to return when all is in vain. */
  get isRejected(): boolean {
    return this.#native.isRejected
  }

  /** Why a wait for a fresh credential brought nothing. */
  get cause(): KeyswapError | undefined {
    const { cause } = this.#native
    return cause == null ? undefined : fromNative(cause)
  }

  /** The id of the credential of the send under way. */
  get credentialId(): string | undefined {
    return this.#native.credentialId ?? undefined
  }

  /** How often the request was sent so far, with the send under way. */
  get sends(): number {
    return this.#native.sends
  }

  /**
   * What to add to the request for this hop; nothing for an origin that is not allowed. Headers and body are for signatures
   * alone. Rejects with the code `scheme_failed`.
   */
  async apply(
    method: string,
    url: string | URL,
    request: { headers?: HeaderInput; body?: Uint8Array } = {},
  ): Promise<Patch> {
    const { make } = this.#making
    const patch = make === undefined ? this.put(method, String(url)) : await this.sign(make, method, String(url), request)
    keepHere(new URL(url).origin, patch.raw)
    return patch
  }

  /** @internal Without a signature. */
  put(method: string, url: string): Patch {
    return new Patch(told(this.#native.apply(method, url)))
  }

  /** @internal With one. */
  async sign(
    make: SignFunction,
    method: string,
    url: string,
    request: { headers?: HeaderInput; body?: Uint8Array | undefined },
  ): Promise<Patch> {
    const headers = asRecord(rawOf(request.headers))
    for (;;) {
      const credential = told(this.#native.beginSigning(method, url))
      if (credential == null) return this.put(method, url)
      const unsigned = { method, url, headers, body: request.body, now: new Date() }
      const made = await signed(make, new Credential(credential), unsigned)
      const patch = told(this.#native.signed(credential, made.headers, made.query, made.failed))
      if (patch != null) return new Patch(patch)
    }
  }

  /** The response of this hop has come, with the body that `needBody` asked for. Returns what to do next. */
  response(status: number, headers: HeaderInput, body?: Uint8Array): Step {
    return this.show(status, rawOf(headers), body)
  }

  /** @internal */
  show(status: number, raw: readonly string[], body?: Uint8Array): Step {
    const { classifier, statuses } = this.#making
    const said =
      classifier !== undefined && statuses.has(status)
        ? judge(classifier, { status, headers: asRecord(raw), body })
        : null
    return STEPS[told(this.#native.response(status, raw as string[], body ?? null, said))]!
  }

  /** No response came. Returns what to do next. */
  failed(failure: 'connect' | 'timeout' | 'other' = 'other'): Step {
    return STEPS[told(this.#native.failed(failure))]!
  }

  /** Waits as `wait` says; at once, if the step is another. A wait that is given up closes it. */
  async wait(options: { signal?: AbortSignal | undefined } = {}): Promise<Step> {
    return STEPS[await givenUpBy<number>(options.signal, new native.Job(), (job) => this.#native.wait(job))]!
  }

  /** Begins again for a reason that is not the credential: after a 503, say. False if it was sent as often as it may be. */
  repeat(): boolean {
    return told(this.#native.repeat())
  }

  /** Gives back what it holds. */
  close(): void {
    this.#native.close()
    this.#making.ended()
  }

  [Symbol.dispose](): void {
    this.close()
  }

  [inspect.custom](): string {
    return `Attempt { ${this.credentialId ?? 'nothing'} }`
  }
}
