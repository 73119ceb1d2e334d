package dev.keyswap.ktor

import dev.keyswap.Answer
import dev.keyswap.Attempt
import dev.keyswap.KeySwapException
import dev.keyswap.Keyed
import dev.keyswap.Patch
import dev.keyswap.Place
import dev.keyswap.Trip
import dev.keyswap.calling
import dev.keyswap.internal.NativeFailure
import dev.keyswap.internal.NativeJob
import dev.keyswap.internal.NativeStep
import io.ktor.client.HttpClient
import io.ktor.client.call.HttpClientCall
import io.ktor.client.call.save
import io.ktor.client.plugins.HttpTimeoutCapability
import io.ktor.client.plugins.HttpTimeoutConfig
import io.ktor.client.request.HttpRequestBuilder
import io.ktor.client.statement.bodyAsChannel
import io.ktor.client.statement.readRawBytes
import io.ktor.client.utils.unwrapCancellationException
import io.ktor.http.content.OutgoingContent
import io.ktor.util.AttributeKey
import io.ktor.util.flattenEntries
import io.ktor.utils.io.cancel
import java.net.ConnectException
import java.net.InetAddress
import java.net.Proxy
import java.net.ProxySelector
import java.net.SocketTimeoutException
import java.net.URI
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.ensureActive
import kotlinx.coroutines.withContext

/** One request of a chain of redirects: what is rejected here is sent again from here. */
internal class Hop(
    private val keyed: Keyed,
    private val client: HttpClient,
    private val request: HttpRequestBuilder,
    private val proceed: suspend (HttpRequestBuilder) -> HttpClientCall,
) {
    private val origin = request.origin()
    private val url = origin + "/" + request.url.encodedPathSegments.joinToString("/").trimStart('/')
    private var firstRejection: HttpClientCall? = null

    suspend fun send(): HttpClientCall {
        forgetOwn()
        val place = keyed.place(origin)
        // An origin that is not allowed has no say in what keys are used for, not even by a redirect.
        if (place == Place.ELSEWHERE) request.attributes.put(STRAYED, Unit)
        if (STRAYED in request.attributes) return proceed(request)
        if (BEGAN !in request.attributes) request.attributes.put(BEGAN, System.nanoTime())
        if (place == Place.HERE) checkWay()
        val seen = keyed.prepared()
            ?: return keyed.begin(url, isReplayable(), left()).use { drive(it, null, it.step()) }
        val trip = trip(seen.patch ?: Patch(emptyList())) ?: return proceed(request)
        val call = proceed(trip)
        val answer = KtorAnswer(call)
        if (!trip.hasCarried || !keyed.attends(answer)) return call
        return keyed.beginAfter(seen, url, isReplayable(), left()).use { drive(it, call, it.response(answer)) }
    }

    private suspend fun drive(attempt: Attempt, first: HttpClientCall?, begun: NativeStep): HttpClientCall {
        var call = first
        var step = begun
        while (true) {
            when (step) {
                NativeStep.SEND -> {
                    val patch = attempt.apply(request.method.value, url)
                    call?.let { keep(it, attempt) }
                    call = null
                    val trip = trip(patch) ?: return proceed(request)
                    val sent = send(attempt, trip)
                    call = sent
                    // What came from a cache, or carried another key, says nothing of the credential.
                    step = if (trip.hasCarried) attempt.response(KtorAnswer(sent)) else return sent
                }
                NativeStep.NEED_BODY -> {
                    val shown = (call ?: throw attempt.failure()).save()
                    call = shown
                    val body = shown.response.readRawBytes()
                    step = attempt.response(KtorAnswer(shown), body.copyOf(minOf(body.size, attempt.bodyLimit())))
                }
                NativeStep.WAIT -> step = wait(attempt)
                NativeStep.FAIL -> {
                    call?.discard()
                    throw attempt.failure()
                }
                NativeStep.RETURN -> {
                    val last = call ?: throw attempt.failure()
                    val first = firstRejection?.takeIf { attempt.isRejected() } ?: return last
                    last.discard()
                    return first
                }
            }
        }
    }

    /** The first rejection is about the key that was in use: it is the answer when all is in vain. */
    private suspend fun keep(call: HttpClientCall, attempt: Attempt) {
        if (firstRejection == null && attempt.isRejected()) firstRejection = call.save()
        call.discard()
    }

    private suspend fun send(attempt: Attempt, trip: Trip): HttpClientCall =
        try {
            proceed(trip)
        } catch (cancelled: CancellationException) {
            throw cancelled
        } catch (thrown: Throwable) {
            val failure = when (thrown) {
                is ConnectException -> NativeFailure.CONNECT
                is SocketTimeoutException -> NativeFailure.TIMEOUT
                else -> NativeFailure.OTHER
            }
            calling { attempt.native.failed(failure) }
            throw thrown
        }

    private suspend fun proceed(trip: Trip): HttpClientCall {
        request.attributes.put(TRIP, trip)
        try {
            return proceed(request)
        } finally {
            request.attributes.remove(TRIP)
            trip.end()
        }
    }

    /** The wait ends with the request, which another plugin may have given a time. */
    private suspend fun wait(attempt: Attempt): NativeStep {
        val job = NativeJob()
        val ended = request.executionContext.invokeOnCompletion { job.cancel() }
        try {
            return calling { attempt.native.wait(job) }
        } catch (closed: KeySwapException.Closed) {
            try {
                request.executionContext.ensureActive()
            } catch (cancelled: CancellationException) {
                throw cancelled.unwrapCancellationException()
            }
            throw closed
        } finally {
            ended.dispose()
        }
    }

    private fun trip(patch: Patch): Trip? {
        val trip = keyed.trip(patch, origin) { it in request.headers }
        if (trip == null) request.attributes.put(OWN, Own(origin, patch.headers.map { it.first }))
        return trip
    }

    /** A caller's own key does not go along to another origin. */
    private fun forgetOwn() {
        val own = request.attributes.getOrNull(OWN) ?: return
        if (own.origin != origin) own.names.forEach(request.headers::remove)
    }

    /** Throws if plain HTTP to this machine would not stay on it. */
    private suspend fun checkWay() {
        val ofTheMachine = ProxySelector.getDefault()?.select(URI(origin)).orEmpty()
        if (client.engineConfig.proxy.isProxy() || ofTheMachine.any { it.isProxy() }) {
            val what = "plain HTTP to $origin would go through a proxy, which could read the key: except it from the proxy, or use https"
            throw KeySwapException.of("insecure_url", what)
        }
        if (request.url.host != "localhost") return
        val addresses = withContext(Dispatchers.IO) { InetAddress.getAllByName("localhost") }
        if (!addresses.all(InetAddress::isLoopbackAddress)) {
            throw KeySwapException.of("insecure_url", "localhost is another machine here: use 127.0.0.1, or https")
        }
    }

    /** How many milliseconds the whole request has left; null if that is not limited, or not said yet. */
    private fun left(): Long? {
        val whole = request.getCapabilityOrNull(HttpTimeoutCapability)?.requestTimeoutMillis
        if (whole == null || whole == HttpTimeoutConfig.INFINITE_TIMEOUT_MS) return null
        return (whole - (System.nanoTime() - request.attributes[BEGAN]) / 1_000_000).coerceAtLeast(0)
    }

    private fun isReplayable(): Boolean = request.resend && isReplayable(request.body)

    private fun isReplayable(body: Any): Boolean = when (body) {
        is OutgoingContent.ByteArrayContent, is OutgoingContent.NoContent -> true
        is OutgoingContent.ContentWrapper -> isReplayable(body.delegate())
        else -> false
    }
}

