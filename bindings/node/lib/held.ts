/*
 * A response of undici whose head is there, and whose body waits until it is known what becomes of it: the one
 * that the user gets, from its head on, or one that is given up.
 */
import type { Dispatcher } from 'undici'

import { decoded } from './decoding'
import { type Answer, BRIEF, SMALL } from './flow'

export type Handler = Dispatcher.DispatchHandler
export type Controller = Dispatcher.DispatchController
export type Head = Parameters<NonNullable<Handler['onResponseStart']>>[2]

/** A response whose head is there, and whose body waits. */
export class Held implements Answer {
  controller: Controller
  readonly status: number
  readonly fields: Head
  readonly message: string | undefined
  /** The user gave it up before anything was done with it. */
  broken: ((error: Error) => void) | undefined
  #state: 'waiting' | 'forwarded' | 'discarded' = 'waiting'
  #user: Handler | undefined
  #parts: Buffer[] = []
  #size = 0
  #end: { trailers: Head } | { error: Error } | undefined
  #grown: (() => void) | undefined
  #over: NodeJS.Timeout | undefined
  #isSlow = false

  constructor(controller: Controller, status: number, fields: Head, message: string | undefined) {
    this.controller = controller
    this.status = status
    this.fields = fields
    this.message = message
    if (status !== 101) controller.pause()
  }

  /** A connection that the user has got as it is. */
  static upgraded(controller: Controller, status: number, fields: Head): Held {
    const held = new Held(controller, status, fields, undefined)
    held.#state = 'forwarded'
    return held
  }

  get headers(): string[] {
    return Object.entries(this.fields).flatMap(([name, value]) =>
      value === undefined ? [] : [value].flat().flatMap((each) => [name, each]),
    )
  }

  data(part: Buffer): void {
    if (this.#state === 'discarded') {
      this.#size += part.length
      if (this.#size > SMALL) this.#drop()
      return
    }
    if (this.#state === 'forwarded') {
      this.#user?.onResponseData?.(this.controller, part)
      return
    }
    this.#parts.push(part)
    this.#size += part.length
    this.#grown?.()
  }

  ended(end: { trailers: Head } | { error: Error }): void {
    this.#end = end
    clearTimeout(this.#over)
    this.#grown?.()
    if (this.#state === 'forwarded') this.#finish()
    // One that only broke off is no reason not to send again.
    else if (this.#state === 'waiting' && 'error' in end && this.controller.aborted) this.broken?.(end.error)
  }

  /** The first bytes of the body, decoded. It is kept as it came. */
  async peek(limit: number): Promise<Buffer> {
    const held = this
    const body = {
      parts: this.#parts,
      get isEnded() {
        return held.#end !== undefined
      },
      more: async (also: (wake: () => void) => void): Promise<void> => {
        const grown = new Promise<void>((resolve) => {
          this.#grown = resolve
          also(resolve)
        })
        this.controller.resume()
        await grown
      },
    }
    const seen = await decoded([this.fields['content-encoding'] ?? []].flat().join(), body, limit)
    if (this.#end === undefined) this.controller.pause()
    return seen
  }

  /** Reads all of it, so that its connection is free. False if it is large, breaks off, or takes its time. */
  async complete(): Promise<boolean> {
    let isLate = false
    const over = setTimeout(() => {
      isLate = true
      this.#grown?.()
    }, BRIEF)
    while (this.#size <= SMALL && this.#end === undefined && !isLate) {
      const grown = new Promise<void>((resolve) => (this.#grown = resolve))
      this.controller.resume()
      await grown
    }
    clearTimeout(over)
    if (this.#end === undefined || 'error' in this.#end || this.#size > SMALL) {
      this.#isSlow = true
      return false
    }
    const { rawHeaders, rawTrailers } = this.controller as Raw
    this.controller = { ...OVER, rawHeaders, rawTrailers } as Controller
    return true
  }

  /**
   * Gives it up. A small one is read to its end, so that its connection can be used again: if that does not come soon,
   * its connection is dropped.
   */
  discard(): void {
    this.#state = 'discarded'
    this.#parts = []
    if (this.#end !== undefined) return
    if (this.#isSlow || this.#size > SMALL || Number(this.fields['content-length'] ?? 0) > SMALL) {
      this.#drop()
      return
    }
    this.#over = setTimeout(() => this.#drop(), BRIEF)
    this.controller.resume()
  }

  #drop(): void {
    clearTimeout(this.#over)
    if (this.#end === undefined) this.controller.abort(new Error('another response was taken'))
  }

  /** It is the one: the user gets it, from its head on. */
  forward(user: Handler): void {
    if (this.#state === 'forwarded') return
    this.#user = user
    // What arrives at this moment is still kept. From here on it is the user who may pause.
    this.broken = undefined
    if (this.#end === undefined) this.controller.resume()
    user.onResponseStart?.(this.controller, this.status, this.fields, this.message)
    for (const part of this.#parts.splice(0)) user.onResponseData?.(this.controller, part)
    this.#state = 'forwarded'
    if (this.#end !== undefined) this.#finish()
  }

  #finish(): void {
    const end = this.#end!
    if ('error' in end) this.#user?.onResponseError?.(this.controller, end.error)
    else this.#user?.onResponseEnd?.(this.controller, end.trailers)
  }
}

/** What undici 8 shows besides. */
interface Raw {
  readonly rawHeaders?: unknown
  readonly rawTrailers?: unknown
}

/** Of a response that has come to its end. */
const OVER: Controller = {
  aborted: false,
  paused: false,
  reason: null,
  abort: () => undefined,
  pause: () => undefined,
  resume: () => undefined,
}

/** What a newer handler holds a response by, over what an older one is given. */
export class OlderController implements Controller {
  readonly #abort: (reason?: Error) => void
  resumed: (() => void) | undefined
  aborted = false
  paused = false
  reason: Error | null = null

  constructor(abort: (reason?: Error) => void) {
    this.#abort = abort
  }

  abort(reason?: Error): void {
    if (this.aborted) return
    this.aborted = true
    this.reason = reason ?? null
    this.#abort(reason)
  }

  pause(): void {
    this.paused = true
  }

  resume(): void {
    if (!this.paused) return
    this.paused = false
    this.resumed?.()
  }
}

/** Whether a header of this name, in lower case, is among those by turns. */
export function isNamed(raw: readonly Buffer[], name: string): boolean {
  for (let at = 0; at < raw.length; at += 2) {
    if (raw[at]!.length === name.length && raw[at]!.toString('latin1').toLowerCase() === name) return true
  }
  return false
}

export function fieldsOf(raw: readonly Buffer[]): Head {
  const fields: Record<string, string | string[]> = {}
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = raw[at]!.toString('latin1').toLowerCase()
    const value = raw[at + 1]!.toString('latin1')
    const earlier = fields[name]
    fields[name] = earlier === undefined ? value : [earlier, value].flat()
  }
  return fields
}
