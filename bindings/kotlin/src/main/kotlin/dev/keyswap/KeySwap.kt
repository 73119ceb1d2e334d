package dev.keyswap

import dev.keyswap.internal.NativeJob
import dev.keyswap.internal.NativeKeySwap
import dev.keyswap.internal.NativeWatcher
import java.lang.ref.WeakReference
import java.util.function.Consumer
import kotlin.time.Duration
import kotlin.time.DurationUnit
import kotlin.time.toKotlinDuration
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.flow
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking

/**
 * Follows one source and always holds a fresh credential.
 *
 * ```kotlin
 * val keys = KeySwap.follow(Source.endpoint("https://keys.example.com/keyswap/v1/sets/trading"))
 * keys.current.reveal()
 * ```
 *
 * One that is not closed ends when it is collected.
 */
public class KeySwap private constructor(
    internal val native: NativeKeySwap,
    private val published: Published,
    private val name: String?,
) : AutoCloseable {
    @Volatile private var seen: Seen? = null

    @Volatile private var isClosed = false

    /**
     * The credential in use. While nothing changes, reading it reads two fields.
     *
     * Throws why nothing is usable.
     */
    @get:Throws(KeySwapException::class)
    public val current: Credential
        get() {
            val seen = seen
            return if (seen != null && seen.epoch == published.epoch) seen.credential else look()
        }

    /** The local number of what requests see: it changes whenever that does. */
    public val epoch: Long get() = published.epoch

    /** The set that is held; null before the first fetch, and after the provider revoked it. */
    public val credentials: CredentialSet? get() = native.credentials()?.let(::CredentialSet)

    /** What was counted so far. */
    public val stats: Stats get() = Stats(native.stats())

    /** What happens from when it is collected on. It ends with the handle, and does not keep it alive. */
    public val events: Flow<Event>
        get() {
            val handle = WeakReference(native)
            return flow {
                val stream = handle.get()?.events() ?: return@flow
                stream.use {
                    while (true) emit(eventOf(calling { stream.next(NativeJob()) } ?: break))
                }
            }
        }

    /**
     * [events] for Java: each is told, one after another, until what this returns is closed. What the listener throws
     * is passed over.
     */
    public fun listen(listener: Consumer<Event>): AutoCloseable {
        val events = events
        val listening = CALLS.launch(start = CoroutineStart.UNDISPATCHED) {
            events.collect { event -> runCatching { listener.accept(event) } }
        }
        return AutoCloseable { listening.cancel() }
    }

    /**
     * Waits until a credential is usable.
     *
     * Throws the error of the fetch that runs, should it fail, and [KeySwapException.Timeout].
     */
    public suspend fun ready(timeout: Duration? = null) {
        check()
        calling { native.ready(timeout.inSeconds(), NativeJob()) }
    }

    /** [ready] for a thread that may block. */
    @JvmOverloads
    @Throws(KeySwapException::class, InterruptedException::class)
    public fun readyBlocking(timeout: java.time.Duration? = null): Unit =
        runBlocking { ready(timeout?.toKotlinDuration()) }

    /**
     * Fetches now, or as soon as the floor between two fetches allows, and waits for the outcome.
     *
     * Throws the error of that fetch. What was held is still held.
     */
    public suspend fun refresh(timeout: Duration? = null) {
        check()
        calling { native.refresh(timeout.inSeconds(), NativeJob()) }
    }

    /** [refresh] for a thread that may block. */
    @JvmOverloads
    @Throws(KeySwapException::class, InterruptedException::class)
    public fun refreshBlocking(timeout: java.time.Duration? = null): Unit =
        runBlocking { refresh(timeout?.toKotlinDuration()) }

    /** Says that something newer may be there, for programs with a push channel of their own. */
    @JvmOverloads
    public fun hint(generation: Long? = null, immediate: Boolean = true) {
        native.hint(generation?.toULong(), immediate)
    }

    /** The application is in the foreground again: what is due is done at once. */
    public fun enteredForeground() {
        native.wake()
    }

    /** The application leaves the foreground: what is due is done while there is time. */
    public fun enteredBackground() {
        native.wake()
    }

    /** The device changed its network: what failed is tried again now. */
    public fun networkChanged() {
        native.wake()
        native.hint(null, true)
    }

    /** Ends it, for all that use it. Afterwards nothing is usable. */
    override fun close() {
        isClosed = true
        seen = null
        native.end()
    }

    /** [close], and waits until the provider was told that nothing is used any more: a second at most. */
    public suspend fun shutdown() {
        close()
        native.shutdown()
    }

    /** [shutdown] for a thread that may block. */
    @Throws(InterruptedException::class)
    public fun shutdownBlocking(): Unit = runBlocking { shutdown() }

    override fun toString(): String {
        val stats = native.stats()
        val held = stats.inUse?.let { "generation ${stats.generation}, $it in use" } ?: "nothing usable"
        return "KeySwap(${name?.let { "$it: " } ?: ""}$held)"
    }

    private fun look(): Credential {
        check()
        val epoch = published.epoch
        val credential = Credential(calling { native.current() })
        // One that was published meanwhile is looked at again next time.
        if (native.epoch().toLong() == epoch && !isClosed) seen = Seen(epoch, credential)
        return credential
    }

    private fun check() {
        if (isClosed) throw KeySwapException.of("closed", "the handle was closed")
    }

    private class Seen(val epoch: Long, val credential: Credential)

    /** What the core tells of each epoch. It knows nothing of the handle, so that a handle can be collected. */
    private class Published : NativeWatcher {
        @Volatile var epoch: Long = -1

        override fun published(epoch: ULong) {
            this.epoch = epoch.toLong()
        }
    }

    public companion object {
        /** Begins to follow, and does not wait. Throws [IllegalArgumentException] for what is not valid. */
        @JvmStatic
        @JvmOverloads
        @Throws(KeySwapException::class)
        public fun start(source: Source, policy: Policy? = null, name: String? = null): KeySwap {
            val published = Published()
            val native = configuring { NativeKeySwap.start(source.make(), policy?.json(), name, published) }
            return KeySwap(native, published, name)
        }

        /** Begins to follow, and waits for the first set. Throws the error of the first fetch, if it failed. */
        public suspend fun follow(
            source: Source,
            policy: Policy? = null,
            name: String? = null,
            timeout: Duration? = null,
        ): KeySwap {
            val keys = start(source, policy, name)
            try {
                keys.ready(timeout)
            } catch (failed: Throwable) {
                keys.close()
                throw failed
            }
            return keys
        }

        /** [follow] for a thread that may block. */
        @JvmStatic
        @JvmOverloads
        @Throws(KeySwapException::class, InterruptedException::class)
        public fun followBlocking(
            source: Source,
            policy: Policy? = null,
            name: String? = null,
            timeout: java.time.Duration? = null,
        ): KeySwap = runBlocking { follow(source, policy, name, timeout?.toKotlinDuration()) }
    }
}

/** As the core has it; null is no limit. */
internal fun Duration?.inSeconds(): Double? = this?.takeIf(Duration::isFinite)?.toDouble(DurationUnit.SECONDS)
