package dev.keyswap

import dev.keyswap.internal.NativeException
import java.io.IOException
import kotlin.time.Duration
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.toJavaDuration

/**
 * What went wrong, and what to do, in words that hold no key. [code] is the same in every language. It is
 * an [IOException], as HTTP libraries expect of what stops a request.
 */
public sealed class KeySwapException(
    /** The stable code. */
    public val code: String,
    message: String,
    /** The HTTP status that caused it, where there was one. */
    public val status: Int?,
    /** How long the source asked to be left alone, where it said so. */
    public val retryAfter: Duration?,
    /** Whether trying again soon is unlikely to help. */
    public val isLasting: Boolean,
) : IOException(message) {
    /** [retryAfter], for Java: `getRetryAfter`. */
    @get:JvmName("getRetryAfter")
    public val retryAfterTime: java.time.Duration? get() = retryAfter?.toJavaDuration()

    // generated: errors (by keyswap-generate: do not edit)
    /**
     * The endpoint rejected the bootstrap credential (401). Set `KEYSWAP_BOOTSTRAP`, or pass another one to the
     * source. The set that is held stays in use, and the fetch is tried again slowly.
     */
    public class BootstrapRejected internal constructor(of: Told) : KeySwapException(of)

    /** The endpoint refused this identity (403). Check what the bootstrap credential may read. */
    public class Forbidden internal constructor(of: Told) : KeySwapException(of)

    /** The endpoint does not know the set (404). Check the last part of the URL. */
    public class UnknownSet internal constructor(of: Told) : KeySwapException(of)

    /** The provider revoked the whole set: nothing may be used until it publishes a new generation. */
    public class SetRevoked internal constructor(of: Told) : KeySwapException(of)

    /** The source could not be reached, or said that it cannot answer now. It is tried again by itself. */
    public class Unavailable internal constructor(of: Told) : KeySwapException(of)

    /** The source asked for fewer requests (429). It is tried again when it said. */
    public class Throttled internal constructor(of: Told) : KeySwapException(of)

    /** The source took longer than the fetch timeout, or a request longer than its deadline. */
    public class Timeout internal constructor(of: Told) : KeySwapException(of)

    /**
     * The source answered with something that is not a well-formed set. The provider must mend it; the set that is
     * held stays in use.
     */
    public class Malformed internal constructor(of: Told) : KeySwapException(of)

    /** The answer has a lower generation than the set that is held. A rollback is a new generation. */
    public class OlderGeneration internal constructor(of: Told) : KeySwapException(of)

    /**
     * The answer is not signed by the key that the program pinned, or the signature does not hold. Check the pinned
     * key; the set that is held stays in use.
     */
    public class SignatureInvalid internal constructor(of: Told) : KeySwapException(of)

    /** The program's own source failed, or returned nothing of use. The set that is held stays in use. */
    public class SourceFailed internal constructor(of: Told) : KeySwapException(of)

    /** Every credential of the set that is held has ended, and no newer one could be fetched. */
    public class Expired internal constructor(of: Told) : KeySwapException(of)

    /** No set has been fetched yet. Wait for `KeySwap.ready`. */
    public class NotReady internal constructor(of: Told) : KeySwapException(of)

    /** The handle was closed. */
    public class Closed internal constructor(of: Told) : KeySwapException(of)

    /**
     * The request goes to an origin that is not allowed. Add it to the allowed origins if the API's keys may go
     * there.
     */
    public class OriginNotAllowed internal constructor(of: Told) : KeySwapException(of)

    /** The URL is plain `http://` to a host that is not this machine. Use `https://`. */
    public class InsecureUrl internal constructor(of: Told) : KeySwapException(of)

    /** Something that the program configured is not valid: a URL, a header name, a policy. */
    public class InvalidConfig internal constructor(of: Told) : KeySwapException(of)

    /** The request needs scopes that the set does not have. */
    public class MissingScope internal constructor(of: Told) : KeySwapException(of)

    /**
     * The credential cannot be put on the request: the set lacks material that the scheme needs, or names a scheme
     * that this program does not know.
     */
    public class SchemeFailed internal constructor(of: Told) : KeySwapException(of)

    /** The API could not be reached, or the connection broke. */
    public class Transport internal constructor(of: Told) : KeySwapException(of)

    /** The API answered with an error status, and the program asked for that to be an error. */
    public class Status internal constructor(of: Told) : KeySwapException(of)

    /** The response's body could not be read or decoded. */
    public class Body internal constructor(of: Told) : KeySwapException(of)
    // end of errors

    /** Something that this version does not know. */
    public class Unknown internal constructor(of: Told) : KeySwapException(of)

    private constructor(of: Told) : this(of.code, of.message, of.status, of.retryAfter, of.isLasting)

    internal class Told(
        val code: String,
        val message: String,
        val status: Int? = null,
        val retryAfter: Duration? = null,
        val isLasting: Boolean = true,
    )

    internal companion object {
        private val BY_CODE: Map<String, (Told) -> KeySwapException> = mapOf(
            // generated: codes (by keyswap-generate: do not edit)
            "bootstrap_rejected" to ::BootstrapRejected,
            "forbidden" to ::Forbidden,
            "unknown_set" to ::UnknownSet,
            "set_revoked" to ::SetRevoked,
            "unavailable" to ::Unavailable,
            "throttled" to ::Throttled,
            "timeout" to ::Timeout,
            "malformed" to ::Malformed,
            "older_generation" to ::OlderGeneration,
            "signature_invalid" to ::SignatureInvalid,
            "source_failed" to ::SourceFailed,
            "expired" to ::Expired,
            "not_ready" to ::NotReady,
            "closed" to ::Closed,
            "origin_not_allowed" to ::OriginNotAllowed,
            "insecure_url" to ::InsecureUrl,
            "invalid_config" to ::InvalidConfig,
            "missing_scope" to ::MissingScope,
            "scheme_failed" to ::SchemeFailed,
            "transport" to ::Transport,
            "status" to ::Status,
            "body" to ::Body,
            // end of codes
        )

        val codes: Set<String> get() = BY_CODE.keys

        fun of(code: String, message: String): KeySwapException = of(Told(code, message))

        fun of(native: NativeException): KeySwapException = when (native) {
            is NativeException.Failed -> with(native.record) {
                of(Told(code, message, status?.toInt(), retryAfterMs?.toLong()?.milliseconds, lasting))
            }
        }

        private fun of(told: Told): KeySwapException = (BY_CODE[told.code] ?: ::Unknown)(told)
    }
}

/** Runs it, and throws what this package throws. */
internal inline fun <T> calling(run: () -> T): T =
    try {
        run()
    } catch (failed: NativeException) {
        throw KeySwapException.of(failed)
    }

/** The same where a program says what it wants: what is not valid of that is a mistake in the program. */
internal inline fun <T> configuring(run: () -> T): T =
    try {
        calling(run)
    } catch (wrong: KeySwapException) {
        if (wrong !is KeySwapException.InvalidConfig && wrong !is KeySwapException.InsecureUrl) throw wrong
        throw IllegalArgumentException(wrong.message, wrong)
    }
