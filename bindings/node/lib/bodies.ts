/*
 * Bodies: which can be had again, and reading them within bounds. What a thing is, is told by its shape: it may come
 * from another realm, or from another copy of the library.
 */
import { isAnyArrayBuffer } from 'node:util/types'

/** Bytes of a body that are kept, so that it can be sent again. */
export const KEPT = 16 * 1024 * 1024

/** The name of a kind of object of the platform, such as `FormData`. */
export function kindOf(value: unknown): string {
  return Object.prototype.toString.call(value).slice(8, -1)
}

export function isBytes(body: unknown): body is ArrayBufferLike | ArrayBufferView {
  return isAnyArrayBuffer(body) || ArrayBuffer.isView(body)
}

/** Whether it is the same each time that it is read. Streams and iterators are not. */
export function isRepeatable(body: unknown): boolean {
  if (body == null || typeof body === 'string' || isBytes(body)) return true
  // The package form-data is a stream that names itself alike.
  if (typeof (body as { pipe?: unknown }).pipe === 'function') return false
  return ['Blob', 'File', 'FormData', 'URLSearchParams'].includes(kindOf(body))
}

/** A body that is read once, and kept as it is read. */
export class Recorded implements AsyncIterable<Uint8Array> {
  readonly #source: AsyncIterator<Uint8Array>
  readonly #parts: Uint8Array[] = []
  #reading: Promise<boolean> | undefined

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]()
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void> {
    for (let at = 0; ; at += 1) {
      while (at === this.#parts.length) if (!(await this.#more())) return
      yield this.#parts[at]!
    }
  }

  /** One send may still be reading when the next one begins. */
  #more(): Promise<boolean> {
    this.#reading ??= this.#source.next().then(({ done, value }) => {
      if (done === true) return false
      this.#parts.push(value)
      this.#reading = undefined
      return true
    })
    return this.#reading
  }
}

interface Read {
  readonly parts: Uint8Array[]
  /** Whether that is all of it. */
  readonly isWhole: boolean
  /** A part that did not come in time. */
  readonly pending: Promise<{ done: boolean; value?: Uint8Array | undefined }> | undefined
}

/** As much of a stream as there is within these bytes and milliseconds. What breaks off is not whole. */
export async function readWithin(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  bytes: number,
  millis: number,
): Promise<Read> {
  const parts: Uint8Array[] = []
  let late: ReturnType<typeof setTimeout> | undefined
  const isLate = new Promise<undefined>((resolve) => {
    late = setTimeout(() => resolve(undefined), millis)
  })
  try {
    for (let size = 0; size <= bytes; ) {
      const pending = reader.read()
      const next = await Promise.race([pending, isLate])
      if (next === undefined) return { parts, isWhole: false, pending }
      if (next.done) return { parts, isWhole: true, pending: undefined }
      parts.push(next.value)
      size += next.value.length
    }
    return { parts, isWhole: false, pending: undefined }
  } finally {
    clearTimeout(late)
  }
}

/** The body of a `Request`: bytes, if it is there at once and not large; otherwise a stream that can be sent once. */
export async function bodyOf(body: ReadableStream<Uint8Array>, millis: number): Promise<Uint8Array | ReadableStream<Uint8Array>> {
  if (typeof body.getReader !== 'function') return body
  const reader = body.getReader()
  const { parts, isWhole, pending } = await readWithin(reader, KEPT, millis)
  if (isWhole) return Buffer.concat(parts)
  let waited = pending
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      const part = parts.shift()
      if (part !== undefined) {
        controller.enqueue(part)
        return
      }
      const { done, value } = await (waited ?? reader.read())
      waited = undefined
      if (done) controller.close()
      else controller.enqueue(value!)
    },
    cancel: (reason) => reader.cancel(reason),
  })
}
