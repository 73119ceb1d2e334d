import { inspect } from 'node:util'

import * as native from '../native'
import { told } from './errors'
import { SOURCE_LISTS, SOURCE_MAPS, SOURCE_TIMES } from './generated/sources'
import { camel, snake, written } from './options'

/** Where sets come from: made by `endpoint`, `file`, `firstOf` or another function of theirs. */
export class Source {
  /** @internal */
  readonly native: native.NativeSource
  readonly #shown: string

  /** @internal */
  constructor(shown: string, made: native.NativeSource) {
    this.native = made
    this.#shown = shown
  }

  [inspect.custom](): string {
    return `Source { ${this.#shown} }`
  }
}

/** What any source may be given. */
interface Given {
  regions?: readonly (string | URL | Source)[]
}

/**
 * A source as the core calls it, of what has to be given and of options.
 *
 * @internal
 */
export function made(kind: string, subject: object, options: object = {}): Source {
  const { regions = [], ...rest } = options as Given
  const spec: Record<string, unknown> = {}
  const inputs: Record<string, NativeInput> = {}
  for (const [name, value] of Object.entries({ ...subject, ...rest } as Record<string, unknown>)) {
    if (value === undefined) continue
    if ((rest as Record<string, unknown>)[`${name}File`] !== undefined) {
      throw new TypeError(`pass ${name} or ${name}File, not both`)
    }
    if (SOURCE_LISTS.has(name) && !Array.isArray(value)) throw new TypeError(`${name} must be an array of strings`)
    const keys = value instanceof Object && 'native' in value ? value.native : undefined
    if (keys instanceof native.NativeKeySwap) {
      inputs[snake(name)] = keys
      continue
    }
    if (name === 'bootstrap' && value !== false && !['string', 'function'].includes(typeof value)) {
      throw new TypeError('bootstrap must be a string, a function, a KeySwap, or false')
    }
    if (typeof value === 'function') inputs[snake(name)] = answering(value as () => unknown, asText)
    else if (name === 'bootstrap' && value === false) Object.assign(spec, kind === 'endpoint' && { noBootstrap: true })
    else if (SOURCE_MAPS.has(name)) spec[name] = asObject(value as Pairs)
    else spec[name] = value instanceof URL ? String(value) : value
  }
  const others = regions.map((one) => (one instanceof Source ? one : made(kind, { ...subject, url: one }, rest)))
  if (others.length > 0) inputs['regions'] = others.map((one) => one.native)
  const variable = kind === 'endpoint' ? 'KEYSWAP_BOOTSTRAP' : kind === 'env' ? String(spec['variable']) : undefined
  const value = variable === undefined ? null : seen(variable)
  if (value !== null) inputs['seen'] = value
  const json = JSON.stringify(written(spec, (name) => SOURCE_TIMES.has(name)))
  return new Source(shown(kind, subject), told(native.NativeSource.of(kind, json, inputs)))
}

type NativeInput = Parameters<typeof native.NativeSource.of>[2][string]

type Pairs = Readonly<Record<string, string>> | Iterable<readonly [string, string]>

function asObject(pairs: Pairs): Record<string, string> {
  return Object.fromEntries(Symbol.iterator in pairs ? pairs : Object.entries(pairs))
}

/** What is shown of it: where it is. */
function shown(kind: string, subject: object): string {
  const [first = camel(kind)] = Object.values(subject).flat() as unknown[]
  const text = String(first)
  return URL.canParse(text) ? new URL(text).host : text
}

/** What this program sees of its environment: a worker, a test or another runtime may have one that is not the process's. */
function seen(variable: string): string | null {
  try {
    return process.env[variable] ?? ''
  } catch {
    // It may not look: Deno asks for a permission.
    return null
  }
}

/**
 * A function of the program as the core calls it. Nothing of what it throws is repeated: that may hold a key.
 *
 * @internal
 */
export function answering<T>(
  ask: () => T | Promise<T>,
  write: (value: unknown) => string,
): (answer: native.Answer) => void {
  return (answer) => {
    void (async () => {
      let value: T
      try {
        value = await ask()
      } catch (error) {
        answer.failed(`threw ${error instanceof Error ? error.constructor.name : typeof error}`)
        return
      }
      try {
        answer.returned(write(value))
      } catch (error) {
        answer.failed(error instanceof Unfit ? error.message : 'returned what JSON cannot hold')
      }
    })()
  }
}

/**
 * What a function must not return, in words that quote nothing of it.
 *
 * @internal
 */
export class Unfit extends Error {}

function asText(value: unknown): string {
  if (typeof value === 'string') return value
  throw new Unfit('must return a string')
}
