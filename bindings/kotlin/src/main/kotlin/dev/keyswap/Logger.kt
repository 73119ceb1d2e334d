package dev.keyswap

import dev.keyswap.internal.NativeLevel
import dev.keyswap.internal.NativeLogger

/** How much a line of the log matters. */
public enum class Level {
    /** Nothing works, or soon nothing will. */
    ERROR,

    /** Somebody should look. */
    WARN,

    /** What rotates. */
    INFO,

    /** Each fetch. */
    DEBUG,
}

/** Where the log of this library goes. */
public fun interface Logger {
    /** One line, which holds no key. It is called on a thread that serves the log alone, and may block. */
    public fun log(level: Level, event: String, text: String)

    public companion object {
        /** From now on the log goes there; nowhere, without one. */
        @JvmStatic
        public fun install(logger: Logger?) {
            calling { dev.keyswap.internal.setLogger(logger?.let(::Writing)) }
        }
    }
}

private class Writing(private val logger: Logger) : NativeLogger {
    override fun log(level: NativeLevel, event: String, text: String) = foreign {
        logger.log(Level.valueOf(level.name), event, text)
    }
}
