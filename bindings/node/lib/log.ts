import * as native from '../native'
import { told } from './errors'

/** How much a line of the log matters; the first the most. */
export type LogLevel = 'error' | 'warn' | 'info' | 'debug'

/** A line of the log, which holds no key: its level, the part of this library that wrote it, and the line itself. */
export type LogFunction = (level: LogLevel, target: string, message: string) => void

/** What `console`, pino, winston and others look like. */
export type Logger = Readonly<Record<LogLevel, (message: string) => void>>

let current: native.NativeLogger | undefined

/**
 * From now on this library's log goes there, in this thread: to a function, or to the methods of a logger such as `console`.
 * Lines of `level` (`info`) and above are passed on. Without a logger, as at the start, nothing is logged. It does not keep
 * the process alive.
 *
 * ```ts
 * setLogger((level, target, message) => console.error(`${level} ${target}: ${message}`))
 * setLogger(pino(), { level: 'debug' })
 * ```
 */
export function setLogger(logger: LogFunction | Logger | undefined, options: { level?: LogLevel } = {}): void {
  current?.close()
  current = undefined
  if (logger === undefined) return
  const write: LogFunction =
    typeof logger === 'function' ? logger : (level, target, message) => logger[level](`${target}: ${message}`)
  current = told(
    native.NativeLogger.add(options.level ?? 'info', (level, target, message) => write(level as LogLevel, target, message)),
  )
}
