package dev.keyswap

import dev.keyswap.internal.NativeAuthorizer
import dev.keyswap.internal.NativeAuthorizerOptions
import dev.keyswap.internal.NativeClassifierOptions
import dev.keyswap.internal.NativeSnapshot
import dev.keyswap.internal.constants
import java.util.concurrent.ConcurrentHashMap
import kotlin.time.Duration
import kotlin.time.toKotlinDuration

/**
 * Puts keys on the requests of any HTTP library, and learns from the responses.
 *
 * ```kotlin
 * val authorizer = Authorizer(keys, Scheme.header("x-api-key"), allowedOrigins = listOf("https://api.example.com"))
 * authorizer.begin(url).use { attempt ->
 *     while (attempt.step != Step.RETURN) when (attempt.step) {
 *         Step.SEND -> {
 *             val patch = attempt.apply("GET", url)
 *             response = library.get(patch.revealUrl(url), patch.reveal())
 *             attempt.response(response.status, response.headers)
 *         }
 *         Step.WAIT -> attempt.await()
 *         Step.NEED_BODY -> attempt.response(response.status, response.headers, response.peek(attempt.bodyLimit))
 *         else -> throw attempt.error!!
 *     }
 *     response
 * }
 * ```
 *
 * An attempt is one hop: a library that follows redirects by itself forwards keys to wherever they lead, so it must not,
 * and [Patch.follow] says where a response leads. No rule of rotation is here: the core's attempt says what is next.
 * Programs that send much ask for what is [prepared] first, which calls nothing while nothing changes.
 *
 * Throws [IllegalArgumentException] for an origin or a scheme that is not valid.
 *
 * @param keys Whose credentials.
 * @param scheme How credentials go onto requests; without it, as the set says.
 * @param allowedOrigins The origins that credentials may be sent to, and nowhere else. Requests to other origins
 *   go without.
 * @param classifier Which responses the program's own classifier judges; nothing if it has none, and then 401
 *   means that the credential is rejected.
 * @param plainHttpAllowed Allows plain HTTP to other machines. Everybody on the way can read the keys.
 * @param ownHeaderWins A request that sets the header of the scheme itself goes as it is, and what the API says of
 *   it is no evidence about the credential. By default such a request is an error.
 */
