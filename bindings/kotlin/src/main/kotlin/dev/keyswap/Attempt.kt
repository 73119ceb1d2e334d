package dev.keyswap

import dev.keyswap.internal.NativeAttempt
import dev.keyswap.internal.NativeJob
import dev.keyswap.internal.NativePatch
import dev.keyswap.internal.NativeSignature
import dev.keyswap.internal.NativeStep
import java.io.InterruptedIOException
import java.net.ConnectException
import java.net.SocketTimeoutException

/** What an [Attempt] says is next. */
public enum class Step {
    /** Send the request with what [Attempt.apply] adds, and say [Attempt.response] or [Attempt.failed]. */
    SEND,

    /** Call [Attempt.await], or [Attempt.awaitBlocking]; keep the last response meanwhile. */
    WAIT,

    /** Call [Attempt.response] again with the first bytes of the body: [Attempt.bodyLimit] of them at most. */
    NEED_BODY,

    /** The last response is the answer, or the library's own error. */
    RETURN,

    /** There is no response to return: throw [Attempt.error]. */
    FAIL,
}

/**
 * One request on its way through a rotation: one hop of it. [Authorizer.begin] makes it. One thread at a time uses it,
 * and [close] gives back what it holds. All of it throws [KeySwapException.Closed] once it is closed.
 */
public class Attempt internal constructor(
    internal val native: NativeAttempt,
    private val classifier: Classifier?,
    private val sign: Sign?,
    private val throttled: () -> Unit,
) : AutoCloseable {
    @Volatile private var isClosed = false

    private val live: NativeAttempt
        get() = if (isClosed) throw KeySwapException.of("closed", "the attempt is closed") else native

    /** What is next. */
    @get:Throws(KeySwapException::class)
    public val step: Step get() = calling { live.step() }.shown()

    /** The id of the credential of the send under way. */
    public val credentialId: String? get() = calling { live.credentialId() }

    /** How often the request was sent so far, with the send under way. */
    public val sends: Int get() = calling { live.sends() }.toInt()

    /** How many bytes of the body [Step.NEED_BODY] asks for. */
    public val bodyLimit: Int get() = calling { live.bodyLimit() }.toInt()

    /**
     * Whether the last response was a rejection. If the first one was, too, that is the one to return when all is in
     * vain: it is about the credential that was in use.
     */
    public val isRejected: Boolean get() = calling { live.isRejected() }

    /** The error of [Step.FAIL]. */
    public val error: KeySwapException? get() = thrownBy { live.check() }

    /** Why a wait for a fresh credential brought nothing, beside the response that is returned. */
    public val cause: KeySwapException? get() = thrownBy { live.checkCause() }

    /**
     * What to add to the request. For an origin that is not allowed, nothing. The headers and the body are for a
     * [Sign]; the body is null for a stream.
     *
     * Throws [KeySwapException.SchemeFailed] if no credential can be put on the request.
     */
    @JvmOverloads
    @Throws(KeySwapException::class)
    public fun apply(
        method: String,
        url: String,
        headers: Map<out String?, List<String>> = emptyMap(),
        body: ByteArray? = null,
    ): Patch = calling {
        when (sign) {
            null -> Patch(live.apply(method, url))
            else -> signed(sign, UnsignedRequest(method, url, headers.joined(), body))
        }
    }

    private fun signed(sign: Sign, request: UnsignedRequest): Patch {
        while (true) {
            val credential = live.beginSigning(request.method, request.url) ?: return Patch.NOTHING
            val made = runCatching { sign.sign(Credential(credential), request) }
            val signature = made.getOrNull()?.let { NativeSignature(it.headers.byTurns(), it.query.byTurns()) }
            val failure = made.exceptionOrNull()?.let { "it threw ${it.javaClass.simpleName}" }
            live.signed(credential, signature, failure)?.let { return Patch(it) }
        }
    }

    /**
     * The response has come, and this is what is next. Headers are as `java.net.http`, `HttpURLConnection` and others
     * have them. The body is what [Step.NEED_BODY] asked for.
     */
    @JvmOverloads
    @Throws(KeySwapException::class)
    public fun response(status: Int, headers: Map<out String?, List<String>>, body: ByteArray? = null): Step = calling {
        val byTurns = ArrayList<String>(2 * headers.size)
        for ((name, values) in headers) for (value in values) if (name != null) byTurns += listOf(name, value)
        val verdict = classifier?.takeIf { status in it.statuses }?.verdict(Judged(status, headers.joined(), body))
        if (headers.keys.any { it.equals("retry-after", ignoreCase = true) }) throttled()
        live.response(status.toUInt(), byTurns, body, verdict).shown()
    }

    /** No response came: the library threw this. */
    @Throws(KeySwapException::class)
    public fun failed(thrown: Throwable): Step = calling {
        val failure = when (thrown) {
            is ConnectException -> "connect"
            is SocketTimeoutException -> "timeout"
            else -> "other"
        }
        live.failed(failure).shown()
    }

    /** Waits as [Step.WAIT] says; at once, if the step is another. Cancelled, it closes the attempt. */
    public suspend fun await(): Step = await(NativeJob())

    internal suspend fun await(job: NativeJob): Step = calling { live.wait(job) }.shown()

    /** The same for a thread that may block. Throws [InterruptedIOException] if it is interrupted; it may be called again. */
    @Throws(KeySwapException::class, InterruptedIOException::class)
    public fun awaitBlocking(): Step = awaitBlocking {}

    /** Looks by and by whether the wait was given up, which throws. */
    internal inline fun awaitBlocking(check: () -> Unit): Step {
        while (true) {
            val step = calling { live.waitBlocking(SLICE_MS) }.shown()
            if (step != Step.WAIT) return step
            check()
            if (Thread.interrupted()) {
                Thread.currentThread().interrupt()
                throw InterruptedIOException("interrupted")
            }
        }
    }

    /**
     * Begins again for a reason that is not the credential: after a 503, say. False if the request was sent as often as
     * it may be.
     */
    public fun repeat(): Boolean = calling { live.repeat() }

    /** Gives back what it holds. */
    override fun close() {
        if (isClosed) return
        isClosed = true
        native.end()
        native.destroy()
    }

    private inline fun thrownBy(run: () -> Unit): KeySwapException? =
        try {
            calling(run)
            null
        } catch (thrown: KeySwapException) {
            thrown
        }

    override fun toString(): String = "Attempt"
}

