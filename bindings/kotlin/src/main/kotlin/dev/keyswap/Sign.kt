package dev.keyswap

import java.time.Instant

/**
 * A program's own signature, for an API that wants each request signed:
 *
 * ```kotlin
 * val scheme = Scheme.signing { credential, request ->
 *     Signature(headers = mapOf("x-signature" to hmac(credential.reveal("secret"), "${request.method} ${request.url}")))
 * }
 * ```
 */
public fun interface Sign {
    /**
     * What makes this request authentic with this credential. It is called before each send, on the thread or in the
     * coroutine that sends; it should not block for long. One that throws counts as a rejection of the credential: what
     * it threw is told by its class alone, since its words may quote the key.
     */
    public fun sign(credential: Credential, request: UnsignedRequest): Signature
}

/** A request that is about to be sent, as a signature sees it. */
public class UnsignedRequest internal constructor(
    /** The method. */
    public val method: String,
    /** The whole URL, without what the signature adds. */
    public val url: String,
    /** The headers that the program gave it, with names in lower case; of the library's own only `content-type`. */
    public val headers: Map<String, String>,
    /** The bytes of the body: null if there is none, or if it is a stream. */
    public val body: ByteArray?,
) {
    /** The time, for signatures that carry one. */
    public val now: Instant = Instant.now()

    override fun toString(): String = "UnsignedRequest($method)"
}

/** What a signature adds to a request. It prints none of it. */
public class Signature @JvmOverloads constructor(
    /** Headers, in place of any of the same name. */
    internal val headers: Map<String, String> = emptyMap(),
    /** Parameters of the query, in place of any of the same name. */
    internal val query: Map<String, String> = emptyMap(),
) {
    override fun toString(): String = "Signature(..)"
}
