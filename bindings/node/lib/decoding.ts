/*
 * The first bytes of a body that came encoded, for a classifier: as the library would decode them.
 */
import type { Transform } from 'node:stream'
import zlib from 'node:zlib'

import { SMALL } from './flow'

// What has come is decoded, though the end has not.
const FLUSHED = { flush: zlib.constants.Z_SYNC_FLUSH, finishFlush: zlib.constants.Z_SYNC_FLUSH }
const BROTLI = { flush: zlib.constants.BROTLI_OPERATION_FLUSH, finishFlush: zlib.constants.BROTLI_OPERATION_FLUSH }

/** Newer than the oldest Node that this runs on. */
const { createZstdDecompress } = zlib as { createZstdDecompress?: () => Transform }

/** What decodes this, from the outermost coding to the innermost. Undefined if nothing has to, or nothing can. */
function decodersOf(encoding: string, first: number | undefined): Transform[] | undefined {
  const decoders: Transform[] = []
  for (const coding of encoding.toLowerCase().split(',').reverse()) {
    const name = coding.trim()
    if (name === 'gzip' || name === 'x-gzip') decoders.push(zlib.createGunzip(FLUSHED))
    // Some servers leave out its head.
    else if (name === 'deflate') decoders.push(isZlib(first) ? zlib.createInflate(FLUSHED) : zlib.createInflateRaw(FLUSHED))
    else if (name === 'br') decoders.push(zlib.createBrotliDecompress(BROTLI))
    else if (name === 'zstd' && createZstdDecompress !== undefined) decoders.push(createZstdDecompress())
    else if (name !== 'identity' && name !== '') return undefined
  }
  return decoders.length === 0 ? undefined : decoders
}

function isZlib(first: number | undefined): boolean {
  return first === undefined || (first & 0x0f) === 8
}

/** Where the parts of a body come from. */
export interface Parts {
  /** Those that have come so far. */
  readonly parts: readonly Uint8Array[]
  readonly isEnded: boolean
  /** Resolves when there is more, or the end. `also` resolves it, too. */
  more(also: (wake: () => void) => void): Promise<void>
}

/** The first bytes, decoded; as they are, where that cannot be. */
export async function decoded(encoding: string, body: Parts, limit: number): Promise<Buffer> {
  while (body.parts.length === 0 && !body.isEnded) await body.more(() => undefined)
  const decoders = decodersOf(encoding, body.parts[0]?.[0])
  const out: Uint8Array[] = []
  let size = 0
  let isOver = false
  let wake: (() => void) | undefined
  const [into] = decoders ?? []
  const last = decoders?.at(-1)
  for (const [at, decoder] of decoders?.entries() ?? []) {
    if (at > 0) decoders![at - 1]!.pipe(decoder)
    decoder.on('error', () => {
      isOver = true
      wake?.()
    })
  }
  last?.on('end', () => {
    isOver = true
    wake?.()
  })
  const take = (part: Uint8Array): void => {
    out.push(part)
    size += part.length
    wake?.()
  }
  last?.on('data', take)
  let given = 0
  let raw = 0
  let isEnding = false
  while (size < limit && !isOver && raw <= limit + SMALL) {
    for (; given < body.parts.length; given += 1) {
      const part = body.parts[given]!
      raw += part.length
      if (into === undefined) take(part)
      else into.write(part)
    }
    if (size >= limit) break
    if (body.isEnded && !isEnding) {
      isEnding = true
      if (into === undefined) break
      into.end()
    }
    if (isEnding) await new Promise<void>((resolve) => (isOver || size >= limit ? resolve() : (wake = resolve)))
    else await body.more((resolve) => (wake = resolve))
  }
  for (const decoder of decoders ?? []) decoder.destroy()
  return Buffer.concat(out).subarray(0, limit)
}
