package dev.keyswap.okhttp

import dev.keyswap.Answer
import dev.keyswap.Attempt
import dev.keyswap.Authorizer
import dev.keyswap.KeySwapException
import dev.keyswap.Outcome
import dev.keyswap.PATIENCE_MS
import dev.keyswap.Patch
import dev.keyswap.Place
import dev.keyswap.SMALL
import dev.keyswap.Trip
import dev.keyswap.drive
import java.io.IOException
import java.net.InetAddress
import java.net.Proxy
import java.util.concurrent.TimeUnit
import kotlin.time.Duration
import kotlin.time.Duration.Companion.nanoseconds
import okhttp3.Dns
import okhttp3.Interceptor
import okhttp3.Request
import okhttp3.Response
import okio.Buffer

/** One request of a chain of redirects: what is rejected here is sent again from here. */
internal class Hop(
    private val authorizer: Authorizer,
    chain: Interceptor.Chain,
    private val request: Request,
    private val began: Long,
) {
    private val origin = request.url.origin()
    private val place = authorizer.place(origin)
    private val chain = if (place == Place.HERE) chain.withProxy(Proxy.NO_PROXY).withDns(Loopback) else chain
    private val url = request.url.toString()
    private val body = request.body?.takeUnless { it.isOneShot() || it.isDuplex() }
    private val canRepeat = request.body == body
    private val isReplayable = canRepeat && request.tag(Once::class.java) == null
    private val scopes = request.tag(Scopes::class.java)?.names.orEmpty()

    /** OkHttp passes network interceptors over for these. */
    private val isWebSocket = request.header("Upgrade").equals("websocket", ignoreCase = true)
    private var patch = Patch.NOTHING

    /** Whether keys may go there. */
    val isAtHome: Boolean get() = place != Place.ELSEWHERE

    fun send(): Response {
        val seen = authorizer.prepared().takeIf { scopes.isEmpty() }
            ?: return authorizer.begin(url, isReplayable, left(), scopes).use { drive(it, null) }
        val trip = trip(seen.patch) ?: return chain.proceed(request)
        val response = proceed(trip)
        if (!trip.hasCarried || !authorizer.attends(response.code) { response.header(it) != null }) return response
        return closingIfThrown(response) {
            authorizer.beginAfter(seen, url, isReplayable, left(), request.method).use { drive(it, response) }
        }
    }

    /** The request that a response leads to, without what is for this origin alone; null if it is the answer. */
    fun next(response: Response): Request? {
        // A place that held the key was hidden on the wire, and is none to go to.
        val location = response.header("Location")?.takeIf { response.isRedirect && !it.endsWith(HIDDEN) } ?: return null
        // Which method comes next is OkHttp's own rule, and not that of browsers.
        val isKept = response.code == 307 || response.code == 308 || request.method in KEPT
        val (method, status) = if (isKept) request.method to 307 else "POST" to 302
        val next = patch.follow(method, url, canRepeat, status, location) ?: return null
        val builder = request.newBuilder().url(next.url)
        if (next.dropsBody) builder.method(next.method, null)
        return next.drops.fold(builder) { it, name -> it.removeHeader(name) }.build()
    }

    private fun drive(attempt: Attempt, first: Response?): Response = attempt.drive(
        first,
        answer = ::OkHttpAnswer,
        send = {
            val trip = trip(apply(attempt))
            // What came from a cache, or carried another key, says nothing of the credential.
            if (trip == null) Outcome(chain.proceed(request), false) else Outcome(send(trip, attempt), trip.hasCarried)
        },
        peek = { response, limit -> response to response.peekBody(limit.toLong()).bytes() },
        await = { attempt.awaitBlocking { if (chain.call().isCanceled()) throw IOException("Canceled") } },
        giveUp = Response::givenUp,
        discard = Response::close,
    )

    private fun apply(attempt: Attempt): Patch {
        if (!authorizer.signs) return attempt.apply(request.method, url)
        val headers = request.headers.newBuilder()
        request.body?.contentType()?.let { headers["Content-Type"] = it.toString() }
        val bytes = body?.let { Buffer().also(it::writeTo).readByteArray() }
        return attempt.apply(request.method, url, headers.build().toMultimap(), bytes)
    }

    private fun send(trip: Trip, attempt: Attempt): Response =
        try {
            proceed(trip)
        } catch (thrown: IOException) {
            attempt.failed(thrown)
            throw thrown
        }

    private fun trip(patch: Patch): Trip? {
        this.patch = patch
        return authorizer.trip(patch, origin) { request.header(it) != null }
    }

    private fun proceed(trip: Trip): Response =
        try {
            if (isWebSocket) opening(trip) else proceed(request.newBuilder().tag(Trip::class.java, trip).build())
        } finally {
            trip.end()
        }

    private fun opening(trip: Trip): Response {
        val response = request.carrying(trip) { proceed(it) } ?: return chain.proceed(request)
        val network = response.networkResponse ?: return response
        val bare = network.newBuilder().request(request).build()
        return response.newBuilder().networkResponse(bare).build()
    }

    /** A response names its request; the one that it is shown never had a key. */
    private fun proceed(sent: Request): Response = chain.proceed(sent).newBuilder().request(request).build()

    /** How long the call has left; null if that is not limited. */
    private fun left(): Duration? {
        val whole = chain.call().timeout().timeoutNanos().takeIf { it > 0 } ?: return null
        return (whole - (System.nanoTime() - began)).coerceAtLeast(0).nanoseconds
    }
}