public class Authorizer @JvmOverloads constructor(
    private val keys: KeySwap,
    private val scheme: Scheme?,
    allowedOrigins: List<String>,
    private val classifier: Classifier? = null,
    plainHttpAllowed: Boolean = false,
    ownHeaderWins: Boolean = false,
) {
    private val native = configuring {
        val options = NativeAuthorizerOptions(
            scheme = scheme?.native,
            allowedOrigins = allowedOrigins,
            classifier = classifier?.run { NativeClassifierOptions(statuses.map(Int::toUShort), bodyLimit.toUInt()) },
            plainHttpAllowed = plainHttpAllowed,
            ownHeaderWins = ownHeaderWins,
        )
        NativeAuthorizer(keys.native, options, signs)
    }
    private val filter = native.filter()
    private val statuses = filter.statuses.mapTo(HashSet()) { it.toInt() }

    @Volatile private var seen: Prepared? = null

    /** Whether the API has asked for fewer requests, as far as was seen: the core knows when that is over. */
    @Volatile private var mayBeThrottled = false

    internal val signs: Boolean get() = scheme?.sign != null

    /** A trial of a key is free for its caller: what failed is sent again with the one in use. */
    private val mayRepeat = { status: Int, has: (String) -> Boolean -> status >= 400 || attends(status, has) }

    /**
     * What a request to an allowed origin is sent with, without an attempt. Null where it takes one: while the API is
     * asked about a credential, asked for fewer requests, or wants them signed.
     */
    public fun prepared(): Prepared? {
        if (mayBeThrottled) mayBeThrottled = native.isThrottled()
        return if (mayBeThrottled) null else look().takeIf { it.isUsable }
    }

    /** Whether an attempt has to be shown a response with this status, and with headers of which [has] tells. */
    public fun attends(status: Int, has: (String) -> Boolean): Boolean = status in statuses || filter.headers.any(has)

    /** Whether credentials may go to this URL now. */
    @Throws(KeySwapException::class)
    public fun admits(url: String): Boolean = calling { native.admits(url) }

    /**
     * A request is about to be sent. [replayable] says whether it may be sent again: not if its body is a stream.
     * [deadline] is how long its caller waits at most from now on. Without all of the [scopes] it fails with
     * [KeySwapException.MissingScope], and nothing is sent.
     *
     * Throws [KeySwapException.OriginNotAllowed].
     */
    @JvmOverloads
    @Throws(KeySwapException::class)
    public fun begin(
        url: String,
        replayable: Boolean = true,
        deadline: Duration? = null,
        scopes: List<String> = emptyList(),
    ): Attempt = attempt { native.begin(url, replayable, deadline.inSeconds(), scopes) }

    /** The same, with a deadline as Java has it. */
    @JvmOverloads
    @Throws(KeySwapException::class)
    public fun begin(
        url: String,
        replayable: Boolean,
        deadline: java.time.Duration,
        scopes: List<String> = emptyList(),
    ): Attempt = begin(url, replayable, deadline.toKotlinDuration(), scopes)

    /**
     * A request was sent with what was [prepared], and this [attends] to the response: show it to this attempt. Without
     * a [method] it is one that is not repeated for any other reason.
     */
    @JvmOverloads
    public fun beginAfter(
        prepared: Prepared,
        url: String,
        replayable: Boolean = true,
        deadline: Duration? = null,
        method: String = "POST",
    ): Attempt = attempt { native.beginAfter(prepared.snapshot, method, url, replayable, deadline.inSeconds()) }

    /**
     * Whether a request with headers of its own, of which [has] tells, goes as it is, because it sets one of the patch
     * itself. What comes back is then no evidence.
     *
     * Throws [KeySwapException.InvalidConfig] unless such a header wins.
     */
    @Throws(KeySwapException::class)
    public fun yields(patch: Patch, has: (String) -> Boolean): Boolean {
        val own = patch.headers.firstOrNull { has(it.first) } ?: return false
        return calling { native.yields(patch.native, own.first) }
    }

    /** What may go to this origin now. */
    internal fun place(origin: String): Place {
        val seen = look()
        seen.places[origin]?.let { return it }
        val place = calling {
            when {
                !native.admits("$origin/") -> Place.ELSEWHERE
                native.goesDirect("$origin/") -> Place.HERE
                else -> Place.HOME
            }
        }
        if (seen.places.size < MOST_ORIGINS) seen.places[origin] = place
        return place
    }

    /** The patch on its way, for a request as its caller made it; null if the caller's own header wins. */
    internal fun trip(patch: Patch, origin: String, has: (String) -> Boolean): Trip? =
        if (yields(patch, has)) null else Trip(patch, origin, signs, mayRepeat)

    private inline fun attempt(begin: () -> dev.keyswap.internal.NativeAttempt): Attempt =
        Attempt(calling(begin), classifier, scheme?.sign) { mayBeThrottled = true }

    private fun look(): Prepared {
        val epoch = keys.epoch
        val seen = seen
        if (seen != null && seen.epoch == epoch) return seen
        val snapshot = native.snapshot()
        val looked = Prepared(epoch, snapshot, snapshot.patch()?.let(::Patch))
        // One that was published meanwhile is looked at again next time.
        this.seen = looked.takeIf { snapshot.epoch().toLong() == epoch }
        return looked
    }

    override fun toString(): String = "Authorizer($keys)"

    private companion object {
        /** The most origins that are noted in an epoch. */
        val MOST_ORIGINS = constants().mostOrigins.toInt()
    }
}

/** What requests are sent with, without an attempt, as long as nothing changes. */
public class Prepared internal constructor(
    internal val epoch: Long,
    internal val snapshot: NativeSnapshot,
    private val usable: Patch?,
) {
    internal val places = ConcurrentHashMap<String, Place>()
    internal val isUsable: Boolean get() = usable != null

    /** What to add to the request. */
    public val patch: Patch get() = usable ?: Patch.NOTHING

    override fun toString(): String = "Prepared(..)"
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