/** What a request is to be sent with. It is there while it is sent. */
internal val TRIP = AttributeKey<Trip>("KeySwapTrip")

/** The headers of a caller's own key, and the origin that it was meant for. */
private class Own(val origin: String, val names: List<String>)

private val OWN = AttributeKey<Own>("KeySwapOwn")

/** When the first hop began. */
private val BEGAN = AttributeKey<Long>("KeySwapBegan")

/** A chain of redirects that came to an origin that is not allowed. */
private val STRAYED = AttributeKey<Unit>("KeySwapStrayed")

/** A WebSocket begins as a request. */
internal fun HttpRequestBuilder.origin(): String = with(url) {
    val scheme = when (protocol.name) {
        "ws" -> "http"
        "wss" -> "https"
        else -> protocol.name
    }
    "$scheme://${if (':' in host) "[${host.trim('[', ']')}]" else host}:${if (port > 0) port else protocol.defaultPort}"
}

private fun Proxy?.isProxy(): Boolean = this != null && type() != Proxy.Type.DIRECT

private suspend fun HttpClientCall.discard() {
    response.bodyAsChannel().cancel()
}

private class KtorAnswer(call: HttpClientCall) : Answer {
    private val response = call.response
    override val status: Int get() = response.status.value
    override val headers: List<Pair<String, String>> get() = response.headers.flattenEntries()

    override fun header(name: String): String? = response.headers[name]
}
