package dev.keyswap

import dev.keyswap.internal.NativeSchemeKind
import dev.keyswap.internal.NativeSchemeOptions
import dev.keyswap.internal.NativeVerdict

/** How a credential goes onto a request. */
public class Scheme private constructor(internal val native: NativeSchemeOptions?, internal val sign: Sign?) {
    private constructor(kind: NativeSchemeKind, name: String? = null) : this(NativeSchemeOptions(kind, name), null)

    override fun toString(): String =
        "Scheme(${native?.let { listOfNotNull(it.kind.name.lowercase(), it.name).joinToString(" ") } ?: "signing"})"

    public companion object {
        /** A header of this name that holds the key. */
        @JvmStatic
        public fun header(name: String): Scheme = Scheme(NativeSchemeKind.HEADER, name)

        /** `Authorization: Bearer` and the key. */
        @JvmStatic
        public fun bearer(): Scheme = Scheme(NativeSchemeKind.BEARER)

        /** `Authorization: Basic`, of the key and the secret. */
        @JvmStatic
        public fun basic(): Scheme = Scheme(NativeSchemeKind.BASIC)

        /**
         * A parameter of the query of this name that holds the key. Servers and proxies may log it. Ktor shows the URL
         * of a request in its errors: there such a request fails with [KeySwapException.SchemeFailed].
         */
        @JvmStatic
        public fun query(name: String): Scheme = Scheme(NativeSchemeKind.QUERY, name)

        /** A signature of the program's own. */
        @JvmStatic
        public fun signing(sign: Sign): Scheme = Scheme(null, sign)
    }
}

/** What a response says of the credential that its request carried. */
public enum class Verdict {
    /** The API accepted it. */
    ACCEPTED,

    /** The API refused it: another one is tried, if the request may be sent again. */
    REJECTED,

    /** The API asks for fewer requests. */
    THROTTLED,

    /** It says nothing of the credential. */
    OTHER,

    /** Ask again with the beginning of the body. */
    NEED_BODY,
}

/** A response as a classifier sees it. */
public class Judged internal constructor(
    /** The status. */
    public val status: Int,
    /** The headers, with names in lower case. */
    public val headers: Map<String, String>,
    /** The beginning of the body, once it was asked for. */
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
            NativeVerdict.valueOf(judge(response).name)
        } catch (_: Exception) {
            NativeVerdict.OTHER
        }
}
