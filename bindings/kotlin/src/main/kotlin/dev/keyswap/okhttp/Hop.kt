package dev.keyswap.okhttp

import dev.keyswap.Answer
import dev.keyswap.Attempt
import dev.keyswap.KeySwapException
import dev.keyswap.Keyed
import dev.keyswap.Patch
import dev.keyswap.Place
import dev.keyswap.Trip
import dev.keyswap.calling
import dev.keyswap.internal.NativeFailure
import dev.keyswap.internal.NativeStep
import java.io.IOException
import java.io.InterruptedIOException
import java.net.ConnectException
import java.net.InetAddress
import java.net.Proxy
import java.net.SocketTimeoutException
import java.util.concurrent.TimeUnit
import okhttp3.Dns
import okhttp3.Interceptor
import okhttp3.Request
import okhttp3.Response

/** How long a wait goes on before it is seen whether the call was cancelled. */
private const val SLICE_MS = 20uL

/** The longest body of a rejection that is kept for the case that all is in vain. */
private const val MOST_KEPT = 64L * 1024

/** One request of a chain of redirects: what is rejected here is sent again from here. */
internal class Hop(
    private val keyed: Keyed,
    chain: Interceptor.Chain,
    private val request: Request,
    private val began: Long,
) {
    private val origin = request.url.origin()
    private val place = keyed.place(origin)
    private val chain = if (place == Place.HERE) chain.withProxy(Proxy.NO_PROXY).withDns(Loopback) else chain
    private val url = request.url.toString()
    private val isReplayable =
        request.body.let { it == null || !(it.isOneShot() || it.isDuplex()) } && request.tag(Once::class.java) == null

    /** OkHttp passes network interceptors over for these. */
    private val isWebSocket = request.header("Upgrade").equals("websocket", ignoreCase = true)
    private var carried = emptySet<String>()
    private var firstRejection: Response? = null

    /** Whether keys may go there. */
    val isAtHome: Boolean get() = place != Place.ELSEWHERE

    fun send(): Response {
        val seen = keyed.prepared()
            ?: return keyed.begin(url, isReplayable, left()).use { drive(it, null, it.step()) }
        val trip = trip(seen.patch ?: Patch(emptyList())) ?: return chain.proceed(request)
        val response = proceed(trip)
        val answer = OkHttpAnswer(response)
        if (!trip.hasCarried || !keyed.attends(answer)) return response
        return closingIfThrown(response) {
            keyed.beginAfter(seen, url, isReplayable, left()).use { drive(it, response, it.response(answer)) }
        }
    }

    /** The request of the next hop, to another origin: a caller's own key does not go along. */
    fun leaving(next: Request): Request =
        carried.fold(next.newBuilder()) { builder, name -> builder.removeHeader(name) }.build()

    private fun drive(attempt: Attempt, first: Response?, begun: NativeStep): Response {
        var response = first
        var step = begun
        try {
            while (true) {
                when (step) {
                    NativeStep.SEND -> {
                        response?.let { keep(it, attempt) }
                        response = null
                        val trip = trip(attempt.apply(request.method, url)) ?: return chain.proceed(request)
                        val sent = send(trip, attempt)
                        response = sent
                        // What came from a cache, or carried another key, says nothing of the credential.
                        step = if (trip.hasCarried) attempt.response(OkHttpAnswer(sent)) else return sent
                    }
                    NativeStep.NEED_BODY -> {
                        val shown = response ?: throw attempt.failure()
                        val beginning = shown.peekBody(attempt.bodyLimit().toLong()).bytes()
                        step = attempt.response(OkHttpAnswer(shown), beginning)
                    }
                    NativeStep.WAIT -> step = await(attempt)
                    NativeStep.FAIL -> throw attempt.failure()
                    NativeStep.RETURN -> return answer(response ?: throw attempt.failure(), attempt)
                }
            }
        } catch (thrown: Throwable) {
            response?.close()
            throw thrown
        }
    }

    /** The first rejection is about the key that was in use: it is the answer when all is in vain. */
    private fun keep(response: Response, attempt: Attempt) = response.use {
        if (firstRejection != null || !attempt.isRejected()) return@use
        val body = it.peekBody(MOST_KEPT + 1)
        if (body.contentLength() <= MOST_KEPT) firstRejection = it.newBuilder().body(body).build()
    }

    private fun answer(last: Response, attempt: Attempt): Response {
        val first = firstRejection?.takeIf { attempt.isRejected() } ?: return last
        last.close()
        return first
    }

    private fun send(trip: Trip, attempt: Attempt): Response =
        try {
            proceed(trip)
        } catch (thrown: IOException) {
            val failure = when (thrown) {
                is ConnectException -> NativeFailure.CONNECT
                is SocketTimeoutException -> NativeFailure.TIMEOUT
                else -> NativeFailure.OTHER
            }
            calling { attempt.native.failed(failure) }
            throw thrown
        }

    private fun trip(patch: Patch): Trip? {
        carried = patch.headers.mapTo(HashSet()) { it.first }
        return keyed.trip(patch, origin) { request.header(it) != null }
    }

    private fun proceed(trip: Trip): Response =
        try {
            if (isWebSocket) opening(trip) else proceed(request.newBuilder().tag(Trip::class.java, trip).build())
        } finally {
            trip.end()
        }

    private fun opening(trip: Trip): Response {
        val patched = request.patched(trip) ?: return chain.proceed(request)
        val response = proceed(patched)
        val network = response.networkResponse ?: return response
        val bare = network.newBuilder().request(request).build()
        return response.newBuilder().networkResponse(bare).build()
    }

    /** A response names its request; the one that it is shown never had a key. */
    private fun proceed(sent: Request): Response = chain.proceed(sent).newBuilder().request(request).build()

    private fun await(attempt: Attempt): NativeStep {
        while (true) {
            val step = calling { attempt.native.waitBlocking(SLICE_MS) }
            if (step != NativeStep.WAIT) return step
            if (chain.call().isCanceled()) throw IOException("Canceled")
            if (Thread.interrupted()) {
                Thread.currentThread().interrupt()
                throw InterruptedIOException("interrupted")
            }
        }
    }

    /** How many milliseconds the call has left; null if that is not limited. */
    private fun left(): Long? {
        val whole = chain.call().timeout().timeoutNanos().takeIf { it > 0 } ?: return null
        return TimeUnit.NANOSECONDS.toMillis(whole - (System.nanoTime() - began)).coerceAtLeast(0)
    }
}

