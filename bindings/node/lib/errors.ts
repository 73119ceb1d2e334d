import type * as native from '../native'
import type { ErrorCode } from './generated/errors'

/** The one error of this package. `code` says what happened, the message what to do about it. */
export class KeyswapError extends Error {
  override readonly name = 'KeyswapError'
  readonly code: ErrorCode
  /** The HTTP status, if there was one. */
  readonly status: number | undefined
  /** How long to stay away, in milliseconds, if that was said. */
  readonly retryAfterMs: number | undefined

  constructor(
    code: ErrorCode,
    message: string,
    options: { status?: number | undefined; retryAfterMs?: number | undefined; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.status = options.status
    this.retryAfterMs = options.retryAfterMs
  }
}

function isThrown(value: unknown): value is native.Thrown {
  return typeof value === 'object' && value !== null && 'keyswapCode' in value
}

export function fromNative(thrown: native.Thrown, cause?: KeyswapError): KeyswapError {
  const { keyswapCode, message, status, retryAfterMs } = thrown
  return new KeyswapError(keyswapCode as ErrorCode, message, {
    status: status ?? undefined,
    retryAfterMs: retryAfterMs ?? undefined,
    cause,
  })
}

/** Calls into the core. What it throws there is a `KeyswapError` here. */
export function calling<T>(work: () => T): T {
  try {
    return work()
  } catch (error) {
    throw translated(error)
  }
}

export function translated(error: unknown): unknown {
  if (error instanceof Error && error.message.startsWith('{')) {
    try {
      const thrown: unknown = JSON.parse(error.message)
      if (isThrown(thrown)) return fromNative(thrown)
    } catch {
      // It was not one of the core's.
    }
  }
  return error
}

/** Waits for the core's work. `async`, so that the stack of an error shows who waited. */
export async function settled<T>(work: Promise<unknown>): Promise<T> {
  const outcome = await work
  if (isThrown(outcome)) throw fromNative(outcome)
  return outcome as T
}

/** Starts work of the core that a signal may give up. */
export async function givenUpBy<T>(
  signal: AbortSignal | undefined,
  job: native.Job,
  start: (job: native.Job) => Promise<unknown>,
): Promise<T> {
  signal?.throwIfAborted()
  const giveUp = (): void => job.abort()
  signal?.addEventListener('abort', giveUp, { once: true })
  try {
    return await settled<T>(calling(() => start(job)))
  } catch (error) {
    signal?.throwIfAborted()
    throw error
  } finally {
    signal?.removeEventListener('abort', giveUp)
  }
}