/** What to add to a request. It never prints it. */
public class Patch internal constructor(internal val native: NativePatch) {
    internal val headers: List<Pair<String, String>> = native.reveal().chunked(2) { (name, value) -> name to value }
    internal val hasQuery: Boolean = native.hasQuery()
    internal val isEmpty: Boolean get() = headers.isEmpty() && !hasQuery

    /** Headers, in the clear, their names as the program or the set spells them: in place of any of the same name. */
    public fun reveal(): Map<String, String> = headers.toMap()

    /** The URL with the parameters of the query that this sets, in the clear; the same text if it sets none. */
    public fun revealUrl(url: String): String = if (hasQuery) calling { native.revealUrl(url) } else url

    /**
     * Where a response leads whose request carried this; null if it is the answer. [replayable] says whether the body,
     * if there was one, can be sent again. [url] is without what this added.
     */
    public fun follow(method: String, url: String, replayable: Boolean, status: Int, location: String): NextHop? =
        calling { native.follow(method, url, replayable, status.toUInt(), location) }
            ?.let { NextHop(it.method, it.url, it.dropsBody, it.drops) }

    /**
     * A `Location` that holds what this added to a request to this URL, as it may be seen; null if it may be seen as it
     * is.
     */
    public fun masked(url: String, location: String): String? = calling { native.masked(url, location) }

    override fun toString(): String = "Patch(..)"

    internal companion object {
        /** For an origin that is not allowed. */
        val NOTHING: Patch by lazy { Patch(NativePatch.nothing()) }
    }
}

/** The hop that a redirect asks for. */
public class NextHop internal constructor(
    /** Its method. */
    public val method: String,
    /** Where it goes. */
    public val url: String,
    /** Whether the body stays behind. */
    public val dropsBody: Boolean,
    /** The headers that stay behind, in lower case. */
    public val drops: List<String>,
)

/** How long a wait goes on before it is seen whether it was given up. */
private const val SLICE_MS = 20uL

private fun NativeStep.shown(): Step = Step.entries[ordinal]

private fun Map<String, String>.byTurns(): List<String> = flatMap { (name, value) -> listOf(name, value) }

/** As a program reads them: names in lower case, and values of one name in one line. */
private fun Map<out String?, List<String>>.joined(): Map<String, String> {
    val joined = HashMap<String, String>()
    for ((name, values) in this) joined[name?.lowercase() ?: continue] = values.joinToString(", ")
    return joined
}
