package dev.keyswap

import dev.keyswap.internal.NativeCredential
import dev.keyswap.internal.NativeSet
import java.time.Instant

/** One usable credential. Printing it never shows its material. */
public class Credential internal constructor(private val native: NativeCredential) {
    private val facts = native.facts()

    /** The key, kept so that reading it again calls nothing. What writes the fields of an object passes it over. */
    @Transient @Volatile private var key: Sealed? = null

    /** Its id. */
    public val id: String get() = facts.id

    /** Its version, if the source gave one. */
    public val version: String? get() = facts.version

    /** What it may be used for. */
    public val scopes: List<String> get() = facts.scopes

    /** When it was made. */
    public val createdAt: Instant? get() = facts.createdAtMs?.let(Instant::ofEpochMilli)

    /** When it begins to be valid. */
    public val notBefore: Instant? get() = facts.notBeforeMs?.let(Instant::ofEpochMilli)

    /** When a staged one is to be used. */
    public val activateAt: Instant? get() = facts.activateAtMs?.let(Instant::ofEpochMilli)

    /** When it ends. */
    public val expiresAt: Instant? get() = facts.expiresAtMs?.let(Instant::ofEpochMilli)

    /** When its use as a fallback ends. */
    public val graceExpiresAt: Instant? get() = facts.graceExpiresAtMs?.let(Instant::ofEpochMilli)

    /**
     * A piece of material, in the clear: for the request, and nothing else.
     *
     * Throws [NoSuchElementException] if it has none of that name.
     */
    @JvmOverloads
    public fun reveal(name: String = "key"): String {
        if (name == "key") key?.let { return it.text }
        val piece = native.reveal(name) ?: throw NoSuchElementException("$id has no material of that name")
        if (name == "key") key = Sealed(piece)
        return piece
    }

    override fun toString(): String = "Credential($id)"

    /** Text that does not print. */
    private class Sealed(@Transient val text: String) {
        override fun toString(): String = "(..)"
    }
}

/** The set that is held. */
public class CredentialSet internal constructor(native: NativeSet) {
    /** The provider's number of this state. */
    public val generation: Long = native.generation.toLong()

    /** The newest credential; null in a revoked set. */
    public val primary: Credential? = native.primary?.let(::Credential)

    /** The older ones that are still valid, newest first. */
    public val previous: List<Credential> = native.previous.map(::Credential)

    /** The staged one. */
    public val next: Credential? = native.next?.let(::Credential)

    /** Ids that must never be used again. */
    public val revoked: List<String> = native.revoked

    /** What the whole set may be used for. */
    public val scopes: List<String> = native.scopes

    /** The origins that the provider narrows its use to; empty means no narrowing. */
    public val audience: List<String> = native.audience

    override fun toString(): String = "CredentialSet(generation $generation, ${primary ?: "revoked"})"
}