/** On the wire, and nowhere before it: no other interceptor, cache or response sees the key. */
internal object Applying : Interceptor {
    override fun intercept(chain: Interceptor.Chain): Response {
        val request = chain.request()
        val trip = request.tag(Trip::class.java) ?: return chain.proceed(request)
        val patched = request.patched(trip) ?: return chain.proceed(request)
        return chain.proceed(patched).newBuilder().request(request).build()
    }
}

/** The request with its key; null if it carries none, or another. */
private fun Request.patched(trip: Trip): Request? {
    val headers = trip.headersFor(url.origin()) { header(it) != null }
    if (headers.isEmpty()) return null
    val patched = newBuilder().tag(Trip::class.java, null)
    for ((name, value) in headers) {
        try {
            patched.header(name, value)
        } catch (_: IllegalArgumentException) {
            // What OkHttp says quotes the value.
            throw KeySwapException.of("scheme_failed", "the key has letters that OkHttp puts into no header")
        }
    }
    return patched.build()
}

/** `localhost` as it is meant to be. */
private object Loopback : Dns {
    private val addresses = listOf("127.0.0.1", "::1").map(InetAddress::getByName)

    override fun lookup(hostname: String): List<InetAddress> =
        if (hostname == "localhost") addresses else Dns.SYSTEM.lookup(hostname)
}

private class OkHttpAnswer(private val response: Response) : Answer {
    override val status: Int get() = response.code
    override val headers: List<Pair<String, String>> get() = response.headers.toList()

    override fun header(name: String): String? = response.header(name)
}

private inline fun closingIfThrown(response: Response, run: () -> Response): Response =
    try {
        run()
    } catch (thrown: Throwable) {
        response.close()
        throw thrown
    }
