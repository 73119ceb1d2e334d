package dev.keyswap.ktor

import dev.keyswap.PATIENCE_MS
import dev.keyswap.SMALL
import io.ktor.client.call.HttpClientCall
import io.ktor.client.call.save
import io.ktor.client.request.HttpRequest
import io.ktor.client.statement.HttpResponse
import io.ktor.http.Headers
import io.ktor.http.HttpProtocolVersion
import io.ktor.http.HttpStatusCode
import io.ktor.util.AttributeKey
import io.ktor.util.date.GMTDate
import io.ktor.utils.io.ByteReadChannel
import io.ktor.utils.io.InternalAPI
import io.ktor.utils.io.cancel
import kotlin.coroutines.CoroutineContext
import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.ensureActive
import kotlinx.coroutines.withTimeoutOrNull

/**
 * Ktor reads a body as soon as its response is there, unless this stands in the attributes of the call. It has no public
 * name for it.
 */
private val LEAVE = AttributeKey<Unit>("SkipSaveBody")

/** That it did, which `HttpResponse.isSaved` tells. */
private val READ = AttributeKey<Unit>("ResponseBodySaved")

/** That it would have. */
private val LEFT = AttributeKey<Unit>("KeySwapLeft")

/** Until it is known what becomes of the response, its body is not read. */
internal fun HttpClientCall.leaveBody() {
    if (LEAVE in attributes) return
    attributes.put(LEAVE, Unit)
    attributes.put(LEFT, Unit)
}

/** This call as Ktor would have it: with its body read, where that was put off. */
internal suspend fun HttpClientCall.withBody(): HttpClientCall {
    if (LEFT !in attributes) return this
    attributes.remove(LEFT)
    attributes.remove(LEAVE)
    return try {
        save().also { attributes.put(READ, Unit) }
    } finally {
        cancelBody()
    }
}

@OptIn(InternalAPI::class)
internal fun HttpClientCall.cancelBody() {
    response.rawContent.cancel()
}

/** What is small and comes at once is read to its end, and kept. */
@OptIn(InternalAPI::class)
internal suspend fun HttpClientCall.givenUp(): HttpClientCall? {
    val open = Opened(this)
    try {
        val isSmall = withTimeoutOrNull(PATIENCE_MS) { !open.response.rawContent.awaitContent(SMALL + 1) }
        return if (isSmall == true) open.save() else null
    } catch (_: Throwable) {
        // It broke off, or this is cancelled.
        currentCoroutineContext().ensureActive()
        return null
    } finally {
        open.cancelBody()
    }
}

/** A call with one channel to its body: others open another one each time, and what was read from one is gone. */
@OptIn(InternalAPI::class)
internal class Opened(sent: HttpClientCall) : HttpClientCall(sent.client) {
    init {
        request = OpenedRequest(this, sent.request)
        response = OpenedResponse(this, sent.response, sent.response.headers)
    }

    /** The beginning of the body, which stays unread. */
    suspend fun peek(limit: Int): ByteArray {
        val content = response.rawContent
        content.awaitContent(limit)
        val shown = content.readBuffer.peek()
        val body = ByteArray(limit)
        var size = 0
        while (size < limit) {
            val read = shown.readAtMostTo(body, size, limit)
            if (read <= 0) break
            size += read
        }
        return body.copyOf(size)
    }
}

@OptIn(InternalAPI::class)
private class OpenedRequest(override val call: HttpClientCall, sent: HttpRequest) : HttpRequest by sent

@OptIn(InternalAPI::class)
internal class OpenedResponse(
    override val call: HttpClientCall,
    sent: HttpResponse,
    override val headers: Headers,
) : HttpResponse() {
    override val status: HttpStatusCode = sent.status
    override val version: HttpProtocolVersion = sent.version
    override val requestTime: GMTDate = sent.requestTime
    override val responseTime: GMTDate = sent.responseTime
    override val rawContent: ByteReadChannel = sent.rawContent
    override val coroutineContext: CoroutineContext = sent.coroutineContext
}
