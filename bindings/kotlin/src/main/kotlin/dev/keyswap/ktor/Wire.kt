package dev.keyswap.ktor

import dev.keyswap.KeySwapException
import dev.keyswap.Trip
import io.ktor.client.HttpClient
import io.ktor.client.call.HttpClientCall
import io.ktor.client.request.HttpRequest
import io.ktor.client.request.HttpRequestBuilder
import io.ktor.client.request.HttpSendPipeline
import io.ktor.http.Headers
import io.ktor.http.HttpHeaders
import io.ktor.http.HttpMethod
import io.ktor.http.Url
import io.ktor.http.content.OutgoingContent
import io.ktor.util.Attributes
import io.ktor.util.pipeline.PipelinePhase
import io.ktor.utils.io.InternalAPI

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
        val before = context.put(context.attributes.getOrNull(TRIP) ?: return@intercept)
        try {
            proceed()
        } finally {
            for ((name, values) in before) {
                context.headers.remove(name)
                if (values != null) context.headers.appendAll(name, values)
            }
        }
    }
    sendPipeline.intercept(after) { call ->
        val trip = context.attributes.getOrNull(TRIP) ?: return@intercept
        if (call !is HttpClientCall) return@intercept
        // The engine made a copy of what was on the request.
        call.attributes.remove(TRIP)
        if (trip.hasCarried) {
            if (trip.attends(call.response.status.value) { it in call.response.headers }) call.leaveBody()
            proceedWith(Shown(call, trip))
        }
    }
}

/** Puts the key there, and returns what stood in its place. */
private fun HttpRequestBuilder.put(trip: Trip): Map<String, List<String>?> {
    val put = trip.patchFor(origin()) { it in headers }?.headers.orEmpty()
    val before = put.associate { (name) -> name to headers.getAll(name)?.toList() }
    for ((name, value) in put) {
        try {
            headers[name] = value
        } catch (_: IllegalArgumentException) {
            // What Ktor says quotes the value.
            throw KeySwapException.of("scheme_failed", "the key has letters that Ktor puts into no header")
        }
    }
    return before
}

/** A call whose request never had these headers. It keeps nothing of the one that had. */
private class Shown(sent: HttpClientCall, trip: Trip) : HttpClientCall(sent.client) {
    init {
        request = ShownRequest(this, sent.request, trip.names)
        response = OpenedResponse(this, sent.response, trip.shown(sent))
    }
}

/** The headers of a response, whose `Location` quotes no key. */
private fun Trip.shown(sent: HttpClientCall): Headers {
    val headers = sent.response.headers
    val location = headers[HttpHeaders.Location]?.let { masked(sent.request.url.toString(), it) } ?: return headers
    return Headers.build {
        appendAll(headers)
        set(HttpHeaders.Location, location)
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
