package dev.keyswap.ktor

import dev.keyswap.Answer
import dev.keyswap.Attempt
import dev.keyswap.Classifier
import dev.keyswap.KeySwap
import dev.keyswap.Keyed
import dev.keyswap.Patch
import dev.keyswap.Scheme
import dev.keyswap.calling
import dev.keyswap.internal.NativeFailure
import dev.keyswap.internal.NativeJob
import dev.keyswap.internal.NativeStep
import io.ktor.client.call.HttpClientCall
import io.ktor.client.call.save
import io.ktor.client.plugins.api.ClientPlugin
import io.ktor.client.plugins.api.Send
import io.ktor.client.plugins.api.createClientPlugin
import io.ktor.client.request.HttpRequestBuilder
import io.ktor.client.statement.bodyAsChannel
import io.ktor.client.statement.readRawBytes
import io.ktor.http.content.OutgoingContent
import io.ktor.util.flattenEntries
import io.ktor.utils.io.cancel
import kotlinx.coroutines.CancellationException

/** What [KeySwapAuth] is made of. */
public class KeySwapAuthConfig {
    public var keys: KeySwap? = null

    /** How credentials go onto requests; without it, as the set says. */
    public var scheme: Scheme? = null

    /** Where they may go, and nowhere else: requests to other origins pass without. */
    public var allowedOrigins: List<String> = emptyList()
    public var classifier: Classifier? = null

    /** Plain HTTP to other machines: credentials can be read on the way. */
    public var plainHttpAllowed: Boolean = false
}

/**
 * Puts keys on the requests of this client, hop by hop, and sends again what a rotation makes an API reject:
 * `HttpClient(CIO) { install(KeySwapAuth) { keys = ...; allowedOrigins = listOf("https://api.example.com") } }`.
 * A body that is a stream is sent once. Where a classifier asks for a body, that is read whole.
 */
public val KeySwapAuth: ClientPlugin<KeySwapAuthConfig> =
    createClientPlugin("KeySwapAuth", ::KeySwapAuthConfig) {
        val config = pluginConfig
        val keys = requireNotNull(config.keys) { "KeySwapAuth needs keys" }
        val keyed = with(config) { Keyed(keys, scheme, allowedOrigins, classifier, plainHttpAllowed) }
        // Inside of the plugin that follows redirects, which sends each hop on its own.
        on(Send) { request -> Hop(keyed, request) { proceed(it) }.send() }
    }

private class Hop(
    private val keyed: Keyed,
    private val request: HttpRequestBuilder,
    private val proceed: suspend (HttpRequestBuilder) -> HttpClientCall,
) {
    private val origin = with(request.url) { "${protocol.name}://${if (':' in host) "[$host]" else host}:$realPort" }
    private val url = origin + "/" + request.url.encodedPathSegments.joinToString("/").trimStart('/')

    private val realPort: Int get() = with(request.url) { if (port > 0) port else protocol.defaultPort }

    suspend fun send(): HttpClientCall {
        if (!keyed.admits(origin)) return proceed(request)
        val seen = keyed.prepared()
            ?: return keyed.begin(url, isReplayable(), null).use { drive(it, null, it.step()) }
        val call = patched(seen.patch ?: Patch.NOTHING)
        val answer = KtorAnswer(call)
        if (!keyed.attends(answer)) return call
        return keyed.beginAfter(seen, url, isReplayable(), null).use { drive(it, call, it.response(answer)) }
    }

    private suspend fun drive(attempt: Attempt, first: HttpClientCall?, begun: NativeStep): HttpClientCall {
        var call = first
        var step = begun
        while (true) {
            when (step) {
                NativeStep.SEND -> {
                    val patch = attempt.apply(request.method.value, url)
                    call?.discard()
                    call = null
                    val sent = sent(attempt, patch)
                    call = sent
                    step = attempt.response(KtorAnswer(sent))
                }
                NativeStep.NEED_BODY -> {
                    val shown = (call ?: throw attempt.failure()).save()
                    call = shown
                    val body = shown.response.readRawBytes()
                    step = attempt.response(KtorAnswer(shown), body.copyOf(minOf(body.size, attempt.bodyLimit())))
                }
                NativeStep.WAIT -> step = calling { attempt.native.wait(NativeJob()) }
                NativeStep.FAIL -> {
                    call?.discard()
                    throw attempt.failure()
                }
                NativeStep.RETURN -> return call ?: throw attempt.failure()
            }
        }
    }

    private suspend fun sent(attempt: Attempt, patch: Patch): HttpClientCall =
        try {
            patched(patch)
        } catch (cancelled: CancellationException) {
            throw cancelled
        } catch (thrown: Throwable) {
            calling { attempt.native.failed(NativeFailure.OTHER) }
            throw thrown
        }

    /** The builder is that of the whole request: what is put on it for this hop is taken off again. */
    private suspend fun patched(patch: Patch): HttpClientCall {
        val before = patch.headers.map { (name, _) -> name to request.headers.getAll(name) }
        for ((name, value) in patch.headers) request.headers[name] = value
        try {
            return proceed(request)
        } finally {
            for ((name, values) in before) {
                request.headers.remove(name)
                if (values != null) request.headers.appendAll(name, values)
            }
        }
    }

    private fun isReplayable(): Boolean = isReplayable(request.body)

    private fun isReplayable(body: Any): Boolean = when (body) {
        is OutgoingContent.ByteArrayContent, is OutgoingContent.NoContent -> true
        is OutgoingContent.ContentWrapper -> isReplayable(body.delegate())
        else -> false
    }
}

private suspend fun HttpClientCall.discard() {
    response.bodyAsChannel().cancel()
}

private class KtorAnswer(call: HttpClientCall) : Answer {
    private val response = call.response
    override val status: Int get() = response.status.value
    override val headers: List<Pair<String, String>> get() = response.headers.flattenEntries()

    override fun header(name: String): String? = response.headers[name]
}
