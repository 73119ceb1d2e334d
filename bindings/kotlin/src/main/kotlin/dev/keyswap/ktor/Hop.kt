package dev.keyswap.ktor

import dev.keyswap.Answer
import dev.keyswap.Attempt
import dev.keyswap.Authorizer
import dev.keyswap.KeySwapException
import dev.keyswap.Outcome
import dev.keyswap.Patch
import dev.keyswap.Place
import dev.keyswap.Step
import dev.keyswap.Trip
import dev.keyswap.drive
import dev.keyswap.internal.NativeJob
import io.ktor.client.HttpClient
import io.ktor.client.call.HttpClientCall
import io.ktor.client.content.LocalFileContent
import io.ktor.client.content.ObservableContent
import io.ktor.client.plugins.HttpTimeoutCapability
import io.ktor.client.plugins.HttpTimeoutConfig
import io.ktor.client.request.HttpRequestBuilder
import io.ktor.client.utils.unwrapCancellationException
import io.ktor.http.Headers
import io.ktor.http.HttpHeaders
import io.ktor.http.content.OutgoingContent
import io.ktor.http.content.URIFileContent
import io.ktor.util.AttributeKey
import io.ktor.util.toMap
import io.ktor.utils.io.InternalAPI
import java.net.InetAddress
import java.net.Proxy
import java.net.ProxySelector
import java.net.URI
import kotlin.time.Duration
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.nanoseconds
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.ensureActive
import kotlinx.coroutines.withContext

/** One request of a chain of redirects: what is rejected here is sent again from here. */
internal class Hop(
    private val authorizer: Authorizer,
    private val client: HttpClient,
    private val request: HttpRequestBuilder,
    private val proceed: suspend (HttpRequestBuilder) -> HttpClientCall,
) {
    private val origin = request.origin()
    private val url by lazy { origin + request.url.build().encodedPathAndQuery }

    suspend fun send(): HttpClientCall = sendOpen().withBody()

    /** The body may have been left where it is, so that a rejection need not be read to its end. */
    private suspend fun sendOpen(): HttpClientCall {
        forgetOwn()
        val place = authorizer.place(origin)
        // An origin that is not allowed has no say in what keys are used for, not even by a redirect.
        if (place == Place.ELSEWHERE) request.attributes.put(STRAYED, Unit)
        if (STRAYED in request.attributes) return proceed(request)
        if (BEGAN !in request.attributes) request.attributes.put(BEGAN, System.nanoTime())
        if (place == Place.HERE) checkWay()
        val seen = authorizer.prepared().takeIf { request.scopes.isEmpty() }
            ?: return authorizer.begin(url, isReplayable(), left(), request.scopes).use { drive(it, null) }
        val trip = trip(seen.patch) ?: return proceed(request)
        val call = proceed(trip)
        if (!trip.hasCarried || !authorizer.attends(call.response.status.value) { it in call.response.headers }) return call
        return authorizer.beginAfter(seen, url, isReplayable(), left(), request.method.value).use { drive(it, call) }
    }

    private suspend fun drive(attempt: Attempt, first: HttpClientCall?): HttpClientCall = attempt.drive(
        first,
        answer = ::KtorAnswer,
        send = {
            val trip = trip(apply(attempt))
            // What came from a cache, or carried another key, says nothing of the credential.
            if (trip == null) Outcome(proceed(request), false) else Outcome(send(attempt, trip), trip.hasCarried)
        },
        peek = { call, limit -> Opened(call).let { it to it.peek(limit) } },
        await = { wait(attempt) },
        giveUp = { it.givenUp() },
        discard = { it.cancelBody() },
    )

    private fun apply(attempt: Attempt): Patch {
        if (!authorizer.signs) return attempt.apply(request.method.value, url)
        val content = request.body as? OutgoingContent
        val headers = Headers.build {
            appendAll(request.headers.build())
            content?.contentType?.let { set(HttpHeaders.ContentType, it.toString()) }
        }
        return attempt.apply(request.method.value, url, headers.toMap(), bytes(request.body))
    }

    private suspend fun send(attempt: Attempt, trip: Trip): HttpClientCall =
        try {
            proceed(trip)
        } catch (cancelled: CancellationException) {
            throw cancelled
        } catch (thrown: Throwable) {
            attempt.failed(thrown)
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
    private suspend fun wait(attempt: Attempt): Step {
        val job = NativeJob()
        val ended = request.executionContext.invokeOnCompletion { job.cancel() }
        try {
            return attempt.await(job)
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
        // Its errors show the URL of a request.
        if (patch.hasQuery) throw KeySwapException.of("scheme_failed", "Ktor shows URLs, and with them a key in a query: use an Attempt, or OkHttp")
        val trip = authorizer.trip(patch, origin) { it in request.headers }
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

    /** How long the whole request has left; null if that is not limited, or not said yet. */
    private fun left(): Duration? {
        val whole = request.getCapabilityOrNull(HttpTimeoutCapability)?.requestTimeoutMillis
        if (whole == null || whole == HttpTimeoutConfig.INFINITE_TIMEOUT_MS) return null
        return (whole.milliseconds - (System.nanoTime() - request.attributes[BEGAN]).nanoseconds).coerceAtLeast(Duration.ZERO)
    }

    private fun isReplayable(): Boolean = request.resend && isReplayable(request.body)

    private fun isReplayable(body: Any): Boolean = when (body) {
        is OutgoingContent.ByteArrayContent, is OutgoingContent.NoContent -> true
        // A form of several parts, or what a converter writes: it is asked to write, each time.
        is OutgoingContent.WriteChannelContent -> true
        // Others may be around a channel that is read once.
        is LocalFileContent, is URIFileContent -> true
        else -> within(body)?.let(::isReplayable) ?: false
    }

    private fun bytes(body: Any): ByteArray? = when (body) {
        is OutgoingContent.ByteArrayContent -> body.bytes()
        else -> within(body)?.let(::bytes)
    }

    /** The body that this one is around, of which it tells its progress, say. */
    @OptIn(InternalAPI::class)
    private fun within(body: Any): OutgoingContent? = when (body) {
        is OutgoingContent.ContentWrapper -> body.delegate()
        is ObservableContent -> body.delegate
        else -> null
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

private class KtorAnswer(call: HttpClientCall) : Answer {
    private val response = call.response
    override val status: Int get() = response.status.value
    override val headers: Map<String, List<String>> get() = response.headers.toMap()
}