/** What is a GET behind a 302, too, or has a body all the same. */
private val KEPT = setOf("GET", "HEAD", "PROPFIND")

/** What stands in a `Location` in the place of a key. */
private const val HIDDEN = "/***"

/** On the wire, and nowhere before it: no other interceptor, cache or response sees the key. */
internal object Applying : Interceptor {
    override fun intercept(chain: Interceptor.Chain): Response {
        val request = chain.request()
        val trip = request.tag(Trip::class.java) ?: return chain.proceed(request)
        return request.carrying(trip) { chain.proceed(it).newBuilder().request(request).build() } ?: chain.proceed(request)
    }
}

/** Sends the request with its key; null if it carries none, or another. A `Location` that quotes the key is hidden. */
private inline fun Request.carrying(trip: Trip, send: (Request) -> Response): Response? {
    val patch = trip.patchFor(url.origin()) { header(it) != null } ?: return null
    val patched = newBuilder().tag(Trip::class.java, null)
    if (patch.hasQuery) patched.url(patch.revealUrl(url.toString()))
    for ((name, value) in patch.headers) {
        try {
            patched.header(name, value)
        } catch (_: IllegalArgumentException) {
            // What OkHttp says quotes the value.
            throw KeySwapException.of("scheme_failed", "the key has letters that OkHttp puts into no header")
        }
    }
    val response = send(patched.build())
    val location = response.header("Location") ?: return response
    val shown = patch.masked(url.toString(), location) ?: return response
    return response.newBuilder().header("Location", shown).build()
}

/** `localhost` as it is meant to be. */
private object Loopback : Dns {
    private val addresses = listOf("127.0.0.1", "::1").map(InetAddress::getByName)

    override fun lookup(hostname: String): List<InetAddress> =
        if (hostname == "localhost") addresses else Dns.SYSTEM.lookup(hostname)
}

private class OkHttpAnswer(private val response: Response) : Answer {
    override val status: Int get() = response.code
    override val headers: Map<String, List<String>> get() = response.headers.toMultimap()
}

private fun Response.givenUp(): Response? = use {
    val timeout = body.source().timeout().deadline(PATIENCE_MS, TimeUnit.MILLISECONDS)
    try {
        val kept = peekBody(SMALL + 1L)
        if (kept.contentLength() <= SMALL) return newBuilder().body(kept).build()
    } catch (_: IOException) {
        // It came too slowly, or broke off.
    }
    // OkHttp would read on for a while, for the sake of the connection.
    timeout.deadlineNanoTime(System.nanoTime())
    null
}

private inline fun closingIfThrown(response: Response, run: () -> Response): Response =
    try {
        run()
    } catch (thrown: Throwable) {
        response.close()
        throw thrown
    }
