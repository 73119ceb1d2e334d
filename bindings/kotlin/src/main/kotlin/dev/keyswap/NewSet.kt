package dev.keyswap

import java.time.Instant

/**
 * A credential as a program's own source has it. It never prints its material.
 *
 * @param key The key. It, the secret and the passphrase are pieces of [material] that have names of their own.
 * @param material Further pieces, by name.
 * @param version Its version at the provider, where the id stays the same.
 * @param scopes What it may be used for.
 * @param createdAt When it was made.
 * @param notBefore When it begins to be valid.
 * @param activateAt When a staged one is to be used.
 * @param expiresAt When it ends.
 * @param graceExpiresAt When its use as a fallback ends.
 */
public class NewCredential @JvmOverloads constructor(
    /** Its id: another credential has another one. */
    public val id: String,
    private val key: String? = null,
    private val secret: String? = null,
    private val passphrase: String? = null,
    private val material: Map<String, String> = emptyMap(),
    private val version: String? = null,
    private val scopes: List<String>? = null,
    private val createdAt: Instant? = null,
    private val notBefore: Instant? = null,
    private val activateAt: Instant? = null,
    private val expiresAt: Instant? = null,
    private val graceExpiresAt: Instant? = null,
) {
    override fun toString(): String = "NewCredential($id)"

    internal fun writeTo(out: StringBuilder) {
        val pieces = linkedMapOf("key" to key, "secret" to secret, "passphrase" to passphrase) + material
        out.append("{\"id\":").text(id).append(",\"material\":{")
        pieces.entries.filter { it.value != null }.forEachIndexed { index, (name, piece) ->
            if (index > 0) out.append(',')
            out.text(name).append(':').text(piece!!)
        }
        out.append('}')
        version?.let { out.append(",\"version\":").text(it) }
        scopes?.let { all ->
            out.append(",\"scopes\":[")
            all.forEachIndexed { index, scope -> (if (index > 0) out.append(',') else out).text(scope) }
            out.append(']')
        }
        val times = mapOf(
            "created_at" to createdAt,
            "not_before" to notBefore,
            "activate_at" to activateAt,
            "expires_at" to expiresAt,
            "grace_expires_at" to graceExpiresAt,
        )
        for ((name, at) in times) if (at != null) out.append(",\"$name\":").text(at.toString())
        out.append('}')
    }
}

/**
 * A set as a program's own source returns it: `NewSet(NewCredential("k2", key = read()))`.
 *
 * @param revoked Ids that must never be used again.
 * @param generation The number of this state, where the source numbers them: a lower one than before is refused.
 * @param refreshAfter When to ask again.
 */
public class NewSet @JvmOverloads constructor(
    /** The newest credential. */
    public val current: NewCredential,
    /** Older ones that are still valid, newest first. */
    public val previous: List<NewCredential> = emptyList(),
    /** A staged one. */
    public val next: NewCredential? = null,
    private val revoked: List<String> = emptyList(),
    private val generation: Long? = null,
    private val refreshAfter: Instant? = null,
) {
    override fun toString(): String = "NewSet($current)"

    internal fun json(): String = buildString {
        append("{\"current\":")
        current.writeTo(this)
        append(",\"previous\":[")
        previous.forEachIndexed { index, one ->
            if (index > 0) append(',')
            one.writeTo(this)
        }
        append(']')
        next?.let {
            append(",\"next\":")
            it.writeTo(this)
        }
        append(",\"revoked\":[")
        revoked.forEachIndexed { index, id -> (if (index > 0) append(',') else this).text(id) }
        append(']')
        generation?.let { append(",\"generation\":").append(it) }
        refreshAfter?.let { append(",\"refresh_after\":").text(it.toString()) }
        append('}')
    }
}

/** A string of JSON. */
private fun StringBuilder.text(value: String): StringBuilder {
    append('"')
    for (char in value) {
        when {
            char == '"' || char == '\\' -> append('\\').append(char)
            char < ' ' -> append("\\u").append(char.code.toString(16).padStart(4, '0'))
            else -> append(char)
        }
    }
    return append('"')
}
