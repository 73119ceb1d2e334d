package dev.keyswap

import dev.keyswap.internal.NativeAttempt
import dev.keyswap.internal.NativeAuthorizer
import dev.keyswap.internal.NativeAuthorizerSpec
import dev.keyswap.internal.NativePatch
import dev.keyswap.internal.NativeSnapshot
import dev.keyswap.internal.NativeStep
import dev.keyswap.internal.NativeVerdict
import java.util.concurrent.ConcurrentHashMap

/** Headers, in the clear. It does not print them. */
internal class Patch(val headers: List<Pair<String, String>>) {
    constructor(native: NativePatch) : this(native.reveal().chunked(2) { (name, value) -> name to value })

    override fun toString(): String = "Patch(..)"
}

/** A patch on its way to the wire, for one send. Whoever keeps it holds nothing once that is over. */
internal class Trip(patch: Patch, private val origin: String) {
    private var patch: Patch? = patch

    /** Of the headers that it puts on a request. */
    val names = patch.headers.map { it.first }

    /** Whether the request that was sent last carried it. What came from a cache did not. */
    var hasCarried = false
        private set

    /**
     * The headers for a request that is about to leave; none if it goes elsewhere, or has one of them already:
     * then what it carries is another credential.
     */
    fun headersFor(origin: String, has: (String) -> Boolean): List<Pair<String, String>> {
        val headers = patch?.headers.orEmpty().takeIf { origin == this.origin }.orEmpty()
        hasCarried = headers.isNotEmpty() && headers.none { has(it.first) }
        return headers.takeIf { hasCarried }.orEmpty()
    }

    fun end() {
        patch = null
    }

    override fun toString(): String = "Trip(..)"
}

/** A response, as far as an attempt looks at it. */
internal interface Answer {
    val status: Int
    val headers: List<Pair<String, String>>

    fun header(name: String): String?
}

/** What an origin may be sent. */
internal enum class Place {
    /** No credential. */
    ELSEWHERE,

    /** Credentials. */
    HOME,

    /** Credentials, but through no proxy: it is plain HTTP on this machine. */
    HERE,
}

/**
 * Keys, where they may go, and what says that one was rejected.
 *
 * No rule of rotation is here: the core's attempt says what is next. On the happy path a request is patched
 * from what was seen in this epoch, with no call into the core.
 */
internal class Keyed(
    private val keys: KeySwap,
    scheme: Scheme?,
    allowedOrigins: List<String>,
    private val classifier: Classifier?,
    plainHttpAllowed: Boolean,
    private val ownHeaderWins: Boolean = false,
) {
    private val authorizer = calling {
        NativeAuthorizer(
            keys.native,
            NativeAuthorizerSpec(
                scheme = scheme?.native,
                allowedOrigins = allowedOrigins,
                plainHttpAllowed = plainHttpAllowed,
                judged = classifier?.statuses?.map(Int::toUInt),
                bodyLimit = (classifier?.bodyLimit ?: 0).toUInt(),
            ),
        )
    }
    private val statuses = authorizer.attention().map(UInt::toInt).toSet()
    private val headers = authorizer.attentionHeaders()

    @Volatile private var seen: Seen? = null

    /** Whether the API has asked for fewer requests, as far as was seen: the core knows when that is over. */
    @Volatile private var mayBeThrottled = false

    /** What a request is sent with, without an attempt. Null where it takes one. */
    fun prepared(): Seen? {
        if (mayBeThrottled) mayBeThrottled = authorizer.isThrottled()
        return if (mayBeThrottled) null else look().takeIf { it.patch != null }
    }

    /** What may go to this origin now. */
    fun place(origin: String): Place {
        val seen = look()
        seen.places[origin]?.let { return it }
        val place = calling {
            when {
                !authorizer.admits("$origin/") -> Place.ELSEWHERE
                authorizer.goesDirect("$origin/") -> Place.HERE
                else -> Place.HOME
            }
        }
        if (seen.places.size < MOST_ORIGINS) seen.places[origin] = place
        return place
    }

    /**
     * The patch on its way, for a request as its caller made it; null if the caller's own header wins. Throws
     * [KeySwapException.InvalidConfig] if it has one that does not win.
     */
    fun trip(patch: Patch, origin: String, has: (String) -> Boolean): Trip? {
        val own = patch.headers.firstOrNull { has(it.first) } ?: return Trip(patch, origin)
        if (ownHeaderWins) return null
        throw KeySwapException.of(
            "invalid_config",
            "the request has a header ${own.first} of its own, where the key belongs: leave it out, or say that it wins",
        )
    }

    /** Whether an attempt has to be shown this response. */
    fun attends(answer: Answer): Boolean =
        answer.status in statuses || headers.any { answer.header(it) != null }

    fun begin(url: String, replayable: Boolean, deadline: Long?): Attempt =
        Attempt(calling { authorizer.begin(url, replayable, deadline?.toULong()) }, classifier, ::note)

    /** Goes on after a request that was sent with what was seen. */
    fun beginAfter(seen: Seen, url: String, replayable: Boolean, deadline: Long?): Attempt =
        Attempt(calling { authorizer.beginAfter(seen.snapshot, url, replayable, deadline?.toULong()) }, classifier, ::note)

    private fun note(answer: Answer) {
        if (answer.header("retry-after") != null) mayBeThrottled = true
    }

    private fun look(): Seen {
        val epoch = keys.epoch
        val seen = seen
        if (seen != null && seen.epoch == epoch) return seen
        val snapshot = calling { authorizer.snapshot() }
        val looked = Seen(epoch, snapshot, snapshot.patch()?.let(::Patch))
        // One that was published meanwhile is looked at again next time.
        this.seen = looked.takeIf { snapshot.epoch().toLong() == epoch }
        return looked
    }

    /** What requests see in one epoch. */
    class Seen(val epoch: Long, val snapshot: NativeSnapshot, val patch: Patch?) {
        val places = ConcurrentHashMap<String, Place>()
    }

    private companion object {
        /** The most origins that are noted in an epoch. */
        const val MOST_ORIGINS = 64
    }
}

/** One request on its way through a rotation. */
internal class Attempt(
    val native: NativeAttempt,
    private val classifier: Classifier?,
    private val note: (Answer) -> Unit,
) : AutoCloseable {
    fun step(): NativeStep = calling { native.step() }

    fun apply(method: String, url: String): Patch = calling { Patch(native.apply(method, url)) }

    fun response(answer: Answer, body: ByteArray? = null): NativeStep = calling {
        val headers = answer.headers.flatMap { (name, value) -> listOf(name, value) }
        native.response(answer.status.toUInt(), headers, body, verdict(answer, body)).also { note(answer) }
    }

    /** Whether the last response was a rejection. */
    fun isRejected(): Boolean = calling { native.isRejected() }

    fun bodyLimit(): Int = calling { native.bodyLimit() }.toInt()

    /** The error of a step that failed. */
    fun failure(): KeySwapException =
        try {
            calling { native.check() }
            KeySwapException.of("transport", "there is no response")
        } catch (failed: KeySwapException) {
            failed
        }

    override fun close() {
        native.end()
        native.destroy()
    }

    private fun verdict(answer: Answer, body: ByteArray?): NativeVerdict? {
        if (classifier == null || answer.status !in classifier.statuses) return null
        val headers = answer.headers.groupBy({ it.first.lowercase() }, { it.second })
        return classifier.verdict(Judged(answer.status, headers.mapValues { it.value.joinToString(", ") }, body))
    }
}
