package dev.keyswap.ktor

import dev.keyswap.KeySwapException
import dev.keyswap.Trip
import io.ktor.client.HttpClient
import io.ktor.client.call.HttpClientCall
import io.ktor.client.request.HttpRequest
import io.ktor.client.request.HttpRequestBuilder
import io.ktor.client.request.HttpSendPipeline
import io.ktor.client.statement.HttpResponse
import io.ktor.http.Headers
import io.ktor.http.HttpMethod
import io.ktor.http.HttpProtocolVersion
import io.ktor.http.HttpStatusCode
import io.ktor.http.Url
import io.ktor.http.content.OutgoingContent
import io.ktor.util.Attributes
import io.ktor.util.date.GMTDate
import io.ktor.util.pipeline.PipelinePhase
import io.ktor.utils.io.ByteReadChannel
import io.ktor.utils.io.InternalAPI
import kotlin.coroutines.CoroutineContext

/**
 * Puts the key of a [Trip] on the request that the engine gets, and on nothing else: what other plugins did is done
 * by then, and the call that they get names a request without it.
 */
internal fun HttpClient.putKeysOnTheWire() {
    val before = PipelinePhase("KeySwapPut")
    val after = PipelinePhase("KeySwapTake")
    sendPipeline.insertPhaseBefore(HttpSendPipeline.Engine, before)
    sendPipeline.insertPhaseAfter(HttpSendPipeline.Engine, after)
    sendPipeline.intercept(before) {
        val names = context.put(context.attributes.getOrNull(TRIP) ?: return@intercept)
        try {
            proceed()
        } finally {
            names.forEach(context.headers::remove)
        }
    }
    sendPipeline.intercept(after) { call ->
        val trip = context.attributes.getOrNull(TRIP) ?: return@intercept
        if (call !is HttpClientCall) return@intercept
        // The engine made a copy of what was on the request.
        call.attributes.remove(TRIP)
        if (trip.hasCarried) proceedWith(Shown(call, trip.names))
    }
}

private fun HttpRequestBuilder.put(trip: Trip): List<String> {
    val put = trip.headersFor(origin()) { it in headers }
    for ((name, value) in put) {
        try {
            headers[name] = value
        } catch (_: IllegalArgumentException) {
            // What Ktor says quotes the value.
            throw KeySwapException.of("scheme_failed", "the key has letters that Ktor puts into no header")
        }
    }
    return put.map { it.first }
}

/** A call whose request never had these headers. It keeps nothing of the one that had. */
@OptIn(InternalAPI::class)
private class Shown(sent: HttpClientCall, names: List<String>) : HttpClientCall(sent.client) {
    init {
        request = ShownRequest(this, sent.request, names)
        response = ShownResponse(this, sent.response)
    }
}

private class ShownRequest(override val call: HttpClientCall, sent: HttpRequest, names: List<String>) : HttpRequest {
    override val method: HttpMethod = sent.method
    override val url: Url = sent.url
    override val attributes: Attributes = sent.attributes
    override val content: OutgoingContent = sent.content
    override val headers: Headers = Headers.build {
        sent.headers.forEach { name, values -> if (names.none { it.equals(name, ignoreCase = true) }) appendAll(name, values) }
    }
}

@OptIn(InternalAPI::class)
private class ShownResponse(override val call: HttpClientCall, sent: HttpResponse) : HttpResponse() {
    override val status: HttpStatusCode = sent.status
    override val version: HttpProtocolVersion = sent.version
    override val requestTime: GMTDate = sent.requestTime
    override val responseTime: GMTDate = sent.responseTime
    override val headers: Headers = sent.headers
    override val rawContent: ByteReadChannel = sent.rawContent
    override val coroutineContext: CoroutineContext = sent.coroutineContext
}
