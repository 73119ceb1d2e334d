import { inspect } from 'node:util'

import type * as native from '../native'

/** How a credential goes onto a request: made by `header`, `bearer`, `basic` or `query`. */
export class Scheme {
  /** @internal */
  readonly spec: native.SchemeSpec

  /** @internal */
  constructor(kind: string, name?: string) {
    this.spec = name === undefined ? { kind } : { kind, name }
    Object.freeze(this)
  }

  [inspect.custom](): string {
    const { kind, name } = this.spec
    return `Scheme { ${kind}${name === undefined ? '' : ` ${name}`} }`
  }
}

/** The material named `key`, as the value of this header. */
export function header(name: string): Scheme {
  return new Scheme('header', name)
}

/** `Authorization: Bearer`, with the material named `key`. */
export function bearer(): Scheme {
  return new Scheme('bearer')
}

/** `Authorization: Basic`, with the material named `key` as user and `secret` as password. */
export function basic(): Scheme {
  return new Scheme('basic')
}

/**
 * The material named `key`, as this query parameter: for `Client` only, because others show URLs. Servers
 * and proxies may log it all the same.
 */
export function query(name: string): Scheme {
  return new Scheme('query', name)
}

/** What a response says of the credential; `need_body` asks to be asked again with the body. */
export type Verdict = 'accepted' | 'rejected' | 'throttled' | 'other' | 'need_body'

/** A response as a classifier sees it: names of headers in lower case, and the body once it asked. */
export interface Judged {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array | undefined
}

/**
 * Judges responses, for an API that says "bad key" in a way of its own. It is shown responses with one of
 * `statuses` (401), and at most `bodyLimit` bytes (4096) of a body that it asks for. What it throws counts
 * as `other`.
 */
export interface Classifier {
  (response: Judged): Verdict
  statuses?: readonly number[]
  bodyLimit?: number
}

export function judge(classifier: Classifier, response: Judged): Verdict {
  try {
    return classifier(response)
  } catch (error) {
    process.emitWarning('a classifier threw: the response counts as "other"', {
      type: 'KeyswapWarning',
      detail: error instanceof Error ? error.constructor.name : typeof error,
    })
    return 'other'
  }
}

/** Headers by turns, as an object; those that stand several times are joined. */
export function asRecord(turns: readonly string[]): Record<string, string> {
  const record: Record<string, string> = {}
  for (let at = 0; at + 1 < turns.length; at += 2) {
    const name = turns[at]!.toLowerCase()
    const value = turns[at + 1]!
    record[name] = name in record ? `${record[name]}, ${value}` : value
  }
  return record
}
