/*
 * How options and records of the core are written here: names in camel case there are names with underscores, and
 * milliseconds are seconds.
 */
import { isAnyArrayBuffer } from 'node:util/types'

import { kindOf } from './bodies'

/** Options as the core reads them, without what is undefined; those of `durations` become seconds. */
export function written(options: object, durations: (name: string) => boolean = () => false): Record<string, unknown> {
  const made: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined) continue
    const isLong = durations(name)
    const read = (each: unknown): unknown => (isLong && typeof each === 'number' ? each / 1000 : each)
    made[snake(name)] = Array.isArray(value) ? value.map(read) : read(value)
  }
  return made
}

/** A name as the core writes it. */
export function snake(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
}

/** Milliseconds as the core counts them. */
export function seconds(millis: number | null | undefined): number | null {
  return millis == null ? null : millis / 1000
}

/** A name of the core as it is written here. */
export function camel(name: string): string {
  return name.replace(/_[a-z]/g, (part) => part.slice(1).toUpperCase())
}

/** A record of the core. A name that ends in `At` or `Success` is that of a time. */
export function read(record: Record<string, unknown>): Record<string, unknown> {
  const made: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(record)) {
    const name = camel(key)
    const time = /^(.*(?:At|Before|Success))Ms$/.exec(name)
    if (time === null) made[name] = value
    else made[time[1]!] = typeof value === 'number' ? new Date(value) : null
  }
  return made
}

export type HeaderInput = Headers | Readonly<Record<string, string>> | Iterable<readonly [string, string]>

/** Headers in Node's raw form: a name, its value, and so on. */
export function rawOf(headers: HeaderInput | undefined): string[] {
  if (headers === undefined) return []
  const pairs = Symbol.iterator in headers ? [...headers] : Object.entries(headers)
  return pairs.flatMap(([name, value]) => [String(name), String(value)])
}

/** The names among raw headers, in lower case. */
export function namesOf(raw: readonly string[]): string[] {
  return raw.filter((_, at) => at % 2 === 0).map((name) => name.toLowerCase())
}

/** Raw headers as an object with names in lower case; those that stand several times are joined. */
export function asRecord(raw: readonly string[]): Record<string, string> {
  const record: Record<string, string> = {}
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = raw[at]!.toLowerCase()
    const value = raw[at + 1]!
    record[name] = name in record ? `${record[name]}, ${value}` : value
  }
  return record
}

/** The bytes of a body; undefined if there is none, or they are not known ahead. */
export async function bytesOf(body: unknown): Promise<Uint8Array | undefined> {
  if (typeof body === 'string') return Buffer.from(body)
  if (isAnyArrayBuffer(body)) return new Uint8Array(body)
  if (ArrayBuffer.isView(body)) return new Uint8Array(body.buffer, body.byteOffset, body.byteLength)
  const kind = kindOf(body)
  if (kind === 'URLSearchParams') return Buffer.from(String(body))
  if (kind === 'Blob' || kind === 'File') return new Uint8Array(await (body as Blob).arrayBuffer())
  return undefined
}
