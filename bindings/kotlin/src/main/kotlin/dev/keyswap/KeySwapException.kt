package dev.keyswap

import dev.keyswap.internal.NativeException
import java.io.IOException
import kotlin.time.Duration
import kotlin.time.Duration.Companion.milliseconds

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
) : IOException(message) {
    /** The endpoint does not know the bootstrap credential. */
    public class BootstrapRejected internal constructor(of: Told) : KeySwapException(of)

    /** The bootstrap credential may not read this set. */
    public class Forbidden internal constructor(of: Told) : KeySwapException(of)

    /** The endpoint has no such set. */
    public class UnknownSet internal constructor(of: Told) : KeySwapException(of)

    /** The provider ended the set: nothing is usable until it is restored. */
    public class SetRevoked internal constructor(of: Told) : KeySwapException(of)

    /** The source cannot be reached, or is in trouble. */
    public class Unavailable internal constructor(of: Told) : KeySwapException(of)

    /** The source asked to be left alone. */
    public class Throttled internal constructor(of: Told) : KeySwapException(of)

    /** It took too long. */
    public class Timeout internal constructor(of: Told) : KeySwapException(of)

    /** The answer of the source is not well-formed. */
    public class Malformed internal constructor(of: Told) : KeySwapException(of)

    /** The source answered with less than what is held. */
    public class OlderGeneration internal constructor(of: Told) : KeySwapException(of)

    /** The answer is not signed as it must be. */
    public class SignatureInvalid internal constructor(of: Told) : KeySwapException(of)

    /** The program's own source failed. */
    public class SourceFailed internal constructor(of: Told) : KeySwapException(of)

    /** Every credential that is held has ended. */
    public class Expired internal constructor(of: Told) : KeySwapException(of)

    /** No set has been fetched yet. */
    public class NotReady internal constructor(of: Told) : KeySwapException(of)

    /** The handle was closed. */
    public class Closed internal constructor(of: Told) : KeySwapException(of)

    /** Credentials may not go to this origin. */
    public class OriginNotAllowed internal constructor(of: Told) : KeySwapException(of)

    /** Plain HTTP to another machine. */
    public class InsecureUrl internal constructor(of: Told) : KeySwapException(of)

    /** What the program said cannot work. */
    public class InvalidConfig internal constructor(of: Told) : KeySwapException(of)

    /** The set lacks a scope that the request requires. */
    public class MissingScope internal constructor(of: Told) : KeySwapException(of)

    /** The credential cannot be put on a request. */
    public class SchemeFailed internal constructor(of: Told) : KeySwapException(of)

    /** There is no response. */
    public class Transport internal constructor(of: Told) : KeySwapException(of)

    /** A status that a program did not want. */
    public class Status internal constructor(of: Told) : KeySwapException(of)

    /** A body that cannot be read. */
    public class Body internal constructor(of: Told) : KeySwapException(of)

    /** Something that this version does not know. */
    public class Unknown internal constructor(of: Told) : KeySwapException(of)

    private constructor(of: Told) : this(of.code, of.message, of.status, of.retryAfter)

    internal class Told(val code: String, val message: String, val status: Int? = null, val retryAfter: Duration? = null)

    internal companion object {
        private val BY_CODE: Map<String, (Told) -> KeySwapException> = mapOf(
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
        )

        val codes: Set<String> get() = BY_CODE.keys

        fun of(code: String, message: String): KeySwapException = of(Told(code, message))

        fun of(native: NativeException): KeySwapException = when (native) {
            is NativeException.Failed -> of(
                Told(native.code, native.reason, native.status?.toInt(), native.retryAfterMs?.toLong()?.milliseconds),
            )
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
