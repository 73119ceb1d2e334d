package dev.keyswap.shrunk

import dev.keyswap.Classifier
import dev.keyswap.Event
import dev.keyswap.KeySwap
import dev.keyswap.KeySwapException
import dev.keyswap.Logger
import dev.keyswap.NewCredential
import dev.keyswap.NewSet
import dev.keyswap.Policy
import dev.keyswap.Reachability
import dev.keyswap.Scheme
import dev.keyswap.SecretStorage
import dev.keyswap.Source
import dev.keyswap.Verdict
import dev.keyswap.okhttp.keyswap
import java.util.concurrent.CountDownLatch
import java.util.concurrent.TimeUnit
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.seconds
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.flow.filterIsInstance
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.runBlocking
import okhttp3.OkHttpClient
import okhttp3.Request

/** What a shrinker is given, and what of it must work afterwards: all ways between this package and its native half. */
fun main(): Unit = runBlocking(Dispatchers.IO) {
    val url = System.getenv("KEYSWAP_SET_URL")
    val isLogged = CountDownLatch(1)
    Logger.install { level, event, _ -> if (level.name.isNotEmpty() && event.isNotEmpty()) isLogged.countDown() }

    val stored = SecretStorage { System.getenv("BOOTSTRAP") }
    val source = Source.endpoint(url) { bootstrapIn(stored) }.whenReachable(Reachability { true })
    val keys = KeySwap.follow(source, Policy { fetchFloor = 50.milliseconds }, timeout = 10.seconds)
    val http = OkHttpClient.Builder()
        .keyswap(
            keys,
            Scheme.header("x-api-key"),
            listOf(System.getenv("API_URL")),
            Classifier { if (it.status == 401) Verdict.REJECTED else Verdict.OTHER },
        )
        .build()
    val price = Request.Builder().url("${System.getenv("API_URL")}/v1/price/BTC").build()
    fun ask() = http.newCall(price).execute().use { println("${it.code} with ${keys.current.id}") }

    ask()
    val event = async(start = CoroutineStart.UNDISPATCHED) { keys.events.filterIsInstance<Event.Fetched>().first() }
    println("cut")
    readln()
    ask()
    println("generation ${event.await().generation}")
    keys.shutdown()

    val own = KeySwap.follow(Source.of { NewSet(NewCredential("own", key = "its-key")) }, timeout = 10.seconds)
    println("${own.current.reveal()} of ${own.current}")
    own.close()

    try {
        KeySwap.follow(Source.endpoint(url) { bootstrap("wrong") }, timeout = 10.seconds)
    } catch (failed: KeySwapException.BootstrapRejected) {
        println("${failed.code} ${failed.status}")
    }
    println("logged ${isLogged.await(10, TimeUnit.SECONDS)}")
}
