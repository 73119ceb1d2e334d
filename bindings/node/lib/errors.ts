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
  /** Whether trying again soon is unlikely to help. */
  readonly lasting: boolean

  constructor(
    code: ErrorCode,
    message: string,
    options: { status?: number | undefined; retryAfterMs?: number | undefined; lasting?: boolean; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.status = options.status
    this.retryAfterMs = options.retryAfterMs
    this.lasting = options.lasting ?? false
  }
}

function isThrown(value: unknown): value is native.Thrown {
  return typeof value === 'object' && value !== null && 'keyswapCode' in value
}

export function fromNative(thrown: native.Thrown, cause?: KeyswapError): KeyswapError {
  const { keyswapCode, message, status, retryAfterMs, lasting } = thrown
  return new KeyswapError(keyswapCode as ErrorCode, message, {
    status: status ?? undefined,
    retryAfterMs: retryAfterMs ?? undefined,
    lasting,
    cause,
  })
}

/** An error of the program's own making. */
export function invalid(message: string): KeyswapError {
  return new KeyswapError('invalid_config', message, { lasting: true })
}

/** What a call into the core returned. An error there is thrown here. */
export function told<T>(outcome: T | native.Thrown): T {
  if (isThrown(outcome)) throw fromNative(outcome)
  return outcome
}

/** Waits for the core's work. `async`, so that the stack of an error shows who waited. */
export async function settled<T>(work: Promise<unknown>): Promise<T> {
  return told(await work) as T
}

/** As `throwIfAborted`, which signals of other libraries may lack. */
function thrownBy(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw signal.reason ?? new DOMException('This operation was aborted', 'AbortError')
}

/** Starts work of the core that a signal may give up. */
export async function givenUpBy<T>(
  signal: AbortSignal | undefined,
  job: native.Job,
  start: (job: native.Job) => Promise<unknown>,
): Promise<T> {
  thrownBy(signal)
  const giveUp = (): void => job.abort()
  signal?.addEventListener('abort', giveUp, { once: true })
  try {
    return await settled<T>(start(job))
  } catch (error) {
    thrownBy(signal)
    throw error
  } finally {
    signal?.removeEventListener('abort', giveUp)
  }
}
