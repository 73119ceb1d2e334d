package dev.keyswap

import dev.keyswap.internal.NativeScheme
import dev.keyswap.internal.NativeVerdict

/** How a credential goes onto a request. */
public class Scheme private constructor(internal val native: NativeScheme) {
    override fun toString(): String = "Scheme($native)"

    public companion object {
        /** A header of this name that holds the key. */
        @JvmStatic
        public fun header(name: String): Scheme = Scheme(NativeScheme.Header(name))

        /** `Authorization: Bearer` and the key. */
        @JvmStatic
        public fun bearer(): Scheme = Scheme(NativeScheme.Bearer)

        /** `Authorization: Basic`, of the key and the secret. */
        @JvmStatic
        public fun basic(): Scheme = Scheme(NativeScheme.Basic)
    }
}

/** What a response says of the credential that its request carried. */
public enum class Verdict(internal val native: NativeVerdict) {
    ACCEPTED(NativeVerdict.ACCEPTED),
    REJECTED(NativeVerdict.REJECTED),
    THROTTLED(NativeVerdict.THROTTLED),
    OTHER(NativeVerdict.OTHER),

    /** Ask again with the beginning of the body. */
    NEED_BODY(NativeVerdict.NEED_BODY),
}

/** A response as a classifier sees it: names of headers in lower case, and the body once it asked. */
public class Judged internal constructor(
    public val status: Int,
    public val headers: Map<String, String>,
    public val body: ByteArray?,
)

/**
 * Judges responses, for an API that says "bad key" in a way of its own. It is shown responses with one of
 * [statuses], and at most [bodyLimit] bytes of a body that it asks for. What it throws counts as
 * [Verdict.OTHER].
 */
public class Classifier @JvmOverloads constructor(
    internal val statuses: Set<Int> = setOf(401),
    internal val bodyLimit: Int = 4096,
    private val judge: (Judged) -> Verdict,
) {
    internal fun verdict(response: Judged): NativeVerdict =
        try {
            judge(response).native
        } catch (_: Exception) {
            NativeVerdict.OTHER
        }
}
