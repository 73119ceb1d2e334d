package dev.keyswap

import dev.keyswap.internal.nativeBriefMs
import dev.keyswap.internal.nativeSmall

/** A patch on its way to the wire, for one send. Whoever keeps it holds nothing once that is over. */
internal class Trip(
    patch: Patch,
    private val origin: String,
    private val replaces: Boolean,
    /** Whether a response may make that the request is sent again. */
    val attends: (status: Int, has: (String) -> Boolean) -> Boolean,
) {
    private var patch: Patch? = patch

    /** Of the headers that it puts on a request. */
    val names = patch.headers.map { it.first }

    /** Whether the request that was sent last carried it. What came from a cache did not. */
    var hasCarried = false
        private set

    /**
     * What a request that is about to leave takes along; null if it goes elsewhere, or has one of the headers already:
     * then what it carries is another credential. A signature replaces them.
     */
    fun patchFor(origin: String, has: (String) -> Boolean): Patch? {
        val mine = patch?.takeIf { origin == this.origin && !it.isEmpty }
        return mine?.takeIf { replaces || names.none(has) }.also { hasCarried = it != null }
    }

    /** A `Location` that quotes what it puts on a request to this URL, as it may be seen. */
    fun masked(url: String, location: String): String? = patch?.masked(url, location)

    fun end() {
        patch = null
    }

    override fun toString(): String = "Trip(..)"
}

/** A response, as far as an attempt looks at it. */
internal interface Answer {
    val status: Int
    val headers: Map<String, List<String>>
}

/** What came of a send, and whether it says something of the credential. */
internal class Outcome<R>(val response: R, val isEvidence: Boolean)

/**
 * What happens to one request that another library sends, from this response on if there is one. It is inlined, so that
 * it blocks or suspends as the library does.
 */
internal inline fun <R : Any> Attempt.drive(
    first: R?,
    answer: (R) -> Answer,
    // Sends with what `apply` says.
    send: () -> Outcome<R>,
    // The beginning of the body; the same response, or another one in its place.
    peek: (R, Int) -> Pair<R, ByteArray>,
    await: () -> Step,
    // Reads a rejection to its end, within bounds, and returns what can be returned later in its place; null if it is too
    // long, too slow or broken. Its connection is free then, or dropped.
    giveUp: (R) -> R?,
    discard: (R) -> Unit,
): R {
    var response = first
    // It is about the credential that was in use: it is the answer when all is in vain.
    var rejected: R? = null
    try {
        var step = if (first == null) step else answer(first).let { response(it.status, it.headers) }
        while (true) {
            when (step) {
                Step.SEND -> {
                    response?.let { earlier ->
                        val isFirst = rejected == null && isRejected
                        response = null
                        val kept = giveUp(earlier)
                        if (isFirst) rejected = kept
                    }
                    val outcome = send()
                    response = outcome.response
                    if (!outcome.isEvidence) return outcome.response
                    step = answer(outcome.response).let { response(it.status, it.headers) }
                }
                Step.NEED_BODY -> {
                    val (shown, body) = peek(response ?: throw failure(), bodyLimit)
                    response = shown
                    step = answer(shown).let { response(it.status, it.headers, body) }
                }
                Step.WAIT -> step = await()
                Step.FAIL -> throw failure()
                Step.RETURN -> {
                    val last = response ?: throw failure()
                    val earlier = rejected?.takeIf { isRejected } ?: return last
                    discard(last)
                    return earlier
                }
            }
        }
    } catch (thrown: Throwable) {
        response?.let { runCatching { discard(it) } }
        throw thrown
    }
}

/** How long a rejection may take to end, until its connection is dropped. */
internal val PATIENCE_MS = nativeBriefMs().toLong()

/** The longest body of a rejection that is read to its end, and kept for the case that all is in vain. */
internal val SMALL = nativeSmall().toInt()

/** The error of an attempt that has no response to return. */
internal fun Attempt.failure(): KeySwapException = error ?: KeySwapException.of("transport", "there is no response")
