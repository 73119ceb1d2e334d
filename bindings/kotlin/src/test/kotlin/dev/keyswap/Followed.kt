package dev.keyswap

import java.util.concurrent.atomic.AtomicInteger
import kotlin.time.Duration.Companion.seconds
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout

/** A key that a [RawServer] accepts, and one that it does not. */
const val OLD = "the-key"
const val NEW = "the-next-key"

val Heard.isNew: Boolean get() = this["x-mexc-apikey"] == NEW

fun inTime(run: suspend () -> Unit): Unit = runBlocking(Dispatchers.IO) { withTimeout(60.seconds) { run() } }

/** Has this key, and those before it to fall back to. */
suspend fun followed(key: String, vararg previous: String): KeySwap {
    val older = previous.mapIndexed { nth, one -> NewCredential("old$nth", one) }
    return KeySwap.follow(Source.of { NewSet(NewCredential("k1", key), previous = older) }, fast())
}

/** Holds the first key, and brings the second when it is asked again. */
suspend fun rotating(): KeySwap {
    val fetches = AtomicInteger()
    val source = Source.of { NewSet(if (fetches.getAndIncrement() == 0) NewCredential("k1", OLD) else NewCredential("k2", NEW)) }
    return KeySwap.follow(source, fast())
}

fun setting(keys: KeySwap?, api: RawServer): Setting = Setting(keys, listOf(api.url))

fun Adapter.keyed(keys: KeySwap, api: RawServer): Library = open(setting(keys, api))

fun Adapter.alone(): Library = open(Setting(null, emptyList()))
