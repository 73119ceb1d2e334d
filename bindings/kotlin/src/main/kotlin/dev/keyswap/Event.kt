package dev.keyswap

import dev.keyswap.internal.NativeEvent
import dev.keyswap.internal.NativeStats
import java.time.Instant
import kotlin.time.Duration
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.seconds

/**
 * Something that happened to the credentials: a name, the same in every language, and ids and numbers. What
 * this kind of event does not have is null. It prints as one line for people.
 */
public class Event internal constructor(private val native: NativeEvent) {
    public val name: String get() = native.name
    public val generation: Long? get() = native.generation?.toLong()
    public val primary: String? get() = native.primary

    /** The code of what went wrong. */
    public val error: String? get() = native.error
    public val retryIn: Duration? get() = native.retryInMs?.toLong()?.milliseconds
    public val from: String? get() = native.from
    public val to: String? get() = native.to
    public val credential: String? get() = native.credential
    public val credentials: List<String>? get() = native.credentials
    public val inUse: String? get() = native.inUse
    public val proven: Boolean? get() = native.proven
    public val candidate: Boolean? get() = native.candidate
    public val probeIn: Duration? get() = native.probeInMs?.toLong()?.milliseconds

    /** Why the credential could not be put on a request; null if the API rejected it. */
    public val reason: String? get() = native.reason

    /** Whether the API never accepted anything of this handle: then the key, the set or the scheme is wrong. */
    public val neverAccepted: Boolean? get() = native.neverAccepted

    /** The generation that was held before an older one was believed. */
    public val fromGeneration: Long? get() = native.fromGeneration?.toLong()

    /** The older generation that is held now. */
    public val toGeneration: Long? get() = native.toGeneration?.toLong()

    /** Whether the whole set was revoked. */
    public val set: Boolean? get() = native.set

    /** How long requests fail fast. */
    public val cooldown: Duration? get() = native.forMs?.toLong()?.milliseconds

    /** For how long this is so. */
    public val since: Duration? get() = native.seconds?.seconds
    public val by: Duration? get() = native.byMs?.milliseconds

    /** How many events this observer missed. */
    public val missed: Long? get() = native.missed?.toLong()

    override fun toString(): String = native.text
}

/** What was counted so far. */
public class Stats internal constructor(private val native: NativeStats) {
    public val generation: Long? get() = native.generation?.toLong()
    public val epoch: Long get() = native.epoch.toLong()
    public val inUse: String? get() = native.inUse
    public val expiresAt: Instant? get() = native.expiresAtMs?.let(Instant::ofEpochMilli)
    public val lastSuccess: Instant? get() = native.lastSuccessMs?.let(Instant::ofEpochMilli)
    public val age: Duration? get() = native.ageMs?.toLong()?.milliseconds
    public val fetchesChanged: Long get() = native.fetchesChanged.toLong()
    public val fetchesNotModified: Long get() = native.fetchesNotModified.toLong()
    public val fetchesFailed: Long get() = native.fetchesFailed.toLong()
    public val fetchesForced: Long get() = native.fetchesForced.toLong()
    public val rejections: Long get() = native.rejections.toLong()
    public val fallbacks: Long get() = native.fallbacks.toLong()
    public val rollbacks: Long get() = native.rollbacks.toLong()
    public val sends: Long get() = native.sends.toLong()
    public val extraSends: Long get() = native.extraSends.toLong()
    public val waiting: Long get() = native.waiting.toLong()

    override fun toString(): String =
        "Stats(generation $generation, ${inUse ?: "nothing"} in use, fetches $fetchesChanged/$fetchesNotModified/" +
            "$fetchesFailed, rejections $rejections, sends $sends)"
}
